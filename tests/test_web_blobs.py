"""Blobs on the mirror port: statuses, ranges and headers; whole and still arriving."""

from __future__ import annotations

from twisted.internet.error import ConnectionDone, ConnectionLost

from nodecache.events import Source
from nodecache.failures import StoreFailure, UpstreamFailure, UpstreamKind
from nodecache.limits import MIB
from nodecache.web.ranges import RangesAnswered
from tests.fakes_registry import digest_of, some_bytes
from tests.loopback import LoopbackCase, request, turns, until
from tests.test_web_base import code_of

TAIL = 64 * 1024
DATA = some_bytes(3_000_001)


class WholeBlobTests(LoopbackCase):
    async def test_a_blob_comes_whole_with_its_headers(self) -> None:
        for data in (b"", b"x", some_bytes(65_536), some_bytes(262_145), DATA):
            reply = await self.ask(self.serve(self.whole(data), data))
            self.assertEqual((reply.status, len(reply.body)), (200, len(data)))
            self.assertTrue(reply.body == data)
            self.assertEqual(reply.header("Content-Length"), str(len(data)))
            self.assertEqual(reply.header("Content-Type"), "application/octet-stream")
            self.assertEqual(reply.header("Docker-Content-Digest"), str(digest_of(data)))
            self.assertEqual(reply.header("Accept-Ranges"), "bytes")
            self.assertEqual(reply.header("Nodecache-Source"), "disk")
            self.assertIsNone(reply.header("Content-Range"))
            self.assertIsNone(reply.header("Server"))

    async def test_head_tells_the_size_without_opening_the_blob(self) -> None:
        blob = self.whole(DATA)
        path = self.serve(blob, DATA)
        self.registry.source = Source.FILL
        reply = await self.ask(path, "HEAD", Range="bytes=0-9")
        self.assertEqual((reply.status, reply.body), (200, b""))
        self.assertEqual(reply.header("Content-Length"), str(len(DATA)))
        self.assertEqual(reply.header("Docker-Content-Digest"), str(digest_of(DATA)))
        self.assertEqual(reply.header("Nodecache-Source"), "fill")
        self.assertEqual(blob.readers, [])

    async def test_a_single_range_is_206_and_exact(self) -> None:
        path = self.serve(self.whole(DATA), DATA)
        size = len(DATA)
        for header, start, stop in (
            ("bytes=0-", 0, size),
            ("bytes=0-0", 0, 1),
            ("bytes=2-5", 2, 6),
            (f"bytes={size - 1}-", size - 1, size),
            ("bytes=1000000-", 1_000_000, size),
            ("bytes=100-2000000", 100, 2_000_001),
            ("bytes=100-99999999999999999999", 100, size),
            ("bytes=-1", size - 1, size),
            ("bytes=-99999999", 0, size),
            ("BYTES=2-5", 2, 6),
        ):
            reply = await self.ask(path, Range=header)
            self.assertEqual((header, reply.status), (header, 206))
            self.assertTrue(reply.body == DATA[start:stop], header)
            self.assertEqual(reply.header("Content-Range"), f"bytes {start}-{stop - 1}/{size}")
            self.assertEqual(reply.header("Content-Length"), str(stop - start))

    async def test_several_or_malformed_ranges_get_the_whole_blob(self) -> None:
        data = some_bytes(1000)
        path = self.serve(self.whole(data), data)
        for header in (
            "bytes=0-1,5-6",
            "bytes=a-b",
            "bytes=5-2",
            "bytes=-",
            "bytes",
            "lines=0-5",
            "bytes=" + "0-1," * 3000,
            "bytes=1-2-3",
        ):
            reply = await self.ask(path, Range=header)
            self.assertEqual((header, reply.status, reply.body), (header, 200, data))

    async def test_two_range_headers_get_the_whole_blob(self) -> None:
        data = some_bytes(1000)
        path = self.serve(self.whole(data), data)
        client = await self.connect()
        client.send(request(path, headers={"Range": "bytes=0-1", "range": "bytes=2-3"}))
        self.assertEqual(await client.body(1000), data)
        self.assertEqual(client.reply.status, 200)

    async def test_a_range_behind_the_end_is_416_and_closes_the_blob(self) -> None:
        blob = self.whole(b"12345")
        reply = await self.ask(self.serve(blob, b"12345"), Range="bytes=5-")
        self.assertEqual((reply.status, code_of(reply)), (416, "RANGE_INVALID"))
        self.assertEqual(reply.header("Content-Range"), "bytes */5")
        self.assertEqual([reader.closed for reader in blob.readers], [1])

    async def test_a_range_of_the_empty_blob_is_the_empty_blob(self) -> None:
        reply = await self.ask(self.serve(self.whole(b""), b""), Range="bytes=0-")
        self.assertEqual((reply.status, reply.body), (200, b""))

    async def test_if_range_with_another_digest_gets_the_whole_blob(self) -> None:
        data = some_bytes(1000)
        path = self.serve(self.whole(data), data)
        reply = await self.ask(path, Range="bytes=5-6", If_Range=f'"{digest_of(data)}"')
        self.assertEqual(reply.status, 206)
        reply = await self.ask(path, Range="bytes=5-6", If_Range='"other"')
        self.assertEqual((reply.status, reply.body), (200, data))

    async def test_a_blob_that_can_not_be_had_is_404_whatever_the_cause(self) -> None:
        data = b"nope"
        for failure in (
            UpstreamFailure(UpstreamKind.NOT_FOUND, "404"),
            UpstreamFailure(UpstreamKind.LIMITED, "429", retry_after=5),
            UpstreamFailure(UpstreamKind.TIMEOUT, "silence"),
            StoreFailure("the disk fails"),
        ):
            path = f"/v2/library/alpine/blobs/{self.registry.add_blob(failure, data)}"
            for method in ("GET", "HEAD"):
                reply = await self.ask(path, method)
                self.assertEqual((failure, reply.status), (failure, 404))

    async def test_sixty_blobs_on_one_connection_come_in_their_order(self) -> None:
        client = await self.connect()
        bodies = [some_bytes(size * 7001) for size in range(60)]
        paths = [self.serve(self.whole(data), data) for data in bodies]
        client.send(*(request(path) for path in paths))
        await until(lambda: len(client.received) > sum(map(len, bodies)))
        await until(lambda: client.received.endswith(bodies[-1][-1000:]))
        self.assertTrue([reply.body for reply in client.replies()] == bodies)


class ArrivingBlobTests(LoopbackCase):
    async def test_headers_go_out_before_the_first_byte_is_there(self) -> None:
        blob = self.blob(total=len(DATA), tail=TAIL)
        client = await self.begin(self.serve(blob, DATA))
        await client.answered()
        self.assertEqual(client.reply.status, 200)
        self.assertEqual(client.reply.header("Content-Length"), str(len(DATA)))
        client.leave()
        await self.finished()

    async def test_bytes_come_as_they_arrive_and_the_tail_when_the_digest_is_right(self) -> None:
        blob = self.blob(total=len(DATA), tail=TAIL)
        client = await self.begin(self.serve(blob, DATA))
        sent = 0
        for size in (1, 100, 70_000, 1_000_000, len(DATA) - 1_070_101):
            blob.append(DATA[sent : sent + size])
            sent += size
            visible = min(sent, len(DATA) - TAIL)
            self.assertTrue(await client.body(visible) == DATA[:visible])
        self.assertEqual(len(client.reply.body), len(DATA) - TAIL)
        blob.finish()
        self.assertTrue(await client.body(len(DATA)) == DATA)
        (event,) = await self.finished()
        self.assertEqual((event.outcome, event.bytes), ("complete", len(DATA)))

    async def test_a_wrong_digest_ends_in_a_reset_short_of_the_length(self) -> None:
        for headers in ({}, {"Range": "bytes=0-"}, {"Range": "bytes=100-"}):
            blob = self.blob(DATA, total=len(DATA), tail=TAIL)
            client = await self.begin(self.serve(blob, DATA), **headers)
            await client.body(2_000_000)
            blob.fail(UpstreamFailure(UpstreamKind.WRONG, "wrong digest"))
            await client.hung_up()
            self.assertFalse(client.reply.whole)
            self.assertLessEqual(len(client.reply.body), len(DATA) - TAIL)
            self.assertIsInstance(client.reason, ConnectionLost)
        self.assertEqual({event.outcome for event in await self.finished(3)}, {"aborted"})
        self.assertIn("wrong digest", (await self.finished(3))[0].reason)

    async def test_a_failure_closes_behind_all_that_had_come(self) -> None:
        """Runtimes take up by Range what is missing then, and give up what was reset."""
        blob = self.blob(DATA[:1_500_000], total=len(DATA), tail=TAIL)
        client = await self.begin(self.serve(blob, DATA))
        await client.body(10_000)
        blob.fail(UpstreamFailure(UpstreamKind.CUT, "upstream broke"))
        await client.hung_up()
        self.assertIsInstance(client.reason, ConnectionDone)
        self.assertFalse(client.reply.whole)
        self.assertTrue(DATA.startswith(client.reply.body))
        self.assertEqual((await self.finished())[0].outcome, "aborted")

    async def test_a_failure_before_the_first_byte_closes_too(self) -> None:
        blob = self.blob(total=len(DATA))
        client = await self.begin(self.serve(blob, DATA))
        await client.answered()
        blob.fail(UpstreamFailure(UpstreamKind.CUT, "upstream broke"))
        await client.hung_up()
        self.assertEqual(client.reply.body, b"")
        self.assertIsInstance(client.reason, ConnectionDone)

    async def test_where_the_end_is_told_by_the_close_a_failure_is_a_reset(self) -> None:
        blob = self.blob(DATA[:1_500_000], tail=TAIL)
        client = await self.connect()
        client.send(request(self.serve(blob, DATA), version="1.0"))
        await client.body(10_000)
        blob.fail(UpstreamFailure(UpstreamKind.CUT, "upstream broke"))
        await client.hung_up()
        self.assertIsNone(client.reply.header("Content-Length"))
        self.assertIsInstance(client.reason, ConnectionLost)

    async def test_who_does_not_take_what_was_written_is_reset_in_the_end(self) -> None:
        blob = self.blob(DATA[:1_500_000], total=len(DATA), tail=TAIL)
        client = await self.begin(self.serve(blob, DATA))
        await client.answered()
        client.stop_reading()
        [channel] = self.site.channels
        channel.transport.write(bytes(8 * MIB))
        [sender] = self.site.active_bodies
        sender.abort("the test says so")
        await turns()
        self.assertEqual(self.site.channels, {channel})
        self.clock.advance(self.site.stall)
        await until(lambda: not self.site.channels)

    async def test_a_cold_closed_range_flows_before_the_digest_is_known(self) -> None:
        blob = self.blob(total=10, tail=5)
        client = await self.begin(self.serve(blob, b"0123456789"), Range="bytes=2-7")
        blob.append(b"01234567")
        self.assertEqual(await client.body(6), b"234567")
        self.assertEqual(client.reply.status, 206)
        self.assertEqual(client.reply.header("Content-Range"), "bytes 2-7/10")
        (event,) = await self.finished()
        self.assertEqual((event.outcome, event.bytes), ("complete", 6))

    async def test_a_closed_range_of_the_whole_blob_is_held_back_like_the_whole(self) -> None:
        blob = self.blob(b"0123456789", total=10, tail=4)
        client = await self.begin(self.serve(blob, b"0123456789"), Range="bytes=0-9")
        self.assertEqual(await client.body(6), b"012345")
        blob.finish()
        self.assertEqual(await client.body(10), b"0123456789")
        await self.finished()

    async def test_an_empty_body_under_another_digest_is_never_sent(self) -> None:
        """No byte of it could be held back: a Content-Length of 0 is a whole body at once."""
        blob = self.blob(total=0)
        reply = await self.ask(self.serve(blob, b"not empty"))
        self.assertEqual((reply.status, code_of(reply)), (404, "BLOB_UNKNOWN"))


class UnknownLengthTests(LoopbackCase):
    async def test_a_blob_of_unknown_length_is_chunked(self) -> None:
        blob = self.blob(tail=10)
        client = await self.begin(self.serve(blob, DATA))
        blob.append(DATA[:500_000])
        await client.body(400_000)
        self.assertEqual(client.reply.header("Transfer-Encoding"), "chunked")
        self.assertIsNone(client.reply.header("Content-Length"))
        blob.append(DATA[500_000:])
        blob.finish()
        await client.whole()
        self.assertTrue(client.reply.body == DATA)
        self.assertEqual((await self.finished())[0].bytes, len(DATA))

    async def test_its_failure_is_never_a_clean_end(self) -> None:
        blob = self.blob(DATA, tail=10)
        client = await self.begin(self.serve(blob, DATA))
        await client.body(len(DATA) - 10)
        blob.fail(UpstreamFailure(UpstreamKind.WRONG, "wrong digest"))
        await client.hung_up()
        self.assertFalse(client.reply.whole)
        self.assertEqual((await self.finished())[0].outcome, "aborted")

    async def test_it_is_never_a_clean_end_for_http_1_0_either(self) -> None:
        blob = self.blob(b"x" * 100, tail=10)
        client = await self.connect()
        client.send(request(self.serve(blob, DATA), version="1.0"))
        await until(lambda: client.received.endswith(b"x" * 90))
        blob.fail(UpstreamFailure(UpstreamKind.CUT, "upstream broke"))
        await client.hung_up()
        self.assertEqual(type(client.reason).__name__, "ConnectionLost")

    async def test_an_empty_end_under_another_digest_is_never_a_clean_end(self) -> None:
        blob = self.blob()
        client = await self.begin(self.serve(blob, b"not empty"))
        await client.answered()
        blob.finish()
        await client.hung_up()
        self.assertFalse(client.reply.whole)

    async def test_the_empty_blob_ends_cleanly(self) -> None:
        blob = self.blob()
        client = await self.begin(self.serve(blob, b""))
        await client.answered()
        blob.finish()
        await client.whole()
        await self.finished()

    async def test_ranges_get_the_whole_body_while_the_length_is_unknown(self) -> None:
        for header in ("bytes=0-", "bytes=2-5", "bytes=-3"):
            blob = self.blob(tail=1)
            client = await self.begin(self.serve(blob, b"0123456789"), Range=header)
            await client.answered()
            blob.append(b"0123456789")
            blob.finish()
            await client.whole()
            self.assertEqual((client.reply.status, client.reply.body), (200, b"0123456789"))


class RangesStayTests(LoopbackCase):
    """Once a blob has been cut into ranges it never answers a range with 200 again."""

    async def test_the_total_of_an_earlier_range_serves_a_flight_of_unknown_length(self) -> None:
        path = self.serve(self.whole(DATA), DATA)
        self.assertEqual((await self.ask(path, Range="bytes=0-")).status, 206)
        blob = self.blob(tail=TAIL)
        self.serve(blob, DATA)
        client = await self.begin(path, Range="bytes=1000000-")
        blob.append(DATA)
        await client.body(len(DATA) - 1_000_000 - TAIL)
        blob.finish()
        self.assertTrue(await client.body(len(DATA) - 1_000_000) == DATA[1_000_000:])
        self.assertEqual(client.reply.status, 206)
        await self.finished(2)

    async def test_a_total_that_turns_out_wrong_ends_in_a_reset(self) -> None:
        path = self.serve(self.whole(DATA), DATA)
        self.assertEqual((await self.ask(path, Range="bytes=0-")).status, 206)
        for other in (DATA[:2_000_000], DATA + b"more"):
            blob = self.blob(tail=TAIL)
            self.serve(blob, DATA)
            client = await self.begin(path, Range="bytes=1000-")
            blob.append(other)
            await client.body(1_000_000)
            blob.finish()
            await client.hung_up()
            self.assertFalse(client.reply.whole)

    async def test_without_room_such_a_blob_is_404_for_ranges_and_200_for_the_whole(self) -> None:
        path = self.serve(self.whole(b"0123456789"), b"0123456789")
        self.assertEqual((await self.ask(path, Range="bytes=0-")).status, 206)
        await self.ask(path, Range="bytes=0-")
        self.assertIs(self.registry.asked[-1].option, False)
        await self.ask(path)
        self.assertIs(self.registry.asked[-1].option, True)

    def test_only_the_last_blobs_are_remembered(self) -> None:
        ranges = RangesAnswered(2)
        digests = [digest_of(bytes([number])) for number in range(3)]
        ranges.remember(digests[0], 1)
        ranges.remember(digests[1], 2)
        ranges.remember(digests[0], 1)
        ranges.remember(digests[2], 3)
        self.assertEqual([ranges.total(digest) for digest in digests], [1, None, 3])


class WholeTests(LoopbackCase):
    async def test_only_clients_that_take_the_whole_blob_may_get_it_passed_through(self) -> None:
        path = self.serve(self.whole(b"12345"), b"12345")
        for header, whole in (("bytes=1-", False), ("bytes=0-", True), ("bytes=a", True)):
            await self.ask(path, Range=header)
            self.assertEqual((header, self.registry.asked[-1].option), (header, whole))
            self.site._mirror._ranges = RangesAnswered()

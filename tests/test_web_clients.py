"""Clients as they come: slow, gone, half-closed, pipelining, abusive, many."""

from __future__ import annotations

import resource
import ssl

import attrs
from twisted.internet.defer import Deferred

from nodecache.body import BlobSender
from nodecache.events import RequestFinished, Unexpected
from nodecache.limits import Limits, Timeouts
from nodecache.web.turned_away import PATIENCE
from tests.fakes_registry import digest_of, some_bytes
from tests.loopback import Client, LoopbackCase, descriptors, request, turns, until

#: More than the kernel's buffers of a loopback connection hold.
BIG = some_bytes(6 * 1024 * 1024)
MIDDLE = some_bytes(2_000_000)
LATEST = "/v2/library/alpine/manifests/latest"


class LeavingTests(LoopbackCase):
    async def test_clients_that_leave_in_the_middle_leave_nothing_behind(self) -> None:
        blob = self.whole(BIG)
        path = self.serve(blob, BIG)
        warm = await self.begin(path)
        await warm.body(1000)
        warm.leave()
        await self.finished(1)
        before = descriptors()
        for number in range(30):
            client = await self.begin(path)
            await client.body(1 + number * 20_000)
            if number % 2:
                client.leave()
            else:
                assert client.transport is not None
                client.transport.loseConnection()
            await client.hung_up()
        events = await self.finished(31)
        self.assertEqual({event.outcome for event in events}, {"left"})
        await until(lambda: not self.site.channels)
        self.assertEqual(descriptors(), before)
        self.assertEqual(blob.open_readers, 0)
        self.assertEqual(self.told(Unexpected), [])

    async def test_a_client_that_leaves_a_growing_body_leaves_no_waiter(self) -> None:
        blob = self.blob(MIDDLE, total=len(BIG), tail=10)
        client = await self.begin(self.serve(blob, BIG))
        await client.body(len(MIDDLE))
        self.assertEqual(len(blob.readers[0].waits), 1)
        client.leave()
        (event,) = await self.finished()
        self.assertEqual(event.outcome, "left")
        self.assertEqual((blob.readers[0].waits, blob.readers[0].closed), ([], 1))

    async def test_a_client_that_leaves_before_its_answer_cancels_the_search_for_it(self) -> None:
        self.registry.hold = Deferred()
        client = await self.begin(LATEST)
        await until(lambda: self.registry.asked)
        client.leave()
        (event,) = await self.finished()
        self.assertEqual((event.outcome, event.bytes), ("left", 0))
        self.assertEqual(self.registry.cancelled, 1)
        self.assertEqual(self.told(Unexpected), [])

    async def test_one_that_leaves_disturbs_no_other(self) -> None:
        blob = self.blob(BIG[:1_000_000], total=len(BIG), tail=10)
        path = self.serve(blob, BIG)
        stays, leaves = await self.begin(path), await self.begin(path)
        await leaves.body(1_000_000)
        leaves.leave()
        await self.finished()
        blob.append(BIG[1_000_000:])
        blob.finish()
        self.assertTrue(await stays.body(len(BIG)) == BIG)


class StalledTests(LoopbackCase):
    async def stalled(self, path: str) -> Client:
        """A client that reads the headers and then nothing."""
        client = await self.connect()
        client.send(request(path))
        await until(lambda: client.received)
        client.stop_reading()
        return client

    async def test_a_client_that_takes_nothing_is_dropped_after_a_time(self) -> None:
        client = await self.stalled(self.serve(self.whole(BIG), BIG))
        await self.buffers_full()
        await self.let_stall()
        client.go_on_reading()
        await client.hung_up()
        self.assertFalse(client.reply.whole)
        (event,) = await self.finished()
        self.assertEqual(event.outcome, "stalled")

    async def test_a_client_that_takes_a_little_now_and_then_is_kept(self) -> None:
        client = await self.stalled(self.serve(self.whole(BIG), BIG))
        await self.buffers_full()
        for _ in range(20):
            await client.sip()
            self.clock.advance(self.timeouts.client_stall / 8)
            await turns(2)
        self.assertEqual(self.told(RequestFinished), [])
        client.go_on_reading()
        self.assertTrue(await client.body(len(BIG)) == BIG)

    async def test_a_stalled_client_of_a_small_body_is_dropped_too(self) -> None:
        """Its answer is all in our hands; only the last bytes of it do not go out."""
        path = self.serve(self.whole(MIDDLE[:200_000]), MIDDLE[:200_000])
        client = await self.connect()
        client.stop_reading()
        client.send(*(request(path) for _ in range(100)))
        await until(lambda: self.told(RequestFinished))
        await self.buffers_full()
        done = len(self.told(RequestFinished))
        self.assertLess(done, 100)
        await self.let_stall()
        await self.finished(done + 1)
        self.assertEqual(self.told(RequestFinished)[-1].outcome, "stalled")
        client.go_on_reading()
        await client.hung_up()

    async def test_waiting_for_upstream_is_not_the_clients_stall(self) -> None:
        blob = self.blob(b"x" * 100, total=1000, tail=10)
        client = await self.begin(self.serve(blob, b"x" * 1000))
        await client.body(100)
        for _ in range(50):
            self.clock.advance(self.timeouts.client_stall / 8)
            await turns(1)
        self.assertFalse(client.closed)
        blob.append(b"x" * 900)
        blob.finish()
        await client.whole()

    async def test_a_frozen_process_blames_no_client(self) -> None:
        client = await self.stalled(self.serve(self.whole(BIG), BIG))
        await self.buffers_full()
        for _ in range(3):
            self.clock.advance(self.timeouts.client_stall * 10)
            await turns(3)
        self.assertEqual(self.told(RequestFinished), [])
        client.go_on_reading()
        self.assertTrue(await client.body(len(BIG)) == BIG)

    async def test_two_hundred_stalled_clients_hold_up_nobody(self) -> None:
        path = self.serve(self.whole(BIG), BIG)
        await self.ask(path)
        before = descriptors()
        stalled = [await self.stalled(path) for _ in range(200)]
        await self.buffers_full()
        # The client's socket, ours, and its duplicate.
        self.assertLessEqual(descriptors() - before, 3 * 200 + 5)
        self.assertEqual(len(self.site.active_bodies), 200)
        reply = await self.ask(path)
        self.assertTrue(reply.body == BIG)
        await self.let_stall()
        for client in stalled:
            client.go_on_reading()
        await until(lambda: all(client.closed for client in stalled))
        await self.finished(202)
        await until(lambda: not self.site.channels)
        self.assertEqual(descriptors(), before)

    async def let_stall(self) -> None:
        """Let the time pass that a client is given, until all are given up.

        A kernel with much to do may take bytes for one of them late; its time begins then.
        """
        for _ in range(100):
            if not self.site.active_bodies:
                return
            self.clock.advance(self.timeouts.client_stall / 8)
            await turns(2)
        self.fail("a client that takes nothing is not given up")

    async def buffers_full(self) -> None:
        """Until no body moves any more."""
        positions: list[int] = []
        while True:
            bodies = [b for b in self.site.active_bodies if isinstance(b, BlobSender)]
            now = [body.position for body in bodies]
            if now == positions:
                return
            positions = now
            await turns(30)


class HalfClosedTests(LoopbackCase):
    async def test_a_client_that_shuts_its_sending_side_gets_its_whole_answer(self) -> None:
        blob = self.blob(BIG[:1_000_000], total=len(BIG), tail=10)
        client = await self.begin(self.serve(blob, BIG))
        await client.body(1_000_000)
        client.shut_sending()
        await turns()
        blob.append(BIG[1_000_000:])
        blob.finish()
        await client.hung_up()
        self.assertTrue(client.reply.body == BIG)
        self.assertEqual((await self.finished())[0].outcome, "complete")

    async def test_all_requests_sent_before_the_shut_are_answered(self) -> None:
        self.registry.add_manifest(b"{}", "latest")
        client = await self.connect()
        client.send(*(request(path) for path in ("/v2/", LATEST, "/v2/", LATEST, "/v2/")))
        client.shut_sending()
        await client.hung_up()
        self.assertEqual([reply.body for reply in client.replies()], [b"{}"] * 5)

    async def test_a_shut_while_the_first_of_several_is_answered_loses_none(self) -> None:
        self.registry.add_manifest(b"{}", "latest")
        self.registry.hold = Deferred()
        client = await self.connect()
        client.send(*(request(path) for path in (LATEST, "/v2/", LATEST)))
        await until(lambda: self.registry.asked)
        client.shut_sending()
        await turns()
        self.registry.hold.callback(None)
        await client.hung_up()
        self.assertEqual(len(client.replies()), 3)

    async def test_a_client_that_shuts_without_a_request_is_closed(self) -> None:
        client = await self.connect()
        client.send(b"GET /v2/ HT")
        client.shut_sending()
        await client.hung_up()
        await until(lambda: not self.site.channels)

    async def test_one_that_is_gone_for_good_is_noticed_at_the_next_bytes(self) -> None:
        """A close looks like a shut until something is sent."""
        blob = self.blob(b"x" * 100, total=10_000_000, tail=10)
        client = await self.begin(self.serve(blob, b"x" * 10_000_000))
        await client.body(100)
        assert client.transport is not None
        client.transport.loseConnection()
        await client.hung_up()
        for _ in range(5):
            blob.append(b"x" * 1_000_000)
            await turns()
        self.assertEqual((await self.finished())[0].outcome, "left")


class PipelineTests(LoopbackCase):
    async def test_pipelined_bodies_of_all_kinds_come_in_order(self) -> None:
        """The headers of none are overtaken by the bytes of another."""
        datas = [
            some_bytes(size) for size in (3_000_000, 10, 300_000, 0, 262_144, 5_000_000, 70_000)
        ]
        paths = [self.serve(self.whole(data), data) for data in datas]
        self.registry.add_manifest(MIDDLE, "latest")
        client = await self.connect()
        for path in paths:
            client.send(request(path), request(LATEST), request(path, "GET", Range="bytes=0-"))
        size = sum(2 * len(data) for data in datas) + len(datas) * len(MIDDLE)
        await until(lambda: len(client.received) > size)
        await self.finished(3 * len(datas))
        await turns()
        bodies = [reply.body for reply in client.replies()]
        self.assertEqual(len(bodies), 3 * len(datas))
        for number, data in enumerate(datas):
            self.assertTrue(bodies[3 * number] == data)
            self.assertTrue(bodies[3 * number + 1] == MIDDLE)
            self.assertTrue(bodies[3 * number + 2] == data)

    async def test_a_client_that_reads_nothing_gets_no_second_answer_on_top(self) -> None:
        """A thousand requests in one packet cost the memory of one answer."""
        self.registry.add_manifest(MIDDLE, "latest")
        client = await self.connect()
        client.stop_reading()
        client.send(*(request(LATEST) for _ in range(400)))
        await until(lambda: self.registry.asked)
        await turns(200)
        (channel,) = self.site.channels
        self.assertTrue(channel.congested)
        # The kernel takes a few of them; one more is in our hands.
        self.assertLess(len(self.registry.asked), 20)
        self.assertEqual(len(self.registry.asked), len(self.told(RequestFinished)) + 1)

    async def test_the_connection_is_kept_for_the_next_request(self) -> None:
        data = some_bytes(1_000_000)
        path = self.serve(self.whole(data), data)
        client = await self.connect()
        for count in range(1, 4):
            client.send(request(path))
            await until(lambda: len(client.replies()) == count)  # noqa: B023
            await until(lambda: client.replies()[-1].whole)
        self.assertEqual(len(self.site.channels), 1)
        self.assertIsNone(client.replies()[0].header("Connection"))

    async def test_connection_close_is_kept(self) -> None:
        client = await self.begin("/v2/", Connection="close")
        await client.hung_up()
        self.assertEqual(client.reply.header("Connection"), "close")


class IdleTests(LoopbackCase):
    timeouts = attrs.evolve(Timeouts(), client_idle=60.0)

    async def test_an_idle_connection_is_closed(self) -> None:
        client = await self.begin("/v2/")
        await client.whole()
        self.clock.advance(59)
        await turns()
        self.assertFalse(client.closed)
        self.clock.advance(2)
        await client.hung_up()

    async def test_a_request_that_trickles_in_is_not_waited_for_longer(self) -> None:
        client = await self.connect()
        await turns()
        for char in b"GET /v2/ HT":
            client.send(bytes([char]))
            await turns()
            self.clock.advance(6)
        await client.hung_up()
        self.assertEqual(client.received, b"")

    async def test_a_request_body_that_trickles_in_is_not_waited_for_longer(self) -> None:
        client = await self.begin("/v2/", Content_Length="100")
        for _ in range(11):
            client.send(b"x")
            await turns()
            self.clock.advance(6)
        await client.hung_up()

    async def test_an_answer_that_takes_long_is_not_idle(self) -> None:
        blob = self.blob(b"x" * 10, total=100, tail=1)
        client = await self.begin(self.serve(blob, b"x" * 100))
        await client.body(10)
        for _ in range(10):
            self.clock.advance(30)
            await turns(1)
        self.assertFalse(client.closed)

    async def test_a_thousand_idle_connections_are_accepted(self) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        clients = [await self.connect() for _ in range(1000)]
        await until(lambda: len(self.site.channels) == 1000)
        self.assertEqual((await self.ask("/v2/")).status, 200)
        clients[500].send(request("/v2/"))
        await clients[500].whole()


class FewConnectionsTests(LoopbackCase):
    limits = attrs.evolve(Limits(), client_connections=5)

    async def test_connections_beyond_the_limit_are_closed_at_once(self) -> None:
        clients = [await self.connect() for _ in range(5)]
        await until(lambda: len(self.site.channels) == 5)
        sixth = await self.connect()
        await until(lambda: self.site.turned_away)
        self.clock.advance(PATIENCE)
        await sixth.hung_up()
        clients[0].leave()
        await until(lambda: len(self.site.channels) == 4)
        self.assertEqual((await self.ask("/v2/")).status, 200)


class HeaderAbuseTests(LoopbackCase):
    async def refused(self, raw: bytes) -> RequestFinished:
        """The event of a request that was refused and its connection closed."""
        before = len(self.told(RequestFinished))
        client = await self.connect()
        client.send(raw)
        await client.hung_up()
        await self.finished(before + 1)
        self.assertEqual(self.registry.asked, [])
        return self.told(RequestFinished)[-1]

    async def test_ten_thousand_header_lines_are_431(self) -> None:
        lines = b"".join(b"X-%d: y\r\n" % number for number in range(10_000))
        event = await self.refused(b"GET /v2/ HTTP/1.1\r\n" + lines + b"\r\n")
        self.assertEqual((event.status, event.outcome), (431, "complete"))

    async def test_two_hundred_and_one_header_lines_are_431_and_two_hundred_are_not(self) -> None:
        lines = {f"X-{number}": "y" for number in range(199)}
        self.assertEqual((await self.ask("/v2/", **lines)).status, 431)
        del lines["X-0"], lines["X-1"]
        self.assertEqual((await self.ask("/v2/", **lines)).status, 200)

    async def test_headers_of_more_than_64_kib_are_431(self) -> None:
        lines = b"".join(b"X-%d: %s\r\n" % (number, b"y" * 8000) for number in range(20))
        event = await self.refused(b"GET /v2/ HTTP/1.1\r\n" + lines + b"\r\n")
        self.assertEqual(event.status, 431)

    async def test_a_header_line_without_end_is_431(self) -> None:
        event = await self.refused(b"GET /v2/ HTTP/1.1\r\nX: " + b"y" * 1_000_000)
        self.assertEqual(event.status, 431)

    async def test_a_folded_header_is_400_at_once(self) -> None:
        event = await self.refused(b"GET /v2/ HTTP/1.1\r\nX: y\r\n" + b" y\r\n" * 100_000)
        self.assertEqual(event.status, 400)

    async def test_a_request_line_without_end_is_431(self) -> None:
        event = await self.refused(b"GET /v2/" + b"a" * 1_000_000)
        self.assertEqual(event.status, 431)

    async def test_a_client_that_tries_https_first_is_answered_at_once(self) -> None:
        hello = ssl.MemoryBIO()
        secure = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), hello, False, "localhost")
        with self.assertRaises(ssl.SSLWantReadError):
            secure.do_handshake()
        event = await self.refused(hello.read())
        self.assertEqual((event.status, event.outcome), (400, "complete"))

    async def test_what_is_no_http_is_400(self) -> None:
        for raw in (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n",
            b"GET\r\n\r\n",
            b"GET /v2/ HTTP/2.0\r\n\r\n",
            b"GET /v2/ HTTP/1.1\r\nno colon\r\n\r\n",
            b"GET /v2/ HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            b"GET /v2/ HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
            b"GET /v2/ HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"GET /v2/ HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
        ):
            self.assertEqual((raw, (await self.refused(raw)).status), (raw, 400))

    async def test_a_refusal_is_json_and_closes(self) -> None:
        client = await self.connect()
        client.send(b"GET /v2/ HTTP/1.1\r\nno colon\r\n\r\n")
        await client.hung_up()
        self.assertEqual(client.reply.header("Connection"), "close")
        self.assertIn(b'"errors"', client.reply.body)
        self.assertTrue(client.reply.whole)

    async def test_what_a_client_says_of_itself_is_cut_and_made_printable(self) -> None:
        await self.ask("/v2/", User_Agent="evil\x1b[2J" + "x" * 5000)
        (event,) = await self.finished()
        self.assertTrue(event.agent.startswith("evil?[2Jxxx"))
        self.assertEqual(len(event.agent), 120)
        self.assertEqual(event.client, "127.0.0.1")


class ToldTests(LoopbackCase):
    async def test_every_request_is_told_once_with_what_it_was(self) -> None:
        data = some_bytes(5000)
        path = self.serve(self.whole(data), data)
        await self.ask(path + "?ns=quay.io", User_Agent="containerd/2.1", Range="bytes=0-9")
        (event,) = await self.finished()
        self.assertEqual(
            (event.method, event.kind, event.namespace, event.repository, event.reference),
            ("GET", "blob", "quay.io", "library/alpine", str(digest_of(data))),
        )
        self.assertEqual((event.status, event.source, event.bytes), (206, "disk", 10))
        self.assertEqual((event.agent, event.outcome), ("containerd/2.1", "complete"))
        self.assertEqual(event.code, "")

    async def test_an_error_is_told_with_its_code_and_reason(self) -> None:
        await self.ask(LATEST)
        (event,) = await self.finished()
        self.assertEqual((event.status, event.code), (404, "MANIFEST_UNKNOWN"))
        self.assertEqual((event.reason, event.source), ("no such thing upstream", "none"))
        self.assertEqual(event.repository, "library/alpine")

    async def test_request_ids_differ_and_go_with_the_answer(self) -> None:
        replies = [await self.ask(path) for path in (LATEST, LATEST, "/v2/a/b/manifests/.bad")]
        ids = [event.request_id for event in await self.finished(3)]
        self.assertEqual(len(set(ids)), 3)
        self.assertEqual([reply.header("Nodecache-Request-Id") for reply in replies], ids)

    async def test_times_are_those_of_the_clock(self) -> None:
        blob = self.blob(total=100, tail=1)
        client = await self.begin(self.serve(blob, b"x" * 100))
        await client.answered()
        self.clock.advance(2)
        blob.append(b"x" * 50)
        await client.body(50)
        self.clock.advance(3)
        blob.append(b"x" * 50)
        blob.finish()
        await client.whole()
        (event,) = await self.finished()
        self.assertEqual((event.first_byte_seconds, event.seconds), (2, 5))

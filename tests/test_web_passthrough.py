"""Bodies that are passed through from upstream without being stored."""

from __future__ import annotations

from nodecache.events import PassedThrough, RequestFinished
from nodecache.limits import Limits
from tests.fakes_registry import FakeBody, digest_of, some_bytes
from tests.loopback import Client, LoopbackCase, request, turns, until

TAIL = Limits().tail
DATA = some_bytes(2_000_000)


class PassThroughTests(LoopbackCase):
    async def passed(self, body: FakeBody, data: bytes = DATA, **headers: str) -> Client:
        """A client whose answer is ``body``, with its headers in."""
        client = await self.begin(self.serve(body, data), **headers)
        await client.answered()
        return client

    async def test_the_body_flows_as_it_comes_and_its_tail_when_the_digest_is_right(self) -> None:
        body = FakeBody(len(DATA))
        client = await self.passed(body)
        self.assertEqual(client.reply.header("Content-Length"), str(len(DATA)))
        self.assertEqual(client.reply.header("Docker-Content-Digest"), str(digest_of(DATA)))
        self.assertEqual(client.reply.header("Nodecache-Source"), "fill")
        for start in range(0, len(DATA), 50_000):
            body.feed(DATA[start : start + 50_000])
        self.assertTrue(await client.body(len(DATA) - TAIL) == DATA[:-TAIL])
        await turns()
        self.assertEqual(len(client.reply.body), len(DATA) - TAIL)
        body.end()
        self.assertTrue((await client.whole()).body == DATA)
        (event,) = self.told(PassedThrough)
        self.assertEqual((event.outcome, event.bytes), ("complete", len(DATA)))
        self.assertEqual(event.reason, "the disk is full")
        self.assertEqual((await self.finished())[0].outcome, "complete")
        self.assertTrue(body.stopped)

    async def test_bytes_0_on_of_it_are_answered_with_200(self) -> None:
        body = FakeBody(len(DATA))
        client = await self.passed(body, Range="bytes=0-")
        self.assertEqual(client.reply.status, 200)
        self.assertIsNone(client.reply.header("Content-Range"))

    async def test_other_ranges_of_it_are_404(self) -> None:
        for header in ("bytes=1-", "bytes=0-5", "bytes=-5"):
            reply = await self.ask(self.serve(FakeBody(len(DATA)), DATA), Range=header)
            self.assertEqual((header, reply.status), (header, 404))

    async def test_a_wrong_digest_ends_short_with_a_reset(self) -> None:
        body = FakeBody(len(DATA))
        client = await self.passed(body)
        body.feed(DATA[:-1] + b"?")
        await client.body(1_000_000)
        body.end()
        await client.hung_up()
        self.assertFalse(client.reply.whole)
        self.assertLessEqual(len(client.reply.body), len(DATA) - TAIL)
        self.assertEqual(self.told(PassedThrough)[0].outcome, "mismatch")
        self.assertEqual((await self.finished())[0].outcome, "aborted")

    async def test_more_bytes_than_the_length_are_never_sent(self) -> None:
        body = FakeBody(1000)
        client = await self.passed(body, DATA[:1000])
        body.feed(DATA[: 1000 + TAIL])
        await client.hung_up()
        self.assertFalse(client.reply.whole)
        self.assertEqual(self.told(PassedThrough)[0].outcome, "mismatch")
        self.assertTrue(body.stopped)

    async def test_fewer_bytes_than_the_length_are_no_clean_end(self) -> None:
        body = FakeBody(len(DATA))
        client = await self.passed(body)
        body.feed(DATA[:1_000_000])
        body.end()
        await client.hung_up()
        self.assertFalse(client.reply.whole)
        self.assertEqual(self.told(PassedThrough)[0].outcome, "mismatch")

    async def test_upstream_breaking_off_is_a_reset(self) -> None:
        body = FakeBody(len(DATA))
        client = await self.passed(body)
        body.feed(DATA[:1_000_000])
        body.cut()
        await client.hung_up()
        self.assertFalse(client.reply.whole)
        self.assertEqual(self.told(PassedThrough)[0].outcome, "failed")
        self.assertIn("ended early", (await self.finished())[0].reason)

    async def test_an_unknown_length_is_chunked_and_a_wrong_digest_no_clean_end(self) -> None:
        for wrong in (False, True):
            body = FakeBody(None)
            client = await self.passed(body)
            self.assertEqual(client.reply.header("Transfer-Encoding"), "chunked")
            body.feed(DATA[:-1] + b"?" if wrong else DATA)
            body.end()
            await (client.hung_up() if wrong else client.whole())
            self.assertEqual(client.reply.whole, not wrong)

    async def test_a_slow_client_pauses_upstream(self) -> None:
        body = FakeBody(len(DATA))
        client = await self.connect()
        client.stop_reading()
        client.send(request(self.serve(body, DATA)))
        await until(lambda: body.sink)
        fed = 0
        while not body.paused and fed < len(DATA):
            body.feed(DATA[fed : fed + 50_000])
            fed += 50_000
            await turns(3)
        self.assertLess(fed, len(DATA))
        client.go_on_reading()
        await until(lambda: not body.paused)
        for start in range(fed, len(DATA), 50_000):
            body.feed(DATA[start : start + 50_000])
        body.end()
        self.assertTrue((await client.whole()).body == DATA)

    async def test_a_client_that_leaves_stops_upstream(self) -> None:
        body = FakeBody(len(DATA))
        client = await self.passed(body)
        body.feed(DATA[:200_000])
        await client.body(100_000)
        client.leave()
        (event,) = await self.finished()
        self.assertEqual((event.outcome, self.told(PassedThrough)[0].outcome), ("left", "left"))
        self.assertTrue(body.stopped)
        body.feed(DATA[200_000:])  # what was under way is ignored

    async def test_a_stalled_client_is_dropped_and_upstream_stopped(self) -> None:
        body = FakeBody(len(DATA))
        client = await self.connect()
        client.stop_reading()
        client.send(request(self.serve(body, DATA)))
        await until(lambda: body.sink)
        body.feed(DATA)
        await turns(50)
        for _ in range(20):
            self.clock.advance(self.timeouts.client_stall / 8)
            await turns(2)
        self.assertEqual(self.told(RequestFinished)[0].outcome, "stalled")
        self.assertTrue(body.stopped)

    async def test_an_empty_body_under_another_digest_is_never_sent(self) -> None:
        reply = await self.ask(self.serve(FakeBody(0), b"not empty"))
        self.assertEqual(reply.status, 404)

    async def test_the_empty_blob_is_sent(self) -> None:
        body = FakeBody(0)
        client = await self.begin(self.serve(body, b""))
        await until(lambda: body.sink)
        body.end()
        self.assertEqual((await client.whole()).status, 200)

"""How the mirror port is closed: drained first, then cut."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred

from nodecache.deadline import Deadline
from nodecache.events import PullFinished
from tests.fakes_registry import some_bytes
from tests.loopback import LoopbackCase, request, turns, until

DATA = some_bytes(3_000_000)


class DrainTests(LoopbackCase):
    def drain(self, seconds: float = 25.0) -> Deferred[int]:
        return Deferred.fromCoroutine(self.site.drain(Deadline(self.clock.seconds() + seconds)))

    async def test_with_nothing_to_do_it_is_over_at_once_and_idle_connections_closed(self) -> None:
        idle = await self.connect()
        used = await self.begin("/v2/")
        await used.whole()
        self.assertEqual(await self.drain(), 0)
        await idle.hung_up()
        await used.hung_up()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    async def test_bodies_are_let_finish_and_their_connections_closed_behind_them(self) -> None:
        blob = self.blob(DATA[:1_000_000], total=len(DATA), tail=10)
        client = await self.begin(self.serve(blob, DATA))
        await client.body(900_000)
        done = self.drain()
        await turns()
        self.assertEqual((len(self.site.active_bodies), done.called), (1, False))
        blob.append(DATA[1_000_000:])
        blob.finish()
        self.assertEqual(await done, 0)
        await client.hung_up()
        self.assertTrue(client.reply.body == DATA)
        self.assertTrue(client.reply.whole)

    async def test_an_answer_still_looked_for_is_let_finish_too(self) -> None:
        self.registry.add_manifest(b"{}", "latest")
        self.registry.hold = Deferred()
        client = await self.begin("/v2/library/alpine/manifests/latest")
        await until(lambda: self.registry.asked)
        done = self.drain()
        self.registry.hold.callback(None)
        self.assertEqual(await done, 0)
        await client.hung_up()
        self.assertEqual(client.reply.body, b"{}")
        self.assertEqual(client.reply.header("Connection"), "close")

    async def test_at_the_deadline_the_rest_is_cut_with_a_reset(self) -> None:
        blob = self.blob(DATA[:1_000_000], total=len(DATA), tail=10)
        path = self.serve(blob, DATA)
        clients = [await self.begin(path) for _ in range(2)]
        for client in clients:
            await client.body(900_000)
        done = self.drain(25.0)
        self.clock.advance(26)
        self.assertEqual(await done, 2)
        self.assertEqual(self.site.abort_all(), 2)
        for client in clients:
            await client.hung_up()
            self.assertFalse(client.reply.whole)
        events = await self.finished(2)
        self.assertEqual({event.outcome for event in events}, {"aborted"})
        self.assertIn("stopping", events[0].reason)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    async def test_an_answer_still_looked_for_can_be_cut(self) -> None:
        self.registry.hold = Deferred()
        client = await self.begin("/v2/library/alpine/manifests/latest")
        await until(lambda: self.registry.asked)
        self.assertEqual(self.site.abort_all(), 1)
        await client.hung_up()
        self.assertEqual(client.received, b"")
        self.assertEqual((await self.finished())[0].outcome, "aborted")
        self.assertEqual(self.registry.cancelled, 1)

    async def test_pulls_that_go_on_are_told_at_the_end(self) -> None:
        self.registry.add_manifest(b"{}", "latest")
        await self.ask("/v2/library/alpine/manifests/latest")
        await self.finished()
        self.assertEqual(self.told(PullFinished), [])
        await self.drain()
        self.assertEqual(len(self.told(PullFinished)), 1)

    async def test_draining_can_be_given_up(self) -> None:
        blob = self.blob(b"x" * 100, total=1000, tail=10)
        client = await self.begin(self.serve(blob, b"x" * 1000))
        await client.body(100)
        done = self.drain()
        done.cancel()
        await self.assertFailure(done, CancelledError)
        self.assertEqual(len(self.site.active_bodies), 1)


class PullTests(LoopbackCase):
    async def test_the_requests_of_a_pull_are_told_as_one_when_they_are_over(self) -> None:
        digest = self.registry.add_manifest(b"{}", "3.20")
        path = self.serve(self.whole(DATA), DATA)
        base = "/v2/library/alpine/manifests/"
        await self.ask(f"{base}3.20", "HEAD", User_Agent="docker/29")
        await self.ask(f"{base}{digest}")
        await self.ask(path)
        await self.finished(3)
        self.clock.advance(0.5)
        self.assertEqual(self.told(PullFinished), [])
        self.clock.advance(1)
        (pull,) = self.told(PullFinished)
        self.assertEqual((pull.repository, pull.reference), ("library/alpine", "3.20"))
        self.assertEqual((pull.digest, pull.agent), (str(digest), "docker/29"))
        self.assertEqual((pull.requests, pull.failed), (3, 0))
        self.assertEqual(pull.bytes_by_source, {"disk": 2 + len(DATA)})
        self.assertEqual(self.clock.getDelayedCalls(), [])

    async def test_a_pull_with_an_open_body_is_not_over(self) -> None:
        blob = self.blob(DATA[:1000], total=len(DATA), tail=10)
        client = await self.begin(self.serve(blob, DATA))
        await client.body(900)
        self.registry.add_manifest(b"{}", "latest")
        await self.ask("/v2/library/alpine/manifests/latest")
        await self.finished()
        self.clock.advance(5)
        self.assertEqual(self.told(PullFinished), [])
        client.leave()
        await self.finished(2)
        self.clock.advance(5)
        self.assertEqual(len(self.told(PullFinished)), 1)

    async def test_requests_that_are_no_pull_make_none(self) -> None:
        for path in (
            "/v2/",
            "/v2/library/alpine/tags/list",
            "/v2/library/alpine/manifests/latest?ns=evil.example",
            "/v2/library/alpine/manifests/.bad",
        ):
            await self.ask(path)
        await self.finished(4)
        self.clock.advance(5)
        self.assertEqual(self.told(PullFinished), [])

    async def test_a_failed_pull_counts_what_failed(self) -> None:
        client = await self.connect()
        client.send(request("/v2/library/alpine/manifests/nope"))
        await client.whole()
        await self.finished()
        self.clock.advance(5)
        (pull,) = self.told(PullFinished)
        self.assertEqual((pull.requests, pull.failed), (1, 1))
        self.assertEqual(set(pull.bytes_by_source), {"none"})

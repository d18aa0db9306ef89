"""The small parts of sharing: races, watched bodies, duties."""

from __future__ import annotations

from contextlib import ExitStack
from typing import cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from nodecache.failures import PeerFailure, PeerKind, UpstreamFailure
from nodecache.reference import Digest, Repository
from nodecache.seams import BlobSource
from nodecache.sharing.blob import SharedBlob, shared_blobs
from nodecache.sharing.duties import Asking, Duties
from nodecache.sharing.manifest_ports import Upstreams
from nodecache.sharing.primed import PrimedBody
from nodecache.sharing.race import Race
from nodecache.sharing.watched import WatchedBody
from tests.fakes_source import CHUNK, FakeBody, whole
from tests.sharing_blob_case import ALPINE, DIGEST, SharingCase

OTHER = Digest("sha256", "cd" * 32)


class Runner:
    """Runs until the test ends it. ``cancelled`` once it was."""

    def __init__(self) -> None:
        self.cancelled = 0
        self.result: Deferred[str | None] = Deferred()
        self.after: Deferred[str | None] | None = None

    async def run(self) -> str | None:
        try:
            return await self.result
        except CancelledError:
            self.cancelled += 1
            if self.after is None:
                raise
            return await self.after


class Races(SynchronousTestCase):
    def setUp(self) -> None:
        self.late: list[str] = []
        self.race: Race[str] = Race(self.late.append)
        self.one, self.two = Runner(), Runner()

    def first(self) -> Deferred[str | None]:
        self.race.add(self.one.run())
        self.race.add(self.two.run())
        return Deferred.fromCoroutine(self.race.first())

    def test_the_first_that_yields_something_ends_the_others(self) -> None:
        first = self.first()
        self.one.result.callback("one")
        self.assertEqual(self.successResultOf(first), "one")
        self.assertEqual((self.one.cancelled, self.two.cancelled), (0, 1))

    def test_who_gives_up_leaves_it_to_the_others(self) -> None:
        first = self.first()
        self.one.result.callback(None)
        self.assertNoResult(first)
        self.two.result.callback("two")
        self.assertEqual(self.successResultOf(first), "two")

    def test_all_may_give_up(self) -> None:
        first = self.first()
        self.one.result.callback(None)
        self.two.result.callback(None)
        self.assertIsNone(self.successResultOf(first))

    def test_a_race_of_none_ends_at_once(self) -> None:
        self.assertIsNone(self.successResultOf(Deferred.fromCoroutine(self.race.first())))

    def test_who_is_done_at_the_start_has_won(self) -> None:
        self.one.result.callback("one")
        self.assertEqual(self.successResultOf(self.first()), "one")

    def test_what_is_raised_ends_it(self) -> None:
        first = self.first()
        self.one.result.errback(ValueError("a bug"))
        self.failureResultOf(first, ValueError)
        self.assertEqual(self.two.cancelled, 1)

    def test_cancelling_ends_all_of_them_once(self) -> None:
        self.one.after = Deferred()
        first = self.first()
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.assertEqual((self.one.cancelled, self.two.cancelled), (1, 1))
        self.one.after.callback("late")
        self.assertEqual(self.late, ["late"])

    def test_one_that_gave_up_may_be_followed(self) -> None:
        three = Runner()
        self.race.add(self.one.run(), lambda: self.race.add(three.run()))
        first = Deferred.fromCoroutine(self.race.first())
        self.one.result.callback(None)
        three.result.callback("three")
        self.assertEqual(self.successResultOf(first), "three")

    def test_nobody_joins_when_it_is_over(self) -> None:
        first = self.first()
        self.one.result.callback("one")
        self.successResultOf(first)
        three = Runner()
        self.race.add(three.run())
        three.result.callback("three")
        self.assertEqual(self.late, [])

    def test_what_fails_late_is_silent_unless_it_is_a_bug(self) -> None:
        for error in (PeerFailure("a", PeerKind.CUT, "late"), ValueError("a bug")):
            self.setUp()
            self.two.after = Deferred()
            first = self.first()
            self.one.result.callback("one")
            self.successResultOf(first)
            self.two.after.errback(error)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)


class Watched(SynchronousTestCase):
    def setUp(self) -> None:
        self.ends: list[UpstreamFailure | None] = []
        self.inner: FakeBody = whole(b"bytes")
        self.body = WatchedBody(self.inner, self.ends.append)

    def test_a_whole_body(self) -> None:
        done = self.body.deliver(lambda _: None)
        self.assertEqual(self.ends, [])
        self.inner.finish()
        self.successResultOf(done)
        self.body.stop()
        self.assertEqual(self.ends, [None])

    def test_a_body_that_breaks(self) -> None:
        done = self.body.deliver(lambda _: None)
        self.inner.cut()
        failure = self.failureResultOf(done, UpstreamFailure).value
        self.assertEqual(self.ends, [failure])

    def test_one_that_was_not_wanted_any_more(self) -> None:
        done = self.body.deliver(lambda _: None)
        done.cancel()
        self.failureResultOf(done, CancelledError)
        self.assertEqual(self.ends, [None])

    def test_one_that_was_never_taken(self) -> None:
        self.body.stop()
        self.body.stop()
        self.assertEqual((self.ends, self.inner.closed), ([None], True))


class Primed(SynchronousTestCase):
    """Bodies are taken in pieces of 32 KiB."""

    def setUp(self) -> None:
        self.data = bytes(range(256)) * 512
        self.inner = whole(self.data)
        self.body = PrimedBody(self.inner)
        self.priming = Deferred.fromCoroutine(self.body.prime())
        self.got = bytearray()

    def primed(self) -> None:
        self.inner.send(CHUNK)
        self.successResultOf(self.priming)

    def test_it_waits_for_bytes_and_then_sends_no_more(self) -> None:
        assert self.inner._sink is not None
        self.inner._sink(b"")
        self.assertNoResult(self.priming)
        self.primed()
        self.assertTrue(self.inner.paused)

    def test_nothing_is_lost(self) -> None:
        self.primed()
        done = self.body.deliver(self.got.extend)
        self.assertEqual(len(self.got), CHUNK)
        self.inner.finish()
        self.successResultOf(done)
        self.assertEqual(bytes(self.got), self.data)

    def test_it_looks_like_the_body(self) -> None:
        for name in ("start", "stop_at", "total", "ranged", "peer"):
            self.assertEqual(getattr(self.body, name), getattr(self.inner, name))
        self.inner.cut()
        self.failureResultOf(self.priming)

    def test_what_ends_before_its_first_byte(self) -> None:
        self.inner.cut()
        self.failureResultOf(self.priming, UpstreamFailure)

    def test_an_empty_body(self) -> None:
        empty = whole(b"")
        body = PrimedBody(empty)
        priming = Deferred.fromCoroutine(body.prime())
        empty.finish()
        self.successResultOf(priming)
        self.successResultOf(body.deliver(self.got.extend))

    def test_what_ends_before_it_is_taken(self) -> None:
        self.primed()
        self.inner.cut()
        done = self.body.deliver(self.got.extend)
        self.failureResultOf(done, UpstreamFailure)
        self.assertEqual(len(self.got), CHUNK)

    def test_a_taker_that_pauses_at_once(self) -> None:
        assert self.inner._sink is not None
        self.inner.send(CHUNK)
        self.inner._sink(self.data[CHUNK : 2 * CHUNK])  # was on its way
        self.inner.sent += CHUNK

        def take(data: bytes) -> None:
            self.got.extend(data)
            self.body.pause()

        done = self.body.deliver(take)
        self.assertEqual(len(self.got), CHUNK)
        self.body.resume()
        self.assertEqual(len(self.got), 2 * CHUNK)
        self.assertTrue(self.inner.paused)
        while self.inner.left:
            self.body.resume()
            self.inner.send()
        self.body.resume()
        self.inner.finish()
        self.successResultOf(done)
        self.assertEqual(bytes(self.got), self.data)

    def test_cancelled_before_its_first_byte(self) -> None:
        self.priming.cancel()
        self.failureResultOf(self.priming, CancelledError)
        self.assertTrue(self.inner.closed)

    def test_not_wanted_after_all(self) -> None:
        self.primed()
        self.body.stop()
        self.assertTrue(self.inner.closed)

    def test_stopped_or_cancelled_while_it_is_taken(self) -> None:
        for end in ("stop", "cancel"):
            self.setUp()
            self.primed()
            done = self.body.deliver(self.got.extend)
            getattr(self.body if end == "stop" else done, end)()
            self.failureResultOf(done, CancelledError)
            self.assertTrue(self.inner.closed)

    def test_stopped_while_its_taker_rests(self) -> None:
        assert self.inner._sink is not None
        self.primed()
        self.inner._sink(b"on its way")
        self.inner.cut()

        def take(data: bytes) -> None:
            self.got.extend(data)
            self.body.pause()

        done = self.body.deliver(take)
        self.assertNoResult(done)
        self.body.stop()
        self.failureResultOf(done, UpstreamFailure)
        self.assertEqual(len(self.got), CHUNK)


class Making(SharingCase):
    def test_a_fills_source_is_made_over_that_of_its_upstream(self) -> None:
        case = self

        class Upstream:
            """The only one."""

            def get(self, namespace: str) -> Upstream:
                case.assertEqual(namespace, ALPINE.namespace)
                return self

            def blob_source(self, name: str, digest: Digest) -> BlobSource:
                return case.origin.source(Repository(ALPINE.namespace, name), digest)

            def down(self) -> None:
                return None

        blob = shared_blobs(self.tools, cast("Upstreams", Upstream()))(ALPINE, DIGEST)
        assert isinstance(blob, SharedBlob)
        self.assert_segment(self.successResultOf(self.begin(blob=blob)), 0, None)
        self.assertEqual(self.origin.asked[0].name, ALPINE)


class Books(SynchronousTestCase):
    def test_duties_are_counted(self) -> None:
        duties = Duties()
        with duties.on(DIGEST, 3):
            with duties.on(DIGEST, 3), duties.on(DIGEST, 4):
                self.assertEqual(len(duties), 2)
            self.assertTrue(duties.has(DIGEST, 3))
            self.assertFalse(duties.has(DIGEST, 4) or duties.has(OTHER, 3))
            self.assertFalse(duties.repairs(DIGEST))
        self.assertEqual((duties.has(DIGEST, 3), len(duties)), (False, 0))

    def test_a_duty_ends_when_what_it_was_for_fails(self) -> None:
        duties = Duties()
        with self.assertRaises(ValueError), duties.on(DIGEST, 3, repair=True):
            self.assertTrue(duties.repairs(DIGEST))
            raise ValueError
        self.assertEqual((duties.repairs(DIGEST), len(duties)), (False, 0))

    def test_who_goes_upstream_is_waited_for_by_everybody(self) -> None:
        duties = Duties("me")
        with duties.upstream(DIGEST, 3):
            for asker in map(str, range(20)):
                self.assertTrue(duties.brings(DIGEST, 3, asker))
            self.assertFalse(duties.brings(DIGEST, 4, "a") or duties.brings(OTHER, 3, "a"))
        self.assertFalse(duties.brings(DIGEST, 3, "a"))

    def test_of_those_that_take_themselves_for_the_owner_the_first_waits_for_nobody(self) -> None:
        """So that they never wait in a ring, however many they are, and whatever they know."""
        nodes = {name: Duties(name) for name in "abcdefgh"}
        for segment in range(8):
            with ExitStack() as all_of_them:
                for duties in nodes.values():
                    all_of_them.enter_context(duties.seeking(DIGEST, segment, lambda: True))
                waited_for = {
                    name: sum(duties.brings(DIGEST, segment, other) for other in nodes)
                    for name, duties in nodes.items()
                }
            # ``brings`` to oneself is not asked; it counts for each of them.
            self.assertEqual(sorted(waited_for.values()), list(range(1, 9)))

    def test_who_does_not_act_as_owner_yet_is_not_waited_for(self) -> None:
        duties, acts = Duties("me"), [False]
        askers = [str(each) for each in range(20)]
        with duties.seeking(DIGEST, 3, lambda: acts[0]):
            self.assertFalse(any(duties.brings(DIGEST, 3, asker) for asker in askers))
            acts[0] = True
            self.assertTrue(any(duties.brings(DIGEST, 3, asker) for asker in askers))
        self.assertFalse(any(duties.brings(DIGEST, 3, asker) for asker in askers))

    def test_waits_are_counted_and_end_once(self) -> None:
        asking = Asking()
        first, second = asking.enter(DIGEST, 3, "a"), asking.enter(DIGEST, 3, "a")
        first()
        first()
        self.assertTrue(asking.waits_for("a", DIGEST, 3))
        self.assertFalse(asking.waits_for("b", DIGEST, 3))
        second()
        self.assertFalse(asking.waits_for("a", DIGEST, 3))
        self.assertEqual(len(asking), 0)

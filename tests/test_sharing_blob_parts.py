"""The small parts of sharing: races, watched bodies, duties."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from nodecache.failures import PeerFailure, PeerKind, UpstreamFailure
from nodecache.reference import Digest
from nodecache.sharing.duties import Asking, Duties
from nodecache.sharing.race import Race
from nodecache.sharing.watched import WatchedBody
from tests.fakes_source import FakeBody, whole

DIGEST = Digest("sha256", "ab" * 32)
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

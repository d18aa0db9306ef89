from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nodecache.deadline import Deadline
from nodecache.failures import StoreFailure, UpstreamFailure, UpstreamKind
from nodecache.singleflight import SingleFlight, within


class SingleFlightTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.joined = 0
        self.begun = 0
        self.work: Deferred[str] = Deferred()
        self.flights: SingleFlight[str, str] = SingleFlight(self.join)

    def join(self) -> None:
        self.joined += 1

    async def begin(self) -> str:
        self.begun += 1
        return await self.work

    def ask(self, key: str = "key") -> Deferred[str]:
        return self.flights.run(key, self.begin)

    def test_all_who_ask_share_one_piece_of_work(self) -> None:
        waiters = [self.ask() for _ in range(3)]
        self.assertEqual((self.begun, self.joined), (1, 2))
        self.work.callback("done")
        self.assertEqual([self.successResultOf(waiter) for waiter in waiters], ["done"] * 3)
        self.assertEqual(len(self.flights), 0)

    def test_other_keys_are_other_work(self) -> None:
        self.ask("one")
        self.ask("two")
        self.assertEqual((self.begun, self.joined), (2, 0))

    def test_a_waiter_who_leaves_takes_nobody_with_him(self) -> None:
        first, second = self.ask(), self.ask()
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.work.callback("done")
        self.assertEqual(self.successResultOf(second), "done")

    def test_the_work_goes_on_when_every_waiter_has_left(self) -> None:
        waiter = self.ask()
        waiter.cancel()
        self.failureResultOf(waiter, CancelledError)
        late = self.ask()
        self.work.callback("done")
        self.assertEqual(self.successResultOf(late), "done")
        self.assertEqual(self.begun, 1)

    def test_every_waiter_gets_the_failure(self) -> None:
        waiters = [self.ask(), self.ask()]
        self.work.errback(StoreFailure("no"))
        for waiter in waiters:
            self.failureResultOf(waiter, StoreFailure)
        self.assertNotIn("key", self.flights)

    def test_a_failure_that_nobody_waits_for_is_no_noise(self) -> None:
        waiter = self.ask()
        waiter.cancel()
        self.failureResultOf(waiter, CancelledError)
        self.work.errback(StoreFailure("no"))
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_a_defect_that_nobody_waits_for_is_logged(self) -> None:
        waiter = self.ask()
        waiter.cancel()
        self.failureResultOf(waiter, CancelledError)
        self.work.errback(ZeroDivisionError())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_whoever_asks_on_hearing_the_answer_begins_anew(self) -> None:
        waiter = self.ask()
        again: list[Deferred[str]] = []
        waiter.addCallback(lambda _: again.append(self.ask()))
        work, self.work = self.work, Deferred()
        work.callback("old")
        self.work.callback("new")
        self.assertEqual(self.successResultOf(again[0]), "new")

    def test_a_waiter_who_makes_another_leave_is_no_trouble(self) -> None:
        first, second = self.ask(), self.ask()
        first.addCallback(lambda _: second.cancel())
        self.work.callback("done")
        self.failureResultOf(second, CancelledError)

    def test_work_done_at_once_is_not_shared(self) -> None:
        self.work.callback("done")
        self.assertEqual(self.successResultOf(self.ask()), "done")

        async def other() -> str:
            return "other"

        self.assertEqual(self.successResultOf(self.flights.run("key", other)), "other")

    def test_stopping_ends_the_work_and_tells_the_waiters(self) -> None:
        ended: list[str] = []
        self.work = Deferred(lambda _: ended.append("cancelled"))
        waiter = self.ask()
        self.flights.stop()
        failure = self.failureResultOf(waiter, UpstreamFailure).value
        self.assertIs(failure.kind, UpstreamKind.DOWN)
        self.assertEqual(ended, ["cancelled"])
        self.assertEqual(len(self.flights), 0)


class WithinTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.waiter: Deferred[str] = Deferred()
        self.bounded = within(self.waiter, self.clock, Deadline(5.0))

    def test_an_answer_in_time_passes_and_leaves_no_timer(self) -> None:
        self.waiter.callback("done")
        self.assertEqual(self.successResultOf(self.bounded), "done")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_no_answer_in_time_is_a_timeout_of_upstream(self) -> None:
        self.clock.advance(4.9)
        self.assertNoResult(self.bounded)
        self.clock.advance(0.1)
        failure = self.failureResultOf(self.bounded, UpstreamFailure).value
        self.assertIs(failure.kind, UpstreamKind.TIMEOUT)

    def test_a_client_who_leaves_is_no_timeout(self) -> None:
        self.bounded.cancel()
        self.failureResultOf(self.bounded, CancelledError)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_without_a_deadline_nothing_is_bounded(self) -> None:
        waiter: Deferred[str] = Deferred()
        self.assertIs(within(waiter, self.clock, None), waiter)


class CancellationTests(SynchronousTestCase):
    def test_a_cancelled_coroutine_leaves_shared_work_alone(self) -> None:
        work: Deferred[str] = Deferred()
        flights: SingleFlight[str, str] = SingleFlight()

        async def begin() -> str:
            return await work

        async def client() -> str:
            return await flights.run("key", begin)

        def start(coroutine: Coroutine[Any, Any, str]) -> Deferred[str]:
            return Deferred.fromCoroutine(coroutine)

        leaving, staying = start(client()), start(client())
        leaving.cancel()
        self.failureResultOf(leaving, CancelledError)
        work.callback("done")
        self.assertEqual(self.successResultOf(staying), "done")

"""Waiting with a bound, on a reactor that may be busy."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nodecache.upstream.waits import EXTENSIONS, LATE, TimedOut, bounded


class Bounded(SynchronousTestCase):
    def test_the_time_runs_out(self) -> None:
        clock, inner = Clock(), Deferred[None]()
        waiting = bounded(clock, inner, 1.0)
        clock.advance(0.9)
        self.assertNoResult(waiting)
        clock.advance(0.1)
        self.assertFalse(self.failureResultOf(waiting, TimedOut).value.late)
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_a_reactor_that_turns_slowly_looks_at_its_sockets_as_often(self) -> None:
        clock, inner = Clock(), Deferred[str]()
        waiting = bounded(clock, inner, 1.0, turns=8)
        for _ in range(7):
            clock.advance(0.5)
        self.assertNoResult(waiting)
        inner.callback("it was in the socket")
        self.assertEqual(self.successResultOf(waiting), "it was in the socket")
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_with_turns_it_is_no_longer_than_without_where_the_reactor_is_idle(self) -> None:
        clock, inner = Clock(), Deferred[None]()
        waiting = bounded(clock, inner, 1.0, turns=8)
        clock.pump([1 / 64] * 65)
        self.assertFalse(self.failureResultOf(waiting, TimedOut).value.late)

    def test_a_process_that_stood_still_is_told_apart_at_once(self) -> None:
        clock, inner = Clock(), Deferred[None]()
        waiting = bounded(clock, inner, 1.0, turns=8)
        clock.advance(LATE + 1)
        self.assertTrue(self.failureResultOf(waiting, TimedOut).value.late)

    def test_who_lives_by_other_signs_is_given_more_time_but_not_for_ever(self) -> None:
        clock, inner = Clock(), Deferred[None]()
        waiting = bounded(clock, inner, 1.0, turns=2, lives=lambda: True)
        clock.pump([0.25] * 4 * EXTENSIONS)
        self.assertNoResult(waiting)
        clock.pump([0.25] * 5)
        self.failureResultOf(waiting, TimedOut)
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_cancelling_ends_both(self) -> None:
        clock, inner = Clock(), Deferred[None]()
        waiting = bounded(clock, inner, 1.0, turns=8)
        clock.pump([0.2] * 2)
        waiting.cancel()
        self.failureResultOf(waiting)
        self.assertTrue(inner.called)
        self.assertEqual(clock.getDelayedCalls(), [])

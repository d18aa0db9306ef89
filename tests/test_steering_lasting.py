"""Work that is given up leaves nothing behind that it had begun to wait for."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from nodecache.steering import Refused
from nodecache.steering.lasting import Stop


class StopTests(SynchronousTestCase):
    def test_what_was_begun_after_the_work_was_given_up_is_cancelled(self) -> None:
        """Else a descriptor stays with the reactor after it is closed."""
        cancelled: list[object] = []
        stop = Stop()
        stop.give_up()
        begun: Deferred[None] = Deferred(cancelled.append)
        waiting = Deferred.fromCoroutine(stop.wait(begun))
        self.failureResultOf(waiting, Refused)
        self.assertEqual(len(cancelled), 1)

    def test_what_is_waited_for_is_cancelled_when_the_work_is_given_up(self) -> None:
        cancelled: list[object] = []
        stop = Stop()
        begun: Deferred[None] = Deferred(cancelled.append)
        waiting = Deferred.fromCoroutine(stop.wait(begun))
        self.assertNoResult(waiting)
        stop.give_up()
        self.failureResultOf(waiting, Refused, CancelledError)
        self.assertEqual(len(cancelled), 1)

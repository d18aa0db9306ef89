"""Whoever has jobs under way is closed when they have ended."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from nodecache.fill.jobs import Jobs


class JobsTests(SynchronousTestCase):
    def over(self, jobs: Jobs) -> Deferred[None]:
        return Deferred.fromCoroutine(jobs.over())

    def test_without_any_it_is_over_at_once(self) -> None:
        self.successResultOf(self.over(Jobs()))

    def test_it_is_over_with_the_last_of_them(self) -> None:
        jobs = Jobs()
        jobs.began()
        jobs.began()
        over = self.over(jobs)
        jobs.ended()
        self.assertNoResult(over)
        jobs.ended()
        self.successResultOf(over)

    def test_what_ended_before_is_not_waited_for(self) -> None:
        jobs = Jobs()
        jobs.began()
        jobs.ended()
        self.successResultOf(self.over(jobs))

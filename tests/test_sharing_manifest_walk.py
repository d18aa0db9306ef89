"""Asking many peers the same thing, some at a time; and what is remembered of it."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nodecache.membership import Peer
from nodecache.sharing.manifest_walk import Recent, walk

PEERS = tuple(Peer(f"p{number}", ()) for number in range(10))


def any_found(found: list[str], _answered: int) -> bool:
    return bool(found)


def never(_found: list[str], _answered: int) -> bool:
    return False


class WalkTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.waiting: dict[str, Deferred[str | None]] = {}
        self.asked: list[str] = []
        self.cancelled: list[str] = []

    async def patient(self, peer: Peer) -> str | None:
        self.asked.append(peer.id)
        self.waiting[peer.id] = Deferred(lambda _: self.cancelled.append(peer.id))
        return await self.waiting[peer.id]

    async def at_once(self, peer: Peer) -> str | None:
        self.asked.append(peer.id)
        return peer.id if peer.id in ("p4", "p6") else None

    def start(self, ask: Any, enough: Any, *, width: int = 3, seconds: float = 1.5) -> Any:
        walking = walk(PEERS, ask, enough, width=width, clock=self.clock, seconds=seconds)
        return Deferred.fromCoroutine(walking)

    def test_so_many_are_asked_at_a_time(self) -> None:
        walking = self.start(self.patient, never)
        self.assertEqual(self.asked, ["p0", "p1", "p2"])
        self.waiting["p1"].callback(None)
        self.assertEqual(self.asked, ["p0", "p1", "p2", "p3"])
        self.assertNoResult(walking)
        walking.cancel()
        self.failureResultOf(walking, CancelledError)

    def test_the_first_find_ends_it_and_lets_the_others_go(self) -> None:
        walking = self.start(self.patient, any_found)
        self.waiting["p1"].callback("found")
        self.assertEqual(self.successResultOf(walking), ["found"])
        self.assertEqual(self.cancelled, ["p0", "p2"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_without_a_find_all_are_asked(self) -> None:
        self.assertEqual(self.successResultOf(self.start(self.at_once, never)), ["p4", "p6"])
        self.assertEqual(len(self.asked), 10)

    def test_answers_at_once_end_it_at_once(self) -> None:
        self.assertEqual(self.successResultOf(self.start(self.at_once, any_found)), ["p4"])
        self.assertEqual(self.asked, ["p0", "p1", "p2", "p3", "p4"])

    def test_time_ends_it_with_what_was_found(self) -> None:
        walking = self.start(self.patient, never)
        self.waiting["p2"].callback("found")
        self.clock.advance(1.5)
        self.assertEqual(self.successResultOf(walking), ["found"])
        self.assertEqual(self.cancelled, ["p0", "p1", "p3"])

    def test_who_gives_it_up_ends_it(self) -> None:
        walking = self.start(self.patient, never)
        walking.cancel()
        self.failureResultOf(walking, CancelledError)
        self.assertEqual(self.cancelled, ["p0", "p1", "p2"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_without_peers_there_is_nothing(self) -> None:
        walking = walk((), self.at_once, never, width=3, clock=self.clock, seconds=1.0)
        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(walking)), [])


class RecentTests(SynchronousTestCase):
    def test_what_was_found_out_lasts_for_its_time(self) -> None:
        recent: Recent[str, int | None] = Recent()
        recent.put("a", None, 10.0)
        self.assertEqual(recent.get("a", 9.9), (None,))
        self.assertIsNone(recent.get("a", 10.0))
        self.assertEqual(len(recent), 0)

    @given(st.lists(st.tuples(st.integers(0, 9), st.floats(0, 9)), max_size=40))
    @settings(deadline=None)
    def test_it_stays_small_and_keeps_the_latest(self, puts: list[tuple[int, float]]) -> None:
        recent: Recent[int, float] = Recent(most=3)
        for key, until in puts:
            recent.put(key, until, until)
            assert recent.get(key, until - 1) == (until,)
            assert len(recent) <= 3

"""The clock of the simulation, and links that are shared evenly."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any


class Events:
    """What happens when, in simulated seconds; events of one moment keep their order."""

    def __init__(self) -> None:
        self.now = 0.0
        self.count = 0
        self._heap: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []

    def after(self, seconds: float, job: Callable[..., object], *arguments: Any) -> None:
        self.count += 1
        heapq.heappush(self._heap, (self.now + seconds, self.count, job, arguments))

    def run(self, until: float) -> None:
        heap = self._heap
        while heap and heap[0][0] <= until:
            self.now, _, job, arguments = heapq.heappop(heap)
            job(*arguments)


class Share:
    """A body's part of one link; ``done`` is called when ``size`` bytes have passed."""

    __slots__ = ("done", "live", "size", "tag")

    def __init__(self, tag: float, size: float, done: Callable[[], object]) -> None:
        self.tag = tag
        self.size = size
        self.done = done
        self.live = True


class Link:
    """``total`` bytes a second, shared evenly; nobody gets more than ``each``.

    Kept as virtual time: bytes that one body would have received had it been
    there from the start. So a body that comes or goes costs a logarithm.
    """

    __slots__ = ("_at", "_count", "_each", "_events", "_heap", "_passed", "_seq", "_total", "_turn")

    def __init__(self, events: Events, total: float, each: float = float("inf")) -> None:
        self._events = events
        self._total = total
        self._each = each
        self._passed = 0.0
        self._at = 0.0
        self._count = 0
        self._turn = 0
        self._seq = 0
        self._heap: list[tuple[float, int, Share]] = []

    def add(self, size: float, done: Callable[[], object]) -> Share:
        self._advance()
        share = Share(self._passed + size, size, done)
        self._seq += 1
        heapq.heappush(self._heap, (share.tag, self._seq, share))
        self._count += 1
        self._arm()
        return share

    def drop(self, share: Share) -> float:
        """It is broken off; how many bytes of it had not passed."""
        self._advance()
        left = min(share.size, max(0.0, share.tag - self._passed))
        if share.live:
            share.live = False
            self._count -= 1
            self._arm()
        return left

    @property
    def rate(self) -> float:
        """Bytes a second that each of those gets that are on it."""
        return min(self._each, self._total / self._count)

    def _advance(self) -> None:
        now = self._events.now
        if self._count:
            self._passed += (now - self._at) * self.rate
        self._at = now

    def _arm(self) -> None:
        heap = self._heap
        while heap and not heap[0][2].live:
            heapq.heappop(heap)
        self._turn += 1
        if heap:
            seconds = max(0.0, heap[0][0] - self._passed) / self.rate
            self._events.after(seconds, self._ripe, self._turn)

    def _ripe(self, turn: int) -> None:
        if turn != self._turn:
            return
        self._advance()
        heap, ripe = self._heap, []
        while heap and (heap[0][0] <= self._passed + 1.0 or not heap[0][2].live):
            share = heapq.heappop(heap)[2]
            if share.live:
                share.live = False
                self._count -= 1
                ripe.append(share)
        self._arm()
        for share in ripe:
            share.done()

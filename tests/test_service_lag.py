"""A node that is slow says so, and one that stood still blames nobody."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from nodecache.service.lag import FEW, FROZEN, LATE, MANY, TICK, WINDOW, LoopLag


class Watched:
    """A lag under a clock that the test turns."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.told: list[bool] = []
        self.thaws: list[float] = []
        self.lag = LoopLag(self.clock, self.told.append, self.thaws.append)
        self.lag.start()

    def ticks(self, count: int, late: float = 0.0) -> None:
        for _ in range(count):
            self.clock.advance(TICK + late)


def test_a_reactor_that_turns_in_time_is_not_busy() -> None:
    node = Watched()
    node.ticks(3 * WINDOW, LATE / 2)
    assert node.told == []
    assert node.thaws == []


def test_many_late_turns_make_it_busy_until_hardly_any_is_late() -> None:
    node = Watched()
    node.ticks(MANY - 1, 2 * LATE)
    assert node.told == []
    node.ticks(1, 2 * LATE)
    assert node.told == [True]
    node.ticks(WINDOW - FEW - 1)
    assert node.told == [True]
    node.ticks(MANY)
    assert node.told == [True, False]


def test_a_single_hiccup_says_nothing() -> None:
    node = Watched()
    node.ticks(1, FROZEN / 2)
    node.ticks(WINDOW)
    assert node.told == []


def test_a_process_that_stood_still_is_not_busy_and_is_told_so() -> None:
    node = Watched()
    node.ticks(MANY - 1, 2 * LATE)
    node.ticks(1, 60.0)
    assert node.thaws == [pytest.approx(60.0)]
    node.ticks(1, 2 * LATE)
    assert node.told == []


def test_it_ends() -> None:
    node = Watched()
    node.lag.stop()
    node.lag.stop()
    assert node.clock.getDelayedCalls() == []

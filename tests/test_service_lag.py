"""A node that is slow says so, and one that stood still blames nobody."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from nodecache.service.lag import FEW, FROZEN, LATE, MANY, REST, RESTING, TICK, WINDOW, LoopLag


class Watched:
    """A lag under a clock that the test turns."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.told: list[bool] = []
        self.thaws: list[float] = []
        self.lags: list[float] = []
        self.used, self.share = 0.0, 1.0  # of the processor: seconds, and what it uses now
        self.lag = LoopLag(
            self.clock, self.told.append, self.thaws.append, self.lags.append, lambda: self.used
        )
        self.lag.start()

    def ticks(self, count: int, late: float = 0.0) -> None:
        for _ in range(count):
            self.used += self.share * (TICK + late)
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


def test_a_process_that_rests_is_woken_once_a_second() -> None:
    node = Watched()
    node.share = REST / 2
    node.ticks(100)
    assert 9 <= len(node.lags) <= 11


def test_one_that_works_is_looked_at_ten_times_a_second() -> None:
    node = Watched()
    node.share = 2 * REST
    node.ticks(100)
    assert len(node.lags) == 100


def test_one_that_begins_to_work_is_looked_at_within_a_second() -> None:
    node = Watched()
    node.share = 0.0
    node.ticks(31)
    node.share = 1.0
    node.ticks(10)
    before = len(node.lags)
    node.ticks(10)
    assert len(node.lags) == before + 10


def test_one_that_rests_finds_out_that_the_machine_is_slow() -> None:
    """A late tick makes the next ones come soon: all of a window are late within seconds."""
    node = Watched()
    node.share = 0.0
    node.ticks(1)
    node.clock.advance(RESTING + 2 * LATE)
    node.ticks(MANY - 1, 2 * LATE)
    assert node.told == [True]
    node.ticks(WINDOW)
    assert node.told == [True, False]


def test_one_that_rests_finds_out_that_it_stood_still() -> None:
    node = Watched()
    node.share = 0.0
    node.ticks(1)
    node.clock.advance(RESTING + 30.0)
    assert node.thaws == [pytest.approx(30.0)]


def test_it_ends() -> None:
    node = Watched()
    node.lag.stop()
    node.lag.stop()
    assert node.clock.getDelayedCalls() == []

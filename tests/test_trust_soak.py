"""The judge of the soak: it passes what is flat and finds what leaks."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodecache.cache import blobs
from nodecache.store import room
from tests.trust.soak_judge import FEWEST, Reading, Rule, judge, slope, too_often_full
from tests.trust.soak_load import Full, refusal

HOUR = 3600.0
RULE = Rule("descriptors", grows=5, ceiling=100)


Value = Callable[[float], float]


def series(value: Value, seconds: float = HOUR, every: float = 60.0) -> list[Reading]:
    """Readings of ``value(at)``."""
    return [Reading(at, value(at)) for at in (n * every for n in range(1, int(seconds / every)))]


def problems(rest: Sequence[Reading], busy: Sequence[Reading] = ()) -> str:
    return " ".join(judge(RULE, "node1", rest, busy, HOUR).problems)


def noise(size: float, seed: float = 1) -> Value:
    rolled = random.Random(seed)
    return lambda _: 30 + rolled.uniform(-size, size)


@pytest.mark.parametrize(
    "value",
    [
        lambda _: 30,
        noise(3),
        lambda at: 10 if at < HOUR / 4 else 60,  # filled once, early
        lambda at: 60 if at < HOUR / 2 else 20,  # less is no leak
        lambda at: 30 if at % 600 else 90,  # a reading in ten is wild
        lambda at: 30 + at / HOUR,  # less than is allowed
    ],
)
def test_what_is_flat_passes(value: Value) -> None:
    assert problems(series(value)) == ""


@pytest.mark.parametrize(
    "value",
    [
        lambda at: 30 + 10 * at / HOUR,
        lambda at: 30 + int(at / 300),  # one in five minutes
        lambda at: 30 if at < HOUR / 2 else 30 + 20 * (at / HOUR - 0.5),  # begins late
        lambda at: noise(3, seed=at)(at) + 12 * at / HOUR,
        lambda at: 30 + 10 * at / HOUR - (15 if at % 600 == 0 else 0),
    ],
)
def test_a_leak_is_found(value: Value) -> None:
    assert "descriptors of node1 grew by" in problems(series(value))


def test_a_step_that_stays_is_found_where_it_is_in_the_middle_of_what_is_judged() -> None:
    """Half of all pairs lie across it."""
    step = series(lambda at: 30 if at < HOUR * 2 / 3 else 60)
    assert "grew by" in problems(step)


def test_what_was_reached_once_while_busy_counts() -> None:
    flat = series(lambda _: 30)
    assert problems(flat, [Reading(100, 99)]) == ""
    assert "reached 101" in problems(flat, [Reading(100, 101)])


@pytest.mark.parametrize("count", range(FEWEST))
def test_too_few_readings_prove_nothing(count: int) -> None:
    early = [Reading(1, 30), Reading(2, 30), Reading(3, 30)]
    late = [Reading(HOUR - 1 - number, 30) for number in range(count)]
    assert "prove nothing" in problems([*early, *late])


def test_what_is_told_are_the_figures_of_the_series() -> None:
    verdict = judge(RULE, "node2", series(lambda at: at / 100), [Reading(5, 80)], HOUR)
    assert (verdict.first, verdict.last, verdict.most) == (0.6, 35.4, 80)
    assert verdict.readings == 59
    assert verdict.growth == pytest.approx(0.01 * (3540 - 1200))


@pytest.mark.parametrize(
    ("full", "ranges", "right"),
    [(0, 0, True), (1, 3, True), (2, 3, False), (50, 2500, True), (51, 2500, False)],
)
def test_no_room_is_right_now_and_then_and_not_often(full: int, ranges: int, right: bool) -> None:
    assert (too_often_full(full, ranges) == ()) is right


_FULL = (
    b'{"errors": [{"message": "docker.io/library/a@sha256:1 is not kept here, so no part of it: '
)


@pytest.mark.parametrize(
    ("status", "body", "ranged", "full"),
    [
        (404, _FULL + b"no room for 12584448 bytes within", True, True),
        (
            404,
            _FULL + b"no room for 12584448 bytes within",
            False,
            False,
        ),
        (404, _FULL + b"the disk is read-only", True, False),
        (404, b"no such blob", True, False),
        (503, _FULL + b"no room for 1 bytes", True, False),
    ],
)
def test_only_a_range_that_is_told_there_is_no_room_is_counted_apart(
    status: int, body: bytes, ranged: bool, full: bool
) -> None:
    assert isinstance(refusal(status, "/v2/", body, ranged=ranged), Full) is full


def test_the_words_are_those_of_the_cache() -> None:
    source = inspect.getsource(blobs) + inspect.getsource(room)
    assert "so no part of it: {reason}" in source
    assert 'NoRoom(f"no room for {size} bytes' in source


@given(
    st.lists(st.floats(0, 1000), min_size=2, max_size=30),
    st.floats(-1, 1),
)
def test_the_slope_of_a_line_is_its_own_and_shifts_with_it(
    values: list[float], steep: float
) -> None:
    line = [Reading(float(at), steep * at) for at in range(len(values))]
    assert slope(line) == pytest.approx(steep, abs=1e-9)
    bent = [Reading(float(at), value) for at, value in enumerate(values)]
    tilted = [Reading(one.at, one.value + steep * one.at) for one in bent]
    assert slope(tilted) == pytest.approx(slope(bent) + steep, abs=1e-6)

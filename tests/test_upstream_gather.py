"""How long bytes gather before they are read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodecache.upstream.gather import EAGER, GOOD_READ, LONGEST, SHORTEST, Gathering


def begun() -> Gathering:
    """Behind the bytes that are read as they come."""
    gathering = Gathering(0.0)
    assert gathering.read(EAGER, 0.0) == 0.0
    return gathering


@pytest.mark.parametrize(
    ("size", "gap", "rest"),
    [
        (1448, 0.001, LONGEST),  # 12 Mbit/s: a packet at a time
        (8192, 0.001, 0.016),  # the bytes of a good read take so long
        (GOOD_READ // 2, 0.001, 0.0),  # good as it is
        (8192, 0.00001, 0.0),  # a fast link: not worth a timer
        (1, 10.0, LONGEST),
    ],
)
def test_a_rest_is_as_long_as_a_good_read_takes_to_come(size: int, gap: float, rest: float) -> None:
    assert begun().read(size, gap) == pytest.approx(rest)


def test_the_first_bytes_are_read_as_they_come() -> None:
    gathering = Gathering(0.0)
    sizes = [1448] * (EAGER // 1448 + 1)
    rests = [gathering.read(size, 0.001 * at) for at, size in enumerate(sizes, 1)]
    assert rests == [0.0] * len(sizes)
    assert gathering.read(1448, 1.0) == LONGEST


def test_the_few_last_bytes_of_a_burst_are_no_slow_link() -> None:
    """A sender's pieces end behind a good read: rests there made 26 MB/s of a fast link."""
    gathering, now = begun(), 0.0
    for _ in range(8):
        assert gathering.read(256 * 1024, now := now + 0.0005) == 0.0
        assert gathering.read(983, now := now + 0.0005) == 0.0


def test_a_good_read_of_a_slow_link_is_followed_by_a_rest() -> None:
    """100 Mbit/s: what gathered, and then a packet on its own."""
    gathering = begun()
    assert gathering.read(GOOD_READ, 0.005) == 0.0
    assert gathering.read(1448, 0.0051) == pytest.approx(0.005, rel=0.1)


@given(st.lists(st.tuples(st.integers(0, 1 << 20), st.floats(0.0, 100.0))))
def test_a_rest_is_never_noticed(reads: list[tuple[int, float]]) -> None:
    gathering, now = Gathering(0.0), 0.0
    for size, gap in reads:
        now += gap
        rest = gathering.read(size, now)
        assert rest == 0.0 or SHORTEST <= rest <= LONGEST

"""Which body is shared, and where it is cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nodecache.byteranges import Span
from nodecache.fill.halves import Running, second_half, slowest
from nodecache.limits import CHECKSUM_BLOCK, MIB, SEGMENT

OFFSETS = st.integers(0, 3 * SEGMENT)


@given(OFFSETS, st.integers(0, SEGMENT))
def test_the_second_half_begins_at_a_block_and_leaves_the_first_something(
    start: int, size: int
) -> None:
    left = Span(start, start + size)
    half = second_half(left)
    if size < 2 * CHECKSUM_BLOCK:
        assert half is None
    elif half is not None:
        assert half.start % CHECKSUM_BLOCK == 0
        assert left.start < half.start < half.stop == left.stop
        assert abs((half.start - left.start) - half.size) <= 2 * CHECKSUM_BLOCK


@given(OFFSETS, st.integers(3 * CHECKSUM_BLOCK, SEGMENT))
def test_three_blocks_can_always_be_shared(start: int, size: int) -> None:
    assert second_half(Span(start, start + size)) is not None


def running(seconds: float, brought: int, left: int = 4 * MIB, start: int = 8 * MIB) -> Running:
    return Running(Span(start, start + left), brought, seconds)


def test_the_one_that_ends_last_is_shared() -> None:
    found = slowest(
        [("a", running(2.0, 2 * MIB)), ("b", running(2.0, MIB)), ("c", running(2.0, 3 * MIB))], 1.0
    )
    assert found == ("b", Span(10 * MIB, 12 * MIB))


def test_of_one_of_which_nothing_came_nobody_knows_when_it_ends() -> None:
    found = slowest([("slow", running(9.0, 1)), ("silent", running(1.0, 0))], 1.0)
    assert found is not None
    assert found[0] == "silent"


def test_one_is_left_alone_that_has_just_begun_or_is_soon_over_or_small() -> None:
    bodies = {
        "just begun": running(0.9, 0),
        "soon over": running(4.0, 20 * MIB),
        "small": running(60.0, MIB, left=2 * MIB - 1),
    }
    assert slowest(bodies.items(), 1.0) is None
    assert slowest([], 1.0) is None

"""Room for a blob of unknown size, a step at a time."""

from __future__ import annotations

from nodecache.fill.allowance import Allowance


class Growing:
    """Grows at once; ``asked`` is by how much each time."""

    def __init__(self) -> None:
        self.size = 0
        self.asked: list[int] = []

    async def grow(self, more: int) -> None:
        self.asked.append(more)
        self.size += more


def never(_: Exception) -> None:
    raise AssertionError


def test_half_a_step_ahead_another_is_asked_for() -> None:
    room = Growing()
    allowance = Allowance(room, 300, lambda: None, never, never)
    assert [allowance.allows(stop) for stop in (1, 150, 151, 300)] == [True] * 4
    assert room.asked == [300, 300]


def test_what_is_further_than_a_step_away_is_asked_for_in_one() -> None:
    """Nobody looks again where room that is granted at once is not enough."""
    room = Growing()
    allowance = Allowance(room, 300, lambda: None, never, never)
    assert allowance.allows(1500)
    assert room.asked == [1500]

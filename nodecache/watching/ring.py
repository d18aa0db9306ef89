"""Sums over steps of time, the last so many of them: memory that does not grow.

Times are seconds on one monotonic clock.
"""

from __future__ import annotations

from array import array
from collections import deque
from typing import Final

#: Seconds; what took no longer came at once. Shares of less are lost to the rounding of floats.
MOMENT: Final = 0.001


class Ring:
    """The last ``count`` steps of ``step`` seconds, each a row of ``width`` sums.

    The last row is the step that is going on.
    """

    def __init__(self, step: float, count: int, width: int) -> None:
        self.step = step
        self.count = count
        self._width = width
        self._head: int | None = None
        # All of them from the start: what began earlier than the first event has its place.
        self._rows = deque((self._empty() for _ in range(count)), maxlen=count)

    def add(self, column: int, amount: float, now: float, seconds: float = 0.0) -> None:
        """``amount`` came about evenly over the ``seconds`` before ``now``.

        What came before the first step that is kept is left out.
        """
        head = self._roll(now)
        first = int((now - seconds) // self.step)
        if seconds <= MOMENT or first >= head:
            self._rows[-1][column] += amount
            return
        began = now - seconds
        for number in range(max(first, head - self.count + 1), head + 1):
            start, stop = number * self.step, (number + 1) * self.step
            share = (min(stop, now) - max(start, began)) / seconds
            self._rows[number - head - 1][column] += amount * max(0.0, share)

    def rows(self, now: float) -> list[list[float]]:
        """All ``count`` rows, the oldest first; those before the first event are zeros."""
        self._roll(now)
        return [row.tolist() for row in self._rows]

    def last(self, now: float) -> int:
        """The number of the step that is going on: as many went by on the clock before it."""
        return self._roll(now)

    def elapsed(self, now: float) -> float:
        """Seconds of the step that is going on."""
        return now - int(now // self.step) * self.step

    def copy(self) -> Ring:
        """One that can be added to without changing this one."""
        other = Ring(self.step, self.count, self._width)
        other._head = self._head
        other._rows.extend(row[:] for row in self._rows)
        return other

    def _roll(self, now: float) -> int:
        """Begin the step of ``now``; a clock that goes back stays in the last one."""
        number = int(now // self.step)
        head = number if self._head is None else self._head
        for _ in range(min(number - head, self.count)):
            self._rows.append(self._empty())
        self._head = max(head, number)
        return self._head

    def _empty(self) -> array[float]:
        return array("d", bytes(8 * self._width))

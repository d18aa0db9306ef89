"""Whether a series of figures is flat: the rule of the soak, without the soak.

A figure is looked at *at rest* (nobody asks, nothing is fetched) once in each cycle, and *busy*
all along. It is flat when both hold:

- **growth**: the median of the slopes between every two readings at rest of the last two thirds
  of the run (Theil-Sen: a third of the readings may be wild), times the length of that stretch,
  is at most ``grows``. The first third is for what fills once: caches, arenas, pools of threads.
- **ceiling**: no reading, busy or at rest, is above ``ceiling``.

A series with fewer than ``FEWEST`` readings at rest in that stretch proves nothing, and fails.
So what grows by ``grows`` in two thirds of the run is the smallest leak that is found.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterable, Sequence
from typing import Final

import attrs

#: The part of the run that is judged by its growth.
JUDGED: Final = 2 / 3
FEWEST: Final = 3
#: Of a hundred ranges so many may find no room, where the cap is a few times the largest blob: all
#: of it can be spoken for by fills and readers. More would mean that something keeps it in vain.
FULL: Final = 2


@attrs.frozen
class Reading:
    """``at`` is in seconds since the start of the run."""

    at: float
    value: float


@attrs.frozen
class Rule:
    """In units of the figure: how much it may grow at rest, and what it may reach at all."""

    name: str
    grows: float
    ceiling: float


@attrs.frozen
class Verdict:
    """``problems`` are none where it is flat. Figures at rest, but for ``most``."""

    rule: Rule
    of: str
    first: float
    last: float
    growth: float
    most: float
    readings: int
    problems: tuple[str, ...]


def too_often_full(full: int, ranges: int) -> tuple[str, ...]:
    """The problem, if there is one, of ``full`` refusals for want of room in so many ranges."""
    if full <= max(1, ranges * FULL // 100):
        return ()
    return (f"{full} of {ranges} ranges found no room, allowed: {FULL}%",)


def slope(readings: Sequence[Reading]) -> float:
    """Units a second: the median of the slopes of all pairs; 0 for fewer than two."""
    slopes = [
        (after.value - before.value) / (after.at - before.at)
        for before, after in itertools.combinations(readings, 2)
        if after.at > before.at
    ]
    return statistics.median(slopes) if slopes else 0.0


def judged(rest: Sequence[Reading], length: float) -> list[Reading]:
    """Those of the last part of a run of ``length`` seconds."""
    return [one for one in rest if one.at >= length - length * JUDGED]


def judge(
    rule: Rule, of: str, rest: Sequence[Reading], busy: Iterable[Reading], length: float
) -> Verdict:
    """Of one figure of one process, ``of``, in a run of ``length`` seconds."""
    late = judged(rest, length)
    growth = slope(late) * (late[-1].at - late[0].at) if late else 0.0
    most = max((one.value for one in (*rest, *busy)), default=0.0)
    problems = []
    if len(late) < FEWEST:
        problems.append(f"{rule.name} of {of}: {len(late)} readings at rest prove nothing")
    if growth > rule.grows:
        problems.append(f"{rule.name} of {of} grew by {growth:.1f}, allowed: {rule.grows:g}")
    if most > rule.ceiling:
        problems.append(f"{rule.name} of {of} reached {most:.1f}, allowed: {rule.ceiling:g}")
    ends = (rest[0].value, rest[-1].value) if rest else (0.0, 0.0)
    return Verdict(rule, of, *ends, growth, most, len(rest), tuple(problems))

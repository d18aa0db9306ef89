"""Statistics of few values, and how figures are shown."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence

import attrs

#: By who was measured, then by what: one value for each round.
Figures = Mapping[str, Mapping[str, Sequence[float]]]


@attrs.frozen
class Spread:
    least: float
    median: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one value."""
        return cls(min(values), statistics.median(values), max(values))

    def __str__(self) -> str:
        """Median, and from least to most where they are shown differently."""
        least, middle, most = (shown(value) for value in (self.least, self.median, self.most))
        return middle if least == most else f"{middle} ({least} to {most})"


def shown(value: float) -> str:
    """Three digits that tell, and all of those before the point."""
    if not math.isfinite(value):
        return str(value)
    size = abs(value)
    digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 0.1 or size == 0 else 4
    return f"{value:,.{digits}f}"


def percentile(values: Sequence[float], share: float) -> float:
    """The least of ``values`` that at least ``share`` (0 to 1) of them do not exceed."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(share * len(ranked)) - 1)]


def rotated(names: Sequence[str], by: int) -> list[str]:
    """Each begins a round in turn, so that no one always follows the same other."""
    place = by % len(names) if names else 0
    return [*names[place:], *names[:place]]


def interleaved(
    count: int, samples: Mapping[str, Callable[[], Mapping[str, float]]]
) -> dict[str, dict[str, list[float]]]:
    """``count`` rounds in which each is measured once, in an order that turns."""
    found: dict[str, dict[str, list[float]]] = {name: {} for name in samples}
    for number in range(count):
        for name in rotated(list(samples), number):
            for what, value in samples[name]().items():
                found[name].setdefault(what, []).append(value)
    return found

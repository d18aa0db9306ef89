"""What is to be reached, and whether it was."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import attrs

from bench.core.samples import Figures, Spread, shown


@attrs.frozen
class Key:
    """One series of figures."""

    who: str
    what: str

    def find(self, figures: Figures) -> Sequence[float]:
        """Empty where it was not measured."""
        return figures.get(self.who, {}).get(self.what, ())


@attrs.frozen(kw_only=True)
class Bar:
    """A limit for ``of`` alone, for ``of / by``, or for ``of - minus``.

    One of ``at_least`` and ``at_most`` is set. The median of the rounds is judged,
    or the worst of them.
    """

    text: str
    of: Key
    by: Key | None = None
    minus: Key | None = None
    at_least: float | None = None
    at_most: float | None = None
    unit: str = ""
    worst: bool = False

    def __attrs_post_init__(self) -> None:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError(f"{self.text} needs one limit")

    @property
    def limit(self) -> str:
        words, value = (
            ("at most", self.at_most) if self.at_least is None else ("at least", self.at_least)
        )
        return f"{words} {value:g}{f' {self.unit}' if self.unit else ''}"

    def values(self, figures: Figures) -> list[float]:
        """One a round, or nothing where a part of it was not measured."""
        mine = self.of.find(figures)
        if self.by is not None:
            pairs = _pairs(mine, self.by.find(figures))
            return [a / b for a, b in pairs if b]
        if self.minus is not None:
            return [a - b for a, b in _pairs(mine, self.minus.find(figures))]
        return list(mine)

    def judge(self, figures: Figures) -> Verdict:
        values = self.values(figures)
        return Verdict(self.text, self.limit, tuple(values), self._met(values), self.worst)

    def _met(self, values: Sequence[float]) -> bool | None:
        if not values:
            return None
        if self.at_least is not None:
            return (min(values) if self.worst else statistics.median(values)) >= self.at_least
        assert self.at_most is not None
        return (max(values) if self.worst else statistics.median(values)) <= self.at_most


def _pairs(mine: Sequence[float], other: Sequence[float]) -> list[tuple[float, float]]:
    """Round by round; where there are not as many, each against the median of the other."""
    if not mine or not other:
        return []
    if len(mine) == len(other):
        return list(zip(mine, other, strict=True))
    middle = statistics.median(other)
    return [(value, middle) for value in mine]


@attrs.frozen
class Verdict:
    """``met`` is None where nothing was measured."""

    text: str
    limit: str
    values: tuple[float, ...]
    met: bool | None
    worst: bool = False

    @property
    def word(self) -> str:
        return {True: "met", False: "BELOW", None: "not measured"}[self.met]

    @property
    def result(self) -> str:
        if not self.values:
            return ""
        spread = Spread.of(self.values)
        if self.worst and spread.least != spread.most:
            return f"{shown(spread.least)} to {shown(spread.most)}"
        return str(spread)

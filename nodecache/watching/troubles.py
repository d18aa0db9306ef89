"""The last things that went wrong, in plain words, each with a next step. Pure.

The same trouble again is not another one: its count goes up. Times are seconds
on one monotonic clock.
"""

from __future__ import annotations

import attrs

from nodecache.events import Event

#: Troubles that are remembered; those longest ago go first, and grave ones last.
MOST = 60
#: Characters of what came from outside that are shown.
LENGTH = 300


@attrs.frozen(kw_only=True)
class Trouble:
    """``key`` is what makes two of them the same. ``grave``: a person should look at it."""

    key: tuple[str, ...]
    problem: str
    next_step: str
    grave: bool = False


@attrs.frozen(kw_only=True)
class Words:
    """The trouble that a kind of event always is, in formats of the event (``{0.reason}``)."""

    key: tuple[str, ...]
    problem: str
    next_step: str
    grave: bool = False

    def __call__(self, event: Event) -> Trouble:
        return Trouble(
            key=tuple(part.format(event) for part in self.key),
            problem=self.problem.format(event),
            next_step=self.next_step.format(event),
            grave=self.grave,
        )


@attrs.frozen
class Over:
    """What began with the trouble of this ``key`` has ended."""

    key: tuple[str, ...]


@attrs.frozen(kw_only=True)
class TroubleSeen:
    """``first`` and ``last`` are seconds ago. ``over``: it is known to have ended."""

    key: tuple[str, ...]
    problem: str
    next_step: str
    grave: bool
    count: int
    first: float
    last: float
    over: bool


@attrs.define
class _Kept:
    trouble: Trouble
    first: float
    last: float
    count: int = 1
    over: bool = False


class Troubles:
    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._kept: dict[tuple[str, ...], _Kept] = {}

    def met(self, trouble: Trouble, now: float) -> None:
        """It happened (again): the words of the last time count."""
        trouble = attrs.evolve(trouble, problem=printable(trouble.problem))
        kept = self._kept.pop(trouble.key, None)
        if kept is None:
            kept = _Kept(trouble, now, now)
        else:
            kept.trouble, kept.last, kept.over = trouble, now, False
            kept.count += 1
        self._kept[trouble.key] = kept
        while len(self._kept) > self._most:
            del self._kept[self._least()]

    def _least(self) -> tuple[str, ...]:
        """The oldest; a grave one only if all are: many a typo must not hide a failing disk."""
        return next((key for key, kept in self._kept.items() if not kept.trouble.grave), None) or (
            next(iter(self._kept))
        )

    def ended(self, over: Over) -> None:
        kept = self._kept.get(over.key)
        if kept is not None:
            kept.over = True

    def seen(self, now: float) -> list[TroubleSeen]:
        """The latest first."""
        return [
            TroubleSeen(
                key=kept.trouble.key,
                problem=kept.trouble.problem,
                next_step=kept.trouble.next_step,
                grave=kept.trouble.grave,
                count=kept.count,
                first=max(0.0, now - kept.first),
                last=max(0.0, now - kept.last),
                over=kept.over,
            )
            for kept in reversed(self._kept.values())
        ]


def printable(text: str) -> str:
    """One line of visible characters, cut at ``LENGTH``."""
    line = "".join(char if char.isprintable() else " " for char in text[: LENGTH + 1])
    return line if len(line) <= LENGTH else line[: LENGTH - 1] + "…"

"""An order to the node: its name, what it is given, and what it tells while it is carried out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import attrs

#: What helps where the name of an image is none.
NAMES: Final = "Names are like nginx:1.27, acme/tool or ghcr.io/x/y@sha256:..., in lower case."

#: What is told while the work goes on: ``{"event": "progress", ...}`` may be left out where
#: its reader is slow, any other event is not. Must not raise.
Tell = Callable[[dict[str, Any]], None]


class Refused(Exception):
    """An order that is not, or could not be, carried out.

    ``problem`` is one line that says what is wrong, ``next_step`` a sentence
    about what to do; both are for the person who gave the order.
    """

    def __init__(self, problem: str, next_step: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.next_step = next_step


@attrs.frozen
class Document:
    """What came with an order. All methods raise Refused for what is not of its kind."""

    given: Mapping[str, Any]

    def text(self, name: str) -> str:
        """Text that is there and not empty."""
        found = self.given.get(name)
        if not isinstance(found, str) or not found.strip():
            raise Refused(f"{name!r} is missing, or no text")
        return found

    def texts(self, name: str) -> tuple[str, ...]:
        """Any number of texts; none where it is missing."""
        found = self.given.get(name, [])
        if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
            raise Refused(f"{name!r} is no list of texts")
        return tuple(found)

    def flag(self, name: str) -> bool:
        """False where it is missing."""
        found = self.given.get(name, False)
        if not isinstance(found, bool):
            raise Refused(f"{name!r} is neither true nor false")
        return found

    def seconds(self, name: str) -> float | None:
        """A time that is not negative; None where it is missing."""
        found = self.given.get(name)
        if found is None:
            return None
        if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found < 1e11:
            raise Refused(f"{name!r} is no number of seconds")
        return float(found)


@attrs.frozen
class Verb:
    """``run`` gives what is told last, and raises Refused, or any Failure.

    Cancelling it gives the work up: whoever gave the order hung up, or the
    node stops.
    """

    name: str
    run: Callable[[dict[str, Any], Tell], Awaitable[dict[str, Any]]]

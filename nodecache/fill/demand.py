"""What is wanted of a flight: all of it by this node's own clients, or segments by peers. Pure."""

from __future__ import annotations

from collections.abc import Iterator


class Demand:
    """``local`` once a client of this node wanted the blob: then everything is, for good.

    Iterating gives the segments that peers wait for, in the order in which
    they were first asked for. ``interest`` is how many peers wait or read.
    ``roomy`` are segments for which there is room on disk: all of them, once
    it is ``local``.
    """

    def __init__(self, *, local: bool) -> None:
        self.local = local
        self.interest = 0
        self.roomy: set[int] = set()
        self._waiting: dict[int, int] = {}

    def add(self, segment: int) -> None:
        """A peer waits for ``segment``; owes one ``drop``."""
        self._waiting[segment] = self._waiting.get(segment, 0) + 1

    def drop(self, segment: int) -> None:
        """It has it, or waits no more."""
        self._waiting[segment] -= 1
        if not self._waiting[segment]:
            del self._waiting[segment]

    def __iter__(self) -> Iterator[int]:
        return iter(tuple(self._waiting))

    def served(self) -> Iterator[int]:
        """Those that peers wait for and that may be fetched."""
        return (each for each in self if self.local or each in self.roomy)

    @property
    def idle(self) -> bool:
        """Whether nobody wants anything."""
        return not (self.local or self.interest)

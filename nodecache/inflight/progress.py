"""How far a blob in flight is, and what may be given out of it. No I/O and no clock."""

from __future__ import annotations

import enum

from nodecache.byteranges import RangeSet
from nodecache.failures import Failure, FlightFailed, NoRoom


class Status(enum.Enum):
    ASKING = "asking"
    ARRIVING = "arriving"
    WHOLE = "whole"
    FAILED = "failed"


class Progress:
    """``tail`` is the number of bytes held back until the digest is known, at least 1.

    ``total`` is in bytes, None while unknown. ``floor`` is where the bytes that
    are still on disk begin (0, unless there was no room). ``cause`` is why it
    FAILED.
    """

    def __init__(self, tail: int) -> None:
        self.status = Status.ASKING
        self.total: int | None = None
        self.present = RangeSet()
        self.floor = 0
        self.cause: Failure | None = None
        self._tail = max(1, tail)
        self._mute = False

    @property
    def over(self) -> bool:
        """WHOLE or FAILED: nothing changes any more."""
        return self.status in {Status.WHOLE, Status.FAILED}

    def begin(self, total: int | None) -> None:
        """The headers of a source are in."""
        assert self.status is Status.ASKING
        self.status, self.total = Status.ARRIVING, total

    def verify(self, total: int) -> None:
        """All bytes are present and the digest is right."""
        assert not self.over
        assert self.present.is_whole(total)
        self.status, self.total = Status.WHOLE, total

    def fail(self, cause: Failure, *, mute: bool) -> None:
        """No more bytes will come; with ``mute`` none that are here are given out either.

        Of what is over nothing changes.
        """
        if not self.over:
            self.status, self.cause, self._mute = Status.FAILED, cause, mute

    def available(self, offset: int, *, held_back: bool) -> int:
        """Bytes that may be given out from ``offset`` on, now."""
        if self.status is Status.ASKING or self._mute or offset < self.floor:
            return 0
        end = self.present.covered_from(offset)
        if held_back and self.status is not Status.WHOLE:
            end = min(end, (end if self.total is None else self.total) - self._tail)
        return max(0, end - offset)

    def ready(self, offset: int, *, held_back: bool) -> bool:
        """Whether a reader at ``offset`` has something to do. Raises FlightFailed.

        That is: there are bytes for it, or it is at the end (of a blob whose
        digest is right, if it is ``held_back``).
        """
        if self.available(offset, held_back=held_back):
            return True
        if self.cause is not None:
            raise FlightFailed(self.cause)
        if offset < self.floor:
            raise FlightFailed(NoRoom("the bytes were given up, for the disk is full"))
        at_end = self.total is not None and offset >= self.total
        return at_end and (self.status is Status.WHOLE or not held_back)

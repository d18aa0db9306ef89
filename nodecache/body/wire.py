"""What a body is written to, and what its writing needs beside that."""

from __future__ import annotations

import enum
import socket
from typing import Protocol

import attrs
from twisted.internet.interfaces import IPushProducer, IReactorTime

from nodecache.body.lane import Lane
from nodecache.body.turn import Turn
from nodecache.seams import DiskPool, Observe


class Outcome(enum.Enum):
    """How an answer ended; the value is that of ``RequestFinished.outcome``."""

    COMPLETE = "complete"
    ABORTED = "aborted"  # by us: the connection ended early, so that nobody takes it for whole
    LEFT = "left"  # the client closed the connection
    STALLED = "stalled"  # the client took nothing for too long, and was dropped


class Wire(Protocol):
    """The answer to one request, whose headers are set and not yet written.

    ``sentLength`` counts body bytes; who sends some past ``write`` adds them.
    """

    sentLength: int

    @property
    def gone(self) -> bool:
        """The connection is lost; nothing may be called any more."""
        ...

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:  # noqa: FBT001
        ...

    def unregisterProducer(self) -> None: ...

    def write(self, data: bytes) -> None:
        """The first call writes the headers, even with no data."""
        ...

    def finish(self) -> None:
        """The body is whole. Never to be called for one that is not."""
        ...

    def abort(self) -> None:
        """Reset the connection, so that the client sees that its body is not whole."""
        ...

    def break_off(self) -> None:
        """Close it behind what was written, where the client sees by that what is missing."""
        ...

    def plain_socket(self) -> socket.socket | None:
        """The socket itself where bytes go out as they are; None over TLS."""
        ...

    def unsent(self) -> int:
        """Bytes in the socket that the client's side has not acknowledged."""
        ...


@attrs.frozen(kw_only=True)
class Tools:
    """What every sender works with; ``stall`` is in seconds (Timeouts.client_stall)."""

    clock: IReactorTime
    observe: Observe
    stall: float


@attrs.frozen(kw_only=True)
class FileTools(Tools):
    """What is needed beside to read a file."""

    pool: DiskPool


@attrs.frozen(kw_only=True)
class BlobTools(FileTools):
    """What is needed beside to send a file without a copy of it."""

    lane: Lane
    turn: Turn = attrs.field(factory=Turn)

"""The seams between rooms of the shell, as protocols.

A fake of the tests and the real thing stand behind the same protocol, and the
contract suites run on both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from twisted.internet.defer import Deferred

from nodecache.byteranges import Span
from nodecache.deadline import Deadline
from nodecache.events import Event
from nodecache.reference import Digest, Repository

T = TypeVar("T")

#: Wall clock, seconds since the epoch: for what is kept on disk. Timers and
#: deadlines use the reactor's monotonic clock instead.
WallClock = Callable[[], float]

#: Where events go (logs and metrics listen there). Must not raise.
Observe = Callable[[Event], None]


class DiskPool(Protocol):
    """Runs blocking disk jobs off the reactor's thread."""

    def run(self, job: Callable[[], T]) -> Deferred[T]:
        """Run ``job`` in a thread; the Deferred fires in the reactor.

        Cancelling the Deferred drops the result and does not stop the job. A
        job that makes something to be closed must see to that itself.
        """
        ...

    def in_turn(self) -> DiskPool:
        """The same threads, for jobs of which each begins when the one before it has ended.

        By default itself, which is right for a pool that has one job at a time.
        """
        return self


class BlobBody(Protocol):
    """A source's answer for a span of a blob, once its headers are in.

    Either ``deliver`` is called, exactly once, or ``stop``.
    """

    @property
    def start(self) -> int:
        """Offset in the blob of the body's first byte (0 for a 200)."""
        ...

    @property
    def stop_at(self) -> int | None:
        """Offset behind the body's last byte; None when no length was sent."""
        ...

    @property
    def total(self) -> int | None:
        """Size of the whole blob, when the answer tells."""
        ...

    @property
    def ranged(self) -> bool:
        """True for a 206; False for a 200, which starts at 0 whatever was asked."""
        ...

    @property
    def peer(self) -> str | None:
        """Node id of the peer that sends it; None when it comes from upstream."""
        ...

    def deliver(self, sink: Callable[[bytes], None]) -> Deferred[None]:
        """Start the body. Fires with None when it ended complete.

        Fails with UpstreamFailure: CUT (ended early), TIMEOUT (silence while
        not paused). Cancelling closes the connection. ``sink`` is called in
        the reactor and never after the Deferred has fired; that of a peer's
        body may be called with no bytes, which says that some have come and
        wait for their sum.
        """
        ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def stop(self) -> None:
        """Close the connection; idempotent."""
        ...


class BlobSource(Protocol):
    """Where bytes of one blob come from, for the life of one fill.

    Made for a (repository, digest) by a ``BlobSourceFactory``, so that it can
    keep what a fill may reuse (the signed link of a redirect).
    """

    async def fetch(self, span: Span | None, deadline: Deadline) -> BlobBody:
        """Ask for ``span`` (None: the whole). Returns once headers are in.

        The answer may be a 200 with the whole blob although a span was asked.
        Raises UpstreamFailure; a 416 is answered as an empty body whose
        ``total`` is that of its Content-Range (``*/0`` is the empty blob).
        """
        ...

    async def fetch_beside(self, peer: str, span: Span, deadline: Deadline) -> BlobBody | None:
        """Ask for ``span``, which ``peer`` will bring later, another that has it now.

        Nobody is made to fetch it, and upstream is not asked. None when nobody
        gives it, as a source without peers says.
        """
        del peer, span, deadline
        return None


BlobSourceFactory = Callable[[Repository, Digest], BlobSource]


class Readable(Protocol):
    """A blob that bodies are sent from: whole on disk, or in flight.

    Each reader holds its own; ``close`` is owed exactly once.
    """

    @property
    def fd(self) -> int:
        """File descriptor for pread and sendfile; valid until ``close``."""
        ...

    @property
    def total(self) -> int | None:
        """Size of the whole blob; None while unknown."""
        ...

    def available(self, offset: int, *, held_back: bool) -> int:
        """Bytes that may be sent from ``offset`` on, now.

        ``held_back`` is True for a full or open-ended body: the last bytes
        are not available until the blob's digest was found right.
        """
        ...

    def wait(self, offset: int, *, held_back: bool) -> Deferred[None]:
        """Fires when ``available(offset)`` is not 0, or the end is known, or it failed.

        Each call has its own Deferred; cancelling removes it. Fails with
        FlightFailed. For an unknown total: fires with ``total`` set once the
        end is known.
        """
        ...

    def punched(self, offset: int) -> None:
        """Tell that this reader will never want bytes before ``offset`` again."""
        ...

    def close(self) -> None: ...


__all__: Sequence[str] = [
    "BlobBody",
    "BlobSource",
    "BlobSourceFactory",
    "DiskPool",
    "Observe",
    "Readable",
    "WallClock",
]

"""One reader of a blob in flight."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred

from nodecache.inflight.file import SharedFile
from nodecache.inflight.progress import Progress
from nodecache.inflight.waiters import Waiters


class FlightReader:
    """A ``seams.Readable`` over a flight.

    ``wanted`` is the offset last asked for. ``floor`` is where it will never go
    behind: the offset first asked for, until it says more (``punched``).
    ``moved`` is called when the floor rises, ``closed`` once.
    """

    def __init__(
        self,
        progress: Progress,
        waiters: Waiters,
        file: SharedFile,
        moved: Callable[[], None],
        closed: Callable[[FlightReader], None],
    ) -> None:
        self.wanted = 0
        self.floor = 0
        self._asked = False
        self._progress = progress
        self._waiters = waiters
        self._file: SharedFile | None = file
        self._moved = moved
        self._closed = closed
        self._waits: set[Deferred[None]] = set()

    @property
    def fd(self) -> int:
        if self._file is None:
            raise ValueError("the reader is closed")
        return self._file.fd

    @property
    def total(self) -> int | None:
        return self._progress.total

    def available(self, offset: int, *, held_back: bool) -> int:
        self._at(offset)
        return self._progress.available(offset, held_back=held_back)

    def wait(self, offset: int, *, held_back: bool) -> Deferred[None]:
        self._at(offset)
        wait = self._waiters.wait(lambda: self._progress.ready(offset, held_back=held_back))
        if not wait.called:
            self._waits.add(wait)
            wait.addBoth(self._waited, wait)
        return wait

    def _at(self, offset: int) -> None:
        first = not self._asked
        self._asked, self.wanted = True, offset
        if first:
            self.punched(offset)

    def _waited(self, result: object, wait: Deferred[None]) -> object:
        self._waits.discard(wait)
        return result

    def punched(self, offset: int) -> None:
        if offset > self.floor:
            self.floor = offset
            self._moved()

    def close(self) -> None:
        """Give the descriptor back; idempotent. What still waits through it is cancelled."""
        file, self._file = self._file, None
        if file is None:
            return
        for wait in list(self._waits):
            wait.cancel()
        file.release()
        self._closed(self)

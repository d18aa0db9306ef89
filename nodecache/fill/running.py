"""The digest of a blob that is arriving, taken over what is on disk, beside the writing.

Theory of operation. A digest is taken from the start of the blob on, one byte behind the other, by
one thread at a time. SHA-256 is what costs most of a cold blob, so that it has jobs of its own: the
next piece is written while the last is hashed. A piece that continues what was handed in is hashed
from memory, once it was written: a piece that the disk refuses comes again. What came out of order
is read again, a bounded amount in each job, once the gap before it is closed.

Pieces that wait to be hashed take memory: they count with those that wait for the disk.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from twisted.python.failure import Failure as Raised

from nodecache.failures import StoreFailure
from nodecache.fill.assembly import Piece
from nodecache.fill.jobs import Jobs
from nodecache.limits import MIB
from nodecache.seams import DiskPool
from nodecache.store.partial import Partial

#: Bytes of one read, when bytes are read again.
_READ: Final = 1 * MIB


class Watcher(Protocol):
    """Whom it tells."""

    def hashed(self) -> None:
        """``hashed`` has risen."""
        ...

    def broken(self, error: Exception) -> None:
        """The disk can not be read, or we have a bug."""
        ...


class RunningDigest:
    """Of the bytes before ``hashed``; those before ``front`` were handed in. ``close`` is owed.

    ``backlog`` are the bytes in memory that wait for it. ``reread`` bytes at most are read in
    a job.
    """

    def __init__(self, partial: Partial, pool: DiskPool, reread: int, watcher: Watcher) -> None:
        self.hashed = self.front = self.backlog = 0
        self._partial = partial
        self._pool = pool.in_turn()
        self._reread = reread
        self._watcher = watcher
        self._sum = hashlib.sha256()
        self._jobs = Jobs()
        self._reading = self._closed = False

    def hexdigest(self) -> str:
        return self._sum.hexdigest()

    def take(self, piece: Piece) -> None:
        """It is on disk; if it is what comes next, it need not be read again."""
        if piece.offset != self.front or self._closed:
            return
        self.front += piece.size
        self.backlog += piece.size
        chunks, size = piece.chunks, piece.size
        self._hand_in(lambda: self._update(chunks), size, in_memory=size)

    def catch_up(self, reach: int) -> None:
        """All before ``reach`` is on disk: read it again, unless that is being done."""
        start, size = self.front, min(reach - self.front, self._reread)
        if size > 0 and not (self._reading or self._closed):
            self._reading = True
            self.front += size
            self._hand_in(lambda: self._read(start, start + size), size, in_memory=0)

    async def close(self) -> None:
        """Hash no more; returns when what was handed in is done."""
        self._closed = True
        await self._jobs.over()

    def _hand_in(self, job: Callable[[], None], size: int, *, in_memory: int) -> None:
        self._jobs.began()
        done = self._pool.run(job)
        done.addCallbacks(lambda _: self._done(size, in_memory), self._failed)

    def _update(self, chunks: Sequence[bytes]) -> None:
        """In a thread."""
        for chunk in chunks:
            self._sum.update(chunk)

    def _read(self, start: int, stop: int) -> None:
        """In a thread. Raises StoreFailure."""
        while start < stop:
            try:
                data = os.pread(self._partial.fd, min(_READ, stop - start), start)
            except OSError as error:
                raise StoreFailure(f"read a blob again: {error.strerror}") from error
            if not data:
                raise StoreFailure("a file is shorter than what was written to it")
            self._sum.update(data)
            start += len(data)

    def _done(self, size: int, in_memory: int) -> None:
        self.hashed += size
        self.backlog -= in_memory
        if not in_memory:
            self._reading = False
        self._jobs.ended()
        if not self._closed:
            self._watcher.hashed()

    def _failed(self, raised: Raised) -> None:
        # Those behind it go on for nothing: what they make of the sum is looked at by nobody.
        self._jobs.ended()
        if not self._closed:
            assert isinstance(raised.value, Exception)
            self._watcher.broken(raised.value)

"""Lets the disk begin with what was written, long before the commit has to wait for it.

The fsync of a GiB that came fast waits for the disk for 1.5 s, and so does all else that wants
the disk meanwhile. Where it is begun with every 32 MiB, the fsync takes 0.2 to 0.7 s (measured).

To begin may block as well, where the disk can not keep up. So it is a job of its own, one at a time
on the whole node: the other threads go on writing and reading, and a fill is never slower than its
source for this.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from twisted.internet.defer import Deferred, DeferredLock

from nodecache.failures import StoreFailure
from nodecache.limits import MIB
from nodecache.seams import DiskPool
from nodecache.store import Partial

#: Bytes that are worth a job.
STEP: Final = 32 * MIB


class Writeback:
    """Of one fill; ``turn`` is the node's. ``close`` is owed, before the partial's file is."""

    def __init__(self, partial: Partial, pool: DiskPool, turn: DeferredLock) -> None:
        self._partial = partial
        self._pool = pool
        self._turn = turn
        self._begun = 0
        self._job: Deferred[None] | None = None

    def written(self, stop: int) -> None:
        """All bytes up to ``stop`` were written."""
        if stop - self._begun < STEP or self._turn.locked:
            return
        start, self._begun = self._begun, stop
        self._job = Deferred.fromCoroutine(self._begin(start, stop))

    async def _begin(self, start: int, stop: int) -> None:
        await self._turn.acquire()
        try:
            with suppress(StoreFailure):  # the threads are stopped
                await self._pool.run(lambda: self._partial.begin_writing(start, stop))
        finally:
            self._turn.release()

    async def close(self) -> None:
        """Returns when nothing of it is under way."""
        if self._job is not None:
            await self._job

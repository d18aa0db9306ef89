"""Where a fill's bytes land: its partial file and the room that is spoken for."""

from __future__ import annotations

import os
from collections.abc import Callable

from twisted.python.failure import Failure as Raised

from nodecache.byteranges import RangeSet
from nodecache.events import DiskFailed
from nodecache.failures import StoreFailure
from nodecache.fill.tools import Tools
from nodecache.inflight import SharedFile
from nodecache.reference import Digest
from nodecache.segments import segment_span
from nodecache.store import Partial, Reservation


class Landing:
    """``close`` is owed. A blob is pinned in the store until its last reader here has gone."""

    def __init__(self, digest: Digest, tools: Tools) -> None:
        self.committed = False
        self._digest = digest
        self._tools = tools
        self._partial: Partial | None = None
        self._reservation: Reservation | None = None

    async def open(self) -> Partial:
        """Raises StoreFailure."""
        self._partial = await self._tools.store.open_partial(self._digest)
        return self._partial

    def present(self) -> RangeSet:
        """What an earlier fill has left."""
        assert self._partial is not None
        if self._partial.total is None:
            return RangeSet()
        total = self._partial.total
        return RangeSet(segment_span(index, total) for index in self._partial.whole)

    def share(self) -> SharedFile:
        """The file for readers: a descriptor of their own, since they outlive the fill."""
        assert self._partial is not None
        return SharedFile(os.dup(self._partial.fd), self._dispose)

    async def reserve(self, size: int) -> Reservation:
        """Speak for ``size`` bytes in all. Raises NoRoom, StoreFailure."""
        if self._reservation is None:
            self._reservation = await self._tools.store.reserve(size)
        elif size > self._reservation.size:
            await self._reservation.grow(size - self._reservation.size)
        return self._reservation

    async def commit(self, size: int) -> None:
        """Into the store. Raises StoreFailure."""
        assert self._partial is not None
        assert self._reservation is not None
        await self._tools.store.commit(self._partial, self._reservation, size)
        self.committed = True

    async def close(self, *, keep: bool) -> None:
        """Let go; with ``keep`` what was received can be resumed. Failures are told, not raised."""
        partial, reservation = self._partial, self._reservation
        if partial is not None and not self.committed:
            try:
                await self._tools.pool.run(partial.keep if keep else partial.discard)
            except StoreFailure as failure:
                self._tools.observe(DiskFailed(operation="close a partial", reason=str(failure)))
        if reservation is not None:
            reservation.release()

    def _dispose(self, fd: int) -> None:
        """The last reader has gone. The close may block: it frees the blocks of a removed file."""
        closing = [fd]

        def close() -> None:
            os.close(closing.pop())
            if self.committed and self._partial is not None:
                self._partial.keep()

        self._tools.pool.run(close).addErrback(self._not_disposed, close, closing)

    def _not_disposed(self, raised: Raised, close: Callable[[], None], closing: list[int]) -> None:
        """The threads are stopped already, or closing failed."""
        raised.trap(StoreFailure, OSError)
        if closing:
            close()

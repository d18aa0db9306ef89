"""Where a fill's bytes land: its partial file and the room that is spoken for."""

from __future__ import annotations

import os
from collections.abc import Callable

from twisted.internet.defer import DeferredLock
from twisted.python.failure import Failure as Raised

from nodecache.byteranges import RangeSet
from nodecache.events import DiskFailed
from nodecache.failures import StoreFailure
from nodecache.fill.demand import Demand
from nodecache.fill.tools import Tools
from nodecache.inflight import SharedFile
from nodecache.limits import SEGMENT
from nodecache.reference import Digest
from nodecache.segments import segment_count, segment_span
from nodecache.store import Partial, Reservation
from nodecache.store.disk import let_go, translated


class Landing:
    """``close`` is owed. A blob is pinned in the store until its last reader here has gone.

    Where ``demand`` is of peers only, what is spoken for counts against their
    share, and its ``roomy`` tells for what.
    """

    def __init__(self, digest: Digest, demand: Demand, tools: Tools) -> None:
        self.committed = False
        self._digest = digest
        self._tools = tools
        self._shared = not demand.local
        self._claimed = 0
        self._roomy = demand.roomy
        self._turn = DeferredLock()
        self._partial: Partial | None = None
        self._reservation: Reservation | None = None

    async def open(self) -> Partial:
        """Raises StoreFailure."""
        self._partial = await self._tools.store.open_partial(self._digest)
        self._roomy.update(self._partial.whole)
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
        with translated("open a blob for its readers"):
            return SharedFile(os.dup(self._partial.fd), self._dispose)

    # Room.

    @property
    def size(self) -> int:
        """Bytes spoken for."""
        return 0 if self._reservation is None else self._reservation.size

    async def reserve(self, size: int) -> None:
        """Speak for ``size`` bytes in all. Raises NoRoom, StoreFailure."""
        await self._locked(lambda: size)

    async def grow(self, more: int) -> None:
        """Speak for ``more`` bytes more. Raises NoRoom, StoreFailure."""
        await self._locked(lambda: self.size + more)

    async def reserve_segment(self, index: int, total: int | None) -> None:
        """Speak for one segment beside those that are here. Raises NoRoom, StoreFailure."""

        def needed() -> int:
            if total is None:
                return (len(self._roomy | {index})) * SEGMENT
            # What an earlier fill has left may be of a blob of another size.
            there = [each for each in self._roomy | {index} if each < segment_count(total)]
            return sum(segment_span(each, total).size for each in there)

        await self._locked(needed)
        self._roomy.add(index)

    async def _locked(self, needed: Callable[[], int]) -> None:
        await self._turn.acquire()
        try:
            await self._reserve(needed())
        finally:
            self._turn.release()

    async def _reserve(self, size: int) -> None:
        more = size - self.size
        if more <= 0 and self._reservation is not None:
            return
        if self._shared:
            self._tools.share.claim(more)
            self._claimed += more
        try:
            if self._reservation is None:
                self._reservation = await self._tools.store.reserve(size)
            else:
                await self._reservation.grow(more)
        except BaseException:
            if self._shared:
                self._give_back(more)
            raise

    async def reserve_whole(self, size: int) -> None:
        """The blob is wanted here: speak for all of it, beside the share. Raises as ``reserve``."""
        await self._turn.acquire()
        shared, self._shared = self._shared, False
        try:
            await self._reserve(size)
        except BaseException:
            self._shared = shared
            raise
        finally:
            self._turn.release()
        self._give_back(self._claimed)

    def _give_back(self, size: int) -> None:
        size = min(size, self._claimed)
        self._claimed -= size
        self._tools.share.give_back(size)

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
        self._give_back(self._claimed)
        if reservation is not None:
            reservation.release()

    def _dispose(self, fd: int) -> None:
        """The last reader has gone. The close may block: it frees the blocks of a removed file."""
        closing = [fd]
        if self._partial is not None:
            self._partial.closing = self.committed

        def close() -> None:
            let_go(closing.pop())
            if self.committed and self._partial is not None:
                self._partial.keep()

        self._tools.pool.run(close).addErrback(self._not_disposed, close, closing)

    def _not_disposed(self, raised: Raised, close: Callable[[], None], closing: list[int]) -> None:
        """The threads are stopped already, or closing failed."""
        raised.trap(StoreFailure, OSError)
        if closing:
            close()

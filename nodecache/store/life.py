"""The store's pulse: the marker that says it runs, and its limits, looked at every few seconds."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from nodecache.events import DiskFailed
from nodecache.failures import DataFolderError, NoRoom, StoreFailure
from nodecache.store.disk import translated
from nodecache.store.ground import Ground
from nodecache.store.marker import MARGIN
from nodecache.store.opening import Opened, make_folders
from nodecache.store.returned import Returns
from nodecache.store.room import Room

T = TypeVar("T")


class Life:
    """``problem`` is what is wrong with the folder, as last seen; None when it is usable."""

    def __init__(self, ground: Ground, room: Room, returns: Returns, opened: Opened) -> None:
        self.problem: str | None = None
        self._ground = ground
        self._room = room
        self._returns = returns
        self._opened = opened
        self._marker = opened.marker
        self._seen = ground.wall()
        self._next: IDelayedCall | None = None
        self._over = False

    def beat(self) -> None:
        """Now, and again after each pause."""
        self._next = None
        self._ground.owned.start(self._beaten())

    def stop(self) -> None:
        """No beat after the one that is under way."""
        self._over = True
        if self._next is not None:
            self._next.cancel()
            self._next = None

    async def _beaten(self) -> None:
        try:
            if await self._run(self._mend):
                await self._room.recount()
                await self._returns.adopt()
            with suppress(NoRoom):  # full is a state, not a fault
                await self.mark()
            await self._tidy()
            await self.trim()
            self.problem = None
        except StoreFailure as failure:
            if self.problem is None:
                self._ground.observe(DiskFailed(operation="marker", reason=str(failure)))
            self.problem = str(failure)
        if not self._over:
            self._next = self._ground.clock.callLater(self._ground.timeouts.marker, self.beat)

    def _mend(self) -> bool:
        """Blocks. Put back what was removed behind our back, or went with its file system.

        True if there was anything to be put back.
        """
        layout, disk = self._ground.layout, self._ground.disk
        with translated("look after the data folder"):
            try:
                lost = not all(map(os.path.isdir, layout.folders))
                make_folders(layout, disk)
                return self._opened.lock.renew(disk) or lost
            except DataFolderError as error:
                raise StoreFailure(str(error)) from error

    async def _tidy(self) -> None:
        """What did not work before may work now."""
        room, drafts = self._room, self._ground.drafts
        if drafts.left:
            await self._run(drafts.sweep)
        await room.tidy()
        if room.doubt is not None:
            try:
                await self._run(drafts.probe)
            except StoreFailure as failure:
                room.doubt = failure
            else:
                room.doubt = None

    async def trim(self) -> None:
        """Bring the store within its limits, and let partials go that nobody wants."""
        before = self._ground.wall() - self._ground.timeouts.partial_life
        await self._ground.owned.shielded(self._room.trim(partials_before=before))

    async def mark(self) -> None:
        """Rewrite the marker. While there are suspects, it still says since when."""
        if self._room.accounts.suspects:
            await self._write(self._marker.written_at)
            return
        now = self._ground.wall()
        # A clock that leaps ahead must not carry the marker past what was
        # written just before: the marker follows with the next beat.
        at = self._seen if now - self._seen > self._ground.timeouts.marker + MARGIN else now
        self._seen = now

        await self._write(at)

    async def mark_before(self, at: float) -> None:
        """Keep the marker older than a file of time ``at``, though the clock was set back.

        Raises StoreFailure; NoRoom while there is none for a marker.
        """
        if not self._marker.stands or at < self._marker.written_at - MARGIN:
            await self._write(at)

    async def _write(self, at: float) -> None:
        def write() -> None:
            with translated("write the marker"):
                self._marker.write(at)

        await self._run(write)

    def _run(self, job: Callable[[], T]) -> Deferred[T]:
        """In a thread. The store waits for it when it closes: what it opens is closed then."""

        async def done() -> T:
            return await self._ground.pool.run(job)

        return self._ground.owned.shielded(done())

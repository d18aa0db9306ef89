"""Who may write how much, and who has to go for it.

The ledger decides; here its victims are unlinked. Three things can happen
between a decision and its unlink, and each has its answer: another decision
(they are taken one at a time), a new file of the same name (writers wait for
``settled``), a file that can not be unlinked (it goes back into the ledger as
the youngest, and is hidden if it was no good).
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import islice

from twisted.internet.defer import Deferred, DeferredLock

from nodecache.events import DiskFailed, Evicted
from nodecache.eviction import Plan
from nodecache.failures import NoRoom, StoreFailure
from nodecache.store.accounts import Accounts, Gone
from nodecache.store.disk import Space, translated
from nodecache.store.ground import Ground
from nodecache.store.keys import Key, Kind, files_of, kind_of, name_of
from nodecache.store.partial import remove_partial
from nodecache.store.waiting import Waiters

#: Kubelets evict pods under 5% of free inodes; we stay above that.
INODE_FLOOR = 0.1
#: Inodes that the fill of one blob takes: folder, data, journal.
INODES = 3
#: Plans made for one reservation, while victims turn out to be immovable.
ATTEMPTS = 3
#: Victims that one disk job unlinks.
BATCH = 128


class Reservation:
    """Room that is spoken for; give it back with ``release``, or ``Store.commit`` takes it.

    ``size`` is in bytes, as asked for.
    """

    def __init__(self, room: Room, size: int, blocks: int) -> None:
        self.size = size
        self._room = room
        self._blocks = blocks
        self._live = True

    async def grow(self, more: int) -> None:
        """Speak for ``more`` bytes more, evicting for it. Raises NoRoom; it keeps what it has."""
        extra = await self._room.reserve(more)
        if not self._live:
            extra.release()
            raise StoreFailure("the reservation is over")
        self.size += more
        self._blocks += extra.take()

    def release(self) -> None:
        """Give it all back; idempotent."""
        if self._live:
            self._live = False
            self._room.accounts.give_back(self._blocks)

    def take(self) -> int:
        """End it without giving back: its blocks, in bytes. Raises StoreFailure when it is over."""
        if not self._live:
            raise StoreFailure("the reservation is over")
        self._live = False
        return self._blocks


class Room:
    """Reservations and removals.

    ``floor`` is bytes of the disk that stay free; ``written`` tells how many
    of the reserved bytes are on disk already.
    """

    def __init__(self, ground: Ground, accounts: Accounts, *, floor: int) -> None:
        self.accounts = accounts
        self.floor = floor
        self.written: Callable[[], int] = int
        #: Whether a partial is open, so that it is not in the ledger.
        self.opened: Callable[[Key], bool] = lambda _: False
        #: Ends the longest grace of a blob that nobody reads any more; False when there is none.
        self.cede: Callable[[], bool] = bool
        #: What the disk said to the last fill that could not write to it, though there was room.
        self.doubt: StoreFailure | None = None
        #: As last seen.
        self.space = Space(0, 0, None, None)
        self._ground = ground
        self._turn = DeferredLock()
        self._leaving: dict[Key, Waiters] = {}

    def reserve(self, size: int) -> Deferred[Reservation]:
        """Evicts as needed. Fails with NoRoom. Cancelled, it gives back what comes of it."""
        return self._ground.owned.shielded(self._reserve(size), Reservation.release)

    async def _reserve(self, size: int) -> Reservation:
        await self._turn.acquire()
        try:
            for _attempt in range(ATTEMPTS):
                await self._look()
                plan = self._plan(size)
                # A grace is a courtesy to who may come back; this one is here.
                while not plan.fits and self.cede():
                    plan = self._plan(size)
                if not plan.fits:
                    break
                gone = self.accounts.forget(plan.victims)
                blocks = self.accounts.reserve(size)
                if await self._unlink(gone):
                    return Reservation(self, size, blocks)
                self.accounts.give_back(blocks)
        finally:
            self._turn.release()
        raise NoRoom(f"no room for {size} bytes within the limits of the cache")

    def _plan(self, size: int) -> Plan[Key]:
        return self.accounts.ledger.plan(
            size,
            self.space.free,
            self.floor,
            unwritten=self._unwritten(),
            files=max(0, self._inodes_short()),
        )

    def short(self, size: int) -> int:
        """Bytes that were lacking for ``size`` as last looked; 0 or less: there is enough."""
        ledger, free = self.accounts.ledger, self.space.free
        return ledger.short(size, free, self.floor, unwritten=self._unwritten())

    async def trim(self, *, partials_before: float) -> None:
        """Bring the store below its cap and the disk above its floor, as far as it goes.

        Partials last used before ``partials_before`` go in any case.
        """
        await self._turn.acquire()
        try:
            await self._look()
            ledger = self.accounts.ledger
            short = max(0, self._inodes_short())
            victims = ledger.trim(
                self.space.free, self.floor, unwritten=self._unwritten(), files=short
            )
            expired = ledger.expired(partials_before)
            await self._unlink(self.accounts.forget(dict.fromkeys((*victims, *expired))))
        finally:
            self._turn.release()

    async def look(self) -> None:
        """See what is free, before anybody asks. A disk that fails is told of at the first beat."""
        with suppress(StoreFailure):
            await self._look()

    async def _look(self) -> None:
        def look() -> Space:
            with translated("look at free space"):
                return self._ground.disk.space(self._ground.layout.root)

        self.space = await self._ground.pool.run(look)

    def _unwritten(self) -> int:
        return max(0, self.accounts.ledger.reserved - self.written())

    def _inodes_short(self) -> int:
        """Files that have to go for the inodes of one fill; 0 or less if there are enough."""
        space = self.space
        if space.inodes is None or space.inodes_free is None:
            return 0
        return int(space.inodes * INODE_FLOOR) + INODES - space.inodes_free

    def drop(self, key: Key) -> Deferred[None]:
        """Remove an entry that is no good. Cancelling does not stop it."""
        return self._ground.owned.shielded(self._drop(key))

    async def _drop(self, key: Key) -> None:
        gone = self.accounts.forget([key])
        for each in gone:
            self.accounts.haunt(each)
        await self._unlink(gone, dropped=True)

    async def strand(self, key: Key, size: int) -> None:
        """A write of ``size`` bytes failed: remove what it may have left, or account for it."""
        await self._unlink([Gone(key, size, self._ground.wall())], dropped=True)

    async def recount(self) -> None:
        """Forget what is not on disk any more: somebody removed it, or its file system is gone."""
        keys = list(self.accounts.ledger)
        for start in range(0, len(keys), BATCH):
            batch = keys[start : start + BATCH]
            missing = await self._ground.pool.run(functools.partial(self._missing, batch))
            gone = self.accounts.forget(missing)
            for each in gone:
                self.accounts.haunt(each)
            await self._unlink(gone, dropped=True, quiet=True)

    def _missing(self, keys: Sequence[Key]) -> list[Key]:
        """Blocks."""
        layout = self._ground.layout
        return [k for k in keys if not all(map(os.path.lexists, files_of(k, layout)))]

    async def tidy(self) -> None:
        """Try again to remove what could be neither used nor removed. Nothing is told of it."""
        hidden = self.accounts.hidden
        keys = [key for key in islice(hidden, BATCH) if not self.accounts.ledger.pinned(key)]
        await self._unlink(self.accounts.forget(keys), dropped=True, quiet=True)

    def refuse_in_doubt(self) -> None:
        """Raise what a fill met, until the disk has taken a file again."""
        if self.doubt is not None:
            raise type(self.doubt)(f"{self.doubt} (a moment ago)") from self.doubt

    def concerns(self, key: Key) -> bool:
        """Whether it is in the ledger, or on its way in or out."""
        return key in self.accounts.ledger or key in self._leaving or self.opened(key)

    async def settled(self, key: Key) -> None:
        """Returns when no unlink of ``key`` is under way."""
        while key in self._leaving:
            await self._leaving[key].wait()

    async def _unlink(
        self, gone: Sequence[Gone], *, dropped: bool = False, quiet: bool = False
    ) -> bool:
        """True if all of them went; those that did not are back in the ledger."""
        for each in gone:
            self._leaving[each.key] = Waiters()
        stuck = 0
        for start in range(0, len(gone), BATCH):
            batch = gone[start : start + BATCH]
            errors = await self._removed(batch)
            for each, error in zip(batch, errors, strict=True):
                if error is not None:
                    stuck += 1
                    self.accounts.add(each.key, each.size)
                    if not quiet:
                        self._ground.observe(DiskFailed(operation="evict", reason=str(error)))
                    if dropped:
                        self.accounts.hidden.add(each.key)
                elif not dropped:
                    self._tell_evicted(each)
                self._leaving.pop(each.key).fire()
        if gone:
            self.accounts.tell()
        return not stuck

    async def _removed(self, batch: Sequence[Gone]) -> list[StoreFailure | None]:
        try:
            return await self._ground.pool.run(lambda: [self._remove(each.key) for each in batch])
        except StoreFailure as failure:  # the threads are stopped
            return [failure] * len(batch)

    def _remove(self, key: Key) -> StoreFailure | None:
        """Blocks."""
        try:
            for path in files_of(key, self._ground.layout):
                if kind_of(key) is Kind.PARTIAL:
                    remove_partial(self._ground.disk, path)
                else:
                    self._unlink_file(path)
                if kind_of(key) is Kind.RECORD:
                    tags = self._ground.layout.tags
                    self._ground.drafts.remove_empty(os.path.dirname(path), tags)
        except StoreFailure as failure:
            return failure
        return None

    def _unlink_file(self, path: str) -> None:
        with translated(f"remove {path}"):
            try:
                self._ground.disk.unlink(path)
            except (FileNotFoundError, NotADirectoryError):
                return

    def _tell_evicted(self, each: Gone) -> None:
        self._ground.observe(
            Evicted(
                kind=kind_of(each.key).label,
                digest=name_of(each.key),
                bytes=each.size,
                idle_seconds=max(0.0, self._ground.wall() - each.used_at),
            )
        )

"""Blobs on their way into the store: partial files opened, resumed, and committed."""

from __future__ import annotations

import functools
from collections.abc import Callable

from twisted.internet.defer import DeferredSemaphore
from twisted.internet.task import deferLater

from nodecache.events import CorruptionFound
from nodecache.eviction import whole_blocks
from nodecache.failures import NoRoom, StoreFailure
from nodecache.reference import Digest
from nodecache.store.accounts import Gone
from nodecache.store.ground import Ground
from nodecache.store.journal import Known
from nodecache.store.keys import Key, Kind, key_of
from nodecache.store.life import Life
from nodecache.store.partial import Partial, State, peek_partial
from nodecache.store.room import Reservation, Room

#: Commits whose fsync may hold a disk thread at a time; the others are for readers.
COMMITS = 2


class Incoming:
    """``open`` partials by their key, until they are seen to be closed."""

    def __init__(self, ground: Ground, room: Room, life: Life) -> None:
        self._ground = ground
        self._room = room
        self._accounts = room.accounts
        self._life = life
        self._open: dict[Key, Partial | None] = {}
        #: Still read through their own descriptor; their blobs are pinned.
        self._committed: list[Partial] = []
        self._commits = DeferredSemaphore(COMMITS)
        #: Bytes of what is being committed; its readers may keep it for longer.
        self._committing: dict[Key, int] = {}
        room.written = self._written
        room.opened = self._open.__contains__

    def _written(self) -> int:
        """Reserved bytes that are on disk already."""
        self.reap()
        return sum(p.on_disk for p in self._open.values() if p is not None)

    def reap(self) -> None:
        """Book what became of partials that disk jobs have written to, and closed, since."""
        for key, partial in list(self._open.items()):
            if partial is not None and partial.trouble is not None:
                self._room.doubt, partial.trouble = partial.trouble, None
            if partial is not None and partial.state in (State.KEPT, State.DISCARDED):
                del self._open[key]
                if partial.state is State.KEPT:
                    self._booked(key, partial)
        for partial in [each for each in self._committed if each.state is State.RELEASED]:
            self._committed.remove(partial)
            self._accounts.unpin(key_of(Kind.BLOB, partial.digest))

    def _booked(self, key: Key, partial: Partial) -> None:
        if partial.used_at is None:
            self._accounts.add(key, partial.allocated)
        else:
            self._accounts.put_back(key, partial.allocated, partial.used_at)

    async def reserve(self, size: int) -> Reservation:
        """See ``Store.reserve``.

        Also raises what a fill met that could not write a moment ago, until the
        disk has taken a file again. Waits a moment where room is about to be made.
        """
        clock, timeouts = self._ground.clock, self._ground.timeouts
        deadline = clock.seconds() + timeouts.room
        while True:
            self.reap()
            self._room.refuse_in_doubt()
            try:
                return await self._room.reserve(size)
            except NoRoom:
                # Nothing is short where it is files that lack, or victims that do not go.
                comes = 0 < self._room.short(size) <= self._soon()
                if not comes or clock.seconds() >= deadline:
                    raise
            # What threads close tells nobody.
            await deferLater(clock, timeouts.room_look)

    def refuse_if_broken(self) -> None:
        """See ``Store.refuse_if_broken``."""
        self.reap()
        if not isinstance(self._room.doubt, NoRoom):
            self._room.refuse_in_doubt()

    def _soon(self) -> int:
        """Bytes that are kept for no longer than a job of the disk takes."""
        closing = (key_of(Kind.BLOB, p.digest) for p in self._committed if p.closing)
        sizes = (self._accounts.ledger.size(key) or 0 for key in closing)
        return sum(self._committing.values()) + sum(map(whole_blocks, sizes))

    async def open(self, digest: Digest, look: Callable[[bytes], object] | None = None) -> Partial:
        """See ``Store.open_partial``.

        ``look`` is given the bytes of the journal's segments as they are checked, in order:
        nobody else wants it, and if it is kept, it is as long unused as before.
        """
        key = key_of(Kind.PARTIAL, digest)
        self.reap()
        if key in self._open:
            raise StoreFailure(f"the partial of {digest} is still open")
        self._open[key] = None
        return await self._ground.owned.shielded(self._opened(key, digest, look), Partial.keep)

    async def _opened(
        self, key: Key, digest: Digest, look: Callable[[bytes], object] | None
    ) -> Partial:
        disk, folder = self._ground.disk, self._ground.layout.partial(digest)
        gone: list[Gone] = []
        try:
            await self._room.settled(key)
            # From here on its bytes are in the reservation of whoever fills it.
            gone = self._accounts.forget([key])
            partial = await self._ground.pool.run(lambda: Partial(disk, digest, folder))
        except BaseException:
            for each in gone:
                self._accounts.put_back(each.key, each.size, each.used_at)
            if not gone:
                await self._room.strand(key, 0)
            del self._open[key]
            raise
        self._open[key] = partial
        self._accounts.tell()
        if look is not None and gone:
            partial.used_at = gone[0].used_at
        try:
            await self._check(partial, look)
        except BaseException:
            partial.keep()
            raise
        return partial

    async def _check(self, partial: Partial, look: Callable[[bytes], object] | None) -> None:
        """Read again what the journal says is there; a job for each segment."""
        for index in sorted(partial.known.segments):
            if not await self._ground.pool.run(functools.partial(partial.check, index, look)):
                digest = str(partial.digest)
                self._ground.observe(
                    CorruptionFound(kind="segment", digest=digest, found_by="resume")
                )

    async def peek(self, digest: Digest) -> Known | None:
        """See ``Store.peek_partial``."""
        self.reap()
        if not self._accounts.has(key_of(Kind.PARTIAL, digest)):
            return None
        disk, folder = self._ground.disk, self._ground.layout.partial(digest)
        return await self._ground.pool.run(lambda: peek_partial(disk, folder))

    async def drop(self, digest: Digest) -> None:
        """See ``Store.drop_partial``."""
        self.reap()
        await self._room.drop(key_of(Kind.PARTIAL, digest))

    async def commit(self, partial: Partial, reservation: Reservation, size: int) -> None:
        """See ``Store.commit``."""
        await self._ground.owned.shielded(self._commit(partial, reservation, size))

    async def _commit(self, partial: Partial, reservation: Reservation, size: int) -> None:
        if size > reservation.size:
            await reservation.grow(size - reservation.size)
        reserved = reservation.take()
        key = key_of(Kind.BLOB, partial.digest)
        # Until the partial is closed; also, nobody may unlink its namesake now.
        self._accounts.pin(key)
        self._committing[key] = reserved
        try:
            now = await self._renamed(partial, size)
        except BaseException:
            if partial.stranded:
                await self._room.strand(key, size)
            self._accounts.unpin(key)
            self._accounts.give_back(reserved)
            raise
        finally:
            del self._committing[key]
        self._committed.append(partial)
        self._open.pop(key_of(Kind.PARTIAL, partial.digest), None)
        self._accounts.add(key, size, reserved=reserved)
        self._accounts.wrote(key, now)
        if partial.leftover:
            left = key_of(Kind.PARTIAL, partial.digest)
            self._accounts.add(left, partial.leftover)
            self._accounts.hidden.add(left)

    async def _renamed(self, partial: Partial, size: int) -> float:
        """Returns the time of last use that its file has."""
        path = self._ground.layout.blob(partial.digest)
        now = self._ground.wall()
        await self._commits.acquire()
        try:
            await self._room.settled(key_of(Kind.BLOB, partial.digest))
            await self._life.mark_before(now)
            await self._ground.pool.run(lambda: partial.commit(path, size, now))
        finally:
            self._commits.release()
        return now

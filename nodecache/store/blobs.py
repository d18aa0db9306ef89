"""Blobs that are whole: opening, checking, dropping."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall

from nodecache.diskpool import acquire
from nodecache.events import CorruptionFound, DiskFailed
from nodecache.failures import StoreFailure
from nodecache.reference import Digest
from nodecache.seams import Readable
from nodecache.store.accounts import TOUCH
from nodecache.store.disk import let_go
from nodecache.store.ground import Ground
from nodecache.store.keys import Key, Kind, digest_of, key_of
from nodecache.store.room import Room
from nodecache.store.verify import Damaged, hash_file, open_whole
from nodecache.store.waiting import Waiters


class StoredBlob(Readable):
    """A whole blob, open for reading; it is kept from eviction until ``close``.

    ``ranged`` is True once somebody read it otherwise than from 0 to the end.
    """

    def __init__(self, fd: int, size: int, closed: Callable[[StoredBlob], None]) -> None:
        self._fd = fd
        self._size = size
        self._closed: Callable[[StoredBlob], None] | None = closed
        self._begun = False
        self.ranged = False

    @property
    def fd(self) -> int:
        return self._fd

    @property
    def total(self) -> int | None:
        return self._size

    def available(self, offset: int, *, held_back: bool) -> int:
        if not held_back or (offset and not self._begun):
            self.ranged = True
        self._begun = True
        return max(0, self._size - offset)

    def wait(self, offset: int, *, held_back: bool) -> Deferred[None]:
        del offset, held_back
        return succeed(None)

    def punched(self, offset: int) -> None:
        """A stored blob keeps all of its bytes."""

    def close(self) -> None:
        """Idempotent."""
        closed, self._closed = self._closed, None
        if closed is not None:
            let_go(self._fd)
            closed(self)


class Blobs:
    """The whole blobs of a store."""

    def __init__(self, ground: Ground, room: Room) -> None:
        self._ground = ground
        self._room = room
        self._accounts = room.accounts
        self._checks: dict[Key, Waiters] = {}
        #: By their end, the longest first.
        self._graces: dict[IDelayedCall, Key] = {}
        room.cede = self.cede

    async def open(self, digest: Digest) -> StoredBlob | None:
        """See ``Store.open_blob``."""
        key = key_of(Kind.BLOB, digest)
        size = self._accounts.size(key)
        if size is None:
            return None
        self._accounts.pin(key)
        try:
            if key in self._accounts.suspects and not await self._vouched(key):
                fd = None
            else:
                fd = await self._opened(key, size)
        except BaseException:
            self._accounts.unpin(key)
            raise
        if fd is None:
            self._accounts.unpin(key)
            return None
        return StoredBlob(fd, size, lambda blob: self._closed(key, blob))

    async def _opened(self, key: Key, size: int) -> int | None:
        path, disk = self._ground.layout.blob(digest_of(key)), self._ground.disk
        newest, touch = self._accounts.newest(key), self._accounts.used(key)

        def job() -> tuple[int, float]:
            fd = open_whole(disk, path, size)
            with suppress(OSError):  # a file of another user, a folder gone read-only
                changed = disk.stat(fd).st_mtime
                if changed > newest:
                    return fd, changed
                if touch is not None:
                    disk.used_at(fd, touch)
            return fd, 0.0

        try:
            fd, changed = await acquire(self._ground.pool, job, lambda got: let_go(got[0]))
        except Damaged:
            await self.lost(key, "read")
            return None
        if not changed:
            return fd
        let_go(fd)
        return await self._changed(key, size, changed)

    async def _changed(self, key: Key, size: int, when: float) -> int | None:
        """Somebody else wrote to the file: it is hashed before it is served."""
        self._accounts.suspects.add(key)
        if not await self._vouched(key):
            return None
        self._accounts.wrote(key, when)
        return await self._opened(key, size)

    def _closed(self, key: Key, blob: StoredBlob) -> None:
        """After a range, its client may ask for more of the blob that it has begun."""
        if not blob.ranged:
            self._accounts.unpin(key)
            return

        def over() -> None:
            del self._graces[call]
            self._accounts.unpin(key)

        call = self._ground.clock.callLater(self._ground.timeouts.grace_pin, over)
        self._graces[call] = key

    def cede(self) -> bool:
        """End the longest grace, since there is no other room; False when there is none."""
        for call, key in self._graces.items():
            call.cancel()
            del self._graces[call]
            self._accounts.unpin(key)
            return True
        return False

    async def lost(self, key: Key, found_by: str) -> None:
        """The file behind an entry is no good: remove both, and tell."""
        if self._accounts.has(key):
            self._ground.observe(
                CorruptionFound(kind="blob", digest=str(digest_of(key)), found_by=found_by)
            )
            await self._room.drop(key)

    async def _vouched(self, key: Key) -> bool:
        """Wait until a suspect was hashed; False if it is gone.

        Raises StoreFailure when that takes longer than a client may wait; the
        check goes on.
        """
        if key not in self._checks:
            self.begin_check(key)
        if key in self._checks:
            what = f"{digest_of(key)} is still being checked after an unclean stop"
            patience = self._ground.timeouts.answer / 2
            await self._checks[key].wait_for(what, patience, self._ground.clock)
        if key in self._accounts.suspects:
            raise StoreFailure(f"{digest_of(key)} could not be checked after an unclean stop")
        return self._accounts.has(key)

    def begin_check(self, key: Key) -> Deferred[None]:
        """Hash a suspect on the store's account; one check of a blob at a time."""
        self._checks[key] = Waiters()
        return self._ground.owned.start(self._check(key))

    async def check_suspects(self) -> None:
        """Hash all suspects, those used last first."""
        ledger = self._accounts.ledger
        for key in sorted(self._accounts.suspects, key=lambda key: -(ledger.used_at(key) or 0)):
            if key in self._accounts.suspects and key not in self._checks:
                await self.begin_check(key)

    async def _check(self, key: Key) -> None:
        try:
            if not await self.is_good(key):
                await self.lost(key, "scan")
            self._accounts.suspects.discard(key)
        except StoreFailure as failure:
            # It stays a suspect, to be checked when it is next asked for.
            self._ground.observe(DiskFailed(operation="check", reason=str(failure)))
        finally:
            self._checks.pop(key).fire()

    async def is_good(
        self, key: Key, pause: Callable[[int], Awaitable[None]] | None = None
    ) -> bool:
        """Read the whole blob and compare its digest. Raises StoreFailure when that can not be.

        One that was not used for a while is read from the disk itself, and
        takes no room in the page cache.
        """
        size, used_at = self._accounts.size(key), self._accounts.ledger.used_at(key)
        if size is None or used_at is None:
            return True
        digest = digest_of(key)
        path = self._ground.layout.blob(digest)
        cold = self._ground.wall() - used_at > TOUCH
        try:
            found = await hash_file(
                self._ground.pool, self._ground.disk, path, size, pause, from_disk=cold
            )
        except Damaged:
            return False
        return found == digest.hex

    def stop(self) -> None:
        """End the grace of what was read last."""
        for call in tuple(self._graces):
            call.cancel()
        self._graces.clear()

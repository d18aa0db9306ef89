"""Room on the disk for what is read once and thrown away: an archive that comes through a pipe.

It is reserved like that of a blob, so the cap and the floor hold. The file has
no name any more once it is open: whatever happens, nothing of it stays.
"""

from __future__ import annotations

import os
import secrets
from typing import Final, Protocol

from nodecache.limits import MIB
from nodecache.seams import DiskPool
from nodecache.store.disk import translated
from nodecache.store.layout import Layout
from nodecache.store.room import Reservation

#: Bytes that are spoken for at a time.
STEP: Final = 64 * MIB


class Roomy(Protocol):
    """The store, as far as it gives room."""

    async def reserve(self, size: int) -> Reservation: ...


class Scratch:
    """A file without a name; ``close`` is owed."""

    def __init__(self, fd: int, reservation: Reservation, pool: DiskPool) -> None:
        self.fd = fd
        self.size = 0
        self._reservation = reservation
        self._pool = pool

    @classmethod
    async def open(cls, data_dir: str, store: Roomy, pool: DiskPool) -> Scratch:
        """In the data folder at ``data_dir``. Raises NoRoom, StoreFailure."""
        folder = Layout(os.path.abspath(data_dir)).scratch
        reservation = await store.reserve(STEP)

        def make() -> int:
            path = os.path.join(folder, f"scratch-{secrets.token_hex(8)}")
            with translated("open a file for an archive"):
                fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                os.unlink(path)
            return fd

        try:
            return cls(await pool.run(make), reservation, pool)
        except BaseException:
            reservation.release()
            raise

    async def grow(self, more: int) -> None:
        """See to it that ``more`` bytes fit. Raises NoRoom, StoreFailure."""
        while self.size + more > self._reservation.size:
            await self._reservation.grow(STEP)

    def append(self, data: bytes) -> None:
        """Write behind what is there. Blocks. Raises NoRoom, StoreFailure."""
        with translated("write an archive"):
            done = 0
            while done < len(data):
                done += os.pwrite(self.fd, memoryview(data)[done:], self.size + done)
        self.size += len(data)

    def take(self) -> int:
        """The descriptor, which is the caller's to close from now on."""
        fd, self.fd = self.fd, -1
        return fd

    def close(self) -> None:
        """Idempotent."""
        self._reservation.release()
        if self.fd >= 0:
            os.close(self.take())

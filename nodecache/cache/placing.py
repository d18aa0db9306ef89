"""What comes into the cache from elsewhere than upstream: a blob, a manifest, an imported tag.

The way is that of every blob: room is reserved, the bytes go into a partial,
and only what matches its digest is committed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from nodecache.failures import Failure, StoreFailure
from nodecache.freshness import TagEntry
from nodecache.limits import MIB
from nodecache.reference import Digest, Repository, Tag
from nodecache.seams import DiskPool, Readable, WallClock
from nodecache.store import Partial, Reservation, StoredManifest

#: Bytes that one disk job reads, hashes and writes.
STEP: Final = 2 * MIB
#: Writers of one tag, and fills of one blob, that are given way to.
_ATTEMPTS: Final = 3

#: ``read(offset, size)``: up to so many bytes of a blob; it blocks.
Read = Callable[[int, int], bytes]


class WrongBytes(Failure):
    """Bytes are not those of their digest, or fewer than they should be."""


class Shelf(Protocol):
    """What this needs of the store."""

    def blob_size(self, digest: Digest) -> int | None: ...

    async def open_blob(self, digest: Digest) -> Readable | None: ...

    async def reserve(self, size: int) -> Reservation: ...

    async def open_partial(self, digest: Digest) -> Partial: ...

    async def commit(self, partial: Partial, reservation: Reservation, size: int) -> None: ...

    async def drop_blob(self, digest: Digest) -> None: ...

    def has_manifest(self, digest: Digest) -> bool: ...

    async def write_manifest(self, manifest: StoredManifest) -> None: ...

    async def read_tag(self, repository: Repository, tag: Tag) -> TagEntry | None: ...

    async def write_tag(self, repository: Repository, tag: Tag, entry: TagEntry) -> None: ...


class Underway(Protocol):
    """A blob in flight."""

    async def over(self) -> None: ...


class Flights(Protocol):
    """Blobs in flight, by digest."""

    def get(self, digest: Digest) -> Underway | None: ...


class Placing:
    """Every method raises NoRoom and StoreFailure, and must not be cancelled in the middle."""

    def __init__(
        self,
        shelf: Shelf,
        flights: Flights,
        pool: DiskPool,
        wall: WallClock,
        forget: Callable[[Digest], Awaitable[None]],
    ) -> None:
        """``forget`` removes a manifest."""
        self._shelf = shelf
        self._forget = forget
        self._flights = flights
        self._pool = pool
        self._wall = wall

    async def blob(
        self, digest: Digest, size: int, read: Read, told: Callable[[int], None]
    ) -> bool:
        """Keep the ``size`` bytes that ``read`` gives; False if the blob was here already.

        ``told`` hears how many bytes were placed, now and then; what it raises ends the
        work. Raises WrongBytes; nothing is kept then. Raises what ``read`` does.
        """
        if await self._is_here(digest, size):
            return False
        reservation = await self._shelf.reserve(size)
        try:
            partial = await self._opened(digest)
            if partial is None:
                return False
            try:
                await self._copy(partial, size, read, told)
                await self._shelf.commit(partial, reservation, size)
            except BaseException:
                await self._pool.run(partial.discard)
                raise
            await self._pool.run(partial.keep)
        finally:
            reservation.release()
        return True

    async def _opened(self, digest: Digest) -> Partial | None:
        """None where a client's fill, begun this very moment, was faster."""
        for _ in range(_ATTEMPTS):
            flight = self._flights.get(digest)
            if flight is None:
                return await self._shelf.open_partial(digest)
            await flight.over()
            if self._shelf.blob_size(digest) is not None:
                return None
        raise StoreFailure(f"{digest} is being fetched again and again")

    async def _is_here(self, digest: Digest, size: int) -> bool:
        flight = self._flights.get(digest)
        if flight is not None:
            await flight.over()
        here = self._shelf.blob_size(digest)
        if here is None:
            return False
        opened = await self._shelf.open_blob(digest)
        if opened is None:
            return False
        opened.close()
        if here != size:
            raise WrongBytes(f"{digest} has {here} bytes, not {size}")
        return True

    async def _copy(
        self, partial: Partial, size: int, read: Read, told: Callable[[int], None]
    ) -> None:
        digest, hasher, offset = partial.digest, hashlib.sha256(), 0

        def step() -> int:
            data = read(offset, min(STEP, size - offset))
            hasher.update(data)
            partial.write(offset, [data])
            return len(data)

        while offset < size:
            copied = await self._pool.run(step)
            if not copied:
                raise WrongBytes(f"{digest} ends after {offset} of {size} bytes")
            offset += copied
            told(offset)
        if hasher.hexdigest() != digest.hex:
            raise WrongBytes(f"the bytes of {digest} are not those of its digest")

    async def drop(self, digest: Digest) -> None:
        """Remove a blob that was placed in vain."""
        await self._shelf.drop_blob(digest)

    async def manifest(self, manifest: StoredManifest) -> bool:
        """Keep a manifest whose digest was checked; False if it was here already."""
        here = self._shelf.has_manifest(manifest.digest)
        await self._shelf.write_manifest(manifest)
        return not here

    async def drop_manifest(self, digest: Digest) -> None:
        """Remove a manifest that was placed in vain."""
        await self._forget(digest)

    async def tag(self, repository: Repository, tag: Tag, manifest: StoredManifest) -> None:
        """From now on ``tag`` means ``manifest``, pinned, and upstream is not asked about it."""
        entry = TagEntry(
            digest=str(manifest.digest),
            media_type=manifest.media_type,
            size=len(manifest.body),
            checked_at=self._wall(),
            pinned=True,
            imported=True,
        )
        for _ in range(_ATTEMPTS):
            await self._shelf.write_tag(repository, tag, entry)
            # Upstream's word may have been on its way to the disk.
            if await self._shelf.read_tag(repository, tag) == entry:
                return
        raise StoreFailure(f"{repository}:{tag} can not be written")

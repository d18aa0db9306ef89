"""The data folder: everything this node keeps, behind one door.

Files are the truth and any of them can vanish at any time; what is in memory
(``Accounts``) is an index that is believed until the file says otherwise. All
state lives in the reactor's thread; what blocks runs in the disk pool.
"""

from __future__ import annotations

import os

import attrs
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from nodecache.events import CorruptionFound, DiskFailed
from nodecache.failures import StoreFailure
from nodecache.freshness import TagEntry
from nodecache.limits import Limits, Timeouts
from nodecache.reference import Digest, Repository, Tag
from nodecache.seams import DiskPool, Observe, WallClock
from nodecache.store.accounts import Accounts
from nodecache.store.blobs import Blobs, StoredBlob
from nodecache.store.disk import Disk, translated
from nodecache.store.incoming import Incoming
from nodecache.store.keys import Kind, key_of, kind_of
from nodecache.store.layout import Layout
from nodecache.store.manifests import Manifests, StoredManifest
from nodecache.store.opening import Opened, close_folder, open_folder
from nodecache.store.owned import Owned
from nodecache.store.partial import Partial
from nodecache.store.recovery import Recovery
from nodecache.store.room import Reservation, Room
from nodecache.store.tags import Records, StoredListing, Tags


@attrs.frozen
class Usage:
    """Bytes; ``disk_free`` as last looked at."""

    bytes: int
    reserved: int
    cap: int
    disk_free: int
    blobs: int
    manifests: int


class Store:
    """One data folder, owned by this process. Made by ``Store.open``, ended by ``close``."""

    def __init__(
        self,
        opened: Opened,
        disk: Disk,
        pool: DiskPool,
        clock: IReactorTime,
        wall: WallClock,
        observe: Observe,
        *,
        cap: int,
        floor: int,
        timeouts: Timeouts,
        limits: Limits,
    ) -> None:
        """``opened`` is a folder that is locked, marked and scanned."""
        layout = opened.layout
        #: The stop before was not clean.
        self.unclean = opened.suspect_after is not None
        self._opened = opened
        self._disk = disk
        self._pool = pool
        self._clock = clock
        self._wall = wall
        self._observe = observe
        self._timeouts = timeouts
        self._owned = Owned(observe)
        self._accounts = Accounts(cap, wall, observe)
        self._room = Room(self._accounts, layout, disk, pool, wall, observe, floor=floor)
        self._blobs = Blobs(self._room, layout, disk, pool, clock, observe, self._owned, timeouts)
        self._manifests = Manifests(self._room, layout, disk, pool, wall, observe, limits)
        records = Records(self._room, layout, disk, pool, wall)
        self._tags = Tags(records, self._accounts, layout, pool)
        self._incoming = Incoming(self._room, layout, disk, pool, wall, observe)
        self._recovery = Recovery(
            opened.found.complete, self._room, self._incoming, disk, pool, observe
        )
        self._tick: IDelayedCall | None = None
        self._closing = False
        #: What is wrong with the folder, as last seen; None when it is usable.
        self.problem: str | None = None

    @classmethod
    async def open(
        cls,
        path: str,
        pool: DiskPool,
        clock: IReactorTime,
        wall: WallClock,
        observe: Observe,
        *,
        cap: int,
        floor: int,
        timeouts: Timeouts | None = None,
        limits: Limits | None = None,
        disk: Disk | None = None,
    ) -> Store:
        """Lock the folder at ``path``, made if need be, and scan it.

        ``cap`` is the most that it holds, ``floor`` what stays free on the
        disk, both in bytes. Raises DataFolderError with one line that says
        what is wrong (not writable, not a folder, in use by another process).
        """
        disk = disk or Disk()
        opened = await open_folder(Layout(os.path.abspath(path)), disk, pool, wall)
        store = cls(
            opened,
            disk,
            pool,
            clock,
            wall,
            observe,
            cap=cap,
            floor=floor,
            timeouts=timeouts or Timeouts(),
            limits=limits or Limits(),
        )
        store._begin()
        return store

    def _begin(self) -> None:
        """Believe what the scan found, and start what runs beside the requests."""
        found, after = self._opened.found, self._opened.suspect_after
        self._accounts.load(found.entries)
        self._accounts.load(found.partials, partial=True)
        if after is not None:
            self._accounts.suspects.update(
                key
                for key, _, used_at in found.entries
                if used_at >= after and kind_of(key) is Kind.BLOB
            )
        for name in found.empty:
            self._observe(CorruptionFound(kind="blob", digest=f"sha256:{name}", found_by="scan"))
        for problem in found.problems:
            self._observe(DiskFailed(operation="scan", reason=problem))
        self._accounts.tell()
        self._owned.start(self._recovered())
        self._beat()

    async def _recovered(self) -> None:
        await self._recovery.run()
        await self._blobs.check_suspects()

    def _beat(self) -> None:
        """Say that we live, and see to the limits; again after a while."""
        self._tick = None
        self._owned.start(self._beaten())

    async def _beaten(self) -> None:
        try:
            await self._pool.run(self._write_marker)
            await self._trimmed()
            self.problem = None
        except StoreFailure as failure:
            if self.problem is None:
                self._observe(DiskFailed(operation="marker", reason=str(failure)))
            self.problem = str(failure)
        if not self._closing:
            self._tick = self._clock.callLater(self._timeouts.marker, self._beat)

    async def _trimmed(self) -> None:
        await self._room.trim(partials_before=self._wall() - self._timeouts.partial_life)

    def _write_marker(self) -> None:
        """Blocks. While there are suspects, the marker still says since when."""
        if not self._accounts.suspects:
            with translated("write the marker"):
                self._opened.marker.write(self._wall())

    async def close(self) -> None:
        """Wait for what is under way, and leave the folder as one that was left cleanly.

        Blobs and partials that are still open stay readable.
        """
        self._closing = True
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None
        self._blobs.stop()
        await self._owned.finished()
        await close_folder(self._opened, self._pool, clean=not self._accounts.suspects)

    # Blobs.

    def blob_size(self, digest: Digest) -> int | None:
        """Size in bytes of a whole blob; None when it is not here. Asks the index only."""
        return self._accounts.size(key_of(Kind.BLOB, digest))

    async def open_blob(self, digest: Digest) -> StoredBlob | None:
        """A whole blob, kept from eviction until it is closed; None when it is not here.

        A file that is gone, short or can not be read is dropped from the
        index: None. After an unclean stop, a blob written shortly before it is
        hashed first. Raises StoreFailure when that takes longer than a client
        may wait, or when no file can be opened at all.
        """
        await self._recovery.settled(digest, self._clock, self._timeouts.answer / 2)
        return await self._blobs.open(digest)

    async def drop_blob(self, digest: Digest) -> None:
        """Remove a blob; those who read it read on."""
        await self._room.drop(key_of(Kind.BLOB, digest))

    # Manifests, tags, listings.

    def has_manifest(self, digest: Digest) -> bool:
        return self._accounts.has(key_of(Kind.MANIFEST, digest))

    async def read_manifest(self, digest: Digest) -> StoredManifest | None:
        """Its bytes, which match ``digest``; None when it is not here."""
        return await self._manifests.read(digest)

    def touch_manifest(self, digest: Digest) -> None:
        """A manifest was served from memory: that is a use, too."""
        self._accounts.used(key_of(Kind.MANIFEST, digest))

    async def write_manifest(self, manifest: StoredManifest) -> None:
        """Durable once it returns. Raises NoRoom, StoreFailure. Cancelling does not stop it."""
        await self._manifests.write(manifest)

    async def read_tag(self, repository: Repository, tag: Tag) -> TagEntry | None:
        return await self._tags.read(repository, tag)

    async def write_tag(self, repository: Repository, tag: Tag, entry: TagEntry) -> None:
        """Durable once it returns, but for ``checked_at``, which may lag by an hour on disk.

        Raises NoRoom, StoreFailure.
        """
        await self._tags.write(repository, tag, entry)

    async def drop_tag(self, repository: Repository, tag: Tag) -> None:
        await self._tags.drop(repository, tag)

    async def list_tags(self, repository: Repository) -> list[str]:
        """The tags of a repository that are here, in order."""
        return await self._tags.names(repository)

    async def read_listing(self, repository: Repository, key: str) -> StoredListing | None:
        """``key`` is the cache's own name for what was asked (kind and query)."""
        return await self._tags.read_listing(repository, key)

    async def write_listing(self, repository: Repository, key: str, listing: StoredListing) -> None:
        """Raises NoRoom, StoreFailure."""
        await self._tags.write_listing(repository, key, listing)

    # Blobs on their way in.

    async def reserve(self, size: int) -> Reservation:
        """Room for ``size`` bytes below the cap and above the floor; evicts for it.

        For a resumed partial too, the whole size: what is on disk of an open
        partial is counted by its reservation alone. Raises NoRoom, StoreFailure.
        """
        return await self._room.reserve(size)

    async def open_partial(self, digest: Digest) -> Partial:
        """New, or what is left of an earlier fill, its segments checked again.

        Raises StoreFailure, also while another holds the same partial open.
        """
        await self._recovery.settled(digest, self._clock, self._timeouts.answer / 2)
        return await self._incoming.open(digest)

    async def commit(self, partial: Partial, reservation: Reservation, size: int) -> None:
        """Make a partial the blob of its digest: durable, and in the index, once it returns.

        The caller has compared the digest. The reservation is over, whatever
        comes of it. The partial still reads, and its blob stays, until
        ``keep`` or ``discard``, which remove nothing any more. Raises
        StoreFailure; the partial is then as open as it was. Cancelling does
        not stop it.
        """
        await self._incoming.commit(partial, reservation, size)

    # The whole.

    def usage(self) -> Usage:
        self._incoming.reap()
        ledger, counts = self._accounts.ledger, self._accounts.counts
        return Usage(
            bytes=ledger.used,
            reserved=ledger.reserved,
            cap=ledger.cap,
            disk_free=self._room.space.free,
            blobs=counts[Kind.BLOB],
            manifests=counts[Kind.MANIFEST],
        )

    def set_limits(self, cap: int, floor: int) -> None:
        """New limits, in bytes; what is too much goes soon."""
        self._accounts.ledger.cap = cap
        self._room.floor = floor
        self._owned.start(self._trimmed())

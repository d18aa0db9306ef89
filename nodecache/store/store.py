"""The data folder: everything this node keeps, behind one door.

Files are the truth and any of them can vanish at any time; what is in memory
(``Accounts``) is an index that is believed until the file says otherwise. All
state lives in the reactor's thread; what blocks runs in the disk pool.
"""

from __future__ import annotations

import os

import attrs
from twisted.internet.interfaces import IReactorTime

from nodecache.eviction import PARTIAL_SHARE
from nodecache.freshness import TagEntry
from nodecache.limits import Limits, Timeouts
from nodecache.listing import Crew
from nodecache.reference import Digest, Repository, Tag
from nodecache.seams import DiskPool, Observe, WallClock
from nodecache.store.accounts import Accounts
from nodecache.store.blobs import Blobs, StoredBlob
from nodecache.store.census import Census
from nodecache.store.disk import Disk
from nodecache.store.formats import forget_old_formats
from nodecache.store.ground import Ground
from nodecache.store.holds import Holds
from nodecache.store.incoming import Incoming
from nodecache.store.journal import Known
from nodecache.store.keys import Kind, key_of, tag_key
from nodecache.store.layout import Layout
from nodecache.store.life import Life
from nodecache.store.manifests import Manifests, StoredManifest
from nodecache.store.opening import Opened, believe, close_folder, open_folder
from nodecache.store.owned import Owned
from nodecache.store.partial import Partial
from nodecache.store.records import Drafts
from nodecache.store.recovery import Recovery
from nodecache.store.returned import Returns
from nodecache.store.room import Reservation, Room
from nodecache.store.scan import Found
from nodecache.store.scrub import Scrub
from nodecache.store.tags import StoredListing, Tags


@attrs.frozen
class Usage:
    """Bytes; those of the disk as last looked at. ``partials`` are blobs that are not whole."""

    bytes: int
    reserved: int
    cap: int
    floor: int
    disk_free: int
    disk_total: int
    blobs: int
    manifests: int
    partials: int


class Store:
    """One data folder, owned by this process. Made by ``Store.open``, ended by ``close``."""

    def __init__(
        self, ground: Ground, opened: Opened, found: Found, *, cap: int, floor: int
    ) -> None:
        """``opened`` is the folder, ``found`` what is in it."""
        self.unclean = opened.suspect_after is not None  #: the stop before was not clean
        self._ground = ground
        self._opened: Opened | None = opened
        self._accounts = Accounts(cap, ground.wall, ground.observe)
        self._room = Room(ground, self._accounts, floor=floor)
        self._blobs = Blobs(ground, self._room)
        self._manifests = Manifests(ground, self._room)
        self._holds = Holds(self._accounts, self._manifests)
        self._life = Life(ground, self._room, Returns(ground, self._room, self._holds), opened)
        self._tags = Tags(ground, self._room)
        #: For who looks through it and checks it.
        self.census = Census(self._room, self._tags, self._manifests, self._blobs)
        self._incoming = Incoming(ground, self._room, self._life)
        self._recovery = Recovery(ground, self._room, self._incoming, found.complete)
        self._scrub = Scrub(ground, self._accounts, self._blobs)
        self._pinned = found.pinned
        believe(ground, self._accounts, opened, found)

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
        listing: Crew | None = None,
    ) -> Store:
        """Lock the folder at ``path``, made if need be, and scan it.

        ``cap`` is the most that it holds, ``floor`` what stays free on the disk, both in
        bytes; ``listing`` lists its blobs already. Raises DataFolderError with one line that
        says what is wrong (not writable, not a folder, in use by another process).
        """
        layout, disk = Layout(os.path.abspath(path)), disk or Disk()
        ground = Ground(
            layout=layout,
            disk=disk,
            pool=pool,
            clock=clock,
            wall=wall,
            observe=observe,
            owned=Owned(observe),
            drafts=Drafts(disk, layout.scratch),
            timeouts=timeouts or Timeouts(),
            limits=limits or Limits(),
            listing=listing,
        )
        opened, found = await open_folder(ground)
        store = cls(ground, opened, found, cap=cap, floor=floor)
        try:
            await store._begin()
        except BaseException:
            await store.close()
            raise
        return store

    async def _begin(self) -> None:
        """Start what runs beside the requests; pins come first, before anything is evicted."""
        await self._holds.load(self._pinned)
        await self._room.look()
        self._ground.owned.start(self._settle())
        self._ground.owned.start(self._scrub.run())
        self._life.beat()

    async def _settle(self) -> None:
        """See to what the last run left."""
        await self._recovery.run()
        await self._blobs.check_suspects()
        await forget_old_formats(self._ground)

    @property
    def problem(self) -> str | None:
        """What is wrong with the folder, as last seen; None when it is usable."""
        return self._life.problem

    async def close(self) -> None:
        """Wait for what is under way, and leave the folder as one that was left cleanly.

        Blobs and partials that are still open stay readable. Idempotent.
        """
        opened, self._opened = self._opened, None
        if opened is None:
            return
        self._life.stop()
        self._blobs.stop()
        await self._ground.owned.stop()
        clean = not self._accounts.suspects
        await close_folder(self._ground.pool, opened, clean=clean)

    # Blobs.

    def blob_size(self, digest: Digest) -> int | None:
        """Size in bytes of a whole blob; None when it is not here. Asks the index only."""
        return self._accounts.size(key_of(Kind.BLOB, digest))

    async def open_blob(self, digest: Digest) -> StoredBlob | None:
        """A whole blob, kept from eviction until it is closed; None when it is not here.

        A file that is gone, short or can not be read is dropped from the index: None. After an
        unclean stop, a blob written shortly before it is hashed first. Raises StoreFailure when
        that takes longer than a client may wait, or when no file can be opened at all.
        """
        await self._recovery.settled(digest)
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
        await self._holds.arrived(manifest)

    async def read_tag(self, repository: Repository, tag: Tag) -> TagEntry | None:
        return await self._tags.read(repository, tag)

    def known_tag(self, repository: Repository, tag: Tag) -> TagEntry | None:
        """As ``read_tag`` said a moment ago, which is a use; None where the file must be read."""
        return self._tags.known(repository, tag)

    async def write_tag(self, repository: Repository, tag: Tag, entry: TagEntry) -> None:
        """Durable; ``checked_at`` on disk may lag by an hour. Raises NoRoom, StoreFailure."""
        await self._tags.write(repository, tag, entry)
        await self._holds.written(tag_key(self._ground.layout, repository, tag), entry)

    async def drop_tag(self, repository: Repository, tag: Tag) -> None:
        await self._tags.drop(repository, tag)
        self._holds.unpin(tag_key(self._ground.layout, repository, tag))

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

        For a resumed partial too, the whole size: what is on disk of an open partial is
        counted by its reservation alone. Raises NoRoom, StoreFailure; see ``Incoming``.
        """
        return await self._incoming.reserve(size)

    async def open_partial(self, digest: Digest) -> Partial:
        """New, or what is left of an earlier fill, its segments checked again.

        Raises StoreFailure, also while another holds the same partial open.
        """
        await self._recovery.settled(digest)
        return await self._incoming.open(digest)

    async def peek_partial(self, digest: Digest) -> Known | None:
        """What is known of a partial that nobody has open; None when there is none.

        Its bytes are not looked at (``open_partial`` may find fewer segments). Raises StoreFailure.
        """
        return await self._incoming.peek(digest)

    async def drop_partial(self, digest: Digest) -> None:
        """Remove a partial that nobody has open, if there is one."""
        await self._incoming.drop(digest)

    def refuse_if_broken(self) -> None:
        """Raise what a fill met that could not write, and others will meet; not of a full disk."""
        self._incoming.refuse_if_broken()

    @property
    def partials_share(self) -> int:
        """Bytes that blobs which nobody here wants whole may take, all together."""
        return int(self._accounts.ledger.cap * PARTIAL_SHARE)

    async def commit(self, partial: Partial, reservation: Reservation, size: int) -> None:
        """Make a partial the blob of its digest: durable, and in the index, once it returns.

        The caller has compared the digest. The reservation is over in any case. The partial
        still reads, and its blob stays, until ``keep`` or ``discard``, which remove nothing any
        more. Raises StoreFailure; it is then as open as before. Cancelling does not stop it.
        """
        await self._incoming.commit(partial, reservation, size)

    @property
    def pins(self) -> int:
        """Tags that are pinned."""
        return len(self._holds)

    def usage(self) -> Usage:
        self._incoming.reap()
        ledger, counts = self._accounts.ledger, self._accounts.counts
        return Usage(
            bytes=ledger.used,
            reserved=ledger.reserved,
            cap=ledger.cap,
            floor=self._room.floor,
            disk_free=self._room.space.free,
            disk_total=self._room.space.total,
            blobs=counts[Kind.BLOB],
            manifests=counts[Kind.MANIFEST],
            partials=counts[Kind.PARTIAL],
        )

    def set_limits(self, cap: int, floor: int) -> None:
        """New limits, in bytes; what is too much goes soon."""
        self._accounts.ledger.cap = cap
        self._room.floor = floor
        self._ground.owned.start(self._life.trim())

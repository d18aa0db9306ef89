"""Tags and listings: small files by name, not by digest.

What changes of a tag once a minute is when it was last checked. That alone is
kept in memory and reaches the disk at most hourly: after a restart such a tag
is asked upstream once more, which costs a HEAD.
"""

from __future__ import annotations

import json
import os
import zlib
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress

import attrs

from nodecache.failures import StoreFailure
from nodecache.freshness import TagEntry
from nodecache.limits import MIB
from nodecache.reference import Repository, Tag
from nodecache.store.ground import Ground
from nodecache.store.keys import Key, record_key, tag_key
from nodecache.store.records import TAG_BYTES, read_file
from nodecache.store.room import Room

#: Checks kept in memory; the one longest unused goes first.
RECENT = 4096
#: Seconds by which the check on disk may lag.
LAG = 3600.0
#: Seconds for which what was read of a tag is believed without another look at its file.
REREAD = 1.0
#: A body of at most 4 MiB, and its head line.
LISTING_BYTES = 5 * MIB


@attrs.frozen
class StoredListing:
    """A ``tags/list`` or ``referrers`` body as upstream sent it; ``fetched_at`` is wall clock."""

    body: bytes
    media_type: str
    link: str | None
    fetched_at: float
    filters: str | None = None


@attrs.frozen
class _Read:
    """What a tag's file said ``at`` that time of the wall clock; ``key`` accounts for it."""

    key: Key
    entry: TagEntry
    at: float


class Records:
    """Files of names. ``read`` and ``write`` account for them like everything else."""

    def __init__(self, ground: Ground, room: Room) -> None:
        self._ground = ground
        self._room = room
        self._accounts = room.accounts

    async def read(self, path: str, most: int) -> bytes | None:
        key = record_key(path, self._ground.layout)
        if not self._accounts.has(key):
            return None
        self._accounts.pin(key)
        try:
            touch = self._accounts.used(key)
            found = await self._ground.pool.run(lambda: self._read(path, most, touch))
        finally:
            self._accounts.unpin(key)
        if found is None:
            await self._room.drop(key)
        return found

    def _read(self, path: str, most: int, touch: float | None) -> bytes | None:
        """Blocks."""
        found = read_file(self._ground.disk, path, most)
        if found is not None and touch is not None:
            with suppress(OSError):
                self._ground.disk.used_at(path, touch)
        return found

    async def write(self, path: str, data: bytes) -> None:
        """Raises NoRoom, StoreFailure. Cancelling does not stop it."""
        await self._ground.owned.shielded(self._write(path, data))

    async def _write(self, path: str, data: bytes) -> None:
        key = record_key(path, self._ground.layout)
        reservation = await self._room.reserve(len(data))
        self._accounts.pin(key)
        try:
            await self._room.settled(key)
            now = self._ground.wall()
            try:
                await self._ground.pool.run(lambda: self._ground.drafts.write(path, data, now))
            except StoreFailure:
                # An older content stays.
                if not self._accounts.has(key):
                    await self._room.strand(key, len(data))
                raise
            self._accounts.add(key, len(data), reserved=reservation.take())
        finally:
            self._accounts.unpin(key)
            reservation.release()

    async def drop(self, path: str) -> None:
        await self._room.drop(record_key(path, self._ground.layout))


class Tags:
    def __init__(self, ground: Ground, room: Room) -> None:
        self._ground = ground
        self._accounts = room.accounts
        self._records = Records(ground, room)
        #: (as on disk, as last checked); they differ in ``checked_at`` only.
        self._recent: OrderedDict[str, tuple[TagEntry, TagEntry]] = OrderedDict()
        self._reads: OrderedDict[tuple[Repository, Tag], _Read] = OrderedDict()
        self._changes = 0

    async def read(self, repository: Repository, tag: Tag) -> TagEntry | None:
        """See ``Store.read_tag``."""
        path = self._ground.layout.tag(repository, tag)
        changes = self._changes
        found = await self._records.read(path, TAG_BYTES)
        if found is None:
            self._recent.pop(path, None)
            return None
        entry = TagEntry.from_json(found)
        if entry is None:
            await self.drop(repository, tag)
            return None
        on_disk, checked = self._recent.get(path, (entry, entry))
        if on_disk != entry:
            checked = entry
        self._remember(path, entry, checked)
        if changes == self._changes:  # else it may be what stood there before
            self._believe((repository, tag), _Read(self.key(repository, tag), checked, self._now()))
        return checked

    def _now(self) -> float:
        return self._ground.wall()

    def _believe(self, named: tuple[Repository, Tag], read: _Read) -> None:
        self._reads[named] = read
        if len(self._reads) > RECENT:
            self._reads.popitem(last=False)

    def _changed(self, repository: Repository, tag: Tag) -> None:
        self._changes += 1
        self._reads.pop((repository, tag), None)

    def known(self, repository: Repository, tag: Tag) -> TagEntry | None:
        """See ``Store.known_tag``."""
        read = self._reads.get((repository, tag))
        if read is None or not self._accounts.has(read.key):
            return None
        if not 0 <= self._now() - read.at < REREAD:
            return None
        self._accounts.used(read.key)
        return read.entry

    def key(self, repository: Repository, tag: Tag) -> Key:
        """Under which it is accounted for."""
        return tag_key(self._ground.layout, repository, tag)

    async def peek(self, named: Sequence[tuple[Repository, Tag]]) -> list[TagEntry | None]:
        """The entries of many tags, in their order; that is no use of them."""
        paths = [self._ground.layout.tag(*each) for each in named]

        def read() -> list[bytes | None]:
            return [read_file(self._ground.disk, path, TAG_BYTES) for path in paths]

        files = await self._ground.pool.run(read)
        return [self._peeked(*each) for each in zip(paths, files, strict=True)]

    def _peeked(self, path: str, data: bytes | None) -> TagEntry | None:
        entry = None if data is None else TagEntry.from_json(data)
        on_disk, checked = self._recent.get(path, (None, None))
        return checked if entry is not None and on_disk == entry else entry

    async def write(self, repository: Repository, tag: Tag, entry: TagEntry) -> None:
        """See ``Store.write_tag``."""
        self._changed(repository, tag)
        path = self._ground.layout.tag(repository, tag)
        on_disk, _ = self._recent.get(path, (None, None))
        there = self._accounts.has(record_key(path, self._ground.layout))
        if on_disk is None or not there or not _differs_in_check_only(on_disk, entry):
            await self._records.write(path, entry.to_json())
            on_disk = entry
        self._remember(path, on_disk, entry)
        self._changed(repository, tag)

    async def drop(self, repository: Repository, tag: Tag) -> None:
        self._changed(repository, tag)
        path = self._ground.layout.tag(repository, tag)
        self._recent.pop(path, None)
        await self._records.drop(path)

    def _remember(self, path: str, on_disk: TagEntry, checked: TagEntry) -> None:
        self._recent[path] = (on_disk, checked)
        self._recent.move_to_end(path)
        if len(self._recent) > RECENT:
            self._recent.popitem(last=False)

    async def names(self, repository: Repository) -> list[str]:
        """The tags of a repository that are here, in order."""
        folder = self._ground.layout.tag_folder(repository)

        def listed() -> list[str]:
            try:
                return os.listdir(folder)
            except OSError:
                return []

        names = await self._ground.pool.run(listed)
        return sorted(
            name.removesuffix(".json")
            for name in names
            if self._accounts.has(record_key(os.path.join(folder, name), self._ground.layout))
        )

    async def read_listing(self, repository: Repository, key: str) -> StoredListing | None:
        """See ``Store.read_listing``."""
        path = self._ground.layout.listing(repository, key)
        found = await self._records.read(path, LISTING_BYTES)
        if found is None:
            return None
        listing = listing_from_bytes(found)
        if listing is None:
            await self._records.drop(path)
        return listing

    async def write_listing(self, repository: Repository, key: str, listing: StoredListing) -> None:
        """See ``Store.write_listing``."""
        path = self._ground.layout.listing(repository, key)
        await self._records.write(path, listing_to_bytes(listing))


def _differs_in_check_only(on_disk: TagEntry, entry: TagEntry) -> bool:
    if abs(entry.checked_at - on_disk.checked_at) >= LAG:
        return False
    return attrs.evolve(on_disk, checked_at=entry.checked_at) == entry


def listing_to_bytes(listing: StoredListing) -> bytes:
    """A line of JSON with the checksum of the body, then the body."""
    head = {
        "media_type": listing.media_type,
        "link": listing.link,
        "fetched_at": listing.fetched_at,
        "filters": listing.filters,
        "crc32": zlib.crc32(listing.body),
    }
    return json.dumps(head).encode() + b"\n" + listing.body


def listing_from_bytes(data: bytes) -> StoredListing | None:
    """None for anything that ``listing_to_bytes`` did not make."""
    line, _, body = data.partition(b"\n")
    try:
        head = json.loads(line)
        crc = head.pop("crc32")
        listing = StoredListing(body=body, **head)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return listing if crc == zlib.crc32(body) else None

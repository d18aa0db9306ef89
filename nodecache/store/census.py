"""Looking through the store, and checking it, without that counting as a use of anything."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Final

import attrs

from nodecache.failures import Failure
from nodecache.freshness import TagEntry
from nodecache.reference import Digest, Repository, Tag
from nodecache.store.accounts import Accounts
from nodecache.store.blobs import Blobs
from nodecache.store.keys import Key, Kind, digest_of, key_of, kind_of
from nodecache.store.manifests import Manifests, StoredManifest
from nodecache.store.room import Room
from nodecache.store.tags import Tags

#: Tags whose files one disk job reads.
_BATCH: Final = 256
_FOLDER: Final = "/_tags/"
_SUFFIX: Final = ".json"


@attrs.frozen
class TagSeen:
    """``used_at`` is the time of last use, in seconds since the epoch."""

    repository: Repository
    tag: Tag
    entry: TagEntry
    used_at: float


class Census:
    """What is in the store. Sizes are in bytes, times in seconds since the epoch."""

    def __init__(self, room: Room, tags: Tags, manifests: Manifests, blobs: Blobs) -> None:
        self._room = room
        self._accounts: Accounts = room.accounts
        self._tags = tags
        self._manifests = manifests
        self._blobs = blobs

    async def tags(self) -> list[TagSeen]:
        """All tags, in the order of their names; a file that is no tag's is left out."""
        named = [found for key in self._keys(Kind.RECORD) if (found := _tag_of(key)) is not None]
        named.sort()
        seen: list[TagSeen] = []
        for start in range(0, len(named), _BATCH):
            batch = named[start : start + _BATCH]
            entries = await self._tags.peek(batch)
            for (repository, tag), entry in zip(batch, entries, strict=True):
                used_at = self._accounts.ledger.used_at(self._tags.key(repository, tag))
                if entry is not None and used_at is not None:
                    seen.append(TagSeen(repository, tag, entry, float(used_at)))
        return seen

    def manifests(self) -> Iterator[Digest]:
        """All that were here when it was called."""
        return (digest_of(key) for key in self._keys(Kind.MANIFEST))

    def blobs(self) -> Iterator[Digest]:
        """All whole ones that were here when it was called."""
        return (digest_of(key) for key in self._keys(Kind.BLOB))

    def _keys(self, kind: Kind) -> list[Key]:
        return [key for key in self._accounts.ledger if kind_of(key) is kind]

    async def manifest(self, digest: Digest) -> StoredManifest | None:
        """Its bytes, which match ``digest``; one that is damaged is dropped, and None."""
        return await self._manifests.read(digest, use=False)

    def has_manifest(self, digest: Digest) -> bool:
        return self._accounts.has(key_of(Kind.MANIFEST, digest))

    def blob_size(self, digest: Digest) -> int | None:
        """None for one that is not here, or not whole."""
        return self._accounts.size(key_of(Kind.BLOB, digest))

    def partial_size(self, digest: Digest) -> int:
        """Bytes on disk of a blob that is not whole, while nobody fills it."""
        return self._accounts.ledger.size(key_of(Kind.PARTIAL, digest)) or 0

    def manifest_used_at(self, digest: Digest) -> float | None:
        """When it was last used."""
        return self._accounts.ledger.used_at(key_of(Kind.MANIFEST, digest))

    async def drop_manifest(self, digest: Digest) -> None:
        """Remove it from the disk."""
        await self._room.drop(key_of(Kind.MANIFEST, digest))

    async def is_good(self, digest: Digest, read: Callable[[int], None]) -> bool:
        """Read a whole blob again, and drop it if it is not what its digest says.

        ``read`` is told the bytes of each slice. A blob that is not here is good.
        Raises StoreFailure when it can not be read now.
        """
        key = key_of(Kind.BLOB, digest)

        async def tell(size: int) -> None:
            read(size)

        # One that was evicted meanwhile was not rotten.
        if await self._blobs.is_good(key, tell) or not self._accounts.has(key):
            return True
        await self._blobs.lost(key, "verify")
        return False


def _tag_of(key: Key) -> tuple[Repository, Tag] | None:
    """The tag of a record; None for a listing, or a file that we did not write."""
    head, found, file = os.fsdecode(key[1:]).rpartition(_FOLDER)
    if not found or not file.endswith(_SUFFIX):
        return None
    namespace, _, name = head.partition("/")
    try:
        return Repository(namespace, name), Tag(file.removesuffix(_SUFFIX))
    except Failure:
        return None

"""What the cache needs of the store, the fills and the upstreams: no more than this.

The real rooms fit these protocols as they are; so do the fakes of the tests.
"""

from __future__ import annotations

from typing import Protocol

from nodecache.freshness import TagEntry
from nodecache.reference import Digest, Repository, Tag
from nodecache.seams import Readable
from nodecache.sharing.manifest_ports import (
    FetchedListing,
    FetchedManifest,
    FoundManifest,
    Upstream,
    Upstreams,
)
from nodecache.store import StoredListing, StoredManifest

__all__ = [
    "Alone",
    "BlobShelf",
    "FetchedListing",
    "FetchedManifest",
    "Fills",
    "Flight",
    "FoundManifest",
    "ListingShelf",
    "ManifestShelf",
    "Meaning",
    "Others",
    "Shelves",
    "TagShelf",
    "Upstream",
    "Upstreams",
]


class TagShelf(Protocol):
    """Tags on disk. All but ``known_tag`` raise StoreFailure."""

    async def read_tag(self, repository: Repository, tag: Tag) -> TagEntry | None: ...

    def known_tag(self, repository: Repository, tag: Tag) -> TagEntry | None:
        """As it was read a moment ago, which is a use; None where the file must be read."""
        ...

    async def write_tag(self, repository: Repository, tag: Tag, entry: TagEntry) -> None: ...


class ManifestShelf(Protocol):
    """Manifests on disk; what does not match its digest is not there. Raises StoreFailure."""

    def has_manifest(self, digest: Digest) -> bool: ...

    def touch_manifest(self, digest: Digest) -> None:
        """It was served from memory, which is a use, too."""
        ...

    async def read_manifest(self, digest: Digest) -> StoredManifest | None: ...

    async def write_manifest(self, manifest: StoredManifest) -> None: ...


class BlobShelf(Protocol):
    """Whole blobs on disk. ``open_blob`` raises StoreFailure; what it returns is to be closed."""

    def blob_size(self, digest: Digest) -> int | None: ...

    async def open_blob(self, digest: Digest) -> Readable | None: ...


class ListingShelf(Protocol):
    """Listings on disk, by repository and a key of ours. All raise StoreFailure."""

    async def read_listing(self, repository: Repository, key: str) -> StoredListing | None: ...

    async def write_listing(
        self, repository: Repository, key: str, listing: StoredListing
    ) -> None: ...


class Shelves(TagShelf, ManifestShelf, BlobShelf, ListingShelf, Protocol):
    """The store as the cache sees it."""


class Flight(Protocol):
    """One blob in flight."""

    @property
    def total(self) -> int | None:
        """Bytes of the whole blob; None while unknown."""
        ...

    def reader(self) -> Readable:
        """To be closed by whoever asked for it."""
        ...

    async def opened(self) -> None:
        """Returns once the source's headers are in. Raises Failure where it never came so far."""
        ...


class Fills(Protocol):
    """Blobs in flight, by digest."""

    def get(self, digest: Digest) -> Flight | None: ...

    async def start(self, repository: Repository, digest: Digest, size_hint: int | None) -> Flight:
        """Begin a flight or join it. Raises StoreFailure, NoRoom among them."""
        ...


class Meaning(Protocol):
    """What a tag means by the word of another node, which upstream gave it ``age`` seconds ago."""

    @property
    def digest(self) -> Digest: ...

    @property
    def media_type(self) -> str: ...

    @property
    def size(self) -> int: ...

    @property
    def age(self) -> float: ...


class Others(Protocol):
    """What the other nodes of the cluster have, while upstream fails. Nobody fetches for it.

    Raises UpstreamFailure when this node is stopping, and nothing else.
    """

    def live(self) -> bool:
        """Whether there is any node to ask."""
        ...

    def reach(self, namespace: str, /) -> bool:
        """Whether that upstream answers one of them, by what was heard a short while ago."""
        ...

    async def meaning(self, repository: Repository, tag: Tag, *, known: bool) -> Meaning | None:
        """What the tag last meant to any; ``known``: there is a meaning here as well."""
        ...

    async def manifest(
        self, repository: Repository, digest: Digest, /
    ) -> FetchedManifest | None: ...

    async def has_blob(self, repository: Repository, digest: Digest, /) -> bool:
        """Whether one of them has all of it."""
        ...


class Alone(Others):
    """A node without peers."""

    def live(self) -> bool:
        return False

    def reach(self, *_: object) -> bool:
        return False

    async def meaning(self, *_: object, **__: object) -> None:
        return None

    async def manifest(self, *_: object) -> None:
        return None

    async def has_blob(self, *_: object) -> bool:
        return False

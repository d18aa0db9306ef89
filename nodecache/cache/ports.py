"""What the cache needs of the store, the fills and the upstreams: no more than this.

The real rooms fit these protocols as they are; so do the fakes of the tests.
"""

from __future__ import annotations

from typing import Protocol

from nodecache.failures import UpstreamFailure
from nodecache.freshness import TagEntry
from nodecache.reference import Digest, Reference, Repository, Tag
from nodecache.seams import BlobSource, Readable
from nodecache.store import StoredListing, StoredManifest


class TagShelf(Protocol):
    """Tags on disk. All raise StoreFailure."""

    async def read_tag(self, repository: Repository, tag: Tag) -> TagEntry | None: ...

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


class FoundManifest(Protocol):
    """What a HEAD told. ``media_type`` is empty where upstream named none."""

    @property
    def digest(self) -> Digest | None: ...

    @property
    def media_type(self) -> str: ...

    @property
    def size(self) -> int | None: ...


class FetchedManifest(Protocol):
    """``digest`` is that of the bytes of ``body``."""

    @property
    def digest(self) -> Digest: ...

    @property
    def media_type(self) -> str: ...

    @property
    def body(self) -> bytes: ...


class FetchedListing(Protocol):
    """``link`` is upstream's Link header as it came, ``filters`` its OCI-Filters-Applied."""

    @property
    def body(self) -> bytes: ...

    @property
    def media_type(self) -> str: ...

    @property
    def link(self) -> str | None: ...

    @property
    def filters(self) -> str | None: ...


class Upstream(Protocol):
    """One upstream. Every question raises UpstreamFailure, and nothing else."""

    def down(self) -> UpstreamFailure | None:
        """Why none of its answers can be had now, where that is known."""
        ...

    async def head_manifest(self, name: str, reference: Reference) -> FoundManifest: ...

    async def get_manifest(self, name: str, reference: Reference) -> FetchedManifest: ...

    async def head_blob(self, name: str, digest: Digest) -> int: ...

    def blob_source(self, name: str, digest: Digest) -> BlobSource: ...

    async def tags(self, name: str, n: int | None, last: str | None) -> FetchedListing: ...

    async def referrers(
        self, name: str, digest: Digest, artifact_type: str | None
    ) -> FetchedListing: ...


class Upstreams(Protocol):
    def get(self, namespace: str) -> Upstream: ...

"""An upstream, as the cache asks it: alone, or with peers in front of it.

What ``nodecache.upstream`` gives fits these protocols as it is.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from nodecache.failures import UpstreamFailure
from nodecache.reference import Digest, Reference
from nodecache.seams import BlobSource


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


@runtime_checkable
class Aged(Protocol):
    """An answer of a peer: upstream said so ``age`` seconds ago."""

    @property
    def age(self) -> float: ...


def age_of(answer: object) -> float:
    """Seconds since upstream said so; 0 for what it says itself."""
    return max(0.0, answer.age) if isinstance(answer, Aged) else 0.0

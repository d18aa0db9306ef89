"""What the cache answers with, and the protocol the web rooms ask it through."""

from __future__ import annotations

from typing import Protocol

import attrs

from nodecache.events import Source
from nodecache.peerwire.answers import ManifestAnswer, Refusal
from nodecache.peerwire.questions import BlobQuestion, ManifestQuestion
from nodecache.reference import Digest, Reference, Repository
from nodecache.seams import BlobBody, Readable


@attrs.frozen
class ManifestResult:
    """``body`` is None for a HEAD that needed no bytes; ``size`` is in bytes.

    ``warning`` is why the answer is stale, in words; None when it is not.
    """

    digest: Digest
    media_type: str
    size: int
    body: bytes | None
    source: Source
    warning: str | None = None


@attrs.frozen
class BlobResult:
    """``readable`` belongs to the caller, who closes it."""

    readable: Readable
    source: Source


@attrs.frozen
class PassThroughResult:
    """A body straight from upstream that is not stored; ``total`` as far as known.

    The caller delivers or stops ``body``, holds back the tail until the
    bytes match ``digest``, and tells a ``PassedThrough`` event.
    """

    body: BlobBody
    total: int | None
    repository: Repository
    digest: Digest
    reason: str


@attrs.frozen
class BlobHead:
    """``size`` is in bytes."""

    size: int
    source: Source


@attrs.frozen
class ListingResult:
    """A ``tags/list`` or ``referrers`` body.

    ``link`` is the Link header, rewritten to this mirror.
    """

    body: bytes
    media_type: str
    link: str | None
    source: Source
    warning: str | None = None
    filters: str | None = None  # OCI-Filters-Applied


class Registry(Protocol):
    """The cache as the mirror port sees it. Every method raises ``Failure`` only."""

    def repository(self, name: str, namespace: str | None) -> Repository:
        """Raises UnknownNamespace, NameDenied."""
        ...

    def ready_manifest(self, repository: Repository, reference: Reference) -> ManifestResult | None:
        """What ``manifest`` would answer, where that is known at once and no failure.

        ``repository`` is what ``repository`` returned just now. The same object
        is returned as long as the answer is the same. Nothing is told of it
        until ``gave_manifest``.
        """
        ...

    def gave_manifest(
        self, repository: Repository, reference: Reference, result: ManifestResult
    ) -> None:
        """A client was given what ``ready_manifest`` said."""
        ...

    async def manifest(
        self, repository: Repository, reference: Reference, *, head: bool
    ) -> ManifestResult: ...

    async def blob(
        self, repository: Repository, digest: Digest, *, whole: bool
    ) -> BlobResult | PassThroughResult:
        """``whole``: the client takes the full body from 0, so a pass-through may serve it.

        With ``whole`` False and no room, raises UpstreamFailure(NOT_FOUND-like) or NoRoom
        (answered 404): a range is never served from a body that is not kept.
        """
        ...

    async def blob_head(self, repository: Repository, digest: Digest) -> BlobHead: ...

    async def tags(
        self, repository: Repository, n: int | None, last: str | None
    ) -> ListingResult: ...

    async def referrers(
        self, repository: Repository, digest: Digest, artifact_type: str | None
    ) -> ListingResult: ...


class Loan(Protocol):
    """Bytes of a blob for a peer: those of its span are here, or come."""

    @property
    def readable(self) -> Readable:
        """Belongs to the loan. Nothing of it is held back."""
        ...

    @property
    def total(self) -> int: ...

    @property
    def ranged(self) -> bool:
        """Whether upstream takes ranges, as far as known (True where nobody had to ask)."""
        ...

    @property
    def fetched(self) -> bool:
        """Whether bytes of the span had to be fetched."""
        ...

    def alive(self) -> bool:
        """Whether what is missing is on its way from upstream to this very node, now."""
        ...

    def close(self) -> None:
        """Give it back; idempotent."""
        ...


class PeerRegistry(Protocol):
    """What this node does for its peers. ``asker`` is the node id of who asks.

    The node's own rules come first; nothing is asked of another peer.
    Raises nothing that a peer could cause.
    """

    async def peer_blob(self, question: BlobQuestion, asker: str) -> Loan | Refusal: ...

    async def peer_has_blob(self, question: BlobQuestion) -> int | None:
        """Size of the blob, if bytes of the span are here or on their way; nothing is begun."""
        ...

    async def peer_manifest(self, question: ManifestQuestion, asker: str) -> ManifestAnswer: ...

    async def peer_suspect(self, digest: Digest, sums: dict[int, tuple[int, ...]], by: str) -> None:
        """``by`` found that these are the CRC-32 of the 1 MiB blocks of some segments of ours."""
        ...

"""What a peer may answer (the wire's table of statuses is in ``codec``)."""

from __future__ import annotations

from typing import TypeAlias

import attrs

from nodecache.failures import UpstreamKind
from nodecache.membership import Address
from nodecache.reference import Digest


@attrs.frozen
class Bytes:
    """206: the bytes follow. ``total`` is the blob's size; ``ranged``: upstream takes ranges.

    ``fetched``: the sender had to fetch them for this question.
    """

    total: int
    ranged: bool
    fetched: bool = False


@attrs.frozen
class Manifest:
    """200. ``age`` (seconds since upstream was asked) is that of a tag's meaning, else None.

    ``body`` is None for a ``head``; ``size`` is in bytes.
    """

    digest: Digest
    media_type: str
    size: int
    age: float | None
    body: bytes | None
    fetched: bool = False


@attrs.frozen
class Fetching:
    """202: I am fetching it; ask again in ``retry`` seconds."""

    retry: float


@attrs.frozen
class Elsewhere:
    """503: at my limit. ``peers`` (node id, address), nearest first, have it or are getting it.

    ``leaving``: the node is stopping; it is not to be asked again.
    """

    retry: float
    peers: tuple[tuple[str, Address], ...] = ()
    leaving: bool = False


@attrs.frozen
class Absent:
    """404: not a byte of it here. Not remembered."""


@attrs.frozen
class UpstreamAbsent:
    """404: upstream says 401, 403 or 404 (``kind`` is NOT_FOUND or DENIED)."""

    kind: UpstreamKind
    message: str
    status: int | None = None


@attrs.frozen
class Denied:
    """403: my rules deny the name, or I can not store or fetch now."""

    reason: str


@attrs.frozen
class UpstreamBroken:
    """502: upstream fails for me."""

    kind: UpstreamKind
    message: str
    status: int | None = None
    retry_after: float | None = None


Refusal: TypeAlias = Fetching | Elsewhere | Absent | UpstreamAbsent | Denied | UpstreamBroken
BlobAnswer: TypeAlias = Bytes | Refusal
ManifestAnswer: TypeAlias = Manifest | Refusal

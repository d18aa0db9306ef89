"""The request paths of the registry protocol, from the bytes that were sent."""

from __future__ import annotations

import re
from typing import Final, TypeAlias
from urllib.parse import unquote_to_bytes

import attrs

from nodecache.failures import BadRequest, RequestProblem
from nodecache.reference.names import Digest, Reference, parse_name, parse_reference

#: Bytes of a request path, still percent-encoded.
PATH_LENGTH: Final = 1024

_BROKEN = re.compile(rb"%(?![0-9a-fA-F]{2})")
# Visible ASCII without what would mean something else in a URL or a file name.
_TEXT = re.compile(r"[^\x00-\x20\x7f-\xff/\\%?#]*")


@attrs.frozen
class BasePath:
    """``/v2/``."""


@attrs.frozen
class ManifestPath:
    """``/v2/<name>/manifests/<reference>``."""

    name: str
    reference: Reference


@attrs.frozen
class BlobPath:
    """``/v2/<name>/blobs/<digest>``."""

    name: str
    digest: Digest


@attrs.frozen
class TagsPath:
    """``/v2/<name>/tags/list``."""

    name: str


@attrs.frozen
class ReferrersPath:
    """``/v2/<name>/referrers/<digest>``."""

    name: str
    digest: Digest


RegistryPath: TypeAlias = BasePath | ManifestPath | BlobPath | TagsPath | ReferrersPath


def parse_path(raw: bytes) -> RegistryPath:
    """The endpoint that a request path names.

    ``raw`` is the path as it was sent, percent-encoded, without its query.
    It is read from the right, because a name may hold components such as
    ``manifests`` or ``tags``. Raises BadRequest: PATH (a path that no client
    sends: encoded slashes, dot segments, control characters, overlong),
    ENDPOINT (well-formed, but nothing lives there), NAME, TAG, DIGEST,
    DIGEST_ALGORITHM.
    """
    parts = _segments(raw)
    if parts[0] != "v2":
        raise BadRequest(RequestProblem.ENDPOINT, "nothing is here; the registry is under /v2/")
    if parts in (["v2"], ["v2", ""]):
        return BasePath()
    if "" in parts:
        raise BadRequest(RequestProblem.PATH, "the path has an empty segment")
    if len(parts) < 4:
        raise BadRequest(RequestProblem.ENDPOINT, "no endpoint of a registry mirror")
    return _endpoint("/".join(parts[1:-2]), parts[-2], parts[-1])


def _endpoint(name: str, kind: str, last: str) -> RegistryPath:
    if kind == "manifests":
        return ManifestPath(parse_name(name), parse_reference(last))
    if kind == "blobs":
        return BlobPath(parse_name(name), Digest.parse(last))
    if kind == "referrers":
        return ReferrersPath(parse_name(name), Digest.parse(last))
    if kind == "tags" and last == "list":
        return TagsPath(parse_name(name))
    raise BadRequest(RequestProblem.ENDPOINT, "no endpoint of a registry mirror")


def _segments(raw: bytes) -> list[str]:
    """The decoded segments of a path; none of them holds a slash or is a dot segment."""
    if len(raw) > PATH_LENGTH:
        raise BadRequest(RequestProblem.PATH, f"the path is longer than {PATH_LENGTH} bytes")
    if not raw.startswith(b"/"):
        raise BadRequest(RequestProblem.PATH, "the path does not begin with a slash")
    # Split before decoding: an encoded slash is data, and no name has one.
    parts = [_decode(part) for part in raw[1:].split(b"/")]
    if any(part in (".", "..") for part in parts):
        raise BadRequest(RequestProblem.PATH, "the path has a dot segment")
    return parts


def _decode(part: bytes) -> str:
    """One segment, percent-decoded once; visible ASCII without slashes and percent signs."""
    if _BROKEN.search(part):
        raise BadRequest(RequestProblem.PATH, "the path has a broken percent-encoding")
    text = unquote_to_bytes(part).decode("latin-1")
    if not _TEXT.fullmatch(text):
        raise BadRequest(RequestProblem.PATH, "the path has a character that no name has")
    return text

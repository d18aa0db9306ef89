"""What an upstream gave: the values, and the checks that make them of an answer. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, Final

import attrs

from nodecache.failures import BadRequest, UpstreamFailure, UpstreamKind
from nodecache.reference import Digest

DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"

#: Sent with every manifest request, whatever the client accepts: a registry
#: that sees less of it answers 404, or something older.
ACCEPT: Final = f"{OCI_INDEX}, {OCI_MANIFEST}, {DOCKER_LIST}, {DOCKER_MANIFEST}, */*;q=0.1"

_MEDIA_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,127}/[A-Za-z0-9!#$&^_.+-]{1,127}")
#: Content types that say nothing of a manifest.
_VAGUE = frozenset({"", "application/json", "application/octet-stream", "text/plain"})


@attrs.frozen
class ManifestHead:
    """``digest`` and ``size`` are None when upstream did not say."""

    digest: Digest | None
    media_type: str
    size: int | None


@attrs.frozen
class FetchedManifest:
    """``digest`` is that of ``body``."""

    digest: Digest
    media_type: str
    body: bytes = attrs.field(repr=False)


@attrs.frozen
class FetchedListing:
    """``link`` and ``filters`` are upstream's Link and OCI-Filters-Applied, as they came."""

    body: bytes = attrs.field(repr=False)
    media_type: str
    link: str | None
    filters: str | None = None


def media_type_of(content_type: str | None) -> str:
    """A Content-Type without parameters; empty for anything else."""
    kind = (content_type or "").partition(";")[0].strip()
    return kind if _MEDIA_TYPE.fullmatch(kind) else ""


def is_page(content_type: str | None) -> bool:
    """A web page, such as a login portal's: never an image's part."""
    return media_type_of(content_type).lower() in {"text/html", "application/xhtml+xml"}


def digest_in(header: str | None) -> Digest | None:
    """A Docker-Content-Digest; None when it is absent, malformed or not sha256."""
    try:
        return Digest.parse(header.strip()) if header else None
    except BadRequest:
        return None


def judge_manifest(
    body: bytes, content_type: str | None, named: Digest | None, wanted: Digest | None
) -> FetchedManifest:
    """``named`` is the digest that the answer names, ``wanted`` the one that was asked for.

    Raises UpstreamFailure(WRONG): other bytes than those named or wanted, or,
    where a tag was asked for, something that is no JSON object.
    """
    digest = Digest("sha256", hashlib.sha256(body).hexdigest())
    if wanted is not None and digest != wanted:
        raise _wrong("a manifest's bytes do not match the digest that was asked for")
    if wanted is None and named is not None and digest != named:
        raise _wrong("a manifest's bytes do not match the digest that came with it")
    fields = _json_object(body)
    if wanted is None and (fields is None or is_page(content_type)):
        raise _wrong("what came for a manifest is none")
    return FetchedManifest(digest, _media_type(content_type, fields or {}), body)


def judge_listing(
    body: bytes, content_type: str | None, link: str | None, filters: str | None
) -> FetchedListing:
    """Raises UpstreamFailure(WRONG) for what is no JSON object."""
    if _json_object(body) is None:
        raise _wrong("what came for a listing is none")
    return FetchedListing(body, media_type_of(content_type) or "application/json", link, filters)


def _json_object(body: bytes) -> dict[str, Any] | None:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) else None


def _media_type(content_type: str | None, fields: Mapping[str, Any]) -> str:
    """The manifest's own word counts, as clients compare the two; then the header's."""
    own = fields.get("mediaType")
    if isinstance(own, str) and _MEDIA_TYPE.fullmatch(own):
        return own
    sent = media_type_of(content_type)
    if sent.lower() not in _VAGUE:
        return sent
    if "manifests" in fields:
        return OCI_INDEX
    return OCI_MANIFEST if "layers" in fields else sent or "application/octet-stream"


def _wrong(words: str) -> UpstreamFailure:
    return UpstreamFailure(UpstreamKind.WRONG, words)

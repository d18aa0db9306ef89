"""Manifests and indexes, read strictly: what is imported must be whole. Pure.

Sources: OCI image-spec (manifest.md, image-index.md, descriptor.md), Docker
image manifest version 2 schema 2.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import attrs

from nodecache.archives.faults import BadArchive
from nodecache.failures import Failure
from nodecache.reference import Digest

OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
INDEXES: Final = frozenset({OCI_INDEX, DOCKER_LIST})
MANIFESTS: Final = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})

#: Blobs or manifests that one document may name.
MOST_NAMED: Final = 10_000
_MOST_SIZE: Final = 1 << 62


@attrs.frozen
class Piece:
    """A descriptor. ``size`` is in bytes; a ``foreign`` one is fetched from links of its own."""

    digest: Digest
    size: int
    media_type: str
    foreign: bool = False


@attrs.frozen
class Child:
    """A manifest that an index names. ``platform`` is ``os/architecture[/variant]``, or empty."""

    piece: Piece
    platform: str = ""
    annotations: Mapping[str, str] = attrs.field(factory=dict, hash=False)

    @property
    def attests(self) -> bool:
        """Whether it says something of another image, and is none itself."""
        return (
            self.platform.startswith("unknown/") or "vnd.docker.reference.type" in self.annotations
        )


@attrs.frozen
class Document:
    """A manifest or an index, byte for byte. An index has ``children`` and no blobs."""

    digest: Digest
    media_type: str
    body: bytes
    blobs: tuple[Piece, ...] = ()
    children: tuple[Child, ...] = ()
    config: Digest | None = None

    @property
    def piece(self) -> Piece:
        return Piece(self.digest, len(self.body), self.media_type)


def read_json(body: bytes, what: str) -> Any:
    """Raises BadArchive."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise BadArchive(f"{what} is not JSON") from None


def read_object(body: bytes, what: str) -> dict[str, Any]:
    """Raises BadArchive."""
    value = read_json(body, what)
    if not isinstance(value, dict):
        raise BadArchive(f"{what} is not a JSON object")
    return value


def read_document(body: bytes, digest: Digest, media_type: str = "") -> Document:
    """What ``body`` is; ``media_type`` is what its descriptor calls it. Raises BadArchive."""
    what = f"the manifest {digest}"
    value = read_object(body, what)
    own = value.get("mediaType")
    kind = own if isinstance(own, str) and own else media_type
    if not kind:
        kind = OCI_INDEX if "manifests" in value else OCI_MANIFEST
    if kind in INDEXES:
        children = tuple(read_child(each, what) for each in _list(value, "manifests", what))
        if not children:
            raise BadArchive(f"the index {digest} names no image")
        return Document(digest, kind, body, children=children)
    if kind not in MANIFESTS:
        raise BadArchive(f"{what} is of a kind that is not known here ({kind[:80]})")
    config = read_piece(value.get("config"), what)
    layers = [read_piece(each, what) for each in _list(value, "layers", what)]
    return Document(digest, kind, body, blobs=(config, *layers), config=config.digest)


def read_child(value: object, what: str) -> Child:
    """Raises BadArchive."""
    piece = read_piece(value, what)
    assert isinstance(value, dict)
    found = value.get("annotations")
    annotations = found if isinstance(found, dict) else {}
    return Child(
        piece,
        platform_of(value.get("platform")),
        {k: v for k, v in annotations.items() if isinstance(v, str)},
    )


def platform_of(value: object) -> str:
    """``linux/arm/v7``; empty where it does not say."""
    if not isinstance(value, dict):
        return ""
    parts = [value.get(key) for key in ("os", "architecture", "variant")]
    return "/".join(part for part in parts if isinstance(part, str) and part)


def read_piece(value: object, what: str) -> Piece:
    """A descriptor in ``what``. Raises BadArchive."""
    if not isinstance(value, dict):
        raise BadArchive(f"{what} lacks a descriptor")
    size, text = value.get("size"), value.get("digest")
    if type(size) is not int or not 0 <= size < _MOST_SIZE:
        raise BadArchive(f"{what} names something without a size")
    try:
        digest = Digest.parse(text if isinstance(text, str) else "")
    except Failure as failure:
        raise BadArchive(f"{what} names something by {str(text)[:80]!r}: {failure}") from None
    media_type = value.get("mediaType")
    return Piece(
        digest, size, media_type if isinstance(media_type, str) else "", bool(value.get("urls"))
    )


def _list(value: dict[str, Any], key: str, what: str) -> list[Any]:
    found = value.get(key)
    if not isinstance(found, list) or len(found) > MOST_NAMED:
        raise BadArchive(f"{what} has no list of {key}, or one that is too long")
    return found

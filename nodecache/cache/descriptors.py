"""What a manifest names: blobs, their sizes, and other manifests. Pure.

Sources: OCI image-spec (manifest.md, image-index.md, descriptor.md), Docker
image manifest version 2 schema 1 and 2. Reading is tolerant: a manifest of a
kind that nobody here knows names nothing, and is served all the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import attrs

from nodecache.failures import Failure
from nodecache.reference import Digest

_MEDIA_TYPE = re.compile(r"[!-~]{1,255}")
#: A layer list longer than this is not an image (runtimes stop at 127 layers).
_MOST = 10_000


@attrs.frozen
class Blob:
    """``size`` is in bytes; None where the manifest does not say (schema 1)."""

    digest: Digest
    size: int | None


@attrs.frozen
class Child:
    """A manifest named by an index. ``os`` and ``architecture`` are empty where it does not say."""

    digest: Digest
    os: str = ""
    architecture: str = ""


@attrs.frozen
class Named:
    """``media_type`` is what the manifest calls itself, empty where it does not.

    ``unservable``: it can not be pulled from here, for digests this mirror does not serve.
    """

    media_type: str = ""
    blobs: tuple[Blob, ...] = ()
    children: tuple[Child, ...] = ()
    unservable: bool = False


def clean_media_type(text: str) -> str:
    """A media type without the spaces before its parameters; empty if it is none."""
    compact = "".join(text.split())
    return compact if _MEDIA_TYPE.fullmatch(compact) else ""


def named(body: bytes) -> Named:
    """What the manifest ``body`` names; nothing when it is not understood."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return Named()
    if not isinstance(found, dict):
        return Named()
    blobs = [_blob(each) for each in _blob_descriptors(found)]
    children = [_child(each) for each in _objects(found.get("manifests"))]
    media_type = found.get("mediaType")
    return Named(
        media_type=clean_media_type(media_type) if isinstance(media_type, str) else "",
        blobs=tuple(blob for blob in blobs if blob),
        children=tuple(child for child in children if child),
        unservable=None in blobs or (bool(children) and not any(children)),
    )


def _blob_descriptors(manifest: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Descriptors of the blobs that a client fetches from the registry."""
    if isinstance(manifest.get("config"), dict):
        yield manifest["config"]
    for key in ("layers", "blobs"):
        # A layer with links of its own is fetched from there (Windows base layers).
        yield from (each for each in _objects(manifest.get(key)) if not each.get("urls"))
    for each in _objects(manifest.get("fsLayers")):
        yield {"digest": each.get("blobSum")}


def _objects(value: object) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        return []
    return [each for each in value[:_MOST] if isinstance(each, dict)]


def _blob(descriptor: dict[str, Any]) -> Blob | None:
    digest = _digest(descriptor.get("digest"))
    size = descriptor.get("size")
    if digest is None:
        return None
    return Blob(digest, size if type(size) is int and size >= 0 else None)


def _child(descriptor: dict[str, Any]) -> Child | None:
    digest = _digest(descriptor.get("digest"))
    platform = descriptor.get("platform")
    if not isinstance(platform, dict):
        platform = {}
    if digest is None:
        return None
    return Child(digest, str(platform.get("os", "")), str(platform.get("architecture", "")))


def _digest(value: object) -> Digest | None:
    try:
        return Digest.parse(value) if isinstance(value, str) else None
    except Failure:
        return None

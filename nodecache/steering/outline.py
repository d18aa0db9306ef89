"""A manifest as a person sees it: what it is made of, and for which platform. Pure.

Reading is tolerant, as in the cache: what is not understood names nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import attrs

from nodecache.cache.descriptors import named
from nodecache.reference import Digest
from nodecache.store import StoredManifest

#: The annotation by which build tools mark what goes with an image without being one.
_KIND: Final = "vnd.docker.reference.type"


@attrs.frozen
class Part:
    """A blob: ``role`` is config or layer; ``size`` is in bytes, None where it is not said."""

    digest: Digest
    role: str
    size: int | None
    media_type: str


@attrs.frozen
class Child:
    """A manifest that an index names: ``platform`` is like ``linux/arm64/v8``, or what it is."""

    digest: Digest
    platform: str
    size: int | None


@attrs.frozen
class Outline:
    """``size`` is that of the manifest itself, in bytes."""

    digest: Digest
    media_type: str
    size: int
    parts: tuple[Part, ...]
    children: tuple[Child, ...]


def outline(manifest: StoredManifest) -> Outline:
    """What ``manifest`` is made of."""
    found = named(manifest.body)
    told = {text: each for each in _descriptors(manifest.body) if (text := each.get("digest"))}
    config = _config(manifest.body)
    return Outline(
        manifest.digest,
        manifest.media_type,
        len(manifest.body),
        tuple(
            Part(
                blob.digest,
                "config" if str(blob.digest) == config else "layer",
                blob.size,
                str(told.get(str(blob.digest), {}).get("mediaType", "")),
            )
            for blob in found.blobs
        ),
        tuple(_child(child.digest, told.get(str(child.digest), {})) for child in found.children),
    )


def _child(digest: Digest, descriptor: dict[str, Any]) -> Child:
    size = descriptor.get("size")
    return Child(digest, _platform(descriptor), size if type(size) is int and size >= 0 else None)


def _platform(descriptor: dict[str, Any]) -> str:
    annotations = descriptor.get("annotations")
    if isinstance(annotations, dict) and isinstance(annotations.get(_KIND), str):
        return str(annotations[_KIND]).removesuffix("-manifest")
    platform = descriptor.get("platform")
    if not isinstance(platform, dict):
        return ""
    parts = (platform.get(name) for name in ("os", "architecture", "variant"))
    return "/".join(part for part in parts if isinstance(part, str) and part)


def _document(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _config(body: bytes) -> str:
    config = _document(body).get("config")
    return str(config.get("digest")) if isinstance(config, dict) else ""


def _descriptors(body: bytes) -> Iterator[dict[str, Any]]:
    document = _document(body)
    for key in ("config", "layers", "blobs", "manifests"):
        found = document.get(key)
        for each in found if isinstance(found, list) else [found]:
            if isinstance(each, dict) and isinstance(each.get("digest"), str):
                yield each

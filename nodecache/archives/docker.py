"""Images of a ``docker save`` archive, which has layers and configurations but no manifests.

So a manifest is made for each: of schema 2, whose configuration may say all
that Docker's does, and with layers as they lie there, mostly plain tar.
Calls that take a source block.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any, Final

import attrs

from nodecache.archives.documents import (
    DOCKER_MANIFEST,
    MOST_NAMED,
    read_document,
    read_json,
    read_object,
)
from nodecache.archives.faults import BadArchive
from nodecache.archives.oci import Found
from nodecache.archives.source import Source, followed, small
from nodecache.archives.tar import Member, clean_name
from nodecache.failures import Failure
from nodecache.reference import Digest

CONFIG_TYPE: Final = "application/vnd.docker.container.image.v1+json"
_LAYER: Final = "application/vnd.docker.image.rootfs.diff.tar"
#: How compressed data begins, and what is added to a layer's type then.
_COMPRESSED: Final = ((b"\x1f\x8b", ".gzip"), (b"\x28\xb5\x2f\xfd", ".zstd"))
_UNKNOWN: Final = (b"BZh", b"\xfd7zXZ")
_BLOB = re.compile(r"blobs/sha256/([0-9a-f]{64})")


@attrs.frozen
class SavedLayer:
    """``digest`` is what the archive says that the bytes have; None where it does not."""

    member: Member
    media_type: str
    digest: Digest | None


@attrs.frozen
class SavedImage:
    """``names`` as of ``RepoTags``. ``config`` is where the configuration lies."""

    names: tuple[str, ...]
    config: Member
    config_body: bytes
    layers: tuple[SavedLayer, ...]


def read_saved(source: Source, most: int) -> tuple[SavedImage, ...]:
    """All images; ``most`` is that of the bytes of a configuration. Raises BadArchive, OSError."""
    entries = read_json(small(source, "manifest.json", most), "manifest.json")
    if not isinstance(entries, list) or not entries or len(entries) > MOST_NAMED:
        raise BadArchive("manifest.json names no image, or too many")
    return tuple(_image(source, entry, most) for entry in entries)


def _image(source: Source, entry: object, most: int) -> SavedImage:
    if not isinstance(entry, dict):
        raise BadArchive("manifest.json is not what docker save writes")
    config = followed(source, _path(entry.get("Config")))
    body = small(source, config.name, most)
    rootfs = read_object(body, config.name).get("rootfs")
    diff_ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    layers = entry.get("Layers") or []
    if not isinstance(diff_ids, list) or not isinstance(layers, list):
        raise BadArchive(f"{config.name} does not say what its layers are")
    if len(diff_ids) != len(layers) or len(layers) > MOST_NAMED:
        raise BadArchive(f"{config.name} names {len(diff_ids)} layers, the archive {len(layers)}")
    return SavedImage(
        _names(entry.get("RepoTags")),
        config,
        body,
        tuple(
            _layer(source, path, diff_id) for path, diff_id in zip(layers, diff_ids, strict=True)
        ),
    )


def _path(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise BadArchive("manifest.json names a file by what is no name")
    return clean_name(value)


def _names(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise BadArchive("manifest.json names an image by what is no name")
    return tuple(value)


def _layer(source: Source, path: object, diff_id: object) -> SavedLayer:
    name = _path(path)
    member = followed(source, name)
    start = source.read(member, 0, 8)
    if start.startswith(_UNKNOWN):
        raise BadArchive(f"{name} is compressed in a way that no runtime takes")
    added = next((word for magic, word in _COMPRESSED if start.startswith(magic)), "")
    match = _BLOB.fullmatch(member.name)
    if match is not None:
        return SavedLayer(member, _LAYER + added, Digest("sha256", match[1]))
    # The digest of a plain layer is what the configuration knows it by.
    return SavedLayer(member, _LAYER + added, None if added else _digest(diff_id))


def _digest(value: object) -> Digest:
    try:
        return Digest.parse(value if isinstance(value, str) else "")
    except Failure as failure:
        raise BadArchive(f"a layer is known by {str(value)[:80]!r}: {failure}") from None


def as_manifest(saved: SavedImage, digests: Sequence[Digest]) -> Found:
    """The image with a manifest of its own; ``digests`` are those of its layers, in order."""
    config = Digest("sha256", hashlib.sha256(saved.config_body).hexdigest())
    descriptors = [
        {"mediaType": layer.media_type, "size": layer.member.size, "digest": str(digest)}
        for layer, digest in zip(saved.layers, digests, strict=True)
    ]
    body = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": DOCKER_MANIFEST,
            "config": {
                "mediaType": CONFIG_TYPE,
                "size": len(saved.config_body),
                "digest": str(config),
            },
            "layers": descriptors,
        },
        indent=3,
    ).encode("ascii")
    digest = Digest("sha256", hashlib.sha256(body).hexdigest())
    blobs = {config: saved.config}
    blobs.update(
        (digest, layer.member) for digest, layer in zip(digests, saved.layers, strict=True)
    )
    return Found(saved.names, (), (read_document(body, digest),), blobs)

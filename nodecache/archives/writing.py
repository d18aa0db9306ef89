"""An archive of images, as what is to be written one behind the other. Pure.

Both formats are an OCI image layout; ``docker`` has a ``manifest.json`` beside
it, as ``docker save`` writes since release 25, so that ``docker load`` of any
age reads it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

import attrs

from nodecache.archives.documents import OCI_INDEX, Document
from nodecache.archives.oci import NAME, REF
from nodecache.archives.tar import BLOCK, END, header, padding
from nodecache.reference import Digest

LAYOUT: Final = b'{"imageLayoutVersion":"1.0.0"}'


@attrs.frozen
class Exported:
    """An image to write: ``name`` is whole (``docker.io/library/nginx:1.27``), ``familiar`` as
    Docker shows it (``nginx:1.27``), ``tag`` its tag.

    ``documents`` are its manifests, ``top`` among them; ``blobs`` their blobs
    with sizes in bytes. ``main`` is the manifest of one platform that Docker's
    own format is about. An image without a tag has no ``name``.
    """

    name: str
    familiar: str
    tag: str
    top: Document
    main: Document
    documents: tuple[Document, ...]
    blobs: dict[Digest, int]


@attrs.frozen
class Entry:
    """One member: ``body``, or else the ``size`` bytes of the blob ``digest``."""

    name: str
    size: int
    body: bytes | None = None
    digest: Digest | None = None

    @property
    def header(self) -> bytes:
        return header(self.name, self.size)

    @property
    def padding(self) -> bytes:
        return padding(self.size)

    @property
    def bytes_in_tar(self) -> int:
        return BLOCK + self.size + len(self.padding)


def archive_of(images: Sequence[Exported], *, docker: bool) -> list[Entry]:
    """The members of an archive of ``images``, each blob once; small ones that say what is
    in it come first.
    """
    entries = [_file("oci-layout", LAYOUT), _file("index.json", _index(images))]
    if docker:
        entries.append(_file("manifest.json", _saved(images)))
    documents = {each.digest: each for image in images for each in image.documents}
    entries += [_file(_blob(digest), each.body) for digest, each in documents.items()]
    blobs = {digest: size for image in images for digest, size in image.blobs.items()}
    entries += [
        Entry(_blob(digest), size, digest=digest)
        for digest, size in blobs.items()
        if digest not in documents
    ]
    return entries


def bytes_of(entries: Sequence[Entry]) -> int:
    """Of the whole tar file."""
    return sum(entry.bytes_in_tar for entry in entries) + len(END)


def _file(name: str, body: bytes) -> Entry:
    return Entry(name, len(body), body)


def _blob(digest: Digest) -> str:
    return f"blobs/sha256/{digest.hex}"


def _index(images: Sequence[Exported]) -> bytes:
    tags = [image.tag for image in images]
    return _json(
        {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [_descriptor(image, alone=tags.count(image.tag) == 1) for image in images],
        }
    )


def _descriptor(image: Exported, *, alone: bool) -> dict[str, Any]:
    described: dict[str, Any] = {
        "mediaType": image.top.media_type,
        "digest": str(image.top.digest),
        "size": len(image.top.body),
    }
    if image.name:
        # Tools that look up one image of a layout do it by this; two with one would be a riddle.
        ref = image.tag if alone else image.name
        described["annotations"] = {NAME: image.name, REF: ref}
    return described


def _saved(images: Sequence[Exported]) -> bytes:
    """One entry for each image, with all of its names."""
    entries: dict[Digest, dict[str, Any]] = {}
    for image in images:
        entry = entries.setdefault(image.main.digest, {"Config": "", "RepoTags": [], "Layers": []})
        config, layers = image.main.config, image.main.blobs[1:]
        assert config is not None
        entry["Config"] = _blob(config)
        entry["Layers"] = [_blob(piece.digest) for piece in layers]
        if image.name:
            entry["RepoTags"].append(image.familiar)
    return _json(list(entries.values()))


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii")

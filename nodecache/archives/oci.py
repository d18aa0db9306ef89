"""Images of an OCI image layout (image-spec, image-layout.md). Calls block."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Final

import attrs

from nodecache.archives.documents import (
    MOST_NAMED,
    Child,
    Document,
    Piece,
    read_child,
    read_document,
    read_object,
)
from nodecache.archives.faults import BadArchive
from nodecache.archives.source import Source, followed, small
from nodecache.archives.tar import Member
from nodecache.reference import Digest

#: An index of indexes is legal, deeper than this it is a riddle.
_DEPTH: Final = 4
#: What annotations hold the whole name, and what the name or its tag alone.
NAME: Final = "io.containerd.image.name"
REF: Final = "org.opencontainers.image.ref.name"


@attrs.frozen
class Found:
    """One image. ``documents`` are its manifests, those before others that name them, so that
    ``top`` is the last; ``blobs`` says where the bytes of each blob lie.

    ``names`` are those under which the archive has it, ``tags`` those of which it gives no
    more than the tag. ``left_out`` are platforms that the index names and the archive lacks.
    """

    names: tuple[str, ...]
    tags: tuple[str, ...]
    documents: tuple[Document, ...]
    blobs: Mapping[Digest, Member]
    left_out: tuple[str, ...] = ()

    @property
    def top(self) -> Document:
        return self.documents[-1]

    @property
    def bytes(self) -> int:
        """Of all blobs and manifests."""
        manifests = sum(len(each.body) for each in self.documents)
        return manifests + sum(member.size for member in self.blobs.values())


@attrs.define
class _Parts:
    """What is gathered of one image."""

    documents: dict[Digest, Document] = attrs.field(factory=dict)
    blobs: dict[Digest, Member] = attrs.field(factory=dict)
    left_out: list[str] = attrs.field(factory=list)


class _Absent(BadArchive):
    """A blob or manifest that a document names is not in the archive."""


def read_layout(source: Source, most: int) -> tuple[Found, ...]:
    """All images; ``most`` is that of the bytes of a manifest. Raises BadArchive, OSError.

    The digests of manifests are checked here, and the sizes of all; those of
    blobs are whoever's who reads them.
    """
    version = read_object(small(source, "oci-layout", most), "oci-layout")
    if not str(version.get("imageLayoutVersion", "")).startswith("1."):
        raise BadArchive("the layout is of a version that is not known here")
    index = read_object(small(source, "index.json", most), "index.json")
    entries = index.get("manifests")
    if not isinstance(entries, list) or not entries or len(entries) > MOST_NAMED:
        raise BadArchive("index.json names no image, or too many")
    tops: dict[Digest, list[Child]] = {}
    for entry in entries:
        child = read_child(entry, "index.json")
        tops.setdefault(child.piece.digest, []).append(child)
    images = [_image(source, children, most) for children in tops.values()]
    # Of several, signatures and the like may stand beside the image with no name.
    named = tuple(image for image in images if image.names or image.tags)
    return named or tuple(images)


def _image(source: Source, children: list[Child], most: int) -> Found:
    parts = _Parts()
    _gather(source, children[0].piece, most, parts, _DEPTH)
    names, tags = [], []
    for child in children:
        full, ref = child.annotations.get(NAME), child.annotations.get(REF)
        if full:
            names.append(full)
        elif ref and any(mark in ref for mark in ":/@"):
            names.append(ref)
        elif ref:
            tags.append(ref)
    return Found(
        tuple(dict.fromkeys(names)),
        tuple(dict.fromkeys(tags)),
        tuple(parts.documents.values()),
        parts.blobs,
        tuple(parts.left_out),
    )


def _gather(source: Source, piece: Piece, most: int, parts: _Parts, depth: int) -> None:
    """Adds a document and all that it names. Raises _Absent, BadArchive."""
    if piece.digest in parts.documents:
        return
    document = read_document(_body(source, piece, most), piece.digest, piece.media_type)
    if document.children:
        _gather_children(source, document, most, parts, depth)
    parts.blobs.update(_blobs(source, document))
    parts.documents[document.digest] = document


def _gather_children(
    source: Source, document: Document, most: int, parts: _Parts, depth: int
) -> None:
    if not depth:
        raise BadArchive("the archive has indexes in indexes, too deep")
    whole = 0
    lacking: _Absent | None = None
    for child in document.children:
        try:
            _gather(source, child.piece, most, parts, depth - 1)
        except _Absent as absent:
            lacking = absent
            if not child.attests:
                parts.left_out.append(child.platform or str(child.piece.digest))
        else:
            whole += not child.attests
    if not whole:
        raise lacking or BadArchive(f"the index {document.digest} names no image")


def _body(source: Source, piece: Piece, most: int) -> bytes:
    member = _lying(source, piece)
    body = small(source, member.name, most)
    if hashlib.sha256(body).hexdigest() != piece.digest.hex:
        raise BadArchive(f"the bytes of {piece.digest} are not those of its digest")
    return body


def _lying(source: Source, piece: Piece) -> Member:
    """Where the bytes of ``piece`` lie. Raises _Absent, BadArchive."""
    name = f"blobs/sha256/{piece.digest.hex}"
    if name not in source.members:
        raise _Absent(f"{piece.digest} is not in the archive")
    member = followed(source, name)
    if member.size != piece.size:
        raise BadArchive(
            f"{piece.digest} has {member.size} bytes in the archive, and {piece.size} by its name"
        )
    return member


def _blobs(source: Source, document: Document) -> Iterator[tuple[Digest, Member]]:
    for piece in document.blobs:
        if piece.foreign and f"blobs/sha256/{piece.digest.hex}" not in source.members:
            continue
        yield piece.digest, _lying(source, piece)

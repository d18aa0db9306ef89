"""Names of what the ledger accounts for: one letter for the kind, then what finds the file.

Bytes, because there may be a million of them in memory.
"""

from __future__ import annotations

import os
from enum import Enum
from typing import TypeAlias

from nodecache.eviction import Columns
from nodecache.reference import Digest, Repository, Tag
from nodecache.store.layout import Layout

Key: TypeAlias = bytes
#: Key, size in bytes, time of last use in seconds since the epoch.
Entry: TypeAlias = tuple[Key, int, float]
Entries: TypeAlias = Columns[Key]


class Kind(Enum):
    """``code`` begins the key; ``label`` is what events call it."""

    BLOB = (b"b", "blob")
    MANIFEST = (b"m", "manifest")
    PARTIAL = (b"p", "partial")
    RECORD = (b"r", "tag")  # a tag or a listing

    @property
    def code(self) -> bytes:
        return self.value[0]

    @property
    def label(self) -> str:
        return self.value[1]


_KINDS = {kind.code: kind for kind in Kind}


def key_of(kind: Kind, digest: Digest) -> Key:
    """The key of a blob, manifest or partial."""
    return kind.code + bytes.fromhex(digest.hex)


def record_key(path: str, layout: Layout) -> Key:
    """The key of a tag or listing that lies at ``path``."""
    return Kind.RECORD.code + os.fsencode(os.path.relpath(path, layout.tags))


def tag_key(layout: Layout, repository: Repository, tag: Tag) -> Key:
    """The key of a tag."""
    return record_key(layout.tag(repository, tag), layout)


def kind_of(key: Key) -> Kind:
    """Told by the first byte."""
    return _KINDS[key[:1]]


def digest_of(key: Key) -> Digest:
    """Of a blob, manifest or partial."""
    return Digest("sha256", key[1:].hex())


def name_of(key: Key) -> str:
    """For people: the digest, or the path of a tag."""
    if kind_of(key) is Kind.RECORD:
        return key[1:].decode("utf-8", "replace")
    return f"sha256:{key[1:].hex()}"


def files_of(key: Key, layout: Layout) -> tuple[str, ...]:
    """The files of an entry; for a partial, its folder."""
    kind = kind_of(key)
    if kind is Kind.RECORD:
        return (os.path.join(layout.tags, os.fsdecode(key[1:])),)
    digest = digest_of(key)
    if kind is Kind.BLOB:
        return (layout.blob(digest),)
    if kind is Kind.MANIFEST:
        return (layout.manifest(digest), layout.media_type(digest))
    return (layout.partial(digest),)

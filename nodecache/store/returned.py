"""What came back with a file system that was away: files that the ledger does not know.

Looked for while the node serves, so that nothing is removed here, and nothing is an error: what is
no entry of ours, or half of one, is left to the next start.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

import attrs

from nodecache.reference import Digest
from nodecache.store.ground import Ground
from nodecache.store.holds import Holds
from nodecache.store.keys import Entries, Entry, Key, Kind, files_of, key_of, kind_of, record_key
from nodecache.store.layout import Layout, holds_records
from nodecache.store.partial import DATA, JOURNAL
from nodecache.store.room import Room
from nodecache.store.scan import blob_name, pinned_digest
from nodecache.store.sizes import manifest_bytes, partial_bytes


class Returns:
    """``adopt`` is the whole of it; ``holds`` keep what pinned tags mean."""

    def __init__(self, ground: Ground, room: Room, holds: Holds) -> None:
        self._ground = ground
        self._room = room
        self._holds = holds

    async def adopt(self) -> None:
        """Take in what came back. Whoever writes something tells of it.

        Blobs come last, when what pinned tags name is known; they are hashed before they are
        served.
        """
        accounts = self._room.accounts
        found = await self._ground.pool.run(self._found)
        pinned = [pin for pin in found.pinned if not self._room.concerns(pin[0])]
        accounts.load(Entries([]), self._new(found, Kind.MANIFEST, Kind.RECORD), [])
        await self._holds.load(pinned)
        blobs = self._new(found, Kind.BLOB)
        accounts.suspects.update(key for key, _, _ in blobs)
        accounts.load(Entries(blobs), [], self._new(found, Kind.PARTIAL))
        accounts.tell()

    def _new(self, found: _Found, *kinds: Kind) -> list[Entry]:
        entries = [entry for entry in found.entries if kind_of(entry[0]) in kinds]
        return [entry for entry in entries if not self._room.concerns(entry[0])]

    def _found(self) -> _Found:
        """Blocks. What is on disk and not in the ledger; used now at the latest."""
        layout, ledger, now = self._ground.layout, self._room.accounts.ledger, self._ground.wall()
        found = _Found()
        for key in _keys(layout):
            if key in ledger:
                continue
            with suppress(OSError):  # half of one, or gone again
                size, used_at = _look(key, layout)
                if size:
                    found.entries.append((key, size, min(now, used_at)))
                    self._look_for_pin(key, found)
        return found

    def _look_for_pin(self, key: Key, found: _Found) -> None:
        if kind_of(key) is Kind.RECORD:
            digest = pinned_digest(self._ground.disk, files_of(key, self._ground.layout)[0])
            if digest is not None:
                found.pinned.append((key, digest))


@attrs.define
class _Found:
    """``pinned`` are (key, digest) of pinned tags."""

    entries: list[Entry] = attrs.Factory(list)
    pinned: list[tuple[Key, str]] = attrs.Factory(list)


def _keys(layout: Layout) -> Iterator[Key]:
    for kind, root in ((Kind.BLOB, layout.blobs), (Kind.MANIFEST, layout.manifests)):
        for shard in _names(root):
            for name in _names(os.path.join(root, shard)):
                if blob_name(name) and name.startswith(shard):
                    yield key_of(kind, Digest("sha256", name))
    for name in _names(layout.segments):
        if blob_name(name):
            yield key_of(Kind.PARTIAL, Digest("sha256", name))
    for folder, _, names in os.walk(layout.tags):
        if holds_records(folder):
            for name in names:
                yield record_key(os.path.join(folder, name), layout)


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _look(key: Key, layout: Layout) -> tuple[int, float]:
    """Bytes as the ledger has them, and the last use. Raises OSError where a file is missing."""
    kind, paths = kind_of(key), files_of(key, layout)
    if kind is Kind.PARTIAL:
        paths = tuple(os.path.join(paths[0], name) for name in (DATA, JOURNAL))
    files = [os.lstat(path) for path in paths]
    used_at = max(each.st_mtime for each in files)
    if kind is Kind.PARTIAL:
        return partial_bytes(files), used_at
    size = files[0].st_size
    return (manifest_bytes(size) if kind is Kind.MANIFEST else size), used_at

"""What came back with a file system that was away: files that the ledger does not know.

Looked for while the node serves, so that nothing is removed here, and nothing is an error: what is
no entry of ours, or half of one, is left to the next start.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress

from nodecache.reference import Digest
from nodecache.store.keys import Entry, Key, Kind, files_of, key_of, kind_of, record_key
from nodecache.store.layout import Layout
from nodecache.store.partial import DATA, JOURNAL
from nodecache.store.scan import blob_name
from nodecache.store.sizes import manifest_bytes, partial_bytes


def returned(layout: Layout, known: Callable[[Key], bool], now: float) -> list[Entry]:
    """Blocks. What is on disk and not ``known``; used at ``now`` at the latest."""
    found: list[Entry] = []
    for key in _keys(layout):
        if not known(key):
            with suppress(OSError):  # half of one, or gone again
                size, used_at = _look(key, layout)
                if size:
                    found.append((key, size, min(now, used_at)))
    return found


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
        if os.path.basename(folder) in ("_tags", "_listings"):
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

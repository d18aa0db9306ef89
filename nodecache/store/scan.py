"""Finding out at start what is in the data folder, without reading what is in the blobs.

One pass over the folders with one stat a file; the folders of many blobs by processes of
their own (``store/listed.py``), and by threads what these leave. Blobs are judged by name and
size; what a blob's bytes are worth is found out later (suspects when they are
first asked for, all of them by the scrub).
"""

from __future__ import annotations

import functools
import os
import re
import resource
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice

import attrs
from twisted.internet.defer import Deferred, gatherResults

from nodecache.freshness import TagEntry
from nodecache.reference import Digest
from nodecache.store.disk import Disk
from nodecache.store.ground import Ground
from nodecache.store.journal import read_journal
from nodecache.store.keys import Entries, Entry, Key, Kind, key_of, record_key
from nodecache.store.layout import Layout, holds_records
from nodecache.store.listed import by_processes
from nodecache.store.partial import DATA, JOURNAL, JOURNAL_BYTES, remove_partial
from nodecache.store.records import TAG_BYTES, read_file, remove_file
from nodecache.store.sizes import manifest_bytes, partial_bytes

_HEX = re.compile(r"[0-9a-f]{64}")
#: Folders of blobs that one job looks at.
SHARDS = 8
#: Seconds of the kernel's own work for a blob, and units of 512 bytes read from the disk for
#: it, above which its caches are cold. Several jobs at a time pay then; else they would but
#: fight for the interpreter (a million blobs on two cores: cold 20 s with one, 13 with four;
#: warm 6 and 9). The time that passes would not tell: a full machine has it pass as well.
SLOW = 10e-6
READ = 1 / 8
WIDTH = 4
#: The only blob that has no bytes.
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@attrs.define
class Found:
    """Entries are (key, size, time of last use); ``others`` are manifests, tags and listings.

    ``complete`` are partials that seem to have all of their segments;
    ``pinned`` are (key, digest) of pinned tags;
    ``empty`` are digests of blobs that lost their bytes, and are removed.
    ``hindered`` says what kept processes from listing all that they should.
    """

    blobs: Entries = attrs.field(factory=Entries)
    others: list[Entry] = attrs.field(factory=list)
    partials: list[Entry] = attrs.field(factory=list)
    complete: list[Digest] = attrs.field(factory=list)
    pinned: list[tuple[Key, str]] = attrs.field(factory=list)
    empty: list[str] = attrs.field(factory=list)
    problems: list[str] = attrs.field(factory=list)
    hindered: list[str] = attrs.field(factory=list)

    def add(self, part: Found) -> None:
        """What another job of the same scan found."""
        for name in attrs.fields_dict(Found):
            getattr(self, name).extend(getattr(part, name))


def blob_name(name: str) -> bool:
    """Whether a file of that name can be a blob (or the body of a manifest)."""
    return _HEX.fullmatch(name) is not None


async def scan(ground: Ground, now: float) -> Found:
    """A time of last use in the future (the clock was wrong once) counts as ``now``."""
    disk, layout, run = ground.disk, ground.layout, ground.pool.run
    found = await run(lambda: _scan_others(disk, layout, now))
    shards = await run(lambda: _folders(layout.blobs, found))
    listed = await by_processes(ground, found.blobs, found.hindered, now)
    shards = [shard for shard in shards if shard not in listed]
    groups = iter([shards[start : start + SHARDS] for start in range(0, len(shards), SHARDS)])

    async def look_at(some: Iterable[Sequence[str]]) -> None:
        for group in some:
            found.add(await run(functools.partial(_scan_blobs, disk, layout, group, now)))

    first = list(islice(groups, 1))
    slow = bool(first) and await run(lambda: _is_slow(disk, layout, first[0], now, found))
    lines = [Deferred.fromCoroutine(look_at(groups)) for _ in range(WIDTH if slow else 1)]
    await gatherResults(lines, consumeErrors=True)
    return found


def _is_slow(disk: Disk, layout: Layout, shards: Sequence[str], now: float, found: Found) -> bool:
    """Blocks. Scan ``shards``; whether the kernel had to work, or to read, for what is there."""
    before = resource.getrusage(resource.RUSAGE_THREAD)
    seen = _scan_blobs(disk, layout, shards, now)
    found.add(seen)
    after = resource.getrusage(resource.RUSAGE_THREAD)
    worked = after.ru_stime - before.ru_stime > SLOW * len(seen.blobs)
    return worked or after.ru_inblock - before.ru_inblock > READ * len(seen.blobs)


def _scan_others(disk: Disk, layout: Layout, now: float) -> Found:
    """Blocks. All but the blobs."""
    found = Found()
    _empty_scratch(disk, layout)
    for shard in _folders(layout.manifests, found):
        _scan_manifests(disk, os.path.join(layout.manifests, shard), now, found)
    _scan_records(disk, layout, now, found)
    for name in _folders(layout.segments, found):
        _scan_partial(disk, layout, name, now, found)
    return found


def _files(disk: Disk, path: str, found: Found) -> Iterator[tuple[str, os.stat_result]]:
    """Regular files by name. A folder that can not be read is as if it were empty."""
    try:
        # By descriptor, so that a stat need not walk the whole path again.
        fd = disk.open_folder(path)
    except OSError as error:
        found.problems.append(f"{path}: {error.strerror}")
        return
    try:
        with os.scandir(fd) as entries:
            for entry in entries:
                info = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(info.st_mode):
                    yield entry.name, info
    except OSError as error:
        found.problems.append(f"{path}: {error.strerror}")
    finally:
        disk.close(fd)


def _folders(path: str, found: Found) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError as error:
        found.problems.append(f"{path}: {error.strerror}")
        return []


def _empty_scratch(disk: Disk, layout: Layout) -> None:
    with suppress(FileNotFoundError):  # there was no room for it
        for name in os.listdir(layout.scratch):
            remove_file(disk, os.path.join(layout.scratch, name))


def _scan_blobs(disk: Disk, layout: Layout, shards: Sequence[str], now: float) -> Found:
    """Blocks."""
    found = Found()
    # Each step here is done a million times: looked up once, and no object that is not kept.
    keep_key, keep_size = found.blobs.keys.append, found.blobs.sizes.append
    keep_time, is_blob, unhex = found.blobs.times.append, _HEX.fullmatch, bytes.fromhex
    code = Kind.BLOB.code
    for shard in shards:
        folder = os.path.join(layout.blobs, shard)
        for name, info in _files(disk, folder, found):
            if name[:2] != shard or not is_blob(name):
                continue
            size, used_at = info.st_size, info.st_mtime
            if not size and name != EMPTY:
                found.empty.append(name)
                remove_file(disk, os.path.join(folder, name))
                continue
            keep_key(code + unhex(name))
            keep_size(size)
            keep_time(min(now, used_at))
    return found


def _scan_manifests(disk: Disk, folder: str, now: float, found: Found) -> None:
    """A manifest counts with its sidecar; either of them alone is removed."""
    files = dict(_files(disk, folder, found))
    for name, info in files.items():
        other = name.removesuffix(".type") if name.endswith(".type") else f"{name}.type"
        if other not in files:
            remove_file(disk, os.path.join(folder, name))
        elif _HEX.fullmatch(name):
            size = manifest_bytes(info.st_size)
            key = Kind.MANIFEST.code + bytes.fromhex(name)
            found.others.append((key, size, min(now, info.st_mtime)))


def _scan_records(disk: Disk, layout: Layout, now: float, found: Found) -> None:
    """Tags and listings; folders that became empty are removed."""

    def unread(error: OSError) -> None:
        found.problems.append(f"{error.filename}: {error.strerror}")

    for folder, _, _ in os.walk(layout.tags, topdown=False, onerror=unread):
        if holds_records(folder):
            for name, info in _files(disk, folder, found):
                key = record_key(os.path.join(folder, name), layout)
                found.others.append((key, info.st_size, min(now, info.st_mtime)))
                digest = pinned_digest(disk, os.path.join(folder, name))
                if digest is not None:
                    found.pinned.append((key, digest))
        if folder != layout.tags:
            with suppress(OSError):
                os.rmdir(folder)


def pinned_digest(disk: Disk, path: str) -> str | None:
    """Blocks. What the tag of this file means, if it is one and pinned."""
    data = read_file(disk, path, TAG_BYTES) if path.endswith(".json") else None
    if data is not None and b'"pinned":true' in data:
        entry = TagEntry.from_json(data)
        if entry is not None and entry.pinned:
            return entry.digest
    return None


def _scan_partial(disk: Disk, layout: Layout, name: str, now: float, found: Found) -> None:
    folder = os.path.join(layout.segments, name)
    files = dict(_files(disk, folder, found))
    if not _HEX.fullmatch(name):
        return
    if DATA not in files or JOURNAL not in files:
        # Nothing in it can be told to be right.
        with suppress(Exception):
            remove_partial(disk, folder)
        return
    digest = Digest("sha256", name)
    size = partial_bytes(files.values())
    used_at = min(now, max(info.st_mtime for info in files.values()))
    found.partials.append((key_of(Kind.PARTIAL, digest), size, used_at))
    journal = read_file(disk, os.path.join(folder, JOURNAL), JOURNAL_BYTES)
    if journal is not None and read_journal(journal).is_whole:
        found.complete.append(digest)

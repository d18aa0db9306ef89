"""A store on a folder of its own, with a clock to turn and a disk that can be made to fail."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import zlib
from collections.abc import Coroutine
from typing import Any, TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nodecache.events import CacheSize, Event
from nodecache.eviction import whole_blocks
from nodecache.limits import GIB, Limits, Timeouts
from nodecache.reference import Digest
from nodecache.seams import DiskPool
from nodecache.segments import block_spans, segment_count, segment_span
from nodecache.store import Partial, Store, StoredManifest
from tests.fakes_disk import FaultyDisk, HeldPool, InlinePool

T = TypeVar("T")
E = TypeVar("E", bound=Event)
F = TypeVar("F", bound=Exception)

#: Half past nine on a Friday.
MORNING = 1_700_000_000.0


def digest_of(data: bytes) -> Digest:
    return Digest("sha256", hashlib.sha256(data).hexdigest())


def some_bytes(size: int, seed: int = 0) -> bytes:
    """Bytes in which no two blocks are alike."""
    block = hashlib.sha256(b"%d" % seed).digest()
    return b"".join(block + b"%8d" % number for number in range(size // 40 + 1))[:size]


def manifest_of(body: bytes, media_type: str = "application/json") -> StoredManifest:
    return StoredManifest(digest_of(body), media_type, body)


def write_segment(partial: Partial, data: bytes, index: int) -> None:
    span = segment_span(index, len(data))
    partial.write(span.start, [data[span.start : span.stop]])
    crcs = [zlib.crc32(data[block.start : block.stop]) for block in block_spans(span)]
    partial.record_segment(index, crcs)


def fill_partial(partial: Partial, data: bytes) -> None:
    partial.set_total(len(data))
    for index in range(segment_count(len(data))):
        write_segment(partial, data, index)


class StoreCase(SynchronousTestCase):
    """``store`` is open when a test begins, on an empty folder without limits to speak of."""

    cap = 1 * GIB
    floor = 0
    timeouts = Timeouts()
    limits = Limits()

    def setUp(self) -> None:
        self.folder = self.make_folder()
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.clock = Clock()
        self.offset = MORNING
        self.events: list[Event] = []
        self.disk = FaultyDisk()
        self.stores: list[Store] = []
        self.store = self.opened()
        self.addCleanup(self.close_all)

    def make_folder(self) -> str:
        return tempfile.mkdtemp(prefix="store-")

    def close_all(self) -> None:
        self.disk.mend()
        for store in self.stores:
            Deferred.fromCoroutine(store.close())
        self.assertEqual(self.told("unexpected"), [])

    def wall(self) -> float:
        return self.offset + self.clock.seconds()

    def opening(self, pool: DiskPool | None = None) -> Deferred[Store]:
        return Deferred.fromCoroutine(
            Store.open(
                self.folder,
                pool or InlinePool(),
                self.clock,
                self.wall,
                self.events.append,
                cap=self.cap,
                floor=self.floor,
                timeouts=self.timeouts,
                limits=self.limits,
                disk=self.disk,
            )
        )

    def open_held(self) -> HeldPool:
        """``self.store``, open over a pool whose later jobs run when the test says so."""
        pool = HeldPool()
        opening = self.opening(pool)
        pool.flush()
        self.store = self.successResultOf(opening)
        return pool

    def opened(self, pool: DiskPool | None = None) -> Store:
        store = self.successResultOf(self.opening(pool))
        self.stores.append(store)
        return store

    def reopened(self) -> Store:
        """After a clean stop."""
        self.run_now(self.store.close())
        self.store = self.opened()
        return self.store

    def after_kill(self) -> Store:
        """After a stop that was not clean: the lock is gone, and nothing was tidied up."""
        self.kill()
        self.store = self.opened()
        return self.store

    def kill(self) -> None:
        opened = self.store._opened
        assert opened is not None
        self.store._opened = None
        self.store._life.stop()
        for running in tuple(self.store._ground.owned._started):
            running.cancel()
        opened.marker.close()
        opened.lock.release()

    def run_now(self, work: Coroutine[Any, Any, T]) -> T:
        return self.successResultOf(Deferred.fromCoroutine(work))

    def fails(self, work: Coroutine[Any, Any, object], kind: type[F]) -> F:
        value = self.failureResultOf(Deferred.fromCoroutine(work), kind).value
        assert isinstance(value, kind)
        return value

    def begin(self, work: Coroutine[Any, Any, T]) -> Deferred[T]:
        return Deferred.fromCoroutine(work)

    def told(self, name: str) -> list[Any]:
        """Events of a name, and of that name only."""
        return [event for event in self.events if event.name == name]

    # Contents.

    def put_blob(self, data: bytes) -> Digest:
        """As a fill does it."""
        digest = digest_of(data)
        reservation = self.run_now(self.store.reserve(len(data)))
        partial = self.run_now(self.store.open_partial(digest))
        fill_partial(partial, data)
        self.run_now(self.store.commit(partial, reservation, len(data)))
        partial.keep()
        return digest

    def put_blobs(self, count: int, size: int) -> list[Digest]:
        """One a minute, so that they have an age."""
        digests = []
        for number in range(count):
            self.clock.advance(60)
            digests.append(self.put_blob(some_bytes(size, number)))
        return digests

    def put_manifest(self, body: bytes) -> Digest:
        manifest = manifest_of(body)
        self.run_now(self.store.write_manifest(manifest))
        return manifest.digest

    def read_blob(self, digest: Digest) -> bytes | None:
        blob = self.run_now(self.store.open_blob(digest))
        if blob is None:
            return None
        assert blob.total is not None
        try:
            return os.pread(blob.fd, blob.total, 0)
        finally:
            blob.close()

    def blob_path(self, digest: Digest) -> str:
        return os.path.join(self.folder, "v1", "blobs", "sha256", digest.hex[:2], digest.hex)

    def overwrite(self, digest: Digest, data: bytes) -> None:
        """Change a blob behind the store's back; its times stay."""
        path = self.blob_path(digest)
        before = os.stat(path)
        with open(path, "wb") as file:
            file.write(data)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    def on_disk(self) -> int:
        """Bytes of all the files that count, found by walking the folder."""
        home = os.path.join(self.folder, "v1")
        total = 0
        for folder, _, names in os.walk(home):
            for name in names:
                path = os.path.join(folder, name)
                if path != os.path.join(home, "running"):
                    total += disk_size(path, sparse="segments" in folder)
        return total

    def assert_accounts_are_right(self) -> None:
        usage = self.store.usage()
        self.assertEqual(usage.bytes, self.on_disk())
        told = [event for event in self.events if isinstance(event, CacheSize)][-1]
        self.assertEqual(
            attrs.astuple(told), (usage.bytes, usage.reserved, usage.blobs, usage.manifests)
        )


def disk_size(path: str, *, sparse: bool) -> int:
    found = os.stat(path)
    return whole_blocks(found.st_blocks * 512 if sparse else found.st_size)

"""The cache over the real store: what it finds again, and what it does when files change."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nodecache.cache.ports import Shelves
from nodecache.events import CorruptionFound, Source
from nodecache.failures import BlobsMissing, NoRoom, UpstreamFailure, UpstreamKind
from nodecache.limits import MIB
from nodecache.reference import Digest
from nodecache.store import Store
from nodecache.store.layout import Layout
from tests.contracts.shelves import ShelvesContract
from tests.fakes_cache import (
    ALPINE,
    EPOCH,
    LATEST,
    CacheTestCase,
    FakeStore,
    FetchedPage,
    digest_of,
    image,
    index,
)
from tests.fakes_disk import FaultyDisk, InlinePool

LAYER = b"the layer"
OURS = image("config", LAYER)
BOTH = index((OURS, "amd64"), (image("other"), "arm64"))
DOWN = UpstreamFailure(UpstreamKind.DOWN, "failed a moment ago")


class FakeStoreContractTests(SynchronousTestCase, ShelvesContract):
    def setUp(self) -> None:
        self.shelves: Shelves = FakeStore()

    def now(self, work: Any) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(work))


class RealStore(SynchronousTestCase):
    """A store in a folder of its own; ``restart`` closes it and opens it again."""

    def open_store(self, clock: Clock, *, cap: int = 64 * MIB) -> Store:
        self.disk = FaultyDisk()
        opening = Store.open(
            self.folder,
            InlinePool(),
            clock,
            lambda: EPOCH + clock.seconds(),
            self.happened.append,
            cap=cap,
            floor=0,
            disk=self.disk,
        )
        return self.successResultOf(Deferred.fromCoroutine(opening))

    def close_store(self, store: Store) -> None:
        self.successResultOf(Deferred.fromCoroutine(store.close()))

    def make_folder(self) -> None:
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        self.happened: list[Any] = []


class RealStoreContractTests(RealStore, ShelvesContract):
    def setUp(self) -> None:
        self.make_folder()
        store = self.open_store(Clock())
        self.shelves: Shelves = store
        self.addCleanup(self.close_store, store)

    def now(self, work: Any) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(work))


class CacheOnDiskTests(RealStore, CacheTestCase):
    def setUp(self) -> None:
        self.make_folder()
        super().setUp()
        self.real = self.open_store(self.clock)
        self.use(self.real)
        self.addCleanup(lambda: self.close_store(self.real))
        self.hub.has(ALPINE, LATEST, BOTH, OURS)

    def use(self, store: Store) -> None:
        self.store = store  # type: ignore[assignment]  # the one place where the real one stands in
        self.cache = self.make_cache()

    def restart(self) -> None:
        self.close_store(self.real)
        self.real = self.open_store(self.clock)
        self.use(self.real)

    def put_blob(self, blob: bytes) -> None:
        """As a fill does."""

        async def fill() -> None:
            reservation = await self.real.reserve(len(blob))
            partial = await self.real.open_partial(digest_of(blob))
            partial.set_total(len(blob))
            partial.write(0, [blob])
            await self.real.commit(partial, reservation, len(blob))
            partial.keep()

        self.now(fill())

    def pull(self) -> None:
        for reference in (LATEST, OURS.digest):
            self.now(self.manifest(reference))
        for blob in (b"config", LAYER):
            self.put_blob(blob)

    def path(self, digest: Digest) -> str:
        return Layout(os.path.abspath(self.folder)).manifest(digest)

    def test_what_was_pulled_is_there_after_a_restart_without_upstream(self) -> None:
        self.pull()
        self.restart()
        self.hub.remembered = DOWN
        self.clock.advance(1)
        result = self.now(self.manifest())
        self.assertEqual((result.body, result.source), (BOTH.body, Source.DISK))
        self.assertEqual(self.now(self.manifest(OURS.digest)).body, OURS.body)
        blob = self.now(self.cache.blob(ALPINE, digest_of(LAYER), whole=True))
        self.assertEqual(os.pread(blob.readable.fd, 100, 0), LAYER)
        blob.readable.close()
        self.clock.advance(self.tag_ttl)
        self.assertEqual(self.now(self.manifest()).source, Source.STALE)

    def test_a_blob_removed_by_hand_is_asked_for_again(self) -> None:
        self.pull()
        os.unlink(Layout(os.path.abspath(self.folder)).blob(digest_of(LAYER)))
        result = self.now(self.cache.blob(ALPINE, digest_of(LAYER), whole=True))
        self.assertEqual(result.source, Source.FILL)
        # The size that the manifest named goes along.
        self.assertEqual(self.fills.starts, [(ALPINE, digest_of(LAYER), len(LAYER))])

    def test_a_dropped_blob_makes_its_image_incomplete(self) -> None:
        self.pull()
        self.now(self.real.drop_blob(digest_of(LAYER)))
        self.assertEqual(self.now(self.manifest()).body, BOTH.body)
        self.hub.remembered = DOWN
        self.refused(self.manifest(), BlobsMissing)

    def test_a_manifest_damaged_on_disk_is_fetched_again(self) -> None:
        self.pull()
        with open(self.path(OURS.digest), "r+b") as file:
            file.write(b"x")
        self.cache = self.make_cache()
        self.asked()
        result = self.now(self.manifest(OURS.digest))
        self.assertEqual((result.body, result.source), (OURS.body, Source.FILL))
        self.assertEqual(self.asked(), [f"GET alpine@{OURS.digest.hex[:6]}"])
        found = [each for each in self.happened if isinstance(each, CorruptionFound)]
        self.assertEqual([each.digest for each in found], [str(OURS.digest)])
        self.restart()
        self.assertEqual(self.now(self.manifest(OURS.digest)).source, Source.DISK)

    def test_a_manifest_removed_by_hand_is_fetched_again(self) -> None:
        self.pull()
        os.unlink(self.path(BOTH.digest))
        self.restart()
        result = self.now(self.manifest())
        self.assertEqual((result.body, result.source), (BOTH.body, Source.FILL))

    def test_a_tag_damaged_on_disk_is_asked_again(self) -> None:
        self.pull()
        path = Layout(os.path.abspath(self.folder)).tag(ALPINE, LATEST)
        for junk in (b"", b"{", b'{"digest":"../../etc/passwd"}', b"\xff" * 100):
            with self.subTest(junk):
                with open(path, "wb") as file:
                    file.write(junk)
                self.restart()
                self.asked()
                self.assertEqual(self.now(self.manifest()).body, BOTH.body)
                self.assertEqual(self.asked(), ["HEAD alpine:latest"])

    def test_a_disk_that_is_full_serves_and_forgets(self) -> None:
        self.disk.fail("pwritev", errno.ENOSPC)
        self.assertEqual(self.now(self.manifest()).body, BOTH.body)
        self.disk.mend()
        self.restart()
        self.asked()
        self.assertEqual(self.now(self.manifest()).source, Source.FILL)
        self.assertEqual(len(self.asked()), 2)

    def test_a_disk_that_fails_to_write_serves_all_the_same(self) -> None:
        self.disk.fail("pwritev", errno.EIO)
        self.disk.fail("rename", errno.EROFS)
        self.hub.pages["library/alpine", None, None] = FetchedPage(b"{}")
        self.assertEqual(self.now(self.manifest()).body, BOTH.body)
        self.assertEqual(self.now(self.cache.tags(ALPINE, None, None)).body, b"{}")

    def test_no_room_for_a_blob_passes_it_through(self) -> None:
        self.fills.refusal = NoRoom("bigger than the cache")
        self.hub.blobs[digest_of(LAYER)] = len(LAYER)
        result = self.now(self.cache.blob(ALPINE, digest_of(LAYER), whole=True))
        self.assertEqual(result.total, len(LAYER))

    def test_a_list_is_there_after_a_restart(self) -> None:
        self.hub.pages["library/alpine", 2, None] = FetchedPage(
            b'{"tags":["1","2"]}', link='</x?last=2>; rel="next"'
        )
        first = self.now(self.cache.tags(ALPINE, 2, None))
        self.restart()
        self.clock.advance(self.timeouts.listing_ttl)
        self.hub.remembered = DOWN
        result = self.now(self.cache.tags(ALPINE, 2, None))
        self.assertEqual((result.body, result.source), (first.body, Source.STALE))
        self.assertEqual(
            result.link, '</v2/library/alpine/tags/list?n=2&last=2&ns=docker.io>; rel="next"'
        )

    def test_a_manifest_evicted_from_disk_still_means_its_tag(self) -> None:
        self.pull()
        self.real.set_limits(0, 0)
        self.clock.advance(1)
        self.real.set_limits(64 * MIB, 0)
        self.assertFalse(self.real.has_manifest(BOTH.digest))
        self.cache = self.make_cache()
        self.assertEqual(self.now(self.manifest()).body, BOTH.body)

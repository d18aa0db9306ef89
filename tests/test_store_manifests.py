"""Manifests on disk: byte for byte, with their media type, verified when read."""

from __future__ import annotations

import errno
import os

from nodecache.failures import NoRoom, StoreFailure
from nodecache.limits import KIB
from nodecache.reference import Digest
from nodecache.store import StoredManifest
from nodecache.store.accounts import TOUCH
from tests.store_case import StoreCase, digest_of, manifest_of, some_bytes

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
BODY = b'{\n "schemaVersion": 2 }\n\n'


class ManifestTests(StoreCase):
    def write(self, manifest: StoredManifest) -> None:
        self.run_now(self.store.write_manifest(manifest))

    def read(self, digest: Digest) -> StoredManifest | None:
        return self.run_now(self.store.read_manifest(digest))

    def path(self, digest: Digest) -> str:
        return os.path.join(self.folder, "v1", "manifests", "sha256", digest.hex[:2], digest.hex)

    def test_it_reads_back_byte_for_byte_with_its_media_type(self) -> None:
        manifest = manifest_of(BODY, OCI_INDEX)
        self.write(manifest)
        self.assertTrue(self.store.has_manifest(manifest.digest))
        self.assertEqual(self.read(manifest.digest), manifest)
        self.reopened()
        self.assertEqual(self.read(manifest.digest), manifest)

    def test_an_unknown_one_is_not_here(self) -> None:
        self.assertFalse(self.store.has_manifest(digest_of(b"?")))
        self.assertIsNone(self.read(digest_of(b"?")))

    def test_a_blob_is_never_handed_out_as_a_manifest(self) -> None:
        digest = self.put_blob(BODY)
        self.assertFalse(self.store.has_manifest(digest))
        self.assertIsNone(self.read(digest))

    def test_writing_it_again_changes_nothing(self) -> None:
        self.write(manifest_of(BODY, OCI_INDEX))
        self.disk.calls.clear()
        self.write(manifest_of(BODY, OCI_INDEX))
        changing = set(self.disk.calls) - {"open", "close", "stat", "pread"}
        self.assertEqual(changing, set())
        self.assertEqual(self.store.usage().manifests, 1)

    def test_writing_it_again_mends_one_that_rotted(self) -> None:
        manifest = manifest_of(BODY, OCI_INDEX)
        for damage in (b"", b"x" * len(BODY)):
            self.write(manifest)
            with open(self.path(manifest.digest), "wb") as file:
                file.write(damage)
            self.write(manifest)
            self.assertEqual(self.read(manifest.digest), manifest)
        self.assertEqual([event.found_by for event in self.told("corrupt")], ["read", "read"])
        self.assert_accounts_are_right()

    def assert_dropped(self, digest: Digest) -> None:
        self.assertIsNone(self.read(digest))
        self.assertFalse(self.store.has_manifest(digest))
        events = [(e.kind, e.digest, e.found_by) for e in self.told("corrupt")]
        self.assertEqual(events, [("manifest", str(digest), "read")])
        self.assertEqual(self.on_disk(), 0)
        self.assert_accounts_are_right()
        self.write(manifest_of(BODY))
        self.assertEqual(self.read(digest), manifest_of(BODY))

    def test_one_that_rotted_is_dropped(self) -> None:
        digest = self.put_manifest(BODY)
        with open(self.path(digest), "r+b") as file:
            file.write(b"[")
        self.assert_dropped(digest)

    def test_one_that_was_cut_is_dropped(self) -> None:
        digest = self.put_manifest(BODY)
        os.truncate(self.path(digest), 3)
        self.assert_dropped(digest)

    def test_one_that_was_deleted_is_dropped(self) -> None:
        digest = self.put_manifest(BODY)
        os.unlink(self.path(digest))
        self.assert_dropped(digest)

    def test_one_without_its_media_type_is_dropped(self) -> None:
        digest = self.put_manifest(BODY)
        os.unlink(f"{self.path(digest)}.type")
        self.assert_dropped(digest)

    def test_one_with_a_media_type_that_is_none_is_dropped(self) -> None:
        digest = self.put_manifest(BODY)
        with open(f"{self.path(digest)}.type", "wb") as file:
            file.write(b"a/b\r\nSet-Cookie: c")
        self.assert_dropped(digest)

    def test_a_media_type_that_could_not_be_sent_is_not_stored(self) -> None:
        for media_type in ("", "a/b\r\nX: y", "a/\u00e9", "a" * 256):
            manifest = manifest_of(BODY, media_type)
            self.fails(self.store.write_manifest(manifest), StoreFailure)
        parameters = manifest_of(BODY, "application/json; charset=utf-8")
        self.write(parameters)
        self.assertEqual(self.read(parameters.digest), parameters)

    def test_one_that_can_not_be_read_is_dropped(self) -> None:
        digest = self.put_manifest(BODY)
        self.disk.fail("pread", errno.EIO, times=1)
        self.assert_dropped(digest)

    def test_a_full_disk_is_no_room_and_leaves_no_draft(self) -> None:
        for call in ("mkdir", "open", "pwritev", "fsync", "rename"):
            self.disk.fail(call, errno.ENOSPC)
            self.fails(self.store.write_manifest(manifest_of(BODY)), NoRoom)
            self.disk.mend()
        self.assertEqual(os.listdir(os.path.join(self.folder, "v1", "tmp")), [])
        self.assertEqual(self.store.usage().reserved, 0)
        self.assertFalse(self.store.has_manifest(digest_of(BODY)))
        self.write(manifest_of(BODY))
        self.assert_accounts_are_right()

    def test_a_read_only_disk_is_a_failure(self) -> None:
        self.disk.fail("open", errno.EROFS, where="tmp")
        error = self.fails(self.store.write_manifest(manifest_of(BODY)), StoreFailure)
        self.assertNotIsInstance(error, NoRoom)

    def test_one_that_was_written_in_part_leaves_nothing(self) -> None:
        for call, after in (("rename", 1), ("open_folder", 0)):
            self.disk.fail(call, errno.EIO, after=after)
            self.fails(self.store.write_manifest(manifest_of(BODY)), StoreFailure)
            self.disk.mend()
            self.assertEqual(self.store.usage().bytes, 0)
            self.assert_accounts_are_right()

    def test_a_client_that_leaves_does_not_stop_the_writing(self) -> None:
        self.run_now(self.store.close())
        pool = self.open_held()
        writing = self.begin(self.store.write_manifest(manifest_of(BODY)))
        writing.cancel()
        self.failureResultOf(writing)
        pool.flush()
        self.assertTrue(self.store.has_manifest(digest_of(BODY)))
        closing = self.begin(self.store.close())
        pool.flush()
        self.successResultOf(closing)


class ManifestUseTests(StoreCase):
    cap = 64 * KIB

    def test_one_served_from_memory_counts_as_used(self) -> None:
        first = self.put_manifest(b"1")
        self.clock.advance(60)
        second = self.put_manifest(b"2")
        self.clock.advance(60)
        self.store.touch_manifest(first)
        self.store.touch_manifest(digest_of(b"unknown"))
        self.put_blob(some_bytes(52 * KIB))
        self.assertTrue(self.store.has_manifest(first))
        self.assertFalse(self.store.has_manifest(second))
        self.assertEqual([e.kind for e in self.told("evict")], ["manifest"])
        self.assert_accounts_are_right()

    def test_a_manifest_outlasts_the_blobs_it_names(self) -> None:
        blob = self.put_blob(some_bytes(40 * KIB, 1))
        self.clock.advance(60)
        manifest = self.put_manifest(b"{}")
        self.clock.advance(60)
        self.put_blob(some_bytes(40 * KIB, 2))
        self.assertIsNone(self.store.blob_size(blob))
        self.assertIsNotNone(self.run_now(self.store.read_manifest(manifest)))

    def test_the_use_reaches_the_file_at_most_hourly(self) -> None:
        digest = self.put_manifest(b"1")
        path = os.path.join(self.folder, "v1", "manifests", "sha256", digest.hex[:2], digest.hex)
        self.clock.advance(TOUCH - 1)
        self.run_now(self.store.read_manifest(digest))
        self.assertNotEqual(os.stat(path).st_mtime, self.wall())
        self.clock.advance(2)  # whole seconds are kept, so that it may be later by one
        self.run_now(self.store.read_manifest(digest))
        self.assertEqual(os.stat(path).st_mtime, self.wall())

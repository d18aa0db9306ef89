"""Blobs that are whole: served, gone, damaged, pinned."""

from __future__ import annotations

import errno
import os

from twisted.internet.defer import Deferred

from nodecache.failures import StoreFailure
from nodecache.limits import KIB, MIB
from nodecache.store.accounts import TOUCH
from nodecache.store.keys import Kind, key_of
from tests.store_case import StoreCase, digest_of, some_bytes

EMPTY = digest_of(b"")


class StoredBlobTests(StoreCase):
    def test_a_committed_blob_reads_back(self) -> None:
        data = some_bytes(9 * MIB)
        digest = self.put_blob(data)
        self.assertEqual(self.store.blob_size(digest), len(data))
        self.assertEqual(self.read_blob(digest), data)

    def test_the_empty_blob_is_a_blob(self) -> None:
        digest = self.put_blob(b"")
        self.assertEqual(digest, EMPTY)
        self.assertEqual(self.store.blob_size(digest), 0)
        self.assertEqual(self.read_blob(digest), b"")
        self.reopened()
        self.assertEqual(self.read_blob(digest), b"")

    def test_an_unknown_blob_is_not_here(self) -> None:
        self.assertIsNone(self.store.blob_size(digest_of(b"?")))
        self.assertIsNone(self.read_blob(digest_of(b"?")))
        self.assertEqual(self.told("corrupt"), [])

    def test_a_manifest_is_never_handed_out_as_a_blob(self) -> None:
        digest = self.put_manifest(b"{}")
        self.assertIsNone(self.store.blob_size(digest))
        self.assertIsNone(self.read_blob(digest))

    def test_all_of_it_is_available_from_the_start(self) -> None:
        digest = self.put_blob(some_bytes(1000))
        blob = self.run_now(self.store.open_blob(digest))
        assert blob is not None
        self.assertEqual(blob.available(0, held_back=True), 1000)
        self.assertEqual(blob.available(999, held_back=False), 1)
        self.assertEqual(blob.available(1000, held_back=False), 0)
        self.assertIsNone(self.successResultOf(blob.wait(1000, held_back=True)))
        blob.close()

    def test_closing_twice_is_closing_once(self) -> None:
        digest = self.put_blob(b"x")
        first = self.run_now(self.store.open_blob(digest))
        second = self.run_now(self.store.open_blob(digest))
        assert first is not None
        assert second is not None
        first.close()
        first.close()
        self.assertEqual(os.pread(second.fd, 1, 0), b"x")
        second.close()

    def test_files_and_folders_are_for_this_user_only(self) -> None:
        self.put_blob(some_bytes(100))
        self.put_manifest(b"{}")
        for folder, folders, files in os.walk(os.path.join(self.folder, "v1")):
            for name in folders:
                self.assertEqual(os.stat(os.path.join(folder, name)).st_mode & 0o777, 0o700)
            for name in files:
                self.assertEqual(os.stat(os.path.join(folder, name)).st_mode & 0o777, 0o600)


class BehindOurBackTests(StoreCase):
    """The file is not what the index says."""

    def setUp(self) -> None:
        super().setUp()
        self.data = some_bytes(10 * KIB)
        self.digest = self.put_blob(self.data)
        self.path = self.blob_path(self.digest)

    def assert_dropped(self) -> None:
        self.assertIsNone(self.read_blob(self.digest))
        self.assertIsNone(self.store.blob_size(self.digest))
        self.assertEqual([(e.kind, e.found_by) for e in self.told("corrupt")], [("blob", "read")])
        self.assertFalse(os.path.lexists(self.path))
        self.assert_accounts_are_right()
        self.put_blob(self.data)
        self.assertEqual(self.read_blob(self.digest), self.data)

    def test_a_deleted_file_is_a_miss(self) -> None:
        os.unlink(self.path)
        self.assert_dropped()

    def test_a_truncated_file_is_a_miss(self) -> None:
        os.truncate(self.path, 100)
        self.assert_dropped()

    def test_a_file_that_grew_is_a_miss(self) -> None:
        with open(self.path, "ab") as file:
            file.write(b"!")
        self.assert_dropped()

    def test_a_symbolic_link_is_not_followed(self) -> None:
        os.rename(self.path, f"{self.folder}/elsewhere")
        os.symlink(f"{self.folder}/elsewhere", self.path)
        self.assert_dropped()

    def test_a_fifo_in_its_place_does_not_block(self) -> None:
        os.unlink(self.path)
        os.mkfifo(self.path)
        self.assert_dropped()

    def test_a_file_that_may_not_be_read_is_a_miss(self) -> None:
        self.disk.fail("open", errno.EACCES, times=1, where=self.digest.hex)
        self.assert_dropped()

    def test_a_file_that_can_not_be_read_is_a_miss(self) -> None:
        self.disk.fail("open", errno.EIO, times=1, where=self.digest.hex)
        self.assert_dropped()

    def test_a_folder_removed_as_a_whole_is_a_miss_and_fills_again(self) -> None:
        os.unlink(self.path)
        os.rmdir(os.path.dirname(self.path))
        self.assert_dropped()

    def test_running_out_of_descriptors_is_no_fault_of_the_blob(self) -> None:
        self.disk.fail("open", errno.EMFILE, where=self.digest.hex)
        self.fails(self.store.open_blob(self.digest), StoreFailure)
        self.disk.mend()
        self.assertEqual(self.told("corrupt"), [])
        self.assertEqual(self.read_blob(self.digest), self.data)

    def test_a_file_that_can_be_neither_read_nor_removed_is_not_served(self) -> None:
        os.truncate(self.path, 100)
        self.disk.fail("unlink", errno.EPERM, where=self.digest.hex)
        self.assertIsNone(self.read_blob(self.digest))
        self.assertIsNone(self.store.blob_size(self.digest))
        self.assertEqual(len(self.told("disk_failed")), 1)
        self.assertEqual(self.store.usage().bytes, 12 * KIB)
        self.disk.mend()
        self.put_blob(self.data)
        self.assertEqual(self.read_blob(self.digest), self.data)
        self.assert_accounts_are_right()


class ReaderTests(StoreCase):
    cap = 1 * MIB

    def fill_up(self) -> None:
        self.put_blobs(4, 256 * KIB)

    def test_a_blob_being_read_is_not_evicted(self) -> None:
        digest = self.put_blob(some_bytes(256 * KIB, 99))
        blob = self.run_now(self.store.open_blob(digest))
        assert blob is not None
        self.fill_up()
        self.assertIsNotNone(self.store.blob_size(digest))
        blob.close()
        self.fill_up()
        self.assertIsNone(self.store.blob_size(digest))

    def test_a_blob_read_by_two_stays_until_both_have_closed(self) -> None:
        digest = self.put_blob(some_bytes(256 * KIB, 99))
        blobs = [self.run_now(self.store.open_blob(digest)) for _ in range(2)]
        for blob in blobs:
            self.fill_up()
            self.assertIsNotNone(self.store.blob_size(digest))
            assert blob is not None
            blob.close()
        self.fill_up()
        self.assertIsNone(self.store.blob_size(digest))

    def test_an_answered_range_keeps_its_blob_for_a_while(self) -> None:
        digest = self.put_blob(some_bytes(256 * KIB, 99))
        blob = self.run_now(self.store.open_blob(digest))
        assert blob is not None
        blob.available(100, held_back=False)
        blob.close()
        self.put_blobs(3, 256 * KIB)
        self.assertIsNotNone(self.store.blob_size(digest))
        self.clock.advance(self.timeouts.grace_pin)
        self.fill_up()
        self.assertIsNone(self.store.blob_size(digest))

    def test_a_whole_answer_leaves_no_grace(self) -> None:
        digest = self.put_blob(some_bytes(256 * KIB, 99))
        blob = self.run_now(self.store.open_blob(digest))
        assert blob is not None
        blob.available(0, held_back=True)
        blob.available(4096, held_back=True)
        self.assertFalse(blob.ranged)
        blob.close()

    def test_an_open_ended_range_is_a_range(self) -> None:
        digest = self.put_blob(some_bytes(1000))
        blob = self.run_now(self.store.open_blob(digest))
        assert blob is not None
        blob.available(500, held_back=True)
        self.assertTrue(blob.ranged)
        blob.close()

    def test_a_dropped_blob_is_counted_until_its_reader_has_closed_it(self) -> None:
        data = some_bytes(256 * KIB)
        digest = self.put_blob(data)
        blob = self.run_now(self.store.open_blob(digest))
        assert blob is not None
        self.run_now(self.store.drop_blob(digest))
        self.assertIsNone(self.store.blob_size(digest))
        self.assertEqual(os.pread(blob.fd, len(data), 0), data)
        usage = self.store.usage()
        self.assertEqual((usage.bytes, usage.reserved), (0, 256 * KIB))
        blob.close()
        self.assertEqual(self.store.usage().reserved, 0)

    def test_a_blob_dropped_and_fetched_again_is_read_by_old_and_new(self) -> None:
        data = some_bytes(100 * KIB)
        digest = self.put_blob(data)
        old = self.run_now(self.store.open_blob(digest))
        assert old is not None
        self.run_now(self.store.drop_blob(digest))
        self.put_blob(data)
        self.assertEqual(self.read_blob(digest), data)
        self.assertEqual(os.pread(old.fd, len(data), 0), data)
        old.close()
        self.assertEqual(self.store.usage().reserved, 0)
        self.assert_accounts_are_right()

    def test_a_blob_that_somebody_else_wrote_to_is_hashed_before_it_is_served(self) -> None:
        data = some_bytes(100_000)
        digest = self.put_blob(data)
        with open(self.blob_path(digest), "r+b") as file:
            file.write(bytes(len(data)))
        self.assertIsNone(self.read_blob(digest))
        self.assertEqual([each.digest for each in self.told("corrupt")], [str(digest)])
        self.assertIsNone(self.store.blob_size(digest))
        self.assert_accounts_are_right()

    def test_one_that_was_only_touched_is_hashed_once_and_served(self) -> None:
        data = some_bytes(100_000)
        digest = self.put_blob(data)
        os.utime(self.blob_path(digest))
        self.disk.calls.clear()
        for _ in range(3):
            self.assertEqual(self.read_blob(digest), data)
        self.assertEqual(self.disk.calls.count("pread"), 1)
        self.reopened()
        self.disk.calls.clear()
        self.assertEqual(self.read_blob(digest), data)

    def test_what_was_used_is_not_taken_for_changed_though_the_clock_is_set_back(self) -> None:
        """Neither in the turn in which its use reaches the file, nor later."""
        digest = self.put_blob(some_bytes(100_000))
        self.disk.calls.clear()
        for step in (0, 2 * TOUCH, 1, -8 * TOUCH, 1, 30 * TOUCH, 1):
            self.offset += step
            readers = [self.run_now(self.store.open_blob(digest)) for _ in range(2)]
            for each in readers:
                assert each is not None
                each.close()
        self.assertLessEqual(self.disk.calls.count("pread"), 1)
        self.assertEqual(self.told("corrupt"), [])

    def test_the_use_reaches_the_file_at_most_hourly(self) -> None:
        digest = self.put_blob(some_bytes(100))
        path = self.blob_path(digest)
        self.assertEqual(os.stat(path).st_mtime, self.wall())
        written = []
        for _ in range(12):
            self.clock.advance(TOUCH / 4)
            self.read_blob(digest)
            written.append(os.stat(path).st_mtime == self.wall())
        self.assertEqual(written, [False, False, False, True] * 3)

    def test_a_use_that_can_not_be_written_is_no_failure(self) -> None:
        digest = self.put_blob(some_bytes(100))
        self.clock.advance(TOUCH)
        self.disk.fail("used_at", errno.EROFS)
        self.assertEqual(self.read_blob(digest), some_bytes(100))

    def test_the_order_of_use_outlasts_a_restart(self) -> None:
        first, second, third = self.put_blobs(3, 256 * KIB)
        self.clock.advance(TOUCH)
        self.read_blob(first)
        self.reopened()
        self.put_blob(some_bytes(512 * KIB, 50))
        self.assertEqual(
            [self.store.blob_size(each) is not None for each in (first, second, third)],
            [True, False, True],
        )


class CancellationTests(StoreCase):
    def test_a_client_that_leaves_while_its_blob_is_opened_leaks_nothing(self) -> None:
        data = some_bytes(100)
        digest = self.put_blob(data)
        self.run_now(self.store.close())
        pool = self.open_held()
        before = len(os.listdir("/proc/self/fd"))
        asked: Deferred[object] = Deferred.fromCoroutine(self.store.open_blob(digest))
        asked.cancel()
        self.failureResultOf(asked)
        pool.flush()
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)
        self.assertFalse(self.store._accounts.ledger.pinned(key_of(Kind.BLOB, digest)))
        closing = self.begin(self.store.close())
        pool.flush()
        self.successResultOf(closing)

"""Blobs on their way in: written, kept, resumed, committed."""

from __future__ import annotations

import errno
import os
import zlib

from twisted.internet.defer import Deferred

from nodecache.failures import NoRoom, StoreFailure
from nodecache.limits import KIB, MIB, SEGMENT
from nodecache.store import Partial
from tests.store_case import StoreCase, digest_of, fill_partial, some_bytes, write_segment

DATA = some_bytes(2 * SEGMENT + 100)
DIGEST = digest_of(DATA)


class PartialCase(StoreCase):
    def partial(self) -> Partial:
        return self.run_now(self.store.open_partial(DIGEST))

    def partial_folder(self) -> str:
        return os.path.join(self.folder, "v1", "segments", DIGEST.hex)


class ResumeTests(PartialCase):
    def half_filled(self) -> None:
        """Segments 0 and 2 of three are recorded."""
        partial = self.partial()
        partial.set_total(len(DATA))
        write_segment(partial, DATA, 2)
        write_segment(partial, DATA, 0)
        partial.keep()

    def test_a_new_one_knows_nothing(self) -> None:
        partial = self.partial()
        self.assertEqual((partial.total, partial.whole), (None, ()))
        partial.discard()

    def test_what_was_whole_is_resumed(self) -> None:
        self.half_filled()
        partial = self.partial()
        self.assertEqual((partial.total, partial.whole), (len(DATA), (0, 2)))
        self.assertEqual(os.pread(partial.fd, SEGMENT, 0), DATA[:SEGMENT])
        partial.keep()

    def test_what_was_whole_is_resumed_after_a_restart(self) -> None:
        self.half_filled()
        self.reopened()
        self.assert_accounts_are_right()
        partial = self.partial()
        self.assertEqual((partial.total, partial.whole), (len(DATA), (0, 2)))
        partial.keep()

    def test_what_was_whole_is_resumed_after_a_kill(self) -> None:
        partial = self.partial()
        partial.set_total(len(DATA))
        write_segment(partial, DATA, 1)
        self.after_kill()
        self.assertEqual(self.partial().whole, (1,))
        partial.keep()

    def test_a_segment_that_changed_on_disk_is_fetched_again(self) -> None:
        self.half_filled()
        with open(os.path.join(self.partial_folder(), "data"), "r+b") as file:
            file.seek(SEGMENT - 1)
            file.write(b"?")
        partial = self.partial()
        self.assertEqual(partial.whole, (2,))
        events = [(e.kind, e.digest, e.found_by) for e in self.told("corrupt")]
        self.assertEqual(events, [("segment", str(DIGEST), "resume")])
        partial.keep()

    def test_a_segment_that_never_reached_the_disk_is_fetched_again(self) -> None:
        """As after a power loss: the journal is longer than the data."""
        self.half_filled()
        os.truncate(os.path.join(self.partial_folder(), "data"), SEGMENT)
        partial = self.partial()
        self.assertEqual(partial.whole, (0,))
        partial.keep()

    def test_a_segment_that_can_not_be_read_is_fetched_again(self) -> None:
        self.half_filled()
        self.disk.fail("pread", errno.EIO, times=1, where="data")
        partial = self.partial()
        self.assertEqual(partial.whole, (2,))
        partial.keep()

    def test_without_its_journal_it_begins_anew(self) -> None:
        self.half_filled()
        os.unlink(os.path.join(self.partial_folder(), "journal"))
        partial = self.partial()
        self.assertEqual((partial.total, partial.whole), (None, ()))
        partial.discard()

    def test_a_folder_removed_behind_our_back_begins_anew(self) -> None:
        self.half_filled()
        os.unlink(os.path.join(self.partial_folder(), "journal"))
        os.unlink(os.path.join(self.partial_folder(), "data"))
        os.rmdir(self.partial_folder())
        partial = self.partial()
        self.assertEqual((partial.total, partial.whole), (None, ()))
        partial.discard()

    def test_leftovers_without_journal_or_data_go_at_the_next_start(self) -> None:
        self.half_filled()
        os.unlink(os.path.join(self.partial_folder(), "journal"))
        self.reopened()
        self.assertFalse(os.path.exists(self.partial_folder()))
        self.assert_accounts_are_right()

    def test_two_can_not_have_it_open(self) -> None:
        partial = self.partial()
        self.fails(self.store.open_partial(DIGEST), StoreFailure)
        partial.keep()
        self.partial().discard()

    def test_one_that_can_not_be_opened_is_still_accounted_for(self) -> None:
        self.half_filled()
        self.store.usage()
        self.disk.fail("open", errno.EMFILE, where="data")
        self.fails(self.store.open_partial(DIGEST), StoreFailure)
        self.assert_accounts_are_right()
        self.disk.mend()
        partial = self.partial()
        self.assertEqual(partial.whole, (0, 2))
        partial.discard()

    def test_discarded_leaves_nothing(self) -> None:
        self.half_filled()
        partial = self.partial()
        partial.discard()
        self.assertFalse(os.path.exists(self.partial_folder()))
        self.assertEqual(self.store.usage().bytes, 0)
        partial.discard()
        partial.keep()

    def test_one_that_can_not_be_removed_is_still_accounted_for(self) -> None:
        partial = self.partial()
        fill_partial(partial, DATA)
        self.disk.fail("unlink", errno.EIO)
        partial.discard()
        self.assert_accounts_are_right()
        self.assertGreater(self.store.usage().bytes, len(DATA))

    def test_one_unasked_for_a_day_goes(self) -> None:
        self.half_filled()
        self.clock.advance(60)
        self.store.usage()
        self.clock.pump([3600] * 23)
        self.assertTrue(os.path.exists(self.partial_folder()))
        self.clock.pump([600] * 7)
        self.assertFalse(os.path.exists(self.partial_folder()))
        self.assertEqual([e.kind for e in self.told("evict")], ["partial"])
        self.assert_accounts_are_right()

    def test_leaving_while_it_is_opened_leaves_it_closed(self) -> None:
        self.half_filled()
        self.run_now(self.store.close())
        pool = self.open_held()
        before = len(os.listdir("/proc/self/fd"))
        asked: Deferred[object] = Deferred.fromCoroutine(self.store.open_partial(DIGEST))
        pool.step()
        asked.cancel()
        self.failureResultOf(asked)
        pool.flush()
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)
        again = self.begin(self.store.open_partial(DIGEST))
        pool.flush()
        self.successResultOf(again).keep()
        closing = self.begin(self.store.close())
        pool.flush()
        self.successResultOf(closing)


class PeekTests(PartialCase):
    def test_what_is_kept_is_known_without_opening_it(self) -> None:
        data = some_bytes(SEGMENT + 100)
        digest = digest_of(data)
        partial = self.run_now(self.store.open_partial(digest))
        partial.set_total(len(data))
        write_segment(partial, data, 1)
        self.assertIsNone(self.run_now(self.store.peek_partial(digest)), "it is open")
        partial.keep()
        known = self.run_now(self.store.peek_partial(digest))
        assert known is not None
        self.assertEqual((known.total, list(known.segments)), (len(data), [1]))

    def test_what_is_not_here_is_not_known(self) -> None:
        self.assertIsNone(self.run_now(self.store.peek_partial(digest_of(b""))))

    def test_a_journal_that_vanished_or_can_not_be_read_says_nothing(self) -> None:
        digest = digest_of(b"1")
        partial = self.run_now(self.store.open_partial(digest))
        partial.set_total(1)
        partial.keep()
        self.disk.fail("pread", errno.EIO, times=1)
        self.assertIsNone(self.run_now(self.store.peek_partial(digest)))
        os.unlink(os.path.join(partial.folder, "journal"))
        self.assertIsNone(self.run_now(self.store.peek_partial(digest)))

    def test_dropping_removes_what_nobody_has_open(self) -> None:
        data = some_bytes(100)
        digest = digest_of(data)
        partial = self.run_now(self.store.open_partial(digest))
        fill_partial(partial, data)
        self.run_now(self.store.drop_partial(digest))
        self.assertTrue(os.path.exists(partial.folder))
        partial.keep()
        self.run_now(self.store.drop_partial(digest))
        self.assertFalse(os.path.exists(partial.folder))
        self.assert_accounts_are_right()

    def test_those_that_nobody_wants_whole_have_a_share_of_the_cap(self) -> None:
        self.store.set_limits(1000, 0)
        self.assertEqual(self.store.partials_share, 100)


class WriteTests(PartialCase):
    def test_chunks_go_one_behind_the_other(self) -> None:
        partial = self.partial()
        partial.write(5, [b"ab", b"", b"c"])
        self.assertEqual(os.pread(partial.fd, 10, 0), b"\0\0\0\0\0abc")
        partial.discard()

    def test_more_chunks_than_one_call_takes(self) -> None:
        partial = self.partial()
        partial.write(0, [b"%04d" % number for number in range(3000)])
        data = os.pread(partial.fd, 20000, 0)
        self.assertEqual(data, b"".join(b"%04d" % number for number in range(3000)))
        partial.discard()

    def test_a_short_write_is_continued(self) -> None:
        partial = self.partial()
        self.disk.short_writes = 3
        partial.write(0, [b"abcde", b"fghij"])
        self.assertEqual(os.pread(partial.fd, 20, 0), b"abcdefghij")
        partial.discard()

    def test_a_full_disk_is_no_room(self) -> None:
        partial = self.partial()
        for code in (errno.ENOSPC, errno.EDQUOT):
            self.disk.fail("pwritev", code, times=1)
            self.assertRaises(NoRoom, partial.write, 0, [b"x"])
        partial.discard()

    def test_any_other_error_is_a_failure_and_not_a_lack_of_room(self) -> None:
        partial = self.partial()
        for code in (errno.EIO, errno.EROFS, errno.EACCES):
            self.disk.fail("pwritev", code, times=1)
            error = self.assertRaises(StoreFailure, partial.write, 0, [b"x"])
            self.assertNotIsInstance(error, NoRoom)
        partial.discard()

    def test_a_full_disk_does_not_stop_the_journal_for_good(self) -> None:
        partial = self.partial()
        partial.set_total(len(DATA))
        self.disk.fail("append", errno.ENOSPC, times=1)
        write_segment(partial, DATA, 0)
        write_segment(partial, DATA, 1)
        partial.keep()
        resumed = self.partial()
        self.assertEqual(resumed.whole, (1,))
        resumed.discard()

    def test_a_line_cut_short_does_not_swallow_the_next(self) -> None:
        partial = self.partial()
        partial.set_total(len(DATA))
        self.disk.short_appends = 10
        write_segment(partial, DATA, 0)
        self.disk.short_appends = 0
        write_segment(partial, DATA, 1)
        partial.keep()
        resumed = self.partial()
        self.assertEqual(resumed.whole, (1,))
        resumed.discard()

    def test_a_journal_that_can_not_be_written_is_no_failure_but_new_fills_wait(self) -> None:
        """What it would have told is not resumed. The disk has to take a file before the next."""
        partial = self.partial()
        self.disk.fail("append", errno.EIO)
        partial.set_total(1)
        partial.discard()
        self.assertIn("write a journal", str(self.fails(self.store.reserve(1), StoreFailure)))
        self.clock.advance(self.timeouts.marker)
        self.run_now(self.store.reserve(1)).release()

    def test_a_punched_hole_gives_its_blocks_back(self) -> None:
        partial = self.partial()
        partial.write(0, [some_bytes(1 * MIB)])
        os.fsync(partial.fd)
        before = os.fstat(partial.fd).st_blocks
        partial.punch(0, 512 * KIB)
        found = os.fstat(partial.fd)
        self.assertLessEqual(found.st_blocks, before - 512 * KIB // 512)
        self.assertEqual(found.st_size, 1 * MIB)
        self.assertEqual(os.pread(partial.fd, 10, 0), bytes(10))
        self.assertEqual(
            os.pread(partial.fd, 512 * KIB, 512 * KIB), some_bytes(1 * MIB)[512 * KIB :]
        )
        partial.discard()

    def test_a_file_system_without_holes_says_so(self) -> None:
        partial = self.partial()
        self.disk.fail("punch", errno.EOPNOTSUPP)
        self.assertRaises(StoreFailure, partial.punch, 0, 4096)
        partial.discard()

    def test_a_segment_punched_after_it_was_recorded_is_not_resumed(self) -> None:
        partial = self.partial()
        partial.set_total(len(DATA))
        write_segment(partial, DATA, 0)
        partial.punch(0, 1 * MIB)
        partial.keep()
        resumed = self.partial()
        self.assertEqual(resumed.whole, ())
        resumed.discard()

    def test_opening_on_a_full_disk_is_no_room(self) -> None:
        self.disk.fail("open", errno.ENOSPC, where="segments")
        self.fails(self.store.open_partial(DIGEST), NoRoom)
        self.disk.fail("mkdir", errno.ENOSPC, where="segments")
        self.fails(self.store.open_partial(DIGEST), NoRoom)
        self.disk.mend()
        self.partial().discard()


class CommitTests(PartialCase):
    def filled(self) -> Partial:
        partial = self.partial()
        fill_partial(partial, DATA)
        return partial

    def commit(self, partial: Partial) -> None:
        reservation = self.run_now(self.store.reserve(len(DATA)))
        self.run_now(self.store.commit(partial, reservation, len(DATA)))

    def test_it_is_durable_before_it_is_a_blob(self) -> None:
        partial = self.filled()
        self.disk.calls.clear()
        self.commit(partial)
        calls = [each for each in self.disk.calls if each in ("fsync", "rename")]
        # The data; the new shard's name; then the rename, and its name.
        self.assertEqual(calls, ["fsync", "fsync", "rename", "fsync"])
        partial.keep()

    def test_the_descriptor_reads_on_whatever_becomes_of_the_blob(self) -> None:
        partial = self.filled()
        self.commit(partial)
        self.run_now(self.store.drop_blob(DIGEST))
        self.assertEqual(os.pread(partial.fd, 100, 2 * SEGMENT), DATA[2 * SEGMENT :])
        partial.keep()

    def test_keep_and_discard_after_it_remove_nothing(self) -> None:
        for end in (Partial.keep, Partial.discard):
            partial = self.filled()
            self.commit(partial)
            end(partial)
            end(partial)
            self.assertEqual(self.read_blob(DIGEST), DATA)
            self.run_now(self.store.drop_blob(DIGEST))
            self.store.usage()

    def test_nothing_of_the_partial_stays(self) -> None:
        partial = self.filled()
        self.commit(partial)
        self.assertFalse(os.path.exists(self.partial_folder()))
        partial.keep()
        self.assert_accounts_are_right()

    def test_the_blob_is_not_evicted_while_the_partial_is_open(self) -> None:
        partial = self.filled()
        self.commit(partial)
        self.store.set_limits(1 * MIB, 0)
        self.assertIsNotNone(self.store.blob_size(DIGEST))
        partial.keep()
        self.store.usage()
        self.store.set_limits(1 * MIB, 0)
        self.assertIsNone(self.store.blob_size(DIGEST))

    def test_a_longer_file_from_an_earlier_total_is_cut(self) -> None:
        partial = self.filled()
        partial.write(len(DATA), [b"leftover"])
        self.commit(partial)
        partial.keep()
        self.assertEqual(self.read_blob(DIGEST), DATA)

    def test_a_shorter_file_is_refused(self) -> None:
        partial = self.partial()
        partial.set_total(len(DATA))
        write_segment(partial, DATA, 0)
        reservation = self.run_now(self.store.reserve(len(DATA)))
        self.fails(self.store.commit(partial, reservation, len(DATA)), StoreFailure)
        self.assertIsNone(self.store.blob_size(DIGEST))
        partial.keep()

    def test_a_size_above_the_reservation_is_reserved_first(self) -> None:
        partial = self.filled()
        reservation = self.run_now(self.store.reserve(1000))
        self.run_now(self.store.commit(partial, reservation, len(DATA)))
        partial.keep()
        self.assert_accounts_are_right()
        self.assertEqual(self.store.usage().reserved, 0)

    def assert_fails_and_works_later(self, kind: type[StoreFailure]) -> None:
        partial = self.filled()
        reservation = self.run_now(self.store.reserve(len(DATA)))
        self.fails(self.store.commit(partial, reservation, len(DATA)), kind)
        reservation.release()
        self.assertIsNone(self.store.blob_size(DIGEST))
        self.assertEqual(os.pread(partial.fd, 100, 2 * SEGMENT), DATA[2 * SEGMENT :])
        partial.keep()
        self.assertEqual(self.store.usage().reserved, 0)
        self.disk.mend()
        self.assert_accounts_are_right()
        partial = self.filled()
        self.commit(partial)
        partial.keep()
        self.assertEqual(self.read_blob(DIGEST), DATA)
        self.assert_accounts_are_right()

    def test_a_full_disk_at_the_rename(self) -> None:
        self.disk.fail("rename", errno.ENOSPC, where="blobs")
        self.assert_fails_and_works_later(NoRoom)

    def test_a_full_disk_at_the_new_folder(self) -> None:
        self.disk.fail("mkdir", errno.ENOSPC, where="blobs")
        self.assert_fails_and_works_later(NoRoom)

    def test_an_input_output_error_at_the_sync_of_the_folder(self) -> None:
        self.disk.fail("fsync", errno.EIO, where=f"blobs/sha256/{DIGEST.hex[:2]}")
        self.assert_fails_and_works_later(StoreFailure)
        self.assertEqual(os.listdir(os.path.join(self.folder, "v1", "segments")), [])

    def test_data_that_could_not_be_synced_is_not_kept(self) -> None:
        self.disk.fail("fsync", errno.EIO, where="data")
        partial = self.filled()
        reservation = self.run_now(self.store.reserve(len(DATA)))
        self.fails(self.store.commit(partial, reservation, len(DATA)), StoreFailure)
        partial.keep()
        self.assertFalse(os.path.exists(self.partial_folder()))

    def test_a_caller_that_leaves_does_not_stop_it(self) -> None:
        self.run_now(self.store.close())
        pool = self.open_held()
        reserving = self.begin(self.store.reserve(len(DATA)))
        opened = self.begin(self.store.open_partial(DIGEST))
        pool.flush()
        partial = self.successResultOf(opened)
        fill_partial(partial, DATA)
        committing = self.begin(
            self.store.commit(partial, self.successResultOf(reserving), len(DATA))
        )
        committing.cancel()
        self.failureResultOf(committing)
        closing = self.begin(self.store.close())
        pool.flush()
        self.successResultOf(closing)
        self.assertEqual(self.store.blob_size(DIGEST), len(DATA))
        self.assertEqual(self.store.usage().reserved, 0)
        partial.keep()


def test_the_checksum_is_the_one_of_zlib() -> None:
    """What the journal holds can be checked with any CRC-32 of IEEE 802.3."""
    assert zlib.crc32(b"123456789") == 0xCBF43926

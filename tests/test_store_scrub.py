"""The background pass over the stored blobs."""

from __future__ import annotations

import errno
import os

from nodecache.limits import KIB, MIB, Limits, Timeouts
from nodecache.reference import Digest
from tests.fakes_disk import HeldPool
from tests.store_case import StoreCase, some_bytes


class ScrubTests(StoreCase):
    timeouts = Timeouts(scrub_first=600.0, scrub_rest=86400.0)
    limits = Limits(scrub_rate=1 * MIB)

    def rot(self, digest: Digest, size: int) -> None:
        self.overwrite(digest, some_bytes(size - 1, 77) + b"?")

    def run_pass(self) -> None:
        self.clock.pump([10.0] * 70)

    def test_rot_is_found_before_a_client_finds_it(self) -> None:
        sound, rotten = self.put_blobs(2, 100 * KIB)
        self.rot(rotten, 100 * KIB)
        self.run_pass()
        self.assertIsNone(self.store.blob_size(rotten))
        self.assertIsNotNone(self.store.blob_size(sound))
        events = [(e.kind, e.digest, e.found_by) for e in self.told("corrupt")]
        self.assertEqual(events, [("blob", str(rotten), "scrub")])
        self.assert_accounts_are_right()

    def test_a_blob_that_can_not_be_read_is_dropped(self) -> None:
        (digest,) = self.put_blobs(1, 100 * KIB)
        self.disk.fail("pread", errno.EIO, where=digest.hex)
        self.run_pass()
        self.assertIsNone(self.store.blob_size(digest))

    def test_it_waits_its_time_after_the_start(self) -> None:
        (digest,) = self.put_blobs(1, 100 * KIB)
        self.rot(digest, 100 * KIB)
        self.clock.advance(self.timeouts.scrub_first - self.clock.seconds() - 1)
        self.assertIsNotNone(self.store.blob_size(digest))
        self.clock.pump([1, 1])
        self.assertIsNone(self.store.blob_size(digest))

    def test_it_keeps_to_its_rate(self) -> None:
        """12 MiB at 1 MiB a second, in slices of 4 MiB."""
        self.put_blobs(1, 12 * MIB)
        self.clock.advance(self.timeouts.scrub_first - self.clock.seconds() - 1)
        self.disk.calls.clear()
        self.clock.advance(1)
        slices = [self.disk.calls.count("pread")]
        for _ in range(3):
            self.clock.pump([1.0] * 3)
            slices.append(self.disk.calls.count("pread"))
            self.clock.advance(1)
        self.assertEqual(slices, [4, 4, 8, 12])

    def test_what_was_not_used_for_long_is_read_from_the_disk_itself(self) -> None:
        self.put_blobs(1, 100 * KIB)
        self.run_pass()
        self.assertNotIn("forget", self.disk.calls)
        self.clock.pump([3600.0] * 26)
        self.assertEqual(self.disk.calls.count("forget"), 2)

    def test_it_begins_again_after_its_rest(self) -> None:
        (digest,) = self.put_blobs(1, 100 * KIB)
        self.run_pass()
        self.rot(digest, 100 * KIB)
        self.clock.pump([3600.0] * 23)
        self.assertIsNotNone(self.store.blob_size(digest))
        self.clock.pump([3600.0] * 2)
        self.assertIsNone(self.store.blob_size(digest))

    def test_files_that_are_not_in_the_index_are_none_of_its_business(self) -> None:
        digest = self.put_blob(some_bytes(100))
        stranger = os.path.join(os.path.dirname(self.blob_path(digest)), "stranger")
        with open(stranger, "w", encoding="ascii") as file:
            file.write("?")
        other = self.blob_path(Digest("sha256", digest.hex[:2] + "0" * 62))
        with open(other, "w", encoding="ascii") as file:
            file.write("?")
        self.run_pass()
        self.assertTrue(os.path.exists(stranger))
        self.assertTrue(os.path.exists(other))
        self.assertEqual(self.told("corrupt"), [])

    def test_a_blob_being_read_that_turns_out_rotten_is_read_on(self) -> None:
        (digest,) = self.put_blobs(1, 100 * KIB)
        blob = self.run_now(self.store.open_blob(digest))
        assert blob is not None
        self.rot(digest, 100 * KIB)
        self.run_pass()
        self.assertIsNone(self.store.blob_size(digest))
        self.assertEqual(len(os.pread(blob.fd, 100 * KIB, 0)), 100 * KIB)
        blob.close()

    def test_a_process_out_of_descriptors_blames_no_blob(self) -> None:
        (digest,) = self.put_blobs(1, 100 * KIB)
        self.disk.fail("open", errno.EMFILE, where=digest.hex)
        self.run_pass()
        self.assertIsNotNone(self.store.blob_size(digest))
        self.assertEqual([e.operation for e in self.told("disk_failed")], ["scrub"])

    def test_closing_does_not_wait_for_the_end_of_a_pass(self) -> None:
        self.put_blobs(1, 12 * MIB)
        self.run_now(self.store.close())
        pool = HeldPool()
        opening = self.opening(pool)
        pool.flush()
        self.store = self.successResultOf(opening)
        self.clock.advance(self.timeouts.scrub_first)
        while pool.held:
            pool.step()
            if self.disk.calls.count("pread") > 3:
                break
        closing = self.begin(self.store.close())
        pool.flush()
        self.successResultOf(closing)
        self.assertEqual(self.clock.getDelayedCalls(), [])

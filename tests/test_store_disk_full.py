"""A store on a small file system that really fills up. Needs root, for a mount."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import unittest

from nodecache.failures import DataFolderError, NoRoom
from nodecache.limits import GIB, KIB, MIB
from nodecache.store.disk import Disk
from tests.store_case import StoreCase, digest_of, fill_partial, manifest_of, some_bytes


def mounted(test: unittest.TestCase, options: str) -> str:
    """A folder that is a file system of its own; unmounted after the test."""
    if os.getuid() != 0:
        raise unittest.SkipTest("not root: no file system can be mounted")
    folder = tempfile.mkdtemp(prefix="small-")
    test.addCleanup(shutil.rmtree, folder, ignore_errors=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "none", folder], capture_output=True, check=False
    )
    if done.returncode:
        raise unittest.SkipTest(f"no file system can be mounted: {done.stderr.decode()}")
    test.addCleanup(subprocess.run, ["umount", "-l", folder], check=True)
    return folder


class SmallDiskCase(StoreCase):
    options = "size=8m"
    cap = 1 * GIB

    def make_folder(self) -> str:
        self.mount = mounted(self, self.options)
        return os.path.join(self.mount, "data")

    def fill_the_rest(self) -> None:
        """Another user of the disk takes all that is left."""
        with open(os.path.join(self.mount, "other"), "ab", buffering=0) as file:
            for size in (64 * KIB, 4 * KIB):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError:
                    continue


class FullDiskTests(SmallDiskCase):
    def test_the_disk_is_never_filled_by_us(self) -> None:
        self.put_blobs(10, 2 * MIB)
        self.assertGreater(self.store.usage().blobs, 1)
        self.assert_accounts_are_right()
        self.fails(self.store.reserve(9 * MIB), NoRoom)

    def test_a_disk_that_others_filled_makes_writes_fail_with_no_room(self) -> None:
        data = some_bytes(2 * MIB)
        reservation = self.run_now(self.store.reserve(len(data)))
        partial = self.run_now(self.store.open_partial(digest_of(data)))
        partial.set_total(len(data))
        partial.write(0, [data[: 1 * MIB]])
        self.fill_the_rest()
        self.assertRaises(NoRoom, partial.write, 1 * MIB, [data[1 * MIB :]])
        # What is there can be read, and punching it makes room for the rest.
        self.assertEqual(os.pread(partial.fd, 1 * MIB, 0), data[: 1 * MIB])
        partial.punch(0, 1 * MIB)
        partial.write(1 * MIB, [data[1 * MIB :]])
        partial.discard()
        reservation.release()

    def test_on_a_full_disk_what_is_here_is_served_and_evicted_for_the_new(self) -> None:
        old = self.put_blobs(2, 2 * MIB)
        self.fill_the_rest()
        self.assertEqual(self.read_blob(old[1]), some_bytes(2 * MIB, 1))
        self.fails(self.store.reserve(5 * MIB), NoRoom)
        self.put_blob(some_bytes(1 * MIB, 50))
        self.assertIsNone(self.store.blob_size(old[0]))
        self.assert_accounts_are_right()

    def test_the_marker_needs_no_room(self) -> None:
        self.fill_the_rest()
        self.clock.pump([10.0] * 3)
        self.assertIsNone(self.store.problem)

    def test_a_floor_above_what_is_free_empties_the_cache(self) -> None:
        self.put_blobs(2, 2 * MIB)
        self.store.set_limits(self.cap, 8 * MIB)
        self.assertEqual(self.store.usage().blobs, 0)
        self.assertEqual(self.on_disk(), 0)

    def test_a_start_on_a_full_disk_works(self) -> None:
        digest = self.put_blob(some_bytes(1 * MIB))
        self.run_now(self.store.close())
        self.fill_the_rest()
        # The first marker takes one block; an owner of a full disk has to give that.
        os.truncate(
            os.path.join(self.mount, "other"),
            os.path.getsize(os.path.join(self.mount, "other")) - 8 * KIB,
        )
        self.store = self.opened()
        self.assertEqual(self.read_blob(digest), some_bytes(1 * MIB))

    def test_the_free_space_that_we_see_is_that_of_this_file_system(self) -> None:
        space = Disk().space(self.mount)
        self.assertEqual(space.total, 8 * MIB)
        self.assertLess(space.free, 8 * MIB)


class InodeTests(SmallDiskCase):
    options = "size=64m,nr_inodes=200"

    def test_the_last_tenth_of_the_inodes_is_left_to_others(self) -> None:
        for number in range(200):
            self.put_manifest(b"%d" % number)
        found = os.statvfs(self.mount)
        self.assertGreaterEqual(found.f_favail, 10)
        self.assertGreater(self.store.usage().manifests, 10)
        self.assert_accounts_are_right()

    def test_when_others_took_all_of_them_there_is_no_room(self) -> None:
        try:
            for number in range(200):
                with open(os.path.join(self.mount, f"other-{number}"), "w", encoding="ascii"):
                    pass
        except OSError:
            pass
        self.fails(self.store.reserve(100), NoRoom)
        self.fails(self.store.write_manifest(manifest_of(b"{}")), NoRoom)
        self.fails(self.store.open_partial(digest_of(b"")), NoRoom)

    def test_a_commit_without_an_inode_for_its_folder_can_be_tried_again(self) -> None:
        data = some_bytes(1000)
        partial = self.run_now(self.store.open_partial(digest_of(data)))
        fill_partial(partial, data)
        reservation = self.run_now(self.store.reserve(len(data)))
        again = self.run_now(self.store.reserve(len(data)))
        names = []
        try:
            for number in range(200):
                names.append(os.path.join(self.mount, f"other-{number}"))
                with open(names[-1], "w", encoding="ascii"):
                    pass
        except OSError:
            names.pop()
        self.fails(self.store.commit(partial, reservation, len(data)), NoRoom)
        for name in names:
            os.unlink(name)
        self.run_now(self.store.commit(partial, again, len(data)))
        partial.keep()
        self.assertEqual(self.read_blob(digest_of(data)), data)


class ReadOnlyTests(SmallDiskCase):
    def remount(self, how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", self.mount], check=True)
        if how == "ro":
            self.addCleanup(self.remount, "rw")

    def test_a_read_only_folder_is_refused_at_the_start(self) -> None:
        self.run_now(self.store.close())
        self.remount("ro")
        error = self.failureResultOf(self.opening(), DataFolderError).value
        self.assertIn("Read-only file system", str(error))

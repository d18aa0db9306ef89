"""Taking possession of a data folder: the lock, the scan, what is refused."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

import attrs

from nodecache.failures import DataFolderError, NoRoom, StoreFailure
from nodecache.freshness import TagEntry
from nodecache.limits import KIB, MIB
from nodecache.reference import Repository, Tag
from nodecache.store.disk import Disk
from nodecache.store.keys import Kind, key_of
from nodecache.store.lock import FolderLock
from tests.fakes_disk import HeldPool
from tests.store_case import StoreCase, digest_of, fill_partial, some_bytes

HOLD = """
import sys
from nodecache.store.lock import FolderLock
lock = FolderLock(sys.argv[1])
print("held", flush=True)
sys.stdin.read()
"""


class RefusalTests(StoreCase):
    def setUp(self) -> None:
        super().setUp()
        self.run_now(self.store.close())

    def refusal(self) -> str:
        error = self.failureResultOf(self.opening(), DataFolderError).value
        self.assertNotIn("\n", str(error))
        self.assertIn(self.folder, str(error))
        return str(error)

    def test_a_folder_in_use_is_refused_with_the_pid_of_its_owner(self) -> None:
        self.opened()
        self.assertIn(f"in use by process {os.getpid()}", self.refusal())

    def test_a_folder_in_use_by_another_process_is_refused_until_that_ends(self) -> None:
        with subprocess.Popen(
            [sys.executable, "-c", HOLD, os.path.join(self.folder, "lock")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as other:
            assert other.stdout is not None
            self.assertEqual(other.stdout.readline(), b"held\n")
            self.assertIn(f"in use by process {other.pid}", self.refusal())
            other.kill()
        self.opened()

    def test_a_lock_without_a_pid_is_a_lock_still(self) -> None:
        lock = FolderLock(os.path.join(self.folder, "lock"))
        os.truncate(os.path.join(self.folder, "lock"), 0)
        self.assertIn("in use by another process", self.refusal())
        lock.release()

    def test_a_refused_start_leaves_the_folder_to_its_owner(self) -> None:
        owner = self.opened()
        self.refusal()
        self.store = owner
        digest = self.put_blob(some_bytes(100))
        self.assertEqual(self.read_blob(digest), some_bytes(100))

    def test_a_file_in_its_place_is_refused(self) -> None:
        shutil.rmtree(self.folder)
        with open(self.folder, "w", encoding="ascii"):
            self.assertIn("is not a folder", self.refusal())
        os.unlink(self.folder)

    def test_a_file_in_place_of_a_folder_within_is_refused(self) -> None:
        shutil.rmtree(os.path.join(self.folder, "v1"))
        with open(os.path.join(self.folder, "v1"), "w", encoding="ascii"):
            self.assertIn("is not a folder", self.refusal())

    def test_a_folder_within_that_is_a_symbolic_link_is_refused(self) -> None:
        """What is removed as ours must be ours."""
        elsewhere = tempfile.mkdtemp(prefix="elsewhere-")
        self.addCleanup(shutil.rmtree, elsewhere)
        os.mkdir(os.path.join(elsewhere, "empty"))
        tags = os.path.join(self.folder, "v1", "tags")
        os.rmdir(tags)
        os.symlink(elsewhere, tags)
        self.assertIn("is a symbolic link", self.refusal())
        self.assertTrue(os.path.exists(os.path.join(elsewhere, "empty")))

    def test_a_folder_that_can_not_be_written_is_refused(self) -> None:
        shutil.rmtree(os.path.join(self.folder, "v1"))
        for code in (errno.EROFS, errno.EACCES, errno.EIO):
            self.disk.fail("mkdir", code)
            self.assertIn(os.strerror(code), self.refusal())
        self.disk.mend()
        self.opened()

    def test_a_marker_that_can_not_be_written_is_refused(self) -> None:
        self.disk.fail("pwritev", errno.EROFS)
        self.assertIn("Read-only file system", self.refusal())
        self.disk.mend()
        self.opened()

    def test_a_disk_without_room_for_a_folder_or_the_marker_is_no_reason_not_to_start(self) -> None:
        """A node on a full disk serves what it has, and what it has not from upstream."""
        data = some_bytes(1000)
        shutil.rmtree(os.path.join(self.folder, "v1"))
        self.disk.fail("mkdir", errno.ENOSPC)
        self.disk.fail("open", errno.ENOSPC, where="running")
        self.store = self.opened()
        self.assertIsNone(self.store.problem)
        self.fails(self.store.open_partial(digest_of(data)), NoRoom)
        self.disk.fail("mkdir", errno.ENOSPC, times=0)
        partial = self.run_now(self.store.open_partial(digest_of(data)))
        fill_partial(partial, data)
        reservation = self.run_now(self.store.reserve(len(data)))
        # Nothing would tell after a power loss that it is not to be trusted.
        self.fails(self.store.commit(partial, reservation, len(data)), NoRoom)
        partial.discard()
        self.disk.mend()
        self.clock.advance(self.timeouts.marker)
        self.assertEqual(self.read_blob(self.put_blob(data)), data)
        self.assertTrue(self.after_kill().unclean)

    def test_a_lock_without_a_file_is_one_all_the_same(self) -> None:
        """Where the disk has no room for the file, the folder itself is locked."""
        path = os.path.join(self.folder, "lock")
        os.unlink(path)
        real = os.open

        def full(path: str, flags: int, mode: int = 0o777) -> int:
            if flags & os.O_CREAT and path.endswith("/lock"):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
            return real(path, flags, mode)

        self.patch(os, "open", full)
        lock = FolderLock(path)
        self.assertRaises(DataFolderError, FolderLock, path)
        self.patch(os, "open", real)
        lock.renew(Disk())
        self.assertTrue(os.path.exists(path))
        self.assertRaises(DataFolderError, FolderLock, path)
        lock.release()

    def test_what_is_removed_of_the_folder_behind_our_back_is_put_back(self) -> None:
        self.store = self.opened()
        for name in ("lock", "v1/running"):
            os.unlink(os.path.join(self.folder, name))
        shutil.rmtree(os.path.join(self.folder, "v1", "tmp"))
        self.clock.advance(self.timeouts.marker)
        self.assertIsNone(self.store.problem)
        self.put_manifest(b"{}")
        self.assertIn("in use by process", self.refusal())
        self.assertTrue(self.after_kill().unclean)

    def test_what_comes_back_with_its_file_system_is_accounted_for(self) -> None:
        """As if it was unmounted, looked for, and mounted again."""
        self.store = self.opened()
        blob, other = b"a blob", b"another"
        self.put_blob(blob)
        self.put_manifest(b"{}")
        tag = (Repository("docker.io", "library/app"), Tag("1"))
        entry = TagEntry(str(digest_of(b"{}")), "application/json", 2, self.wall())
        self.run_now(self.store.write_tag(*tag, entry))
        fill_partial(kept := self.run_now(self.store.open_partial(digest_of(other))), other)
        kept.keep()
        self.assert_accounts_are_right()
        home = os.path.join(self.folder, "v1")
        os.rename(home, f"{home}-away")
        self.clock.advance(self.timeouts.marker)
        self.assertEqual(self.store.usage().bytes, 0)
        self.put_blob(b"in the meantime")
        shutil.rmtree(home)
        os.rename(f"{home}-away", home)
        os.unlink(os.path.join(self.folder, "lock"))
        self.clock.advance(self.timeouts.marker)
        self.assertIsNone(self.store.problem)
        self.assert_accounts_are_right()
        self.assertEqual(self.read_blob(digest_of(blob)), blob)
        self.assertEqual(self.run_now(self.store.read_tag(*tag)), entry)
        self.assertIsNotNone(self.run_now(self.store.peek_partial(digest_of(other))))

    def test_a_tag_that_comes_back_keeps_its_image_if_it_is_pinned(self) -> None:
        """It was away when the node started."""
        self.store = self.opened()
        self.put_blob(layer := b"a layer")
        body = json.dumps({"layers": [{"digest": str(digest_of(layer))}]}).encode()
        entry = TagEntry(
            str(self.put_manifest(body)), "application/json", len(body), self.wall(), pinned=True
        )
        self.run_now(self.store.write_tag(Repository("docker.io", "library/app"), Tag("1"), entry))
        self.run_now(self.store.close())
        home = os.path.join(self.folder, "v1")
        os.rename(home, f"{home}-away")
        self.store = self.opened()
        self.assertEqual(self.store.pins, 0)
        shutil.rmtree(home)
        os.rename(f"{home}-away", home)
        os.unlink(os.path.join(self.folder, "lock"))
        self.clock.advance(self.timeouts.marker)
        self.assertEqual(self.store.pins, 1)
        for kind in (Kind.MANIFEST, Kind.BLOB):
            digest = digest_of(layer if kind is Kind.BLOB else body)
            self.assertTrue(self.store._accounts.ledger.pinned(key_of(kind, digest)))

    def test_what_is_being_written_or_is_none_of_ours_does_not_come_back(self) -> None:
        self.store = self.opened()
        writing = self.run_now(self.store.open_partial(digest_of(b"writing")))
        self.addCleanup(writing.discard)
        writing.write(0, [some_bytes(64 * KIB)])
        self.put_manifest(b"{}")
        home = os.path.join(self.folder, "v1")
        half = digest_of(b"half").hex
        for place in (f"manifests/sha256/{half[:2]}/{half}", f"segments/{half}/data"):
            os.makedirs(os.path.dirname(os.path.join(home, place)))
            with open(os.path.join(home, place), "wb") as file:
                file.write(b"half")
        for place in ("blobs/sha256/ab", "segments/README", "tags/docker.io/_tags/sub"):
            os.makedirs(os.path.join(home, place))
        with open(os.path.join(home, "blobs/sha256/ab", "lost+found"), "wb") as file:
            file.write(b"of somebody else")
        before = self.store.usage().bytes
        os.unlink(os.path.join(self.folder, "lock"))
        self.clock.advance(self.timeouts.marker)
        self.assertIsNone(self.store.problem)
        self.assertEqual(self.store.usage().bytes, before)

    def test_a_folder_that_another_process_took_meanwhile_is_told_of(self) -> None:
        self.store = self.opened()
        path = os.path.join(self.folder, "lock")
        os.unlink(path)
        other = FolderLock(path)
        self.clock.advance(self.timeouts.marker)
        assert self.store.problem is not None
        self.assertIn("in use by process", self.store.problem)
        other.release()
        self.clock.advance(self.timeouts.marker)
        self.assertIsNone(self.store.problem)

    def test_a_folder_of_another_user_is_refused(self) -> None:
        if os.getuid() != 0:
            raise unittest.SkipTest("not root")
        os.chmod(self.folder, 0o755)
        done = subprocess.run(
            [sys.executable, "-c", OPEN_AS_NOBODY, self.folder],
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertIn("DataFolderError data folder", done.stdout, done.stderr)
        self.assertIn("Permission denied", done.stdout)

    def test_a_missing_folder_is_made_with_its_parents(self) -> None:
        self.folder = os.path.join(self.folder, "one", "two")
        self.store = self.opened()
        self.put_blob(b"x")

    def test_a_start_that_is_given_up_leaves_no_lock(self) -> None:
        pool = HeldPool()
        opening = self.opening(pool)
        opening.cancel()
        self.failureResultOf(opening)
        pool.flush()
        self.opened()


OPEN_AS_NOBODY = """
import os, sys, time
from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock
from nodecache.store import Store
class Pool:
    def run(self, job):
        return execute(job)
os.setgid(65534); os.setuid(65534)
opening = Deferred.fromCoroutine(
    Store.open(sys.argv[1], Pool(), Clock(), time.time, print, cap=1, floor=0)
)
opening.addErrback(lambda reason: print(type(reason.value).__name__, reason.value))
"""


class ScanTests(StoreCase):
    def test_all_is_found_again_after_a_restart(self) -> None:
        blobs = self.put_blobs(3, 10 * KIB)
        manifest = self.put_manifest(b'{"a": 1}')
        repository, tag = Repository("docker.io", "library/alpine"), Tag("3.20")
        entry = TagEntry(str(manifest), "application/json", 8, self.wall())
        self.run_now(self.store.write_tag(repository, tag, entry))
        before = self.store.usage()
        self.reopened()
        after = attrs.evolve(self.store.usage(), disk_free=before.disk_free)
        self.assertEqual(after, before)
        self.assert_accounts_are_right()
        self.assertEqual([self.store.blob_size(each) for each in blobs], [10 * KIB] * 3)
        self.assertTrue(self.store.has_manifest(manifest))
        self.assertEqual(self.run_now(self.store.read_tag(repository, tag)), entry)
        self.assertFalse(self.store.unclean)

    def test_no_content_is_read(self) -> None:
        self.put_blobs(3, 10 * KIB)
        self.run_now(self.store.close())
        self.disk.calls.clear()
        self.store = self.opened()
        self.assertNotIn("pread", self.disk.calls)

    def test_a_blob_without_bytes_lost_them_and_goes(self) -> None:
        digest = self.put_blob(some_bytes(100))
        os.truncate(self.blob_path(digest), 0)
        self.reopened()
        self.assertIsNone(self.store.blob_size(digest))
        self.assertFalse(os.path.exists(self.blob_path(digest)))
        self.assertEqual([e.found_by for e in self.told("corrupt")], ["scan"])

    def test_files_with_names_that_no_blob_has_are_left_alone(self) -> None:
        digest = self.put_blob(some_bytes(100))
        folder = os.path.dirname(self.blob_path(digest))
        strangers = ["README", digest.hex.upper(), digest.hex + "0", f"f{digest.hex[1:-1]}g"]
        for name in strangers:
            with open(os.path.join(folder, name), "w", encoding="ascii") as file:
                file.write("?")
        os.mkdir(os.path.join(folder, "0" * 64))
        self.reopened()
        self.assertEqual(self.store.usage().blobs, 1)
        self.assertLessEqual(set(strangers), set(os.listdir(folder)))

    def test_drafts_are_removed(self) -> None:
        draft = os.path.join(self.folder, "v1", "tmp", "17")
        with open(draft, "w", encoding="ascii"):
            pass
        self.reopened()
        self.assertFalse(os.path.exists(draft))

    def test_a_manifest_without_its_media_type_goes_and_the_other_way_round(self) -> None:
        first, second = self.put_manifest(b"{}"), self.put_manifest(b"[]")
        folder = os.path.join(self.folder, "v1", "manifests", "sha256")
        os.unlink(os.path.join(folder, first.hex[:2], f"{first.hex}.type"))
        os.unlink(os.path.join(folder, second.hex[:2], second.hex))
        self.reopened()
        self.assertFalse(self.store.has_manifest(first))
        self.assertFalse(self.store.has_manifest(second))
        self.assertEqual(self.store.usage().bytes, 0)
        self.assert_accounts_are_right()

    def test_a_shard_that_can_not_be_read_is_told_and_the_rest_is_served(self) -> None:
        lost, kept = self.put_blob(some_bytes(100, 1)), self.put_blob(some_bytes(100, 2))
        self.assertNotEqual(lost.hex[:2], kept.hex[:2])
        self.disk.fail("open_folder", errno.EIO, where=f"sha256/{lost.hex[:2]}")
        self.reopened()
        self.assertIsNone(self.read_blob(lost))
        self.assertEqual(self.read_blob(kept), some_bytes(100, 2))
        (event,) = self.told("disk_failed")
        self.assertEqual(event.operation, "scan")
        self.assertIn(lost.hex[:2], event.reason)

    def test_a_time_of_use_in_the_future_counts_as_now(self) -> None:
        """The clock was wrong once; its blobs must not be the last to go for years."""
        old, new = self.put_blobs(2, 256 * KIB)
        os.utime(self.blob_path(old), (self.wall() + 10**8,) * 2)
        self.clock.advance(60)
        self.cap = 1 * MIB
        self.reopened()
        self.read_blob(new)
        self.put_blob(some_bytes(768 * KIB, 50))
        self.assertIsNone(self.store.blob_size(old))
        self.assertIsNotNone(self.store.blob_size(new))

    def test_folders_of_tags_that_became_empty_are_removed(self) -> None:
        repository = Repository("docker.io", "some/thing")
        entry = TagEntry(str(digest_of(b"")), "application/json", 8, self.wall())
        self.run_now(self.store.write_tag(repository, Tag("a"), entry))
        self.run_now(self.store.drop_tag(repository, Tag("a")))
        self.reopened()
        self.assertEqual(os.listdir(os.path.join(self.folder, "v1", "tags")), [])


class OtherFormatTests(StoreCase):
    def make_other(self, name: str, age: float) -> str:
        path = os.path.join(self.folder, name)
        os.makedirs(os.path.join(path, "blobs"))
        marker = os.path.join(path, "running")
        with open(marker, "w", encoding="ascii"):
            pass
        for each in (marker, path):
            os.utime(each, (self.wall() - age,) * 2)
        return path

    def test_one_long_unused_is_removed_and_others_are_left(self) -> None:
        old = self.make_other("v0", self.timeouts.format_life + 60)
        recent = self.make_other("v2", self.timeouts.format_life - 60)
        stranger = self.make_other("vault", 10**8)
        self.reopened()
        self.assertEqual(
            [os.path.exists(each) for each in (old, recent, stranger)], [False, True, True]
        )


class UncleanStopTests(StoreCase):
    """Killed: what was written shortly before is not trusted until it was hashed."""

    def damage(self, data: bytes) -> bytes:
        return bytes([data[0] ^ 1]) + data[1:]

    def test_a_clean_stop_leaves_no_marker_and_no_suspects(self) -> None:
        self.put_blob(some_bytes(100))
        self.run_now(self.store.close())
        self.assertFalse(os.path.exists(os.path.join(self.folder, "v1", "running")))
        self.disk.calls.clear()
        self.store = self.opened()
        self.assertFalse(self.store.unclean)
        self.assertNotIn("pread", self.disk.calls)

    def test_after_a_kill_the_start_is_known_to_follow_an_unclean_stop(self) -> None:
        self.after_kill()
        self.assertTrue(self.store.unclean)
        self.reopened()
        self.assertFalse(self.store.unclean)

    def test_a_blob_damaged_by_the_crash_is_never_served(self) -> None:
        data = some_bytes(5 * MIB)
        digest = self.put_blob(data)
        self.overwrite(digest, self.damage(data))
        self.after_kill()
        self.assertIsNone(self.read_blob(digest))
        self.assertEqual([e.found_by for e in self.told("corrupt")], ["scan"])
        self.assert_accounts_are_right()

    def test_a_sound_one_is_served_once_it_was_hashed(self) -> None:
        data = some_bytes(5 * MIB)
        digest = self.put_blob(data)
        self.after_kill()
        self.assertEqual(self.read_blob(digest), data)
        self.assertEqual(self.told("corrupt"), [])

    def test_what_is_older_than_the_marker_is_trusted(self) -> None:
        digest = self.put_blob(some_bytes(100))
        self.clock.pump([10] * 5)
        self.kill()
        self.disk.calls.clear()
        self.store = self.opened()
        # The marker is read, nothing else.
        self.assertEqual(self.disk.calls.count("pread"), 1)
        self.assertEqual(self.read_blob(digest), some_bytes(100))

    def opened_with_held_jobs(self) -> HeldPool:
        self.kill()
        pool = HeldPool()
        opening = self.opening(pool)
        while not opening.called:
            pool.step()
        self.store = self.successResultOf(opening)
        self.addCleanup(self.close_held, pool)
        return pool

    def close_held(self, pool: HeldPool) -> None:
        closing = self.begin(self.store.close())
        pool.flush()
        self.successResultOf(closing)

    def test_a_client_waits_for_the_check_of_its_suspect(self) -> None:
        data = some_bytes(9 * MIB)
        digest = self.put_blob(data)
        pool = self.opened_with_held_jobs()
        first = self.begin(self.store.open_blob(digest))
        second = self.begin(self.store.open_blob(digest))
        third = self.begin(self.store.open_blob(digest))
        pool.step()
        self.assertNoResult(first)
        third.cancel()
        self.failureResultOf(third)
        pool.flush()
        for each in (first, second):
            blob = self.successResultOf(each)
            assert blob is not None
            blob.close()

    def test_a_client_does_not_wait_longer_than_it_may(self) -> None:
        data = some_bytes(9 * MIB)
        digest = self.put_blob(data)
        pool = self.opened_with_held_jobs()
        asked = self.begin(self.store.open_blob(digest))
        self.clock.advance(self.timeouts.answer / 2)
        error = self.failureResultOf(asked).value
        self.assertIn("still being checked", str(error))
        pool.flush()
        later = self.begin(self.store.open_blob(digest))
        pool.flush()
        blob = self.successResultOf(later)
        assert blob is not None
        blob.close()

    def test_suspects_not_yet_hashed_stay_so_over_the_next_stop(self) -> None:
        data = some_bytes(100)
        digest = self.put_blob(data)
        self.overwrite(digest, self.damage(data))
        self.kill()
        # Nothing can be hashed while no file can be opened.
        self.disk.fail("open", errno.EMFILE, where="blobs")
        self.store = self.opened()
        self.clock.pump([10] * 20)
        self.after_kill()
        self.clock.pump([10] * 20)
        self.fails(self.store.open_blob(digest), StoreFailure)
        self.disk.mend()
        self.disk.fail("open", errno.EMFILE, where="blobs")
        self.reopened()
        self.assertTrue(self.store.unclean)
        self.disk.mend()
        self.assertIsNone(self.read_blob(digest))

    def test_an_unreadable_marker_makes_suspects_of_all(self) -> None:
        data = some_bytes(100)
        digest = self.put_blob(data)
        self.clock.pump([10] * 100)
        self.overwrite(digest, self.damage(data))
        self.kill()
        with open(os.path.join(self.folder, "v1", "running"), "wb") as file:
            file.write(bytes(20))
        self.store = self.opened()
        self.assertIsNone(self.read_blob(digest))

    def test_a_clock_set_back_makes_no_trusted_blob(self) -> None:
        self.clock.pump([10] * 3)
        self.offset -= 3600
        data = some_bytes(100)
        digest = self.put_blob(data)
        self.overwrite(digest, self.damage(data))
        self.after_kill()
        self.assertIsNone(self.read_blob(digest))

    def test_a_clock_set_forward_makes_no_trusted_blob(self) -> None:
        self.clock.pump([10] * 3)
        data = some_bytes(100)
        digest = self.put_blob(data)
        self.overwrite(digest, self.damage(data))
        self.offset += 3600
        self.clock.advance(10)
        self.after_kill()
        self.assertIsNone(self.read_blob(digest))

    def test_a_marker_that_can_not_be_rewritten_is_told_once(self) -> None:
        self.disk.fail("pwritev", errno.EIO, where="running")
        self.clock.pump([10] * 5)
        self.assertEqual([e.operation for e in self.told("disk_failed")], ["marker"])
        self.assertIn("Input/output error", str(self.store.problem))
        self.disk.mend()
        self.clock.advance(10)
        self.assertIsNone(self.store.problem)


class RecoveryTests(StoreCase):
    """Killed between the last byte and the rename."""

    def leave_whole(self, data: bytes) -> None:
        partial = self.run_now(self.store.open_partial(digest_of(data)))
        fill_partial(partial, data)
        self.kill()

    def test_a_whole_partial_becomes_a_blob_without_asking_anybody(self) -> None:
        data = some_bytes(17 * MIB)
        self.leave_whole(data)
        self.store = self.opened()
        self.assertEqual(self.read_blob(digest_of(data)), data)
        self.assertEqual(self.store.usage().reserved, 0)
        self.assert_accounts_are_right()

    def test_the_empty_blob_too(self) -> None:
        self.leave_whole(b"")
        self.store = self.opened()
        self.assertEqual(self.read_blob(digest_of(b"")), b"")

    def test_whoever_asks_meanwhile_waits(self) -> None:
        data = some_bytes(2 * MIB)
        self.leave_whole(data)
        pool = HeldPool()
        opening = self.opening(pool)
        while not opening.called:
            pool.step()
        self.store = self.successResultOf(opening)
        asked = self.begin(self.store.open_blob(digest_of(data)))
        other = self.begin(self.store.open_blob(digest_of(b"other")))
        self.assertNoResult(asked)
        self.assertIsNone(self.successResultOf(other))
        pool.flush()
        blob = self.successResultOf(asked)
        assert blob is not None
        blob.close()
        closing = self.begin(self.store.close())
        pool.flush()
        self.successResultOf(closing)

    def test_one_whose_digest_is_wrong_is_dropped(self) -> None:
        """Its checksums match: it was wrong when it came."""
        data = some_bytes(2 * MIB)
        partial = self.run_now(self.store.open_partial(digest_of(b"something else")))
        fill_partial(partial, data)
        self.kill()
        self.store = self.opened()
        self.assertIsNone(self.read_blob(digest_of(b"something else")))
        self.assertEqual([e.found_by for e in self.told("corrupt")], ["resume"])
        self.assertEqual(self.store.usage().bytes, 0)
        self.assert_accounts_are_right()

    def test_one_with_a_damaged_segment_is_kept_for_a_resume(self) -> None:
        data = some_bytes(9 * MIB)
        self.leave_whole(data)
        path = os.path.join(self.folder, "v1", "segments", digest_of(data).hex, "data")
        with open(path, "r+b") as file:
            file.write(b"\0")
        self.store = self.opened()
        self.assertIsNone(self.read_blob(digest_of(data)))
        partial = self.run_now(self.store.open_partial(digest_of(data)))
        self.assertEqual(partial.whole, (1,))
        partial.keep()
        self.assert_accounts_are_right()

    def test_one_that_does_not_fit_any_more_is_left(self) -> None:
        data = some_bytes(2 * MIB)
        self.leave_whole(data)
        self.cap = 1 * MIB
        self.store = self.opened()
        self.assertIsNone(self.read_blob(digest_of(data)))
        self.assertEqual([e.operation for e in self.told("disk_failed")], ["recover"])
        self.clock.advance(10)
        self.assertEqual(self.store.usage().bytes, 0)

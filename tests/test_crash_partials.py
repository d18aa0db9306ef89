"""What a start makes of the partials that a crash has left: read once, kept in their turn."""

from __future__ import annotations

import errno
import os
from collections import Counter

from nodecache.limits import KIB, MIB, SEGMENT
from tests.fakes_disk import FaultyDisk
from tests.store_case import StoreCase, digest_of, fill_partial, some_bytes, write_segment


class CountingDisk(FaultyDisk):
    """``read`` has the bytes that were read of each file, by its path at that time."""

    def __init__(self) -> None:
        super().__init__()
        self.read: Counter[str] = Counter()

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        data = super().pread(fd, size, offset)
        self.read[os.readlink(f"/proc/self/fd/{fd}")] += len(data)
        return data


class CrashedCase(StoreCase):
    cap = 20 * MIB

    def partial_folder(self, data: bytes) -> str:
        return os.path.join(self.folder, "v1", "segments", digest_of(data).hex)

    def leave(self, data: bytes, segments: tuple[int, ...], *, age: float = 0) -> None:
        """A partial of ``data`` with these segments, last written ``age`` seconds ago."""
        partial = self.run_now(self.store.open_partial(digest_of(data)))
        partial.set_total(len(data))
        for index in segments:
            write_segment(partial, data, index)
        for name in ("data", "journal"):
            os.utime(os.path.join(self.partial_folder(data), name), (self.wall() - age,) * 2)

    def damage(self, data: bytes) -> None:
        """Its first bytes, and its times stay."""
        path = os.path.join(self.partial_folder(data), "data")
        before = os.stat(path)
        with open(path, "r+b") as file:
            file.write(b"damaged")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    def is_there(self, data: bytes) -> bool:
        return os.path.exists(self.partial_folder(data))


class ReadOnceTests(CrashedCase):
    def test_a_whole_one_is_read_once_for_its_checksums_and_its_digest(self) -> None:
        data = some_bytes(SEGMENT + 3 * MIB + 5)
        partial = self.run_now(self.store.open_partial(digest_of(data)))
        fill_partial(partial, data)
        self.kill()
        self.disk = disk = CountingDisk()
        self.store = self.opened()
        self.assertEqual(self.store.blob_size(digest_of(data)), len(data))
        self.assertEqual(disk.read[os.path.join(self.partial_folder(data), "data")], len(data))
        self.assertEqual(disk.read[self.blob_path(digest_of(data))], 0)
        self.assertEqual(self.read_blob(digest_of(data)), data)
        self.assertEqual(disk.read[self.blob_path(digest_of(data))], 0)

    def test_one_that_lacks_a_segment_is_not_read_before_it_is_wanted(self) -> None:
        data = some_bytes(SEGMENT + 5)
        self.leave(data, (1,))
        self.kill()
        self.disk = disk = CountingDisk()
        self.store = self.opened()
        self.assertEqual(disk.read[os.path.join(self.partial_folder(data), "data")], 0)

    def test_of_bytes_whose_order_is_wrong_the_digest_tells(self) -> None:
        """Each segment is what the journal says; taken together they are another blob."""
        data = some_bytes(SEGMENT) + some_bytes(SEGMENT, 1)
        swapped = data[SEGMENT:] + data[:SEGMENT]
        partial = self.run_now(self.store.open_partial(digest_of(data)))
        fill_partial(partial, swapped)
        self.kill()
        self.store = self.opened()
        self.assertIsNone(self.store.blob_size(digest_of(data)))
        self.assertFalse(self.is_there(data))
        self.assertEqual([event.found_by for event in self.told("corrupt")], ["resume"])
        self.assert_accounts_are_right()


class TurnTests(CrashedCase):
    """Of those that nobody fills, only the youngest may be above their share of the cap."""

    older = some_bytes(SEGMENT + 1 * MIB, 1)
    younger = some_bytes(SEGMENT + 100, 2)

    def test_a_look_at_an_older_one_does_not_let_the_youngest_go(self) -> None:
        """The older was whole, and lost a page: it was looked at, and it is the one that goes."""
        self.leave(self.older, (0, 1), age=600)
        self.leave(self.younger, (1,), age=60)
        self.damage(self.older)
        self.kill()
        self.store = self.opened()
        self.clock.pump([self.timeouts.marker] * 3)
        self.assertEqual(
            [self.is_there(each) for each in (self.older, self.younger)], [False, True]
        )
        self.assertEqual(
            [event.digest for event in self.told("evict")], [str(digest_of(self.older))]
        )
        partial = self.run_now(self.store.open_partial(digest_of(self.younger)))
        self.assertEqual(partial.whole, (1,))
        partial.keep()
        self.assert_accounts_are_right()

    def test_starts_do_not_keep_one_that_nobody_asks_for(self) -> None:
        data = self.older
        self.leave(data, (0, 1), age=self.timeouts.partial_life - 60)
        self.damage(data)
        self.after_kill()
        self.assertTrue(self.is_there(data))
        self.clock.advance(61)
        self.after_kill()
        self.assertFalse(self.is_there(data))
        self.assert_accounts_are_right()

    def test_one_of_which_nothing_is_right_goes_at_once(self) -> None:
        """Else each start would read it, and tell of it, again."""
        data = some_bytes(64 * KIB)
        self.leave(data, (0,))
        self.damage(data)
        self.after_kill()
        self.assertFalse(self.is_there(data))
        self.assertEqual([event.kind for event in self.told("corrupt")], ["segment"])
        self.assertEqual(self.store.usage().partials, 0)
        self.assert_accounts_are_right()

    def test_one_that_can_not_be_opened_for_the_look_is_as_old_as_it_was(self) -> None:
        self.leave(self.older, (0, 1), age=600)
        self.leave(self.younger, (1,), age=60)
        self.kill()
        self.disk.fail("open", errno.EMFILE, where=f"{digest_of(self.older).hex}/data")
        self.store = self.opened()
        self.clock.pump([self.timeouts.marker] * 3)
        self.assertEqual(
            [self.is_there(each) for each in (self.older, self.younger)], [False, True]
        )
        self.assertEqual([event.operation for event in self.told("disk_failed")], ["recover"])
        self.assert_accounts_are_right()


class LeftoverTests(CrashedCase):
    """Killed between the rename of a commit and its last step, or in the middle of a removal."""

    data = some_bytes(SEGMENT + 100)

    def left_without(self, *names: str) -> None:
        self.leave(self.data, (0,))
        for name in names:
            os.unlink(os.path.join(self.partial_folder(self.data), name))
        self.after_kill()

    def assert_nothing_is_left(self) -> None:
        self.assertFalse(self.is_there(self.data))
        self.assertEqual(self.store.usage().partials, 0)
        self.assertEqual(self.told("disk_failed"), [])
        self.assert_accounts_are_right()
        partial = self.run_now(self.store.open_partial(digest_of(self.data)))
        self.assertEqual((partial.total, partial.whole), (None, ()))
        partial.discard()

    def test_a_journal_without_its_data_goes_at_the_start(self) -> None:
        self.left_without("data")
        self.assert_nothing_is_left()

    def test_data_without_their_journal_go_at_the_start(self) -> None:
        self.left_without("journal")
        self.assert_nothing_is_left()

    def test_a_folder_without_either_goes_at_the_start(self) -> None:
        self.left_without("data", "journal")
        self.assert_nothing_is_left()

    def test_of_a_commit_that_was_cut_the_blob_stays_and_the_journal_goes(self) -> None:
        digest = digest_of(self.data)
        partial = self.run_now(self.store.open_partial(digest))
        fill_partial(partial, self.data)
        os.makedirs(os.path.dirname(self.blob_path(digest)))
        os.rename(os.path.join(self.partial_folder(self.data), "data"), self.blob_path(digest))
        self.after_kill()
        self.assertFalse(self.is_there(self.data))
        self.assertEqual(self.read_blob(digest), self.data)
        self.assert_accounts_are_right()

"""The disk is told to begin with what was written, and nobody waits for that."""

from __future__ import annotations

import errno

from twisted.internet.defer import Deferred, DeferredLock
from twisted.trial.unittest import SynchronousTestCase

from nodecache.failures import StoreFailure
from nodecache.fill import writeback
from nodecache.fill.writeback import STEP, Writeback
from nodecache.store import Partial
from tests.fakes_disk import FaultyDisk, HeldPool
from tests.flight_case import SEGMENT, FlightCase, M
from tests.store_case import digest_of


class Spans(FaultyDisk):
    def __init__(self) -> None:
        super().__init__()
        self.begun: list[tuple[int, int]] = []

    def begin_writing(self, fd: int, start: int, size: int) -> None:
        super().begin_writing(fd, start, size)
        self.begun.append((start, start + size))


class WritebackTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.disk = Spans()
        self.partial = Partial(self.disk, digest_of(b""), self.mktemp())
        self.addCleanup(self.partial.discard)
        self.pool = HeldPool()
        self.turn = DeferredLock()

    def made(self) -> Writeback:
        return Writeback(self.partial, self.pool, self.turn)

    def closed(self, of: Writeback) -> bool:
        closing = Deferred.fromCoroutine(of.close())
        self.pool.flush()
        self.successResultOf(closing)
        return True

    def test_it_is_begun_in_steps(self) -> None:
        mine = self.made()
        for stop in (STEP - 1, STEP, STEP + 5, 2 * STEP - 1, 3 * STEP):
            mine.written(stop)
            self.pool.flush()
        self.assertEqual(self.disk.begun, [(0, STEP), (STEP, 3 * STEP)])

    def test_while_the_disk_is_behind_no_other_is_begun_on_the_node(self) -> None:
        mine, other = self.made(), self.made()
        mine.written(STEP)
        for each in (mine, other):
            each.written(2 * STEP)
        self.assertEqual(len(self.pool.held), 1)
        self.pool.flush()
        other.written(3 * STEP)
        self.pool.flush()
        self.assertEqual(self.disk.begun, [(0, STEP), (0, 3 * STEP)])

    def test_the_end_waits_for_what_is_under_way(self) -> None:
        mine = self.made()
        mine.written(STEP)
        closing = Deferred.fromCoroutine(mine.close())
        self.assertNoResult(closing)
        self.pool.flush()
        self.successResultOf(closing)

    def test_a_disk_that_can_not_is_no_failure(self) -> None:
        for code in (errno.EIO, errno.ENOSYS, errno.ENOSPC, errno.EINVAL):
            self.disk.fail("begin_writing", code)
            mine = self.made()
            mine.written(STEP)
            self.closed(mine)
        self.assertFalse(self.turn.locked)

    def test_threads_that_are_stopped_are_no_failure(self) -> None:
        mine = self.made()
        mine.written(STEP)
        _, done = self.pool.held.pop()
        done.errback(StoreFailure("the disk threads are stopped"))
        self.closed(mine)
        self.assertFalse(self.turn.locked)


class FillTests(FlightCase):
    def test_a_fill_begins_it_and_is_stored_whatever_comes_of_it(self) -> None:
        self.patch(writeback, "STEP", 4 * M)
        for code in (0, errno.EIO):
            if code:
                self.disk.fail("begin_writing", code)
            self.disk.calls.clear()
            digest, data = self.blob(4 * SEGMENT, seed=code)
            self.flying(digest)
            self.finish()
            self.assertEqual(self.stored(digest), data)
            begun = self.disk.calls.count("begin_writing")
            self.assertGreaterEqual(begun, 4)
            self.assertLessEqual(begun, 8)
            self.assertLess(self.disk.calls.index("begin_writing"), self.disk.calls.index("rename"))

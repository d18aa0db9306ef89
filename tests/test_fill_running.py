"""The digest of a blob that is arriving, and what may wait for it."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from nodecache.byteranges import RangeSet, Span
from nodecache.failures import StoreFailure
from nodecache.fill.assembly import Piece
from nodecache.fill.pressure import Pressure
from nodecache.fill.running import RunningDigest
from nodecache.limits import KIB, MIB
from nodecache.store import Disk, Partial
from tests.fakes_disk import HeldPool
from tests.store_case import digest_of, some_bytes


@attrs.define
class Told:
    """What it was told, and what it asks for: to catch up with ``present``."""

    present: RangeSet = attrs.Factory(RangeSet)
    running: RunningDigest | None = None
    progress: list[int] = attrs.Factory(list)
    errors: list[Exception] = attrs.Factory(list)

    def hashed(self) -> None:
        assert self.running is not None
        self.progress.append(self.running.hashed)
        self.catch_up()

    def broken(self, error: Exception) -> None:
        self.errors.append(error)

    def catch_up(self) -> None:
        assert self.running is not None
        self.running.catch_up(self.present.covered_from(self.running.front))


class Case(SynchronousTestCase):
    reread = 2 * MIB

    def setUp(self) -> None:
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        self.partial = Partial(Disk(), digest_of(b""), f"{self.folder}/it")
        self.addCleanup(self.partial.keep)
        self.begin()

    def begin(self) -> None:
        self.pool, self.told = HeldPool(), Told()
        self.running = RunningDigest(self.partial, self.pool, self.reread, self.told)
        self.told.running = self.running

    def written(self, data: bytes, span: Span) -> None:
        """As the writer tells it of a piece that is on disk."""
        self.partial.write(span.start, [data[span.start : span.stop]])
        self.told.present.add(span)
        part = data[span.start : span.stop]
        half = len(part) // 2
        self.running.take(Piece(span.start, [part[:half], part[half:]], span.size))
        self.told.catch_up()

    def assert_digest(self, data: bytes) -> None:
        self.assertEqual(self.running.hashed, len(data))
        self.assertEqual(self.running.backlog, 0)
        self.assertEqual(self.running.hexdigest(), hashlib.sha256(data).hexdigest())
        self.assertEqual(self.told.errors, [])


class InOrder(Case):
    def test_what_follows_is_hashed_from_memory_and_counts_as_waiting_until_then(self) -> None:
        data = some_bytes(3 * MIB)
        for start in range(0, len(data), MIB):
            self.written(data, Span(start, start + MIB))
        self.assertEqual((self.running.front, self.running.hashed), (3 * MIB, 0))
        os.ftruncate(self.partial.fd, 0)  # so that nothing is read again
        for left in (2 * MIB, MIB, 0):
            self.assertEqual(self.running.backlog, left + MIB)
            self.pool.step()
            self.assertEqual(self.running.backlog, left)
        self.assertEqual(self.told.progress, [MIB, 2 * MIB, 3 * MIB])
        self.assert_digest(data)

    def test_what_came_out_of_order_is_read_again_once_the_gap_is_closed_a_part_at_a_time(
        self,
    ) -> None:
        data = some_bytes(6 * MIB)
        self.written(data, Span(MIB, 6 * MIB))
        self.assertEqual((self.running.front, self.pool.held), (0, []))
        self.written(data, Span(0, MIB))
        self.assertEqual(self.running.backlog, MIB)
        self.pool.flush()
        self.assertEqual(self.told.progress, [MIB, 3 * MIB, 5 * MIB, 6 * MIB])
        self.assert_digest(data)

    def test_what_comes_behind_what_is_being_read_again_is_taken_from_memory(self) -> None:
        data = some_bytes(4 * MIB)
        self.written(data, Span(MIB, 2 * MIB))
        self.written(data, Span(0, MIB))
        self.written(data, Span(2 * MIB, 4 * MIB))
        self.assertEqual(self.running.backlog, 3 * MIB)
        self.pool.flush()
        self.assert_digest(data)


class Ends(Case):
    def test_a_file_that_is_shorter_than_was_written_breaks_the_fill(self) -> None:
        data = some_bytes(2 * MIB)
        self.written(data, Span(MIB, 2 * MIB))
        self.written(data, Span(0, MIB))
        os.ftruncate(self.partial.fd, MIB)
        self.pool.flush()
        (error,) = self.told.errors
        self.assertIsInstance(error, StoreFailure)
        self.assertIn("shorter", str(error))

    def test_a_file_that_can_not_be_read_breaks_the_fill(self) -> None:
        data = some_bytes(2 * MIB)
        self.written(data, Span(MIB, 2 * MIB))
        self.written(data, Span(0, MIB))
        with open(os.devnull, "wb") as write_only:
            good, self.partial.fd = self.partial.fd, write_only.fileno()
            self.pool.flush()
            self.partial.fd = good
        (error,) = self.told.errors
        self.assertIsInstance(error, StoreFailure)
        self.assertIn("Bad file descriptor", str(error))

    def test_closing_waits_for_what_was_handed_in_and_tells_nothing_more(self) -> None:
        data = some_bytes(3 * MIB)
        self.written(data, Span(0, MIB))
        self.written(data, Span(MIB, 2 * MIB))
        closing = Deferred.fromCoroutine(self.running.close())
        self.pool.step()
        self.assertNoResult(closing)
        self.written(data, Span(2 * MIB, 3 * MIB))
        self.pool.flush()
        self.assertIsNone(self.successResultOf(closing))
        self.assertEqual(self.told.progress, [])

    def test_closing_when_nothing_is_under_way_waits_for_nothing(self) -> None:
        self.assertIsNone(self.successResultOf(Deferred.fromCoroutine(self.running.close())))


class Any(Case):
    reread = 700

    @given(st.data())
    def test_pieces_in_any_order_give_the_digest(self, draw: st.DataObject) -> None:
        self.begin()
        os.ftruncate(self.partial.fd, 0)
        size = draw.draw(st.integers(1, 4000), label="size")
        cuts = draw.draw(st.sets(st.integers(1, size), max_size=12), label="cuts")
        ends = sorted(cuts | {size})
        spans = [Span(a, b) for a, b in zip([0, *ends], ends, strict=False)]
        data = some_bytes(size)
        for span in draw.draw(st.permutations(spans), label="order"):
            self.written(data, span)
            for _ in range(draw.draw(st.integers(0, 2), label="jobs")):
                self.pool.step()
            self.assertLessEqual(self.running.hashed, self.told.present.covered_from(0))
        self.pool.flush()
        self.assert_digest(data)


@pytest.mark.parametrize(("fills", "share"), [(1, 5), (2, 5), (6, 5), (8, 4), (64, 0.5)])
def test_many_fills_share_what_one_alone_may_have_in_line(fills: int, share: float) -> None:
    pressure = Pressure(5 * MIB, 32 * MIB)
    for _ in range(fills):
        pressure.enter()
    assert pressure.share == share * MIB
    for _ in range(fills - 1):
        pressure.leave()
    assert pressure.share == 5 * MIB


def test_sources_pause_at_the_share_and_go_on_under_two_thirds_of_it() -> None:
    pressure = Pressure(300, 1000)
    assert [pressure.reached(size, paused=False) for size in (299, 300)] == [False, True]
    assert [pressure.reached(size, paused=True) for size in (199, 200)] == [False, True]


def test_a_fill_may_always_have_something_in_line() -> None:
    pressure = Pressure(64 * KIB, 3)
    for _ in range(10):
        pressure.enter()
    assert pressure.share == 1

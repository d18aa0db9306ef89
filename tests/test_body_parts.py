"""The watch for stalled clients, the held tail, and reads from the page cache."""

from __future__ import annotations

import os
import tempfile

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nodecache.body import StallWatch
from nodecache.body.passthrough import HeldTail
from nodecache.body.reading import read_cached


class StallWatchTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.sample: object | None = (0, 100)
        self.stalls: list[float] = []
        self.watch = StallWatch(
            self.clock, 80.0, lambda: self.sample, lambda: self.stalls.append(self.clock.seconds())
        )

    def test_nothing_moving_for_the_limit_is_a_stall_told_once(self) -> None:
        self.watch.start()
        self.clock.pump([1.0] * 80)
        self.assertEqual(self.stalls, [])
        self.clock.pump([1.0] * 200)
        self.assertEqual(len(self.stalls), 1)
        self.assertLessEqual(self.stalls[0], 100)

    def test_bytes_that_leave_the_kernels_buffer_are_progress(self) -> None:
        """The position alone stands still for minutes at a slow client."""
        self.watch.start()
        for unsent in range(3_000_000, 0, -20_000):
            self.sample = (5_000_000, unsent)
            self.clock.advance(5)
        self.assertEqual(self.stalls, [])

    def test_a_client_with_nothing_to_take_is_not_stalled(self) -> None:
        self.sample = None
        self.watch.start()
        self.clock.pump([1.0] * 1000)
        self.assertEqual(self.stalls, [])
        self.sample = (1, 1)
        self.clock.pump([1.0] * 100)
        self.assertEqual(len(self.stalls), 1)

    def test_a_process_that_stood_still_begins_to_count_anew(self) -> None:
        self.watch.start()
        self.clock.pump([1.0] * 70)
        self.clock.advance(1000)
        self.clock.pump([1.0] * 79)
        self.assertEqual(self.stalls, [])
        self.clock.pump([1.0] * 30)
        self.assertEqual(len(self.stalls), 1)

    def test_a_stopped_watch_holds_no_timer_and_tells_nothing(self) -> None:
        self.watch.start()
        self.clock.advance(10)
        self.watch.stop()
        self.watch.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class HeldTailTests(SynchronousTestCase):
    @given(st.lists(st.binary(max_size=50), max_size=40), st.integers(1, 100))
    @settings(max_examples=200, deadline=None)
    def test_all_but_the_last_bytes_go_in_order_and_the_rest_at_the_end(
        self, chunks: list[bytes], size: int
    ) -> None:
        tail = HeldTail(size)
        out = b""
        whole = b""
        for chunk in chunks:
            out += tail.feed(chunk)
            whole += chunk
            self.assertEqual(out, whole[: max(0, len(whole) - size)])
        self.assertEqual(out + tail.rest(), whole)
        self.assertEqual(tail.rest(), b"")


class ReadCachedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.file = tempfile.TemporaryFile()  # noqa: SIM115  # closed by the clean-up
        self.addCleanup(self.file.close)
        self.file.write(b"0123456789")
        self.file.flush()

    def test_what_was_just_written_is_at_hand(self) -> None:
        fd = self.file.fileno()
        found = read_cached(fd, 4, 3)
        if found is None:  # a file system that can not tell
            found = os.pread(fd, 4, 3)
        self.assertEqual(found, b"3456")

    def test_behind_the_end_there_is_nothing_and_that_is_no_wait_for_the_disk(self) -> None:
        self.assertIn(read_cached(self.file.fileno(), 4, 10), (b"", None))
        self.assertIn(read_cached(self.file.fileno(), 4, 8), (b"89", None))

    def test_where_the_disk_must_be_waited_for_a_thread_is_asked_for(self) -> None:
        read_end, write_end = os.pipe()
        self.addCleanup(os.close, read_end)
        self.addCleanup(os.close, write_end)
        self.assertIsNone(read_cached(read_end, 4, 0))

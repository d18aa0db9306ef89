"""The disk under a fill: slow, full, broken."""

from __future__ import annotations

import errno
from collections.abc import Sequence

from twisted.internet.defer import Deferred

from nodecache.byteranges import Span
from nodecache.events import Coalesced
from nodecache.failures import NoRoom, StoreFailure, UpstreamFailure, UpstreamKind
from nodecache.fill import narrow
from nodecache.limits import KIB
from nodecache.reference import Digest
from tests.fakes_source import FakeBody
from tests.flight_case import SEGMENT, Client, FlightCase, M, small_limits

#: What comes at a time.
READ = 8 * KIB


class Slow(FlightCase):
    def setUp(self) -> None:
        super().setUp()
        self.hold_jobs()

    def test_the_source_is_paused_when_too_much_waits_and_goes_on_under_two_thirds(self) -> None:
        digest, data = self.blob(2 * SEGMENT)
        starting = self.starting(digest)
        self.run_jobs()
        present = self.successResultOf(starting).progress.present
        body = self.body
        body.send()
        self.assertTrue(body.paused)
        self.assertEqual(body.sent, self.limits.disk_queue)
        while body.paused:
            waits = body.sent - min(present.total(), self.hashed(digest))
            self.assertGreaterEqual(waits, self.limits.disk_queue * 2 // 3)
            self.assertTrue(self.held.step())
        waits = body.sent - min(present.total(), self.hashed(digest))
        self.assertLess(waits, self.limits.disk_queue * 2 // 3)
        self.finish_with_jobs()
        self.assertEqual(self.stored(digest), data)

    def hashed(self, digest: Digest) -> int:
        course = self.fills._fills[digest]._course
        assert course is not None
        return course.digest.hashed

    def test_a_body_that_begins_while_too_much_waits_is_paused_from_the_start(self) -> None:
        digest, _ = self.blob(2 * SEGMENT)
        self.starting(digest)
        self.run_jobs()
        self.body.send()
        self.body.cut()
        self.assertEqual((self.body.sent, self.body.paused), (0, True))
        self.run_jobs()
        self.assertFalse(self.body.paused)

    def test_a_reader_sees_only_what_is_written(self) -> None:
        digest, data = self.blob(2 * M)
        starting = self.starting(digest)
        self.run_jobs()
        client = self.client(self.successResultOf(starting))
        self.body.send(M)
        self.turn(1)
        self.assertEqual(client.at, 0)
        self.run_jobs()
        self.assertEqual(bytes(client.got), data[:M])

    def test_one_write_is_under_way_and_one_behind_it_and_none_is_bigger_than_wanted(self) -> None:
        digest, _ = self.blob(2 * M)
        self.starting(digest)
        self.run_jobs()
        self.body.send()
        self.turn(1)
        client = self.client(self.fills.active()[0])
        before = -1
        while client.at > before:
            before = client.at
            writes = [job for job, _ in self.held.held if "Writer" in job.__qualname__]
            self.assertEqual(len(writes), 2)
            self.held.step()
            while self.held.held and self.held.held[0][0] is not writes[1]:
                self.held.step()
            self.turn()
            self.assertLessEqual(client.at - before, self.limits.job_bytes + 1)
            if client.at > M:
                break
        self.assertGreater(client.at, M)

    def failing_in_the_middle(self, code: int) -> tuple[bytes, bytes]:
        """What a client got, and the blob; a job was handed in behind the one that fails."""
        digest, data = self.blob(4 * M)
        starting = self.starting(digest)
        self.run_jobs()
        client = self.client(self.successResultOf(starting))
        self.body.send(3 * M)
        self.turn(1)
        self.assertEqual(len(self.held.held), 2)
        self.disk.calls.clear()
        self.disk.fail("pwritev", code, times=1)
        self.held.step()
        self.held.step()
        self.assertEqual(self.disk.calls.count("pwritev"), 1)
        self.finish_with_jobs()
        self.turn(self.timeouts.full_retry)
        self.finish_with_jobs()
        return bytes(client.got), data

    def test_behind_a_job_that_met_a_full_disk_none_is_run_and_all_is_sent_in_the_end(self) -> None:
        got, data = self.failing_in_the_middle(errno.ENOSPC)
        self.assertEqual(got, data)

    def test_behind_a_job_that_met_a_broken_disk_none_is_run(self) -> None:
        got, _ = self.failing_in_the_middle(errno.EIO)
        self.assertEqual(got, b"")

    def test_stopping_waits_for_the_job_under_way(self) -> None:
        digest, _ = self.blob(2 * SEGMENT)
        self.starting(digest)
        self.run_jobs()
        self.body.send(M)
        self.turn(1)
        stopped = Deferred.fromCoroutine(self.fills.stop())
        self.turn()
        self.assertNoResult(stopped)
        self.run_jobs()
        self.successResultOf(stopped)
        self.assertEqual(self.origin.open_bodies, [])


class Broken(FlightCase):
    def test_a_disk_error_in_the_middle_fails_the_flight(self) -> None:
        digest, _ = self.blob(5 * M)
        client = self.client(self.flying(digest))
        self.body.send(M)
        self.settle()
        self.disk.fail("pwritev", errno.EIO)
        self.body.send(M)
        self.settle()
        self.assertEqual(client.outcome, "broken")
        self.assertIsInstance(client.cause, StoreFailure)
        self.assertNotIsInstance(client.cause, NoRoom)
        self.assertEqual(self.outcome(), "failed")
        self.assertEqual(len(self.told("disk_failed")), 1)
        self.nothing_is_left()

    def test_a_partial_that_can_not_be_opened(self) -> None:
        digest, _ = self.blob(5 * M)
        self.disk.fail("open", errno.EROFS)
        self.failureResultOf(self.starting(digest), StoreFailure)
        self.assertEqual(self.origin.asked, [])
        self.turn()
        self.nothing_is_left()

    def two_while_one_meets(self, code: int) -> tuple[FakeBody, Digest, bytes]:
        """Two fills under way, of which one could not write; the other has not tried since."""
        [first, _], [digest, data] = self.blob(5 * M, seed=1), self.blob(5 * M, seed=2)
        self.client(self.flying(first))
        self.client(self.flying(digest))
        of_first, body = self.origin.bodies
        body.send(M)
        self.settle()
        self.disk.fail("pwritev", code)
        of_first.send(M)
        self.settle()
        return body, digest, data

    def test_a_fill_that_will_be_broken_off_is_not_joined(self) -> None:
        body, digest, _ = self.two_while_one_meets(errno.EROFS)
        cause = self.failureResultOf(self.starting(digest), StoreFailure)
        self.assertIn("a moment ago", str(cause.value))
        self.assertFalse([event for event in self.events if isinstance(event, Coalesced)])
        # It still may go well: the disk is asked again in a while.
        self.disk.mend()
        self.clock.pump([1.0] * 30)
        client = self.client(self.flying(digest))
        body.finish()
        self.finish()
        self.assertEqual(client.outcome, "complete")
        self.nothing_is_left()

    def test_beside_a_full_disk_it_is_joined(self) -> None:
        _, digest, data = self.two_while_one_meets(errno.ENOSPC)
        client = self.client(self.flying(digest))
        self.disk.mend()
        self.finish()
        self.assertEqual(bytes(client.got), data)

    def test_a_blob_that_can_not_be_committed_still_reaches_its_clients(self) -> None:
        digest, data = self.blob(5 * M)
        client = self.client(self.flying(digest))
        self.disk.fail("rename", errno.EIO)
        self.finish()
        self.assertEqual(bytes(client.got), data)
        self.assertEqual(client.outcome, "complete")
        self.assertEqual(self.outcome(), "failed")
        self.disk.mend()
        self.assertIsNone(self.stored(digest))
        self.nothing_is_left()

    def test_a_journal_that_can_not_be_written_for_want_of_room_does_not_matter(self) -> None:
        digest, data = self.blob(2 * SEGMENT)
        self.disk.fail("append", errno.ENOSPC)
        client = self.client(self.flying(digest))
        self.finish()
        self.assertEqual(bytes(client.got), data)
        self.assertEqual(self.stored(digest), data)


class FullDisk(FlightCase):
    """The disk is full in the middle of a fill: others have taken what was reserved."""

    limits = small_limits(narrow_window=1 * M, job_bytes=2 * READ, job_wanted=READ)

    def fill_up(self, room: int) -> None:
        """From now on the disk takes ``room`` bytes of data in all."""
        self.room = room
        real = self.disk.pwritev

        def pwritev(fd: int, chunks: Sequence[bytes | memoryview], offset: int) -> int:
            size = sum(len(chunk) for chunk in chunks)
            if self.used() + size > self.room:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(fd, chunks, offset)

        self.disk.pwritev = pwritev  # type: ignore[method-assign]

    def used(self) -> int:
        return self.on_disk()

    def flow(self, times: int = 400) -> None:
        """Let bytes come in small reads, and time go on."""
        for _ in range(times):
            for body in self.origin.open_bodies:
                if body.delivering and not body.paused:
                    body.send(READ)
                if not body.left:
                    body.finish()
            self.settle()


class Full(FullDisk):
    def test_readers_get_it_whole_and_it_is_not_kept(self) -> None:
        digest, data = self.blob(2 * SEGMENT)
        self.fill_up(5 * M)
        client = self.client(self.flying(digest))
        most = 0
        for _ in range(400):
            self.flow(1)
            most = max(most, self.used())
        self.assertEqual(client.outcome, "complete")
        self.assertEqual(bytes(client.got), data)
        self.assertLessEqual(most, 5 * M)
        self.assertIsNone(self.stored(digest))
        self.assertEqual(self.outcome(), "discarded")
        self.assertEqual(self.used(), 0)
        self.nothing_is_left()

    def test_the_fill_waits_for_the_slowest_reader(self) -> None:
        digest, data = self.blob(2 * SEGMENT)
        self.fill_up(4 * M)
        flight = self.flying(digest)
        quick, slow = self.client(flight), self.client(flight, most=100)
        slow.read()
        slow.pause()
        self.flow()
        self.assertLessEqual(quick.at, 4 * M)
        self.assertTrue(self.body.paused)
        stuck = quick.at
        self.turn(10 * self.timeouts.stall_total)
        self.assertIsNone(quick.outcome)
        slow.most = 1 << 30
        slow.go()
        self.flow()
        self.assertGreater(quick.at, stuck)
        self.assertEqual((bytes(quick.got), bytes(slow.got)), (data, data))
        self.nothing_is_left()

    def test_it_keeps_no_more_than_a_window_ahead_of_the_slowest(self) -> None:
        digest, data = self.blob(2 * SEGMENT)
        self.fill_up(4 * M)
        client = self.client(self.flying(digest))
        self.flow(70)
        self.room = 1 << 40
        client.pause()
        at = client.at
        self.flow()
        flight = self.fills.active()[0]
        front = flight.progress.present.covered_from(at)
        self.assertLessEqual(front, at + M)
        self.patch(narrow, "_ALIGNED", 1 << 30)  # nothing to punch: the window alone moves on
        client.most = 2 * READ
        client.read()
        self.flow(1)
        self.assertGreater(flight.progress.present.covered_from(at), front)
        client.most = 1 << 30
        client.go()
        self.flow()
        self.assertEqual(bytes(client.got), data)

    def test_nobody_new_may_join(self) -> None:
        digest, _ = self.blob(2 * SEGMENT)
        self.fill_up(2 * M)
        flight = self.flying(digest)
        self.client(flight)
        self.flow(50)
        self.assertIsNone(self.fills.get(digest))
        self.failureResultOf(self.starting(digest), NoRoom)
        with self.assertRaises(NoRoom):
            flight.reader()

    def test_without_readers_it_is_given_up(self) -> None:
        digest, _ = self.blob(2 * SEGMENT)
        self.fill_up(2 * M)
        self.flying(digest)
        self.flow()
        self.assertEqual(self.outcome(), "discarded")
        self.assertEqual(self.used(), 0)
        self.nothing_is_left()

    def test_it_is_given_up_when_its_last_reader_leaves(self) -> None:
        digest, _ = self.blob(2 * SEGMENT)
        self.fill_up(2 * M)
        client = self.client(self.flying(digest))
        self.flow(50)
        client.leave()
        self.turn()
        self.assertEqual(self.outcome(), "discarded")
        self.nothing_is_left()

    def test_wrong_bytes_are_found_all_the_same(self) -> None:
        digest, data = self.blob(2 * SEGMENT)
        self.origin.blobs[digest] = data[:-1] + b"!"
        self.fill_up(3 * M)
        client = self.client(self.flying(digest))
        self.flow()
        self.assertEqual(client.outcome, "broken")
        self.assertEqual(client.at, len(data) - self.limits.tail)
        self.assertEqual(self.outcome(), "mismatch")
        self.nothing_is_left()

    def test_a_cut_is_resumed_where_it_was(self) -> None:
        digest, data = self.blob(2 * SEGMENT)
        self.fill_up(3 * M)
        client = self.client(self.flying(digest))
        self.flow(80)
        self.body.cut()
        self.flow()
        self.assertEqual(bytes(client.got), data)
        self.nothing_is_left()

    def test_a_stream_goes_on_through_the_window(self) -> None:
        digest, data = self.blob(2 * SEGMENT)
        self.origin.ranges = False
        self.fill_up(3 * M)
        client = self.client(self.flying(digest))
        self.flow()
        self.assertEqual(bytes(client.got), data)
        self.assertEqual(len(self.origin.asked), 1)
        self.nothing_is_left()

    def test_a_full_disk_that_stays_full_is_the_end(self) -> None:
        digest, _ = self.blob(2 * SEGMENT)
        self.fill_up(2 * M)
        client = self.client(self.flying(digest))
        self.flow(50)
        self.room = 0
        self.flow(50)
        self.assertIsNone(client.outcome)
        for _ in range(40):
            self.flow(1)
            self.turn(self.timeouts.full_retry)
        self.assertEqual(client.outcome, "broken")
        self.assertIsInstance(client.cause, NoRoom)
        self.nothing_is_left()

    def test_a_full_disk_that_has_room_again_goes_on(self) -> None:
        digest, data = self.blob(2 * SEGMENT)
        self.fill_up(2 * M)
        client = self.client(self.flying(digest))
        self.flow(50)
        self.room = 0
        self.flow(50)
        self.turn(self.timeouts.full_retry)
        self.room = 1 << 40
        self.turn(self.timeouts.full_retry)
        self.flow()
        self.assertEqual(bytes(client.got), data)
        self.nothing_is_left()

    def out_of_order(self) -> tuple[bytes, Client, Client]:
        """A flight with segments 0 and 2 on disk, one client at the start and one in segment 2."""
        digest, data = self.blob(4 * SEGMENT)
        flight = self.flying(digest)
        far = self.client(flight, Span(2 * SEGMENT, 3 * SEGMENT - 1))
        far.pause()
        self.body.finish()
        early = self.client(flight)
        self.flow(SEGMENT // READ)
        self.assertEqual(self.origin.spans[:2], [(0, SEGMENT), (2 * SEGMENT, 3 * SEGMENT)])
        self.assertGreaterEqual(flight.present, 2 * SEGMENT)
        return data, early, far

    def test_what_came_out_of_order_is_dropped_and_fetched_again(self) -> None:
        data, early, far = self.out_of_order()
        far.leave()
        self.fill_up(self.used() + M)
        self.flow(1000)
        self.assertEqual(bytes(early.got), data)
        self.assertIn((2 * SEGMENT, 3 * SEGMENT), self.origin.spans[2:])
        self.nothing_is_left()

    def test_bytes_that_are_not_hashed_yet_are_not_punched_out(self) -> None:
        digest, data = self.blob(4 * SEGMENT)
        flight = self.flying(digest)
        far = self.client(flight, start=2 * SEGMENT)
        self.body.finish()
        self.body.finish()
        self.settle()
        self.assertEqual(far.at, 3 * SEGMENT)
        self.fill_up(self.used() + M)
        self.flow(1000)
        self.assertEqual(bytes(far.got), data[2 * SEGMENT :])
        self.assertEqual(far.outcome, "complete")
        self.nothing_is_left()

    def test_a_connection_that_takes_its_time_to_close_is_not_counted(self) -> None:
        """What takes over is the last one, and a refusal does not make it leave."""
        digest, data = self.blob(4 * SEGMENT)
        flight = self.flying(digest)
        far = self.client(flight, Span(2 * SEGMENT, 3 * SEGMENT - 1))
        self.body.finish()
        self.body.send(READ)
        far.leave()
        early = self.client(flight)
        self.settle()
        self.origin.stubborn = self.origin.patient = True
        self.body.cut()
        self.fill_up(self.used())
        self.assertEqual(len(self.origin.asked), 3)
        self.origin.stubborn = self.origin.patient = False
        self.origin.twists = [lambda _: UpstreamFailure(UpstreamKind.ERROR, "not now")]
        flight_course = self.fills._fills[digest]._course
        assert flight_course is not None
        flight_course.full(NoRoom("full"))
        self.assertTrue(flight.narrowed)
        self.origin.release()
        self.turn(self.timeouts.resume_pause)
        self.fill_up(self.used() + M)
        self.flow(1000)
        self.assertEqual(bytes(early.got), data)
        self.nothing_is_left()

    def test_what_a_reader_may_be_reading_is_not_dropped(self) -> None:
        data, early, far = self.out_of_order()
        self.fill_up(self.used() + M)
        self.flow(60)
        self.assertTrue(self.fills.active()[0].narrowed)
        far.go()
        self.assertEqual(bytes(far.got), data[2 * SEGMENT : 3 * SEGMENT - 1])
        self.flow(1000)
        self.assertEqual(bytes(early.got), data)
        self.assertNotIn((2 * SEGMENT, 3 * SEGMENT), self.origin.spans[2:])
        self.nothing_is_left()


class FullAndSlow(FullDisk):
    """The same with held jobs: bytes wait for the disk when it turns out to be full."""

    def test_what_came_out_of_order_and_waits_for_the_disk_is_dropped(self) -> None:
        """Otherwise it would wait for ever, and the sources with it."""
        self.hold_jobs()
        digest, data = self.blob(4 * SEGMENT)
        self.starting(digest)
        self.run_jobs()
        flight = self.fills.active()[0]
        far = self.client(flight, Span(2 * SEGMENT, 3 * SEGMENT - 1))
        while not self.body.start:
            self.body.finish()
            self.run_jobs()
        self.fill_up(self.used())
        early = self.client(flight)
        self.body.send(self.limits.disk_queue - READ)
        far.leave()
        self.run_jobs()
        self.assertTrue(flight.narrowed)
        self.fill_up(self.used() + M)
        for _ in range(1000):
            self.flow(1)
            self.run_jobs()
        self.assertEqual(bytes(early.got), data)
        self.nothing_is_left()


class Outgrown(FlightCase):
    """A blob of unknown length that outgrows what could be reserved."""

    cap = 6 * M
    limits = small_limits(reserve_step=2 * M, narrow_window=1 * M)

    def test_room_is_spoken_for_ahead_of_the_bytes(self) -> None:
        digest, data = self.blob(5 * M)
        self.origin.ranges = self.origin.lengths = False
        self.flying(digest)
        self.assertEqual(self.store.usage().reserved, 2 * M)
        self.body.send(2 * M)
        self.settle()
        self.assertEqual(self.store.usage().reserved, 4 * M)
        self.finish()
        self.assertEqual(self.stored(digest), data)
        self.turn()
        self.assert_accounts_are_right()

    def test_one_that_is_bigger_than_the_cap_goes_on_through_the_window(self) -> None:
        digest, data = self.blob(12 * M)
        self.origin.ranges = self.origin.lengths = False
        client = self.client(self.flying(digest))
        most = 0
        while self.origin.open_bodies:
            if not self.body.paused:
                self.body.send(READ)
            if not self.body.left:
                self.body.finish()
            self.settle()
            most = max(most, self.on_disk())
        self.settle()
        self.assertEqual(bytes(client.got), data)
        self.assertLessEqual(most, self.cap)
        self.assertIsNone(self.stored(digest))
        self.nothing_is_left()

    def test_without_readers_it_is_given_up(self) -> None:
        digest, _ = self.blob(12 * M)
        self.origin.ranges = self.origin.lengths = False
        Client(self.flying(digest).reader()).leave()
        self.finish()
        self.assertEqual(self.outcome(), "discarded")
        self.nothing_is_left()

"""The blob in flight by itself: what is given out when, and who is woken."""

from __future__ import annotations

import os
import tempfile

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nodecache.byteranges import Span
from nodecache.failures import FlightFailed, NoRoom, StoreFailure, UpstreamFailure, UpstreamKind
from nodecache.inflight import Flight, FlightReader, Progress, SharedFile, Status
from nodecache.inflight.waiters import Waiters
from tests.flight_case import ALPINE, BUSYBOX
from tests.store_case import digest_of

TAIL = 10
CUT = UpstreamFailure(UpstreamKind.CUT, "it broke")
WRONG = UpstreamFailure(UpstreamKind.WRONG, "other bytes")


class ProgressCase(SynchronousTestCase):
    def arriving(self, total: int | None, *spans: tuple[int, int]) -> Progress:
        progress = Progress(TAIL)
        progress.begin(total)
        for start, stop in spans:
            progress.present.add(Span(start, stop))
        return progress

    def test_nothing_is_given_out_while_no_source_has_answered(self) -> None:
        progress = Progress(TAIL)
        progress.present.add(Span(0, 50))
        self.assertEqual(progress.available(0, held_back=False), 0)
        self.assertFalse(progress.ready(0, held_back=False))

    def test_a_closed_range_gets_what_is_present(self) -> None:
        progress = self.arriving(100, (0, 40), (60, 100))
        self.assertEqual(progress.available(30, held_back=False), 10)
        self.assertEqual(progress.available(40, held_back=False), 0)
        self.assertEqual(progress.available(95, held_back=False), 5)

    def test_a_whole_body_never_gets_the_tail_before_the_digest(self) -> None:
        progress = self.arriving(100, (0, 100))
        self.assertEqual(progress.available(0, held_back=True), 90)
        self.assertEqual(progress.available(90, held_back=True), 0)
        self.assertFalse(progress.ready(90, held_back=True))
        progress.verify(100)
        self.assertEqual(progress.available(90, held_back=True), 10)

    def test_of_an_unknown_total_every_last_byte_may_be_the_tail(self) -> None:
        progress = self.arriving(None, (0, 40))
        self.assertEqual(progress.available(0, held_back=True), 30)
        self.assertEqual(progress.available(35, held_back=True), 0)

    def test_at_least_one_byte_is_held_back(self) -> None:
        progress = Progress(0)
        progress.begin(5)
        progress.present.add(Span(0, 5))
        self.assertEqual(progress.available(0, held_back=True), 4)

    def test_the_end_is_ready_only_once_the_digest_is_right(self) -> None:
        progress = self.arriving(None, (0, 40))
        self.assertFalse(progress.ready(40, held_back=True))
        progress.verify(40)
        self.assertTrue(progress.ready(40, held_back=True))
        self.assertEqual(progress.total, 40)

    def test_a_closed_range_at_the_end_is_ready_at_once(self) -> None:
        self.assertTrue(self.arriving(100).ready(100, held_back=False))

    def test_when_sources_fail_what_is_present_is_given_out_and_then_it_fails(self) -> None:
        progress = self.arriving(100, (0, 40))
        progress.fail(CUT, mute=False)
        self.assertEqual(progress.available(0, held_back=True), 40)
        with self.assertRaises(FlightFailed) as caught:
            progress.ready(40, held_back=True)
        self.assertIs(caught.exception.cause, CUT)

    def test_after_wrong_bytes_nothing_is_given_out(self) -> None:
        progress = self.arriving(100, (0, 100))
        progress.fail(WRONG, mute=True)
        for held_back in (True, False):
            self.assertEqual(progress.available(0, held_back=held_back), 0)
            self.assertRaises(FlightFailed, progress.ready, 0, held_back=held_back)

    def test_what_is_over_stays_as_it_is(self) -> None:
        whole = self.arriving(10, (0, 10))
        whole.verify(10)
        whole.fail(CUT, mute=True)
        self.assertIs(whole.status, Status.WHOLE)
        failed = self.arriving(10)
        failed.fail(CUT, mute=False)
        failed.fail(WRONG, mute=True)
        self.assertIs(failed.cause, CUT)
        self.assertTrue(failed.over)

    def test_behind_the_floor_there_is_nothing(self) -> None:
        progress = self.arriving(100, (0, 50))
        progress.floor = 20
        self.assertEqual(progress.available(19, held_back=False), 0)
        with self.assertRaises(FlightFailed) as caught:
            progress.ready(19, held_back=False)
        self.assertIsInstance(caught.exception.cause, NoRoom)
        self.assertEqual(progress.available(20, held_back=False), 30)


class WaitersCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.waiters = Waiters(self.clock)
        self.now = False

    def test_what_is_ready_fires_at_once(self) -> None:
        self.successResultOf(self.waiters.wait(lambda: True))
        self.assertEqual(len(self.waiters), 0)

    def test_each_has_its_own_deferred_and_all_fire_in_the_next_turn(self) -> None:
        waits = [self.waiters.wait(lambda: self.now) for _ in range(3)]
        self.now = True
        self.waiters.wake()
        for wait in waits:
            self.assertNoResult(wait)
        self.clock.advance(0)
        for wait in waits:
            self.successResultOf(wait)

    def test_many_wakes_in_a_turn_look_once(self) -> None:
        looks = []

        def look() -> bool:
            looks.append(1)
            return False

        self.waiters.wait(look)
        for _ in range(10):
            self.waiters.wake()
        self.clock.advance(0)
        self.assertEqual(len(looks), 2)

    def test_waking_nobody_leaves_no_timer(self) -> None:
        self.waiters.wake()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_cancelling_one_removes_it_alone(self) -> None:
        one, other = (self.waiters.wait(lambda: self.now) for _ in range(2))
        one.cancel()
        self.failureResultOf(one, CancelledError)
        self.assertEqual(len(self.waiters), 1)
        self.now = True
        self.waiters.wake()
        self.clock.advance(0)
        self.successResultOf(other)

    def test_one_that_is_woken_may_cancel_another_and_wait_again(self) -> None:
        again = []
        one = self.waiters.wait(lambda: self.now)
        other = self.waiters.wait(lambda: self.now)
        one.addCallback(lambda _: other.cancel())
        one.addCallback(lambda _: again.append(self.waiters.wait(lambda: not self.now)))
        self.now = True
        self.waiters.wake()
        self.clock.advance(0)
        self.failureResultOf(other, CancelledError)
        self.assertNoResult(again[0])
        self.assertEqual(len(self.waiters), 1)

    def test_a_failure_reaches_each(self) -> None:
        def ready() -> bool:
            if self.now:
                raise CUT
            return False

        waits = [self.waiters.wait(ready) for _ in range(2)]
        self.now = True
        self.waiters.wake()
        self.clock.advance(0)
        for wait in waits:
            self.assertIs(self.failureResultOf(wait, UpstreamFailure).value, CUT)


class FlightItself(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.flight = Flight(digest_of(b""), ALPINE, self.clock, TAIL)
        self.closed: list[int] = []
        self.moves: list[int | None] = []

    def ready(self) -> None:
        fd, path = tempfile.mkstemp()
        os.unlink(path)
        self.addCleanup(os.close, fd)
        self.flight.give(SharedFile(fd, self.closed.append))

    def reader(self) -> FlightReader:
        reader = self.flight.reader()
        assert isinstance(reader, FlightReader)
        return reader

    def opened(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.flight.opened())

    def test_names_are_kept_in_order_and_once(self) -> None:
        for name in (BUSYBOX, ALPINE, BUSYBOX):
            self.flight.add_repository(name)
        self.assertEqual(self.flight.names, [ALPINE, BUSYBOX])

    def test_the_file_is_closed_behind_the_last_of_fill_and_readers(self) -> None:
        self.ready()
        one, two = self.reader(), self.reader()
        self.flight.end()
        self.clock.advance(0)
        one.close()
        self.assertEqual(self.closed, [])
        two.close()
        self.assertEqual(len(self.closed), 1)

    def test_peers_are_readers_whose_place_leads_nobody(self) -> None:
        self.ready()
        client, peer = self.reader(), self.flight.lent(50)
        client.available(20, held_back=True)
        self.assertEqual(self.flight.slowest(), 20)
        peer.available(60, held_back=False)
        self.assertEqual((self.flight.readers, self.flight.clients), (2, 1))
        self.assertEqual(self.flight.wanted(), [20])
        self.assertEqual(self.flight.slowest(), 20)
        client.close()
        self.assertEqual(self.flight.slowest(), 60)
        self.assertEqual(list(self.flight.promised()), [60, 60])
        peer.close()
        self.assertEqual((self.flight.readers, self.flight.clients), (0, 0))

    def test_of_what_peers_read_nothing_is_held_back(self) -> None:
        self.ready()
        self.flight.begin(100)
        self.flight.arrived(Span(0, 100))
        self.assertEqual(self.flight.lent(0).available(0, held_back=False), 100)

    def test_one_that_is_shut_takes_nobody(self) -> None:
        self.ready()
        self.assertTrue(self.flight.joinable)
        self.flight.shut()
        self.assertFalse(self.flight.joinable)

    def test_its_size_may_be_known_at_the_end_only(self) -> None:
        self.ready()
        sizing = Deferred.fromCoroutine(self.flight.sized())
        self.flight.begin(None)
        self.clock.advance(0)
        self.assertNoResult(sizing)
        self.flight.arrived(Span(0, 7))
        self.flight.verify(7)
        self.clock.advance(0)
        self.successResultOf(sizing)

    def test_its_size_is_not_known_when_it_failed(self) -> None:
        self.ready()
        sizing = Deferred.fromCoroutine(self.flight.sized())
        self.flight.fail(CUT, mute=False)
        self.clock.advance(0)
        self.failureResultOf(sizing, UpstreamFailure)

    def test_closing_twice_is_closing_once(self) -> None:
        self.ready()
        reader = self.reader()
        reader.close()
        reader.close()
        self.assertEqual(self.flight.readers, 0)
        self.assertRaises(ValueError, lambda: reader.fd)
        self.assertEqual(self.closed, [])

    def test_closing_cancels_what_waits_through_it(self) -> None:
        self.ready()
        self.flight.begin(100)
        reader, other = self.reader(), self.reader()
        wait, others = reader.wait(0, held_back=True), other.wait(0, held_back=True)
        reader.close()
        self.failureResultOf(wait, CancelledError)
        self.assertNoResult(others)
        self.assertEqual(self.flight.waiting, 1)

    def test_a_reader_wakes_when_its_bytes_are_there_and_no_sooner(self) -> None:
        self.ready()
        self.flight.begin(100)
        wait = self.reader().wait(50, held_back=True)
        self.flight.arrived(Span(0, 50))
        self.clock.advance(0)
        self.assertNoResult(wait)
        self.flight.arrived(Span(50, 51))
        self.clock.advance(0)
        self.successResultOf(wait)

    def test_failing_wakes_all_with_the_cause_as_a_value(self) -> None:
        self.ready()
        opened = self.opened()
        waits = [self.reader().wait(0, held_back=True) for _ in range(3)]
        self.flight.fail(CUT, mute=False)
        self.clock.advance(0)
        for wait in waits:
            self.assertIs(self.failureResultOf(wait, FlightFailed).value.cause, CUT)
        self.assertIs(self.failureResultOf(opened, UpstreamFailure).value, CUT)
        self.assertEqual(self.flight.waiting, 0)

    def test_one_cause_for_many_does_not_collect_their_tracebacks(self) -> None:
        self.flight.fail(CUT, mute=False)
        for _ in range(50):
            self.failureResultOf(self.opened(), UpstreamFailure)
        depth, trace = 0, CUT.__traceback__
        while trace is not None:
            depth, trace = depth + 1, trace.tb_next
        self.assertLess(depth, 20)

    def test_a_reader_begins_where_it_first_asks(self) -> None:
        self.ready()
        reader = self.reader()
        self.assertEqual(self.flight.slowest(), 0)
        reader.available(70, held_back=False)
        reader.available(20, held_back=False)
        self.assertEqual(self.flight.slowest(), 70)
        self.assertEqual(self.flight.wanted(), [20])

    def test_the_slowest_is_the_one_that_has_taken_least(self) -> None:
        self.ready()
        self.assertIsNone(self.flight.slowest())
        one, two = self.reader(), self.reader()
        one.punched(30)
        two.punched(20)
        two.punched(10)
        self.assertEqual(self.flight.slowest(), 20)
        two.close()
        self.assertEqual(self.flight.slowest(), 30)

    def test_a_narrow_flight_hears_of_its_readers_and_takes_no_more(self) -> None:
        self.ready()
        reader, other = self.reader(), self.reader()
        self.flight.narrow(lambda: self.moves.append(self.flight.slowest()))
        self.assertFalse(self.flight.joinable)
        self.assertRaises(NoRoom, self.flight.reader)
        reader.punched(5)
        reader.punched(5)
        other.close()
        reader.close()
        self.assertEqual(self.moves, [0, 5, None])

    def test_who_was_woken_by_the_end_still_gets_a_reader(self) -> None:
        self.ready()
        opened = self.opened()
        opened.addCallback(lambda _: self.flight.reader().close())
        self.flight.begin(0)
        self.flight.verify(0)
        self.flight.end()
        self.clock.advance(0)
        self.successResultOf(opened)
        self.clock.advance(0)
        self.assertRaises(StoreFailure, self.flight.reader)
        self.assertEqual(len(self.closed), 1)

    def test_it_can_be_joined_until_it_failed_or_ended(self) -> None:
        self.ready()
        self.assertTrue(self.flight.joinable)
        self.flight.begin(0)
        self.flight.verify(0)
        self.assertTrue(self.flight.joinable)
        self.flight.end()
        self.assertFalse(self.flight.joinable)
        failed = Flight(digest_of(b""), ALPINE, self.clock, TAIL)
        failed.fail(CUT, mute=False)
        self.assertFalse(failed.joinable)

"""Sources that break off, fall silent or lie; restarts; stopping."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from nodecache.failures import StoreFailure, UpstreamFailure, UpstreamKind
from nodecache.inflight import Status
from nodecache.reference import Digest
from nodecache.store import Partial, Reservation
from tests.fakes_source import FakeBody, part, refused_range, whole
from tests.flight_case import ALPINE, SEGMENT, Client, FlightCase, M, small_limits
from tests.store_case import fill_partial

LIMITED = UpstreamFailure(UpstreamKind.LIMITED, "slow down", status=429, retry_after=5.0)
UNREACHABLE = UpstreamFailure(UpstreamKind.UNREACHABLE, "refused")


class Resuming(FlightCase):
    def test_a_cut_body_is_asked_for_from_its_first_missing_byte(self) -> None:
        digest, data = self.blob(5 * M)
        client = self.client(self.flying(digest))
        self.body.send(M + 3)
        self.body.cut()
        self.assertEqual(self.origin.spans, [(0, SEGMENT), (M + 3, 5 * M)])
        self.finish()
        self.assertEqual(bytes(client.got), data)
        self.assertEqual(self.stored(digest), data)
        self.assertEqual(self.told("fill")[-1].resumes, 1)
        self.assertEqual(self.told("fill_resume")[0].offset, M + 3)

    def test_readers_do_not_notice(self) -> None:
        digest, data = self.blob(5 * M)
        client = self.client(self.flying(digest))
        for _ in range(10):
            self.body.send(10_000)
            self.body.cut()
            self.turn()
        self.settle()
        self.assertEqual(bytes(client.got), data[:100_000])
        self.assertIsNone(client.outcome)

    def test_a_206_with_another_start_is_refused(self) -> None:
        digest, data = self.blob(5 * M)
        client = self.client(self.flying(digest))
        self.body.send(M)
        self.origin.twists = [lambda span: part(data, span, start=M + 1)]
        self.body.cut()
        self.assertTrue(self.origin.bodies[1].closed)
        self.assertEqual(self.origin.bodies[1].sent, 0)
        self.turn(self.timeouts.resume_pause)
        self.finish()
        self.assertEqual(bytes(client.got), data)

    def test_a_200_on_a_resume_is_a_stream_that_skips_what_is_present(self) -> None:
        digest, data = self.blob(2 * SEGMENT)
        client = self.client(self.flying(digest))
        self.body.send(5)
        self.origin.ranges = False
        self.body.cut()
        self.finish()
        self.assertEqual(len(self.origin.asked), 2)
        self.assertEqual(bytes(client.got), data)
        self.assertEqual(self.told("fill")[-1].fetched, len(data) + 5)

    def test_a_source_that_always_cuts_a_stream_at_the_same_byte_is_given_up(self) -> None:
        digest, data = self.blob(5 * M)
        self.origin.ranges = False
        client = self.client(self.flying(digest))
        for _ in range(self.limits.resumes + 1):
            self.body.send(M)
            self.settle()
            self.body.cut()
            self.turn(10)
        self.assertEqual(len(self.origin.asked), 1 + self.limits.resumes)
        self.assertEqual(client.outcome, "broken")
        self.assertEqual(bytes(client.got), data[:M])
        self.nothing_is_left()

    def test_progress_restores_the_number_of_resumes(self) -> None:
        digest, data = self.blob(5 * M)
        client = self.client(self.flying(digest))
        for _ in range(5 * self.limits.resumes):
            self.body.send(1)
            self.body.cut()
        self.finish()
        self.assertEqual(bytes(client.got), data)

    def test_three_resumes_without_a_byte_are_the_end(self) -> None:
        digest, _ = self.blob(5 * M)
        client = self.client(self.flying(digest))
        self.body.cut()
        times = [self.clock.seconds()]
        for pause in (1, 2):
            self.body.cut()
            self.turn(pause)
            times.append(self.clock.seconds())
        self.assertEqual(len(self.origin.asked), 4)
        self.body.cut()
        self.turn(1000)
        self.assertEqual(len(self.origin.asked), 4)
        self.assertEqual(client.outcome, "broken")
        assert isinstance(client.cause, UpstreamFailure)
        self.assertIs(client.cause.kind, UpstreamKind.CUT)
        self.assertEqual(self.outcome(), "failed")
        self.nothing_is_left()

    def test_thirty_seconds_without_a_byte_are_the_end(self) -> None:
        digest, _ = self.blob(5 * M)
        client = self.client(self.flying(digest))
        for _ in range(2):
            self.turn(10)
            self.body.fall_silent()
        self.turn(10)
        self.turn(self.timeouts.resume_pause)
        self.body.fall_silent()
        self.turn()
        self.assertEqual(client.outcome, "broken")
        self.assertLess(self.clock.seconds(), 32)
        self.nothing_is_left()

    def test_a_question_on_a_resume_is_due_before_the_thirty_seconds_are_over(self) -> None:
        digest, _ = self.blob(5 * M)
        self.flying(digest)
        self.turn(25)
        self.body.cut()
        self.assertEqual(self.origin.asked[-1].deadline.at, 30)

    def test_a_refused_resume_counts(self) -> None:
        digest, _ = self.blob(5 * M)
        flight = self.flying(digest)
        self.origin.refusals = {ALPINE: UNREACHABLE}
        self.body.cut()
        self.turn(1)
        self.turn(2)
        self.turn(4)
        self.assertEqual(len(self.origin.asked), 4)
        self.assertIs(flight.status, Status.FAILED)
        self.assertIs(flight.progress.cause, UNREACHABLE)

    def test_a_resume_waits_as_long_as_the_source_says(self) -> None:
        digest, data = self.blob(5 * M)
        self.flying(digest)
        self.origin.twists = [lambda _: LIMITED]
        self.body.cut()
        self.turn(4.9)
        self.assertEqual(len(self.origin.asked), 2)
        self.turn(0.1)
        self.assertEqual(len(self.origin.asked), 3)
        self.finish()
        self.assertEqual(self.stored(digest), data)

    def test_a_resume_that_is_refused_for_good_is_not_repeated(self) -> None:
        digest, _ = self.blob(5 * M)
        flight = self.flying(digest)
        del self.origin.blobs[digest]
        self.body.cut()
        self.turn()
        self.assertEqual(len(self.origin.asked), 2)
        self.assertIs(flight.status, Status.FAILED)

    def test_a_short_206_is_asked_for_the_rest(self) -> None:
        digest, data = self.blob(5 * M)
        client = self.client(self.flying(digest))
        self.body.send(M)
        self.origin.twists = [lambda span: part(data, span, stop=2 * M)]
        self.body.cut()
        self.finish()
        self.assertEqual(self.origin.spans[1:], [(M, 5 * M), (2 * M, 5 * M)])
        self.assertEqual(bytes(client.got), data)

    def test_another_total_on_a_resume_drops_everything(self) -> None:
        digest, data = self.blob(2 * SEGMENT)
        client = self.client(self.flying(digest))
        self.body.send(SEGMENT)
        self.settle()
        self.origin.blobs[digest] = data + b"!"
        self.body.cut()
        self.turn()
        self.assertEqual(client.outcome, "broken")
        self.assertEqual(self.outcome(), "mismatch")
        self.assertEqual(self.on_disk(), 0)
        self.nothing_is_left()

    def test_bytes_that_changed_between_two_bodies_are_found_by_the_digest(self) -> None:
        digest, data = self.blob(5 * M)
        client = self.client(self.flying(digest))
        self.body.send(2 * M)
        self.origin.blobs[digest] = b"!" * len(data)
        self.body.cut()
        self.finish()
        self.assertEqual(client.outcome, "broken")
        self.assertEqual(client.at, 5 * M - self.limits.tail)
        self.assertIsNone(self.stored(digest))

    def test_when_the_sources_fail_readers_still_get_what_is_present(self) -> None:
        digest, data = self.blob(5 * M)
        slow = Client(self.flying(digest).reader())
        self.body.send(M)
        self.settle()
        del self.origin.blobs[digest]
        self.body.cut()
        self.turn()
        slow.go()
        self.assertEqual(bytes(slow.got), data[:M])
        self.assertEqual(slow.outcome, "broken")
        self.nothing_is_left()

    def test_a_body_of_unknown_length_is_resumed_and_then_its_size_is_known(self) -> None:
        digest, data = self.blob(3 * M)
        self.origin.ranges = self.origin.lengths = False
        client = self.client(self.flying(digest))
        self.body.send(M)
        self.origin.ranges = True
        self.body.cut()
        self.assertEqual(self.origin.spans[1], (M, SEGMENT))
        self.finish()
        self.assertEqual(bytes(client.got), data)
        self.assertEqual(self.stored(digest), data)

    def test_a_body_of_unknown_length_that_was_cut_at_its_very_end(self) -> None:
        """The resume asks behind the end, and the refused range tells the size."""
        digest, data = self.blob(3 * M)
        self.origin.ranges = self.origin.lengths = False
        client = self.client(self.flying(digest))
        self.body.send()
        self.origin.ranges = True
        self.body.cut()
        self.finish()
        self.assertEqual(bytes(client.got), data)

    def test_a_silence_of_our_own_making_does_not_count(self) -> None:
        digest, data = self.blob(3 * SEGMENT)
        self.hold_jobs()
        flight = self.starting(digest)
        self.run_jobs()
        client = self.client(self.successResultOf(flight))
        self.body.send()
        self.assertTrue(self.body.paused)
        self.turn(1000)
        self.run_jobs()
        self.assertFalse(self.body.paused)
        self.body.cut()
        self.run_jobs()
        self.assertEqual(len(self.origin.open_bodies), 1)
        self.finish_with_jobs()
        self.assertEqual(bytes(client.got), data)


class FirstQuestion(FlightCase):
    def test_what_could_not_be_begun_fails_all_who_wait_for_headers(self) -> None:
        digest, _ = self.blob(M)
        self.origin.patient = True
        flight = self.started(digest)
        waiting = [self.headers(flight) for _ in range(3)]
        self.origin.refusals = {ALPINE: UNREACHABLE}
        self.origin.answer(self.origin.asked[0])
        self.turn()
        for each in waiting:
            self.assertIs(self.failureResultOf(each, UpstreamFailure).value, UNREACHABLE)
        self.assertEqual(len(self.origin.asked), 1)
        self.assertEqual(flight.waiting, 0)
        self.nothing_is_left()

    def test_an_answer_that_does_not_fit_the_range_is_asked_for_whole(self) -> None:
        digest, data = self.blob(5 * M)
        self.origin.twists = [lambda span: part(data, span, start=1)]
        client = self.client(self.flying(digest))
        self.assertTrue(self.origin.bodies[0].closed)
        self.finish()
        self.assertEqual(self.origin.spans, [(0, SEGMENT), None])
        self.assertEqual(bytes(client.got), data)

    def test_an_answer_that_fits_nothing_is_refused(self) -> None:
        digest, data = self.blob(5 * M)
        self.origin.twists = [
            lambda span: refused_range(len(data), span),
            lambda _: FakeBody(data, start=7, stop_at=len(data), ranged=False),
        ]
        starting = self.starting(digest)
        self.turn()
        failure = self.failureResultOf(starting, UpstreamFailure).value
        self.assertIs(failure.kind, UpstreamKind.WRONG)
        self.nothing_is_left()


class Restart(FlightCase):
    def left(self, size: int, segments: int) -> tuple[Digest, bytes]:
        """A blob of which a fill has left some segments, and a bit."""
        digest, data = self.blob(size)
        self.flying(digest)
        for _ in range(segments):
            self.body.finish()
        self.body.send(M)
        self.settle()
        self.run_stop()
        return digest, data

    def run_stop(self) -> None:
        stopped = Deferred.fromCoroutine(self.fills.stop())
        self.turn()
        self.successResultOf(stopped)
        self.fills = self.new_fills()
        self.origin.asked.clear()

    def test_stopping_breaks_readers_off_and_keeps_whole_segments(self) -> None:
        digest, data = self.blob(3 * SEGMENT)
        flight = self.flying(digest)
        client = self.client(flight)
        self.body.finish()
        self.body.send(M)
        self.settle()
        self.run_stop()
        self.turn()
        self.assertEqual(client.outcome, "broken")
        self.assertEqual(self.outcome(), "stopped")
        self.assertEqual(self.origin.open_bodies, [])
        self.assertGreaterEqual(self.on_disk(), SEGMENT)
        self.assertEqual(self.store.usage().reserved, 0)
        self.assertEqual(data[: client.at], bytes(client.got))

    def test_a_restart_resumes_the_segments_that_were_whole(self) -> None:
        digest, data = self.left(3 * SEGMENT + 5, 2)
        self.reopened()
        self.fills = self.new_fills()
        client = self.client(self.flying(digest))
        self.finish()
        self.assertEqual(
            self.origin.spans, [(2 * SEGMENT, 3 * SEGMENT), (3 * SEGMENT, 3 * SEGMENT + 5)]
        )
        self.assertEqual(bytes(client.got), data)
        self.assertEqual(self.stored(digest), data)
        self.assertEqual(self.told("fill_start")[-1].resumed_bytes, 2 * SEGMENT)

    def test_what_is_on_disk_is_not_given_out_before_a_source_has_answered(self) -> None:
        digest, _ = self.left(3 * SEGMENT, 2)
        self.origin.patient = True
        client = self.client(self.started(digest))
        self.turn()
        self.assertEqual(client.at, 0)
        self.origin.patient = False
        self.origin.answer(self.origin.asked[0])
        self.turn()
        self.assertEqual(client.at, 2 * SEGMENT)

    def test_a_blob_that_is_whole_on_disk_asks_nobody(self) -> None:
        digest, data = self.left(3 * SEGMENT, 2)
        self.flying(digest)
        self.body.send()
        self.settle()
        self.assertEqual(self.outcome(), "stored")
        self.run_now(self.store.drop_blob(digest))
        partial = self.run_now(self.store.open_partial(digest))
        fill_partial(partial, data)
        partial.keep()
        self.origin.asked.clear()
        client = Client(self.read_at_once(digest)).go()
        self.settle()
        self.assertEqual(self.origin.asked, [])
        self.assertEqual(bytes(client.got), data)
        self.assertEqual(self.stored(digest), data)

    def test_what_an_earlier_fill_left_of_another_size_is_forgotten(self) -> None:
        digest, data = self.left(3 * SEGMENT, 2)
        wrong = self.run_now(self.store.open_partial(digest))
        wrong.set_total(2 * SEGMENT + 1)
        wrong.record_segment(0, [0] * 8)
        wrong.keep()
        client = self.client(self.flying(digest))
        self.finish()
        self.assertEqual(bytes(client.got), data)
        self.assertEqual(self.stored(digest), data)

    def test_what_an_earlier_fill_left_of_another_size_is_forgotten_when_asked(self) -> None:
        digest, data = self.left(3 * SEGMENT, 2)
        self.origin.blobs[digest] = data[: 2 * SEGMENT + 9]
        client = self.client(self.flying(digest))
        self.assertEqual(client.reader.total, 2 * SEGMENT + 9)
        self.assertEqual(client.at, 0)
        self.finish()
        self.assertEqual(self.outcome(), "mismatch")

    def test_a_stream_after_a_restart_skips_what_is_present(self) -> None:
        digest, data = self.left(3 * SEGMENT, 2)
        self.origin.ranges = False
        client = self.client(self.flying(digest))
        self.finish()
        self.assertEqual(bytes(client.got), data)
        self.assertEqual(self.stored(digest), data)

    def test_nothing_is_kept_of_less_than_a_segment(self) -> None:
        self.left(3 * SEGMENT, 0)
        self.assertEqual(self.on_disk(), 0)

    def test_a_new_start_waits_for_the_one_that_is_being_closed(self) -> None:
        digest, data = self.blob(2 * SEGMENT)
        self.hold_jobs()
        starting = self.starting(digest)
        self.run_jobs()
        self.successResultOf(starting)
        self.body.send(SEGMENT)
        self.run_jobs()
        del self.origin.blobs[digest]
        self.body.send(0)
        self.body._end(None)
        self.turn()
        self.origin.blobs[digest] = data
        again = self.starting(digest)
        self.turn()
        self.assertNoResult(again)
        self.run_jobs()
        client = self.client(self.successResultOf(again))
        self.finish_with_jobs()
        self.assertEqual(bytes(client.got), data)

    def test_after_a_stop_nothing_is_begun(self) -> None:
        digest, _ = self.blob(M)
        stopped = Deferred.fromCoroutine(self.fills.stop())
        self.successResultOf(stopped)
        self.failureResultOf(self.starting(digest), StoreFailure)

    def test_stopping_while_the_first_question_is_open(self) -> None:
        digest, _ = self.blob(M)
        self.origin.patient = True
        flight = self.started(digest)
        waiting = self.headers(flight)
        self.run_stop()
        self.failureResultOf(waiting, StoreFailure)
        self.nothing_is_left()

    def test_a_blob_that_is_being_stored_when_the_stop_comes_is_stored(self) -> None:
        digest, data = self.blob(M)
        self.hold_jobs()
        starting = self.starting(digest)
        self.run_jobs()
        self.successResultOf(starting)
        committing: Deferred[None] = Deferred()
        commit = self.store.commit

        async def later(partial: Partial, reservation: Reservation, size: int) -> None:
            await committing
            await commit(partial, reservation, size)

        self.patch(self.store, "commit", later)
        self.body.finish()
        self.run_jobs()
        stopped = Deferred.fromCoroutine(self.fills.stop())
        self.turn()
        self.assertNoResult(stopped)
        committing.callback(None)
        self.run_jobs()
        self.successResultOf(stopped)
        self.assertEqual(self.held.held, [])
        self.assertEqual(self.stored(digest), data)


class Streams(FlightCase):
    limits = small_limits(resumes=0)

    def test_a_stream_is_left_as_soon_as_it_has_nothing_more_to_bring(self) -> None:
        digest, data = self.blob(2 * SEGMENT)
        self.origin.twists = [lambda span: part(data, span), lambda span: whole(data, asked=span)]
        self.flying(digest)
        self.body.finish()
        self.body.send()
        self.turn()
        self.assertEqual(self.stored(digest), data)
        self.assertEqual(self.origin.open_bodies, [])

"""What a fill does when all goes well, and what clients see of it meanwhile."""

from __future__ import annotations

from twisted.internet.task import deferLater

from nodecache.byteranges import Span
from nodecache.failures import NoRoom, UpstreamFailure, UpstreamKind
from nodecache.limits import KIB
from nodecache.reference import Digest
from nodecache.store import Partial
from tests.fakes_source import refused_range
from tests.flight_case import ALPINE, BUSYBOX, QUAY, SEGMENT, Client, FlightCase, M


class WholeBlob(FlightCase):
    def test_a_cold_blob_reaches_its_client_and_the_store(self) -> None:
        digest, data = self.blob(3 * M + 7)
        client = self.client(self.flying(digest))
        self.finish()
        self.assertEqual(client.outcome, "complete")
        self.assertEqual(bytes(client.got), data)
        self.assertEqual(self.stored(digest), data)
        self.assertEqual(self.outcome(), "stored")
        self.nothing_is_left()

    def test_twenty_clients_cost_one_fetch(self) -> None:
        digest, data = self.blob(2 * SEGMENT + 5)
        starting = [self.starting(digest) for _ in range(20)]
        self.turn()
        clients = [self.client(self.successResultOf(each)) for each in starting]
        self.finish()
        self.assertEqual({bytes(client.got) for client in clients}, {data})
        self.assertEqual(self.origin.sent, len(data))
        self.assertEqual(len(self.told("coalesced")), 19)
        self.assertEqual(len(self.told("fill")), 1)

    def test_a_late_reader_gets_it_from_the_start(self) -> None:
        digest, data = self.blob(4 * M)
        early = self.client(self.flying(digest))
        self.body.send(2 * M)
        self.settle()
        late = self.client(self.flying(digest))
        self.settle()
        self.assertEqual(bytes(late.got), data[: 2 * M])
        self.finish()
        self.assertEqual(bytes(late.got), data)
        self.assertEqual(bytes(early.got), data)
        self.assertEqual(len(self.origin.asked), 1)

    def test_headers_are_in_before_any_byte(self) -> None:
        digest, data = self.blob(5 * M)
        self.origin.patient = True
        flight = self.started(digest)
        opening = self.headers(flight)
        self.turn()
        self.assertNoResult(opening)
        self.origin.answer(self.origin.asked[0])
        self.turn()
        self.successResultOf(opening)
        self.assertEqual(flight.total, len(data))
        self.assertEqual(self.origin.sent, 0)

    def test_the_size_of_a_blob_in_flight_costs_nothing(self) -> None:
        digest, data = self.blob(5 * M)
        self.flying(digest)
        flight = self.fills.get(digest)
        assert flight is not None
        self.assertEqual(flight.total, len(data))
        self.assertEqual(flight.readers, 0)
        self.assertEqual(len(self.origin.asked), 1)

    def test_bytes_of_a_slow_source_are_seen_within_milliseconds(self) -> None:
        digest, data = self.blob(3 * M)
        client = self.client(self.flying(digest))
        for count in range(1, 5):
            self.body.send(1000)
            self.turn(self.timeouts.flush)
            self.assertEqual(bytes(client.got), data[: count * 1000])

    def test_the_fill_outlives_its_clients(self) -> None:
        digest, data = self.blob(2 * SEGMENT)
        clients = [self.client(self.flying(digest)) for _ in range(3)]
        self.body.send(M)
        for client in clients:
            client.leave()
        self.finish()
        self.assertEqual(self.stored(digest), data)
        self.nothing_is_left()

    def test_a_caller_that_is_cancelled_while_it_waits_leaves_the_fill_alone(self) -> None:
        digest, data = self.blob(M)
        self.origin.patient = True
        flight = self.started(digest)
        opening, other = self.headers(flight), self.headers(flight)
        opening.addErrback(lambda _: None)
        opening.cancel()
        self.origin.patient = False
        self.origin.answer(self.origin.asked[0])
        self.turn()
        self.successResultOf(other)
        self.finish()
        self.assertEqual(self.stored(digest), data)

    def test_a_client_that_stops_reading_holds_up_nobody(self) -> None:
        digest, data = self.blob(2 * SEGMENT)
        slow = self.client(self.flying(digest))
        quick = self.client(self.flying(digest))
        slow.pause()
        self.finish()
        self.assertEqual(bytes(quick.got), data)
        self.assertEqual(self.stored(digest), data)
        slow.go()
        self.assertEqual(bytes(slow.got), data)

    def test_a_reader_keeps_its_blob_in_the_store(self) -> None:
        """Committed or not, what is being read is not evicted, and its bytes stay readable."""
        digest, data = self.blob(M)
        client = self.client(self.flying(digest))
        client.pause()
        self.finish()
        self.run_now(self.store.drop_blob(digest))
        client.go()
        self.assertEqual(bytes(client.got), data)
        self.nothing_is_left()


class HeldBack(FlightCase):
    def test_the_tail_waits_for_the_digest(self) -> None:
        digest, data = self.blob(3 * M)
        client = self.client(self.flying(digest))
        self.body.send(3 * M - 1)
        self.settle()
        self.assertEqual(bytes(client.got), data[: 3 * M - self.limits.tail])
        self.finish()
        self.assertEqual(bytes(client.got), data)

    def test_wrong_bytes_break_every_full_reader_one_tail_short(self) -> None:
        digest, data = self.blob(3 * M)
        self.origin.blobs[digest] = data[:-1] + b"!"
        clients = [self.client(self.flying(digest)) for _ in range(3)]
        clients.append(self.client(self.flying(digest), start=M))
        self.finish()
        self.assertEqual({client.outcome for client in clients}, {"broken"})
        self.assertEqual({client.at for client in clients}, {3 * M - self.limits.tail})
        for client in clients:
            assert isinstance(client.cause, UpstreamFailure)
            self.assertIs(client.cause.kind, UpstreamKind.WRONG)
        self.assertIsNone(self.stored(digest))
        self.assertEqual(self.outcome(), "mismatch")
        self.assertEqual(self.on_disk(), 0)
        self.nothing_is_left()

    def test_after_wrong_bytes_a_slow_reader_gets_nothing_more(self) -> None:
        digest, data = self.blob(3 * M)
        self.origin.blobs[digest] = b"!" + data[1:]
        slow = Client(self.flying(digest).reader())
        self.finish()
        self.assertEqual(slow.go().outcome, "broken")
        self.assertEqual(bytes(slow.got), b"")

    def test_a_digest_that_was_wrong_is_not_fetched_again_for_some_seconds(self) -> None:
        digest, data = self.blob(M)
        self.origin.blobs[digest] = b"!" * M
        self.flying(digest)
        self.finish()
        self.origin.blobs[digest] = data
        failure = self.failureResultOf(self.starting(digest), UpstreamFailure).value
        self.assertIs(failure.kind, UpstreamKind.WRONG)
        self.assertEqual(len(self.origin.asked), 1)
        self.turn(self.timeouts.absent)
        self.flying(digest)
        self.finish()
        self.assertEqual(self.stored(digest), data)

    def test_a_small_blob_is_held_back_whole(self) -> None:
        digest, data = self.blob(1000)
        client = self.client(self.flying(digest))
        self.body.send(999)
        self.settle()
        self.assertEqual(bytes(client.got), b"")
        self.finish()
        self.assertEqual(bytes(client.got), data)


class Ranges(FlightCase):
    def test_a_closed_range_of_a_cold_blob_flows_as_soon_as_it_is_present(self) -> None:
        digest, data = self.blob(10 * M)
        client = self.client(self.flying(digest), Span(100, 300))
        self.body.send(200)
        self.settle()
        self.assertEqual(bytes(client.got), data[100:200])
        self.body.send(100)
        self.settle()
        self.assertEqual(client.outcome, "complete")
        self.assertEqual(bytes(client.got), data[100:300])

    def test_a_closed_range_within_the_tail_waits_for_no_digest(self) -> None:
        digest, data = self.blob(M)
        client = self.client(self.flying(digest), Span(M - 10, M - 5))
        self.body.send(M - 5)
        self.settle()
        self.assertEqual(bytes(client.got), data[-10:-5])

    def test_the_segment_that_a_reader_waits_for_comes_next(self) -> None:
        digest, data = self.blob(5 * SEGMENT)
        flight = self.flying(digest)
        client = self.client(flight, Span(3 * SEGMENT + 5, 3 * SEGMENT + 9))
        self.body.finish()
        self.assertEqual(self.origin.spans[1], (3 * SEGMENT, 4 * SEGMENT))
        self.body.send(9)
        self.settle()
        self.assertEqual(bytes(client.got), data[3 * SEGMENT + 5 : 3 * SEGMENT + 9])
        self.finish()
        self.assertEqual(self.stored(digest), data)

    def test_an_open_ended_range_has_its_tail_held_back(self) -> None:
        digest, data = self.blob(2 * SEGMENT)
        client = self.client(self.flying(digest), start=SEGMENT + 1)
        self.body.finish()
        self.body.send(SEGMENT - 1)
        self.settle()
        self.assertEqual(client.at, 2 * SEGMENT - self.limits.tail)
        self.finish()
        self.assertEqual(bytes(client.got), data[SEGMENT + 1 :])


class Sizes(FlightCase):
    def test_an_empty_blob_known_by_a_refused_range(self) -> None:
        """The 416 with ``bytes */0``: whole, verified before anybody gets headers."""
        digest, _ = self.blob(0)
        client = Client(self.read_at_once(digest)).go()
        self.assertEqual(client.reader.total, 0)
        self.assertEqual(client.outcome, "complete")
        self.assertEqual(self.stored(digest), b"")
        self.nothing_is_left()

    def test_an_empty_blob_known_by_a_body_of_length_0(self) -> None:
        digest, _ = self.blob(0)
        self.origin.ranges = False
        self.assertEqual(Client(self.read_at_once(digest)).go().outcome, "complete")
        self.assertEqual(self.stored(digest), b"")

    def test_an_empty_body_for_a_blob_that_is_not_empty_gets_no_headers(self) -> None:
        digest, _ = self.blob(1000)
        self.origin.blobs[digest] = b""
        starting = self.starting(digest)
        self.turn()
        self.failureResultOf(starting, UpstreamFailure)
        self.assertEqual(self.outcome(), "mismatch")
        self.nothing_is_left()

    def test_a_source_without_ranges_is_read_as_one_stream(self) -> None:
        digest, data = self.blob(2 * SEGMENT + 3)
        self.origin.ranges = False
        client = self.client(self.flying(digest))
        self.finish()
        self.assertEqual(bytes(client.got), data)
        self.assertEqual(len(self.origin.asked), 1)

    def test_unknown_length_with_the_size_of_a_manifest(self) -> None:
        digest, data = self.blob(3 * M)
        self.origin.ranges = self.origin.lengths = False
        flight = self.flying(digest, hint=len(data))
        self.assertEqual(flight.total, len(data))
        client = self.client(flight)
        self.finish()
        self.assertEqual(bytes(client.got), data)

    def test_a_stream_that_ends_by_closing_is_whole_once_all_bytes_are_there(self) -> None:
        """Its end proves nothing (the source says CUT), and is not needed."""
        digest, data = self.blob(3 * M)
        self.origin.ranges = self.origin.lengths = False
        client = self.client(self.flying(digest, hint=len(data)))
        self.body.send()
        self.body.cut()
        self.settle()
        self.assertEqual(bytes(client.got), data)
        self.assertEqual(self.told("fill_resume"), [])
        self.assertEqual(len(self.origin.asked), 1)

    def test_unknown_length_is_told_together_with_the_digest(self) -> None:
        digest, data = self.blob(3 * M)
        self.origin.ranges = self.origin.lengths = False
        flight = self.flying(digest)
        client = self.client(flight)
        self.body.send(M)
        self.settle()
        self.assertIsNone(flight.total)
        self.assertEqual(client.at, M - self.limits.tail)
        self.finish()
        self.assertEqual(flight.total, len(data))
        self.assertEqual(client.outcome, "complete")
        self.assertEqual(self.stored(digest), data)

    def test_unknown_length_and_wrong_bytes_never_look_complete(self) -> None:
        digest, data = self.blob(3 * M)
        self.origin.ranges = self.origin.lengths = False
        self.origin.blobs[digest] = data + b"!"
        client = self.client(self.flying(digest))
        self.finish()
        self.assertEqual(client.outcome, "broken")
        self.assertIsNone(client.reader.total)

    def test_an_empty_blob_of_unknown_length(self) -> None:
        digest, _ = self.blob(0)
        self.origin.ranges = self.origin.lengths = False
        client = self.client(self.flying(digest))
        self.finish()
        self.assertEqual(client.outcome, "complete")
        self.assertEqual(self.stored(digest), b"")

    def test_a_stream_longer_than_the_size_breaks_its_readers(self) -> None:
        digest, _ = self.blob(M + 4)
        self.origin.ranges = self.origin.lengths = False
        client = self.client(self.flying(digest, hint=M))
        self.finish()
        self.assertEqual(client.outcome, "broken")
        self.assertLess(client.at, M)
        self.assertEqual(self.outcome(), "mismatch")
        self.assertIsNone(self.stored(digest))
        self.nothing_is_left()

    def test_bytes_behind_the_end_are_cut_off_and_the_digest_decides(self) -> None:
        digest, data = self.blob(M)
        self.origin.ranges = self.origin.lengths = False
        self.origin.blobs[digest] = data + b"more"
        client = self.client(self.flying(digest, hint=M))
        self.finish()
        self.assertEqual(bytes(client.got), data)
        self.assertEqual(self.stored(digest), data)
        self.nothing_is_left()

    def test_a_stream_shorter_than_the_size_breaks_its_readers(self) -> None:
        digest, data = self.blob(M)
        self.origin.ranges = self.origin.lengths = False
        client = self.client(self.flying(digest, hint=M + 1))
        self.finish()
        self.turn(60)
        self.finish()
        self.turn(60)
        self.finish()
        self.assertEqual(client.outcome, "broken")
        self.assertLess(client.at, M)
        self.assertEqual(bytes(client.got), data[: client.at])
        self.nothing_is_left()

    def test_a_refused_range_without_a_size_is_asked_for_whole(self) -> None:
        digest, data = self.blob(M)
        self.origin.twists = [lambda span: refused_range(None, span)]
        client = self.client(self.flying(digest))
        self.finish()
        self.assertEqual(self.origin.spans, [(0, SEGMENT), None])
        self.assertEqual(bytes(client.got), data)


class Names(FlightCase):
    NOT_FOUND = UpstreamFailure(UpstreamKind.NOT_FOUND, "no such blob", status=404)
    DENIED = UpstreamFailure(UpstreamKind.DENIED, "no", status=401)
    TIMEOUT = UpstreamFailure(UpstreamKind.TIMEOUT, "silence")

    def test_a_name_that_is_refused_does_not_fail_the_reader_of_another(self) -> None:
        for refusal in (self.NOT_FOUND, self.DENIED):
            digest, data = self.blob(M, seed=refusal.status or 0)
            self.origin.patient = True
            self.origin.refusals = {ALPINE: refusal}
            flight = self.started(digest, ALPINE)
            self.started(digest, BUSYBOX)
            client = self.client(flight)
            while waiting := [each for each in self.origin.asked if not each.waiting.called]:
                self.origin.answer(waiting[0])
                self.turn()
            self.finish()
            self.assertEqual(bytes(client.got), data)
            self.assertEqual(self.told("fill")[-1].repository, "library/busybox")

    def test_names_that_are_all_refused_are_an_absence(self) -> None:
        digest, _ = self.blob(M)
        self.origin.patient = True
        self.origin.refusals = {ALPINE: self.DENIED, QUAY: self.NOT_FOUND}
        flight = self.started(digest, ALPINE)
        self.started(digest, QUAY)
        opening = self.headers(flight)
        self.origin.answer(self.origin.asked[0])
        self.origin.answer(self.origin.asked[1])
        self.turn()
        failure = self.failureResultOf(opening, UpstreamFailure).value
        self.assertTrue(failure.is_absence)
        self.assertEqual(self.on_disk(), 0)
        self.nothing_is_left()

    def test_an_upstream_that_fails_is_asked_once_and_another_is_tried(self) -> None:
        digest, data = self.blob(M)
        self.origin.patient = True
        self.origin.refusals = {ALPINE: self.TIMEOUT}
        flight = self.started(digest, ALPINE)
        self.started(digest, BUSYBOX)
        self.started(digest, QUAY)
        self.origin.patient = False
        self.origin.answer(self.origin.asked[0])
        client = self.client(flight)
        self.finish()
        self.assertEqual([each.name for each in self.origin.asked], [ALPINE, QUAY])
        self.assertEqual(bytes(client.got), data)

    def test_a_failing_upstream_outweighs_another_that_says_no(self) -> None:
        """Otherwise it would be remembered that the blob is not there."""
        digest, _ = self.blob(M)
        self.origin.patient = True
        self.origin.refusals = {ALPINE: self.NOT_FOUND, QUAY: self.TIMEOUT}
        flight = self.started(digest, ALPINE)
        self.started(digest, QUAY)
        opening = self.headers(flight)
        self.origin.patient = False
        self.origin.answer(self.origin.asked[0])
        self.turn()
        self.assertFalse(self.failureResultOf(opening, UpstreamFailure).value.is_absence)

    def test_the_answer_is_due_within_one_deadline(self) -> None:
        digest, _ = self.blob(M)
        self.turn(1000)
        self.flying(digest)
        self.assertEqual(self.origin.asked[0].deadline.at, 1000 + self.timeouts.upstream_answer)

    def test_what_took_long_before_the_question_takes_nothing_from_its_time(self) -> None:
        """Many segments on disk are read again first: their fill must be able to go on."""
        digest, _ = self.blob(M)
        open_partial = self.store.open_partial

        async def slowly(digest: Digest) -> Partial:
            await deferLater(self.clock, 60, lambda: None)
            return await open_partial(digest)

        self.patch(self.store, "open_partial", slowly)
        headers = self.headers(self.fills._begin(ALPINE, digest, None))
        self.turn(60)
        self.successResultOf(headers)
        self.assertEqual(self.origin.asked[0].deadline.at, 60 + self.timeouts.upstream_answer)

    def test_while_there_is_another_upstream_each_gets_its_share_of_the_time(self) -> None:
        digest, _ = self.blob(M)
        self.flying(digest, ALPINE)
        self.started(digest, QUAY)
        self.body.cut()
        self.assertEqual(self.origin.asked[-1].deadline.at, self.timeouts.answer / 2)

    def test_the_last_upstream_gets_all_of_the_time(self) -> None:
        digest, _ = self.blob(M)
        self.origin.patient = True
        self.origin.refusals = {ALPINE: self.NOT_FOUND}
        self.started(digest, ALPINE)
        self.started(digest, QUAY)
        self.origin.answer(self.origin.asked[0])
        self.assertEqual(self.origin.asked[1].deadline.at, self.timeouts.upstream_answer)


class Room(FlightCase):
    cap = 4 * M

    def test_no_room_for_the_size_of_a_manifest_is_known_before_anybody_is_asked(self) -> None:
        digest, _ = self.blob(5 * M)
        self.failureResultOf(self.starting(digest, hint=5 * M), NoRoom)
        self.assertEqual(self.origin.asked, [])
        self.nothing_is_left()

    def test_no_room_for_what_the_headers_say(self) -> None:
        digest, _ = self.blob(5 * M)
        self.origin.patient = True
        headers = self.headers(self.started(digest))
        self.origin.answer(self.origin.asked[0])
        self.turn()
        self.failureResultOf(headers, NoRoom)
        self.assertEqual(self.origin.sent, 0)
        self.assertEqual(self.outcome(), "discarded")
        self.nothing_is_left()

    def test_room_is_spoken_for_before_the_first_byte_is_written(self) -> None:
        digest, _ = self.blob(3 * M)
        self.flying(digest)
        self.assertEqual(self.store.usage().reserved, 3 * M)

    def test_the_accounts_are_right_behind_a_fill(self) -> None:
        digest, _ = self.blob(3 * M + 1)
        self.flying(digest)
        self.finish()
        self.turn()
        self.assert_accounts_are_right()

    def test_a_small_blob_fits_beside_others(self) -> None:
        one, _ = self.blob(37 * KIB)
        two, _ = self.blob(50 * KIB)
        self.flying(one)
        self.flying(two)
        self.finish()
        self.assertIsNotNone(self.stored(one))
        self.assertIsNotNone(self.stored(two))

"""A fill whose source asks peers: how wide it begins, what their failures cost, who is to blame."""

from __future__ import annotations

import zlib

from nodecache.failures import PeerFailure, PeerKind, UpstreamFailure, UpstreamKind
from nodecache.fill.patience import PEER_FAILURES
from nodecache.segments import Spread
from tests.fakes_source import FakeBody, part, whole
from tests.flight_case import BUSYBOX, SEGMENT, Client, M, small_limits
from tests.lending_case import GONE, LendingCase, segment
from tests.store_case import some_bytes

DOWN = UpstreamFailure(UpstreamKind.UNREACHABLE, "no route")


def crcs(data: bytes, index: int) -> tuple[int, ...]:
    mine = data[index * SEGMENT : (index + 1) * SEGMENT]
    return tuple(zlib.crc32(mine[at : at + M]) for at in range(0, len(mine), M))


class Width(LendingCase):
    wide = 4

    def test_once_the_total_is_known_it_begins_wide(self) -> None:
        digest, data = self.blob(9 * SEGMENT)
        self.origin.patient = True
        self.started(digest)
        self.assertEqual(len(self.origin.asked), 1)
        self.origin.patient = False
        self.origin.answer(self.origin.asked[0])
        self.turn()
        self.assertEqual(self.origin.spans, [(i * SEGMENT, (i + 1) * SEGMENT) for i in range(4)])
        self.finish()
        self.assertEqual(self.stored(digest), data)
        self.assertEqual(self.origin.sent, len(data))
        self.assertEqual(self.told("fill")[-1].connections, 4)
        self.nothing_is_left()

    def test_no_wider_than_there_are_segments(self) -> None:
        digest, data = self.blob(SEGMENT + 1)
        self.flying(digest)
        self.assertEqual(len(self.origin.asked), 2)
        self.finish()
        self.assertEqual(self.stored(digest), data)

    def test_no_more_segments_at_a_time_than_a_spread_allows(self) -> None:
        self.wide = 6
        self.spread = Spread(seed=7, at_a_time=3)
        digest, data = self.blob(9 * SEGMENT)
        self.flying(digest)
        while bodies := self.origin.open_bodies:
            self.assertLessEqual(len(bodies), 3)
            bodies[0].finish()
            self.turn()
        self.settle()
        self.assertEqual(len(self.origin.asked), 9)
        self.assertEqual(self.stored(digest), data)

    def test_a_fill_gets_wider_when_another_has_ended(self) -> None:
        """Its share of what the node may have at a time has grown."""
        self.wide = 2
        small, _ = self.blob(SEGMENT, seed=1)
        self.flying(small)
        [of_small] = self.origin.bodies
        big, data = self.blob(9 * SEGMENT, seed=2)
        flight = self.flying(big)
        self.assertEqual(flight.connections, 2)
        self.wide = 4
        of_small.finish()
        self.settle()
        self.assertEqual(flight.connections, 4)
        self.finish()
        self.assertEqual(self.stored(big), data)
        self.nothing_is_left()

    def test_a_source_without_ranges_has_one_connection(self) -> None:
        digest, data = self.blob(9 * SEGMENT)
        self.origin.ranges = False
        self.flying(digest)
        self.assertEqual(len(self.origin.asked), 1)
        self.finish()
        self.assertEqual(self.stored(digest), data)

    def test_what_is_on_disk_is_gone_on_with_widely(self) -> None:
        digest, data = self.blob(9 * SEGMENT)
        self.partial(digest, data, (0, 2))
        self.flying(digest)
        self.assertEqual(len(self.origin.open_bodies), 4)
        self.finish()
        self.assertEqual(self.stored(digest), data)
        self.assertEqual(self.origin.sent, len(data) - 2 * SEGMENT)

    def test_the_ramp_adds_none(self) -> None:
        digest, _ = self.blob(40 * SEGMENT)
        flight = self.flying(digest)
        for _ in range(8):
            for body in self.origin.open_bodies:
                body.send(M)
            self.turn(self.timeouts.ramp)
        self.assertEqual(flight.connections, 4)

    def test_what_is_read_ahead_is_scattered(self) -> None:
        self.spread = Spread(seed=7)
        digest, data = self.blob(40 * SEGMENT)
        client = self.client(self.flying(digest))
        starts = [span[0] // SEGMENT for span in self.origin.spans if span is not None]
        self.assertEqual(starts[0], 0)
        self.assertNotEqual(starts, [0, 1, 2, 3])
        self.body_at(0).finish()
        self.turn()
        # A client that waits comes first.
        self.assertIn((SEGMENT, 2 * SEGMENT), self.origin.spans)
        self.finish()
        self.assertEqual(bytes(client.got), data)

    def body_at(self, start: int) -> FakeBody:
        return next(body for body in self.origin.open_bodies if body.start == start)

    def test_one_that_is_refused_beside_others_is_not_replaced(self) -> None:
        digest, data = self.blob(9 * SEGMENT)
        self.origin.twists = [lambda _: None, lambda _: DOWN]
        flight = self.flying(digest)
        self.finish()
        self.assertEqual(self.stored(digest), data)
        self.assertLess(flight.connections, 4)
        self.nothing_is_left()

    def test_a_contradiction_ends_it_and_nobody_is_hired_any_more(self) -> None:
        digest, data = self.blob(9 * SEGMENT)
        other = [lambda span: part(data + b"!", span)]
        self.origin.twists = [lambda _: None, *other * 100]
        self.origin.patient = True
        client = self.client(self.started(digest))
        self.origin.patient = False
        self.origin.answer(self.origin.asked[0])
        self.turn()
        self.assertEqual(client.outcome, "broken")
        self.assertEqual(len(self.origin.asked), 2)
        self.nothing_is_left()


class Places(LendingCase):
    wide = 4
    room_in_line = 5
    limits = small_limits(connections_per_node=2)

    def test_the_places_are_those_that_are_told(self) -> None:
        one, two = (self.blob(9 * SEGMENT, seed)[0] for seed in range(2))
        self.flying(one)
        self.flying(two)
        self.assertEqual([each.connections for each in self.fills.active()], [4, 1])
        self.finish()
        self.nothing_is_left()

    def test_a_wide_fill_makes_room_and_becomes_wide_again(self) -> None:
        datas = [self.blob(30 * SEGMENT, seed) for seed in range(3)]
        self.flying(datas[0][0])
        self.flying(datas[1][0])
        third = self.starting(datas[2][0])
        self.turn()
        big = self.fills.active()[0]
        self.origin.open_bodies[0].finish()
        self.turn()
        self.assertEqual(big.connections, 3)
        self.successResultOf(third)
        self.finish(until=lambda: len(self.fills.active()) == 1)
        self.finish()
        for digest, data in datas:
            self.assertEqual(self.stored(digest), data)
        self.nothing_is_left()


class FailuresOfPeers(LendingCase):
    def test_a_first_question_that_a_peer_fails_is_asked_again_at_once(self) -> None:
        digest, data = self.blob(SEGMENT)
        self.origin.twists = [lambda _: GONE] * 5
        self.flying(digest)
        self.finish()
        self.assertEqual(self.stored(digest), data)
        self.assertEqual(self.told("fill")[-1].resumes, 0)
        self.assertEqual(self.told("fill_resume"), [])

    def test_a_first_question_that_peers_fail_for_ever_ends(self) -> None:
        digest, _ = self.blob(SEGMENT)
        self.origin.twists = [lambda _: GONE] * 1000
        starting = self.starting(digest)
        failure = self.failureResultOf(starting, UpstreamFailure).value
        self.assertNotIsInstance(failure, PeerFailure)
        self.assertEqual(len(self.origin.asked), PEER_FAILURES + 1)
        self.nothing_is_left()

    def test_bodies_that_peers_break_off_cost_no_patience(self) -> None:
        digest, data = self.blob(SEGMENT)
        self.origin.sender = "p1"
        self.flying(digest)
        for _ in range(20):
            self.body.lose_peer()
            self.turn()
        self.assertEqual(len(self.origin.asked), 21)
        self.finish()
        self.assertEqual(self.stored(digest), data)
        self.assertEqual(self.told("fill")[-1].resumes, 0)

    def test_it_goes_on_from_the_first_byte_that_is_missing(self) -> None:
        digest, data = self.blob(SEGMENT)
        self.origin.sender = "p1"
        client = self.client(self.flying(digest))
        self.body.send(M + 5)
        self.body.lose_peer()
        self.turn()
        self.assertEqual(self.origin.spans[-1], (M + 5, SEGMENT))
        self.finish()
        self.assertEqual(bytes(client.got), data)

    def test_they_are_bounded_all_the_same(self) -> None:
        digest, data = self.blob(3 * SEGMENT)
        client = self.client(self.flying(digest))
        self.origin.twists = [lambda _: GONE] * 1000
        self.body.finish()
        self.settle()
        self.assertEqual(len(self.origin.asked) - 1, PEER_FAILURES + 2)
        for _ in range(10):
            self.turn(5)
        self.assertEqual(client.outcome, "broken")
        self.assertNotIsInstance(client.cause, PeerFailure)
        self.assertEqual(bytes(client.got), data[:SEGMENT])
        self.nothing_is_left()

    def test_a_new_byte_forgives_them(self) -> None:
        digest, data = self.blob(SEGMENT)
        self.origin.sender = "p1"
        self.flying(digest)
        for _ in range(2 * PEER_FAILURES):
            self.body.send(100)
            self.body.lose_peer()
            self.turn()
        self.finish()
        self.assertEqual(self.stored(digest), data)
        self.assertEqual(self.told("fill_resume"), [])

    def test_a_peers_refusal_makes_no_worker_leave(self) -> None:
        self.wide = 3
        digest, data = self.blob(8 * SEGMENT)
        self.origin.twists = [lambda _: None, *[lambda _: GONE] * 9]
        flight = self.flying(digest)
        self.assertEqual(flight.connections, 3)
        self.finish()
        self.assertEqual(self.stored(digest), data)

    def test_an_answer_of_a_peer_that_is_not_fit_is_its_failure(self) -> None:
        digest, data = self.blob(3 * SEGMENT)
        self.origin.sender = "p1"
        self.wide = 2
        odd = [lambda span: part(data, span, start=span.start + 1)]
        self.origin.twists = [lambda _: None, *odd, *odd]
        self.flying(digest)
        self.assertEqual(len(self.origin.open_bodies), 2)
        self.finish()
        self.assertEqual(self.stored(digest), data)
        self.assertEqual(self.told("fill")[-1].resumes, 0)

    def test_other_names_are_not_asked_for_a_peers_failure(self) -> None:
        digest, _ = self.blob(SEGMENT)
        self.origin.patient = True
        flight = self.started(digest)
        flight.add_repository(BUSYBOX)
        self.origin.twists = [lambda _: GONE]
        self.origin.answer(self.origin.asked[0])
        self.turn()
        self.assertEqual(self.origin.asked[1].name, self.origin.asked[0].name)

    def test_no_bytes_of_a_peer_are_no_harm(self) -> None:
        digest, data = self.blob(2 * SEGMENT)
        self.origin.sender = "p1"
        client = self.client(self.flying(digest))
        for _ in range(3):
            self.body.live()
            self.body.send(M)
            self.body.live()
            self.settle()
        self.assertEqual(bytes(client.got), data[: 3 * M])
        self.finish()
        self.assertEqual(self.stored(digest), data)


class WhoIsToBlame(LendingCase):
    def flying_wrong(self, size: int, at: int, *senders: str | None) -> tuple[Client, bytes]:
        """Segments come from ``senders``, and the byte at ``at`` is another."""
        digest, data = self.blob(size)
        bad = bytearray(data)
        bad[at] ^= 1
        self.origin.blobs[digest] = bytes(bad)
        client = self.client(self.flying(digest))
        for sender in senders:
            self.body.sender = sender
            self.body.finish()
            self.turn()
        self.settle()
        return client, data

    def test_senders_and_sums_are_told_by_segment(self) -> None:
        _, data = self.flying_wrong(3 * SEGMENT, SEGMENT + 5, "p1", "p2", None)
        ((_, senders, sums),) = self.court.wrong
        self.assertEqual(senders, {0: frozenset({"p1"}), 1: frozenset({"p2"})})
        self.assertEqual(sorted(sums), [0, 1, 2])
        self.assertEqual(sums[0], crcs(data, 0))
        self.assertEqual(sums[2], crcs(data, 2))
        self.assertNotEqual(sums[1][0], crcs(data, 1)[0])
        self.assertEqual(sums[1][1:], crcs(data, 1)[1:])

    def test_another_fill_is_under_way_at_once_for_clients_that_try_again(self) -> None:
        client, data = self.flying_wrong(2 * SEGMENT, 5, "p1", None)
        self.assertEqual(client.outcome, "broken")
        (digest,) = self.origin.blobs
        self.origin.blobs[digest] = data
        self.assertEqual(len(self.fills.active()), 1)
        self.body.stop()
        self.origin.bodies.clear()

    def test_the_retry_joins_it_and_is_right(self) -> None:
        digest, data = self.blob(2 * SEGMENT)
        self.origin.sender = "p1"
        self.origin.twists = [lambda span: part(b"!" + data[1:], span)]
        client = self.client(self.flying(digest))
        self.body.finish()
        self.origin.sender = None
        self.turn()
        self.body.finish()
        self.settle()
        self.assertEqual(client.outcome, "broken")
        retry = self.client(self.flying(digest))
        self.finish()
        self.assertEqual(bytes(retry.got), data)
        self.assertEqual(len(self.told("fill")), 2)
        self.assertEqual(len(self.court.right), 1)
        self.nothing_is_left()

    def test_without_clients_no_other_is_begun_but_it_is_not_refused(self) -> None:
        digest, data = self.blob(SEGMENT)
        self.origin.sender = "p1"
        self.origin.twists = [lambda span: part(b"!" + data[1:], span)]
        client = self.client(self.flying(digest))
        client.leave()
        self.finish()
        self.assertEqual(self.outcome(), "mismatch")
        self.nothing_is_left()
        again = self.client(self.flying(digest))
        self.finish()
        self.assertEqual(bytes(again.got), data)

    def test_what_upstream_alone_sent_is_refused_for_a_while(self) -> None:
        self.flying_wrong(2 * SEGMENT, 5, None, None)
        (digest,) = self.origin.blobs
        starting = self.starting(digest)
        self.failureResultOf(starting, UpstreamFailure)
        self.nothing_is_left()

    def test_a_fill_that_ends_right_tells_its_sums(self) -> None:
        digest, data = self.blob(2 * SEGMENT + 7)
        self.flying(digest)
        self.finish()
        ((named, sums),) = self.court.right
        self.assertEqual(named, digest)
        self.assertEqual(sums, {index: crcs(data, index) for index in range(3)})
        self.assertEqual(self.court.wrong, [])

    def test_sums_of_what_was_on_disk_are_told_too(self) -> None:
        digest, data = self.blob(2 * SEGMENT)
        self.partial(digest, data, (1,))
        self.flying(digest)
        self.finish()
        self.assertEqual(self.court.right[-1][1], {index: crcs(data, index) for index in range(2)})

    def test_a_peer_that_told_a_wrong_size_is_to_blame(self) -> None:
        digest, data = self.blob(3 * SEGMENT)
        self.origin.sender = "p1"
        self.origin.twists = [lambda span: part(data[:-1], span)]
        client = self.client(self.flying(digest))
        self.body.finish()
        self.origin.sender = None
        self.turn()
        self.assertEqual(client.outcome, "broken")
        self.assertEqual(self.court.wrong[-1][1], {0: frozenset({"p1"})})
        retry = self.client(self.flying(digest))
        self.finish()
        self.assertEqual(bytes(retry.got), data)

    def test_so_is_one_that_contradicts_upstream(self) -> None:
        digest, data = self.blob(3 * SEGMENT)
        self.client(self.flying(digest))
        self.origin.sender = "p2"
        self.origin.twists = [lambda span: part(data + b"!", span)]
        self.body.finish()
        self.turn()
        self.assertIn("p2", self.court.wrong[-1][1][0])

    def test_what_is_left_of_a_blob_of_another_size_needs_no_room(self) -> None:
        digest, data = self.blob(2 * SEGMENT)
        longer = data + bytes(2 * SEGMENT)
        self.origin.twists = [lambda span: part(longer, span)]
        self.borrow(digest, segment(3))
        self.finish()
        self.linger()
        self.assertEqual(self.outcome(), "kept")
        for index in range(2):
            borrower = self.borrow(digest, segment(index))
            self.finish()
            self.assertEqual(bytes(borrower.got), data[index * SEGMENT : (index + 1) * SEGMENT])
        self.linger()
        self.nothing_is_left()

    def test_a_flight_that_only_peers_asked_for_tells_as_well(self) -> None:
        digest, data = self.blob(2 * SEGMENT)
        self.origin.sender = "p1"
        self.origin.twists = [lambda span: part(b"!" + data[1:], span)]
        for index in range(2):
            self.borrow(digest, segment(index))
        self.finish()
        self.assertEqual(len(self.court.wrong), 1)
        self.assertEqual(self.outcome(), "mismatch")
        self.nothing_is_left()
        self.borrow(digest, segment(0))
        self.finish()
        self.linger()

    def test_a_stream_has_no_sender_but_upstream(self) -> None:
        data = some_bytes(2 * SEGMENT)
        digest, _ = self.blob(2 * SEGMENT)
        self.origin.twists = [lambda span: whole(b"!" + data[1:], asked=span)]
        self.client(self.flying(digest))
        self.finish()
        self.assertEqual(self.court.wrong[0][1], {})

    def test_a_corrupt_frame_costs_nothing_but_another_question(self) -> None:
        digest, data = self.blob(SEGMENT)
        self.origin.sender = "p1"
        self.flying(digest)
        self.body.send(M)
        self.body._end(PeerFailure("p1", PeerKind.CORRUPT, "a sum is wrong"))
        self.origin.sender = None
        self.turn()
        self.finish()
        self.assertEqual(self.stored(digest), data)
        self.assertEqual(self.court.wrong, [])

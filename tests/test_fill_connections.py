"""How many connections a fill has, and how fills share those of the node."""

from __future__ import annotations

from nodecache.byteranges import Span
from nodecache.failures import UpstreamFailure, UpstreamKind
from tests.fakes_source import FakeBody, Twist, whole
from tests.flight_case import ALPINE, SEGMENT, FlightCase, M, small_limits
from tests.lending_case import LendingCase, segment

REFUSED = UpstreamFailure(UpstreamKind.LIMITED, "one is enough", status=429)


class Flowing(FlightCase):
    limits = small_limits(connections_per_blob=3, ramp_bytes=M)

    def flow(self, rate: int, seconds: float, most: int = 1 << 30) -> None:
        """Each open body brings ``rate`` bytes a second, all together at most ``most``."""
        step = self.timeouts.ramp / 5
        for _ in range(round(seconds / step)):
            bodies = [body for body in self.origin.open_bodies if body.delivering]
            share = min(rate, most // max(1, len(bodies)))
            for body in bodies:
                body.send(int(share * step))
                if body.delivering and not body.left:
                    body.finish()
            self.turn(step)


class Ramping(Flowing):
    def test_a_fill_begins_with_one_connection(self) -> None:
        digest, _ = self.blob(8 * SEGMENT)
        self.flying(digest)
        self.assertEqual(len(self.origin.asked), 1)

    def test_connections_are_added_while_each_raises_the_total_rate(self) -> None:
        digest, data = self.blob(8 * SEGMENT)
        flight = self.flying(digest)
        seen = [1]
        while seen[-1] < 3:
            self.flow(10 * M, self.timeouts.ramp)
            seen.append(flight.connections)
        self.assertEqual(sorted(set(seen)), [1, 2, 3])
        self.finish()
        self.assertEqual(self.stored(digest), data)
        self.assertEqual(self.told("fill")[-1].connections, 3)

    def test_the_first_that_does_not_raise_the_rate_is_the_last(self) -> None:
        digest, _ = self.blob(8 * SEGMENT)
        flight = self.flying(digest)
        self.flow(20 * M, 2, most=20 * M)
        self.assertEqual(flight.connections, 2)

    def test_there_is_never_more_than_the_limit(self) -> None:
        digest, _ = self.blob(8 * SEGMENT)
        self.flying(digest)
        most = 0
        while self.origin.open_bodies:
            self.flow(10 * M, self.timeouts.ramp)
            most = max(most, len(self.origin.open_bodies))
        self.assertEqual(most, 3)

    def test_no_two_connections_bring_the_same_byte(self) -> None:
        digest, data = self.blob(8 * SEGMENT + 1)
        self.flying(digest)
        self.flow(10 * M, 10)
        self.finish()
        self.assertEqual(self.origin.sent, len(data))
        self.assertEqual(self.stored(digest), data)

    def test_a_small_blob_needs_no_second_connection(self) -> None:
        digest, _ = self.blob(SEGMENT)
        self.flying(digest)
        self.flow(4 * M, 3)
        self.assertEqual(len(self.origin.asked), 1)

    def test_a_refused_second_connection_leaves_the_first_alone(self) -> None:
        digest, data = self.blob(4 * SEGMENT)
        flight = self.flying(digest)
        self.origin.twists = [lambda _: REFUSED]
        self.flow(10 * M, 0.6)
        self.assertEqual(len(self.origin.asked), 2)
        self.flow(10 * M, 1)
        self.assertEqual(flight.connections, 1)
        self.assertEqual(self.told("fill_resume"), [])
        self.finish()
        self.assertEqual(self.stored(digest), data)

    def test_a_second_connection_that_brings_the_whole_is_refused(self) -> None:
        digest, data = self.blob(4 * SEGMENT)
        self.flying(digest)
        self.origin.twists = [lambda span: whole(data, asked=span)]
        self.flow(10 * M, 0.6)
        self.assertTrue(self.origin.bodies[1].closed)
        self.assertEqual(self.origin.bodies[1].sent, 0)
        self.finish()
        self.assertEqual(self.stored(digest), data)

    def test_one_that_breaks_off_is_resumed_beside_the_others(self) -> None:
        digest, data = self.blob(4 * SEGMENT)
        self.flying(digest)
        while len(self.origin.open_bodies) < 2:
            self.flow(10 * M, self.timeouts.ramp)
        broken = self.origin.open_bodies[1]
        assert broken.asked is not None
        broken.send(1000)
        at = broken.start + broken.sent
        broken.cut()
        self.assertEqual(self.origin.spans[-1], (at, broken.asked.stop))
        self.finish()
        self.assertEqual(self.stored(digest), data)

    def test_all_broken_at_once_and_the_last_one_goes_on(self) -> None:
        digest, data = self.blob(6 * SEGMENT)
        flight = self.flying(digest)
        while len(self.origin.open_bodies) < 3:
            self.flow(10 * M, self.timeouts.ramp)
        self.origin.refusals = {ALPINE: REFUSED}
        for body in self.origin.open_bodies:
            body.cut()
        self.turn()
        self.assertEqual(flight.connections, 1)
        self.origin.refusals = {}
        self.turn(1)
        self.finish()
        self.assertEqual(self.stored(digest), data)

    def test_a_full_disk_queue_adds_no_connection(self) -> None:
        """While the disk makes the sources wait, their rate says nothing about them."""
        digest, _ = self.blob(8 * SEGMENT)
        self.hold_jobs()
        self.starting(digest)
        self.run_jobs()
        pauses = 0
        while self.origin.open_bodies:
            body = self.body
            self.turn(self.timeouts.ramp)
            body.send()
            pauses += body.paused
            self.run_jobs()
            if not body.left:
                body.finish()
        self.assertGreater(pauses, 8)


class Doubling(Flowing):
    """Each connection is capped, and nothing else is the limit."""

    limits = small_limits(connections_per_blob=8, ramp_bytes=M)

    def until(self, connections: int) -> None:
        while len(self.origin.open_bodies) < connections:
            self.flow(10 * M, self.timeouts.ramp)

    def at_most(self, allowed: int, refused: list[int]) -> Twist:
        """Upstream takes so many at a time; how many there were at a refusal is put down."""

        def twist(_: Span | None) -> UpstreamFailure | None:
            there = len(self.origin.open_bodies)
            if there < allowed:
                return None
            refused.append(there)
            return REFUSED

        return twist

    def test_their_number_is_doubled_up_to_the_limit(self) -> None:
        digest, data = self.blob(32 * SEGMENT)
        flight = self.flying(digest)
        seen = {1}
        while flight.connections < 8:
            self.flow(10 * M, self.timeouts.ramp)
            seen.add(flight.connections)
        self.assertEqual(seen, {1, 2, 4, 8})
        self.flow(10 * M, 2 * self.timeouts.ramp)
        self.assertLessEqual(flight.connections, 8)
        self.finish()
        self.assertEqual(self.stored(digest), data)
        self.assertEqual(self.origin.sent, len(data))
        self.nothing_is_left()

    def test_what_upstream_refuses_of_those_that_are_added_is_left(self) -> None:
        for allowed in (2, 3):
            digest, data = self.blob(32 * SEGMENT, seed=allowed)
            refused: list[int] = []

            self.origin.twists = [self.at_most(allowed, refused)] * 100
            flight = self.flying(digest)
            while not refused:
                self.flow(10 * M, self.timeouts.ramp)
            self.assertEqual(flight.connections, allowed)
            self.finish()
            self.assertEqual(len(refused), 1, "no more is tried after that")
            self.assertEqual(self.stored(digest), data)
            self.assertEqual(self.told("fill_resume"), [])
        self.nothing_is_left()


class Sharing(FlightCase):
    limits = small_limits(connections_per_node=2, connections_per_blob=8, ramp_bytes=M, fills=3)

    def busy(self, seed: int) -> FakeBody:
        """A fill with a connection open."""
        digest, _ = self.blob(4 * SEGMENT, seed)
        self.flying(digest)
        return self.origin.bodies[-1]

    def test_a_fill_beyond_the_limit_waits_its_turn(self) -> None:
        first, _ = self.busy(1), self.busy(2)
        digest, data = self.blob(M, 3)
        flight = self.started(digest)
        headers = self.headers(flight)
        self.turn()
        self.assertNoResult(headers)
        while first.delivering or self.origin.bodies[-1].asked is None:
            first.finish()
        self.finish(until=lambda: headers.called)
        self.successResultOf(headers)
        self.finish()
        self.assertEqual(self.stored(digest), data)

    def test_waiting_in_line_is_bounded(self) -> None:
        self.busy(1)
        self.busy(2)
        digest, _ = self.blob(M, 3)
        headers = self.headers(self.started(digest))
        self.turn(self.timeouts.answer)
        failure = self.failureResultOf(headers, UpstreamFailure).value
        self.assertIs(failure.kind, UpstreamKind.TIMEOUT)

    def test_a_fill_with_several_gives_one_back_to_one_that_waits(self) -> None:
        digest, _ = self.blob(8 * SEGMENT, 1)
        flight = self.flying(digest)
        while flight.connections < 2:
            self.body.send(M)
            self.turn(self.timeouts.ramp)
        other, data = self.blob(M, 2)
        headers = self.headers(self.started(other))
        self.assertNoResult(headers)
        self.origin.open_bodies[0].finish()
        self.turn()
        self.successResultOf(headers)
        self.assertEqual(flight.connections, 1)
        self.finish()
        self.assertEqual(self.stored(other), data)
        self.nothing_is_left()

    def test_a_fill_that_could_not_be_begun_gives_its_place_back(self) -> None:
        self.origin.refusals = {ALPINE: REFUSED}
        for seed in range(2 * self.limits.connections_per_node):
            digest, _ = self.blob(M, seed)
            self.failureResultOf(self.starting(digest), UpstreamFailure)
            self.turn()
        self.origin.refusals = {}
        self.busy(1)

    def test_no_more_fills_than_the_limit_are_under_way(self) -> None:
        self.busy(1)
        self.busy(2)
        digests = [self.blob(M, seed)[0] for seed in (3, 4)]
        starting = [self.starting(digest) for digest in digests]
        self.turn()
        self.successResultOf(starting[0])
        self.assertNoResult(starting[1])
        self.assertEqual(len(self.fills.active()), 4)
        self.finish()
        self.successResultOf(starting[1])
        self.finish()
        self.nothing_is_left()
        for digest in digests:
            self.assertIsNotNone(self.stored(digest))


class ForPeersAlone(Flowing, LendingCase):
    """However well connections pay: what no client of this node wants is not fetched."""

    def test_a_fill_for_peers_hires_nobody_for_the_rest_of_the_blob(self) -> None:
        digest, data = self.blob(8 * SEGMENT)
        borrower = self.borrow(digest, segment(2))
        self.flow(M, 3 * self.timeouts.ramp)
        self.assertEqual(self.origin.spans, [(2 * SEGMENT, 3 * SEGMENT)])
        self.finish()
        self.assertEqual(bytes(borrower.got), data[2 * SEGMENT : 3 * SEGMENT])
        self.assertEqual(self.origin.sent, SEGMENT)
        self.linger()

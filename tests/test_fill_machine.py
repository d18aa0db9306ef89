"""Any interleaving of what can happen to a blob in flight, against what a client may see.

Sizes are tiny, so that a few hundred bytes hold several segments, and a hole
is punched to the byte, so that whoever reads behind one finds zeros.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from typing import Any

from hypothesis import HealthCheck, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from twisted.internet.defer import Deferred

from nodecache import segments
from nodecache.byteranges import Span
from nodecache.failures import Failure, UpstreamFailure, UpstreamKind
from nodecache.fill import allotment, crew, first, halves, landing, narrow, stride, sums
from nodecache.inflight import Flight
from nodecache.limits import Limits
from nodecache.reference import Digest
from tests.fakes_source import Asked, FakeBody, part
from tests.flight_case import ALPINE, BUSYBOX, QUAY, Client, FlightCase
from tests.store_case import digest_of, some_bytes

SEGMENT = 400
BLOCK = 100
TAIL = 30
PLENTY = 1 << 40

SIZES = st.sampled_from(
    [0, 1, TAIL, TAIL + 1, BLOCK, SEGMENT - 1, SEGMENT, SEGMENT + 1, 1500, 2400]
)
BIG = st.sampled_from([SEGMENT, 1500, 2400, 2801])
HINTS = st.sampled_from(["none", "right", "right", "wrong"])
KINDS = st.sampled_from(["whole", "whole", "open", "closed"])
NAMES = st.sampled_from([ALPINE, BUSYBOX, QUAY])
REFUSALS = st.sampled_from([None, *UpstreamKind])
#: Picks one of however many there are.
PICK = st.integers(0, 1 << 16)


class Tiny(FlightCase):
    """The case whose parts the machine moves."""

    limits = Limits(
        connections_per_blob=3,
        connections_per_node=4,
        fills=3,
        disk_queue=200,
        job_bytes=120,
        job_wanted=60,
        job_first=10,
        job_reread=150,
        ramp_bytes=100,
        reserve_step=300,
        narrow_window=250,
        tail=TAIL,
    )

    def setUp(self) -> None:
        super().setUp()
        for module in (segments, allotment, crew, first, landing, stride):
            self.patch(module, "SEGMENT", SEGMENT)
        for module in (segments, sums, halves):
            self.patch(module, "CHECKSUM_BLOCK", BLOCK)
        self.patch(narrow, "_ALIGNED", 1)
        self.hold_jobs()
        self.limit_disk()

    def limit_disk(self) -> None:
        """``room`` is what the disk still takes."""
        self.room = PLENTY
        pwritev, punch = self.disk.pwritev, self.disk.punch

        def limited(fd: int, chunks: Sequence[bytes | memoryview], offset: int) -> int:
            size = sum(len(chunk) for chunk in chunks)
            if size > self.room:
                raise OSError(errno.ENOSPC, "No space left on device")
            self.room -= size
            return pwritev(fd, chunks, offset)

        def counted(fd: int, start: int, stop: int) -> None:
            punch(fd, start, stop)
            self.room += stop - start

        self.patch(self.disk, "pwritev", limited)
        self.patch(self.disk, "punch", counted)

    def runTest(self) -> None:
        """The machine runs it."""


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


class FillMachine(RuleBasedStateMachine):
    made_of: type[Tiny] = Tiny

    def __init__(self) -> None:
        super().__init__()
        self.before = descriptors()
        self.case = self.made_of("runTest")
        self.case.setUp()
        self.origin = self.case.origin
        self.data: dict[Digest, bytes] = {}
        self.wrong: set[Digest] = set()
        #: Sizes that were told of blobs, right or wrong.
        self.hinted: dict[Digest, set[int]] = {}
        self.clients: list[tuple[Digest, Client]] = []
        self.flights: list[Flight] = []
        self.starting: list[Deferred[Flight]] = []

    # Blobs and clients.

    @initialize(
        size=BIG,
        other=SIZES,
        ranges=st.booleans(),
        lengths=st.booleans(),
        hint=HINTS,
        kinds=st.lists(KINDS, max_size=3),
    )
    def a_flight_is_under_way(
        self, size: int, other: int, ranges: bool, lengths: bool, hint: str, kinds: list[str]
    ) -> None:
        self.origin.ranges, self.origin.lengths = ranges, lengths
        self.a_blob_appears(size, 1)
        self.a_blob_appears(other, 2)
        self.a_blob_is_asked_for(0, ALPINE, hint)
        self.case.run_jobs()
        for number, kind in enumerate(kinds):
            if self.flights:
                self.a_client_joins(0, kind, number / 3, 200, PLENTY, number != 1)

    @rule(size=SIZES, seed=st.integers(0, 2))
    def a_blob_appears(self, size: int, seed: int) -> None:
        data = some_bytes(size, seed)
        digest = digest_of(data)
        if digest not in self.data:
            self.data[digest] = data
            self.origin.blobs[digest] = data

    @precondition(lambda self: self.data)
    @rule(pick=PICK, name=NAMES, hint=HINTS)
    def a_blob_is_asked_for(self, pick: int, name: Any, hint: str) -> None:
        digest = self.one_of(list(self.data), pick)
        size = len(self.data[digest])
        told = {"none": None, "right": size, "wrong": size + 1 if size % 2 else size // 2}[hint]
        if told is not None:
            self.hinted.setdefault(digest, set()).add(told)
        starting = self.case.starting(digest, name, told)
        starting.addCallbacks(self.flights.append, self.expected)
        self.starting.append(starting)

    @staticmethod
    def expected(reason: Any) -> None:
        reason.trap(Failure)

    @precondition(lambda self: self.flights)
    @rule(
        pick=PICK,
        kind=KINDS,
        at=st.floats(0, 1),
        size=st.integers(1, 500),
        most=st.sampled_from([7, 100, PLENTY]),
        go=st.booleans(),
    )
    def a_client_joins(
        self, pick: int, kind: str, at: float, size: int, most: int, go: bool
    ) -> None:
        flight = self.one_of(self.flights, pick)
        total = len(self.data[flight.digest])
        start = int(at * max(0, total - 1))
        try:
            reader = flight.reader()
        except Failure:
            return
        if kind == "closed" and total:
            client = Client(reader, Span(start, min(total, start + size)), most=most)
        else:
            client = Client(reader, start=0 if kind == "whole" else start, most=most)
        self.clients.append((flight.digest, client))
        if go:
            client.go()

    @precondition(lambda self: self.clients)
    @rule(pick=PICK, what=st.sampled_from(["go", "pause", "leave", "read"]))
    def a_client_moves(self, pick: int, what: str) -> None:
        _, client = self.one_of(self.clients, pick)
        if client.outcome is not None:
            return
        if what == "read":
            client.pause()
            client.read()
        else:
            getattr(client, what)()

    # Sources.

    @precondition(lambda self: self.sending())
    @rule(pick=PICK, count=st.integers(1, 300))
    def bytes_come(self, pick: int, count: int) -> None:
        self.bytes_come_from(self.one_of(self.sending(), pick), count)

    @staticmethod
    def bytes_come_from(body: FakeBody, count: int) -> None:
        body.send(count)
        if not body.left and not body.paused and body.delivering:
            body.finish()

    @rule(times=st.integers(1, 12), count=st.integers(1, 100), jobs=st.integers(0, 3))
    def all_goes_well_for_a_while(self, times: int, count: int, jobs: int) -> None:
        for _ in range(times):
            for body in self.sending():
                if body.delivering:
                    self.bytes_come_from(body, count)
            self.case.settle()
            self.disk_jobs_are_done(jobs)
            self.case.turn()

    @precondition(lambda self: self.sending())
    @rule(pick=PICK)
    def a_body_ends(self, pick: int) -> None:
        self.one_of(self.sending(), pick).finish()

    @precondition(lambda self: self.sending())
    @rule(pick=PICK, silent=st.booleans())
    def a_body_breaks(self, pick: int, silent: bool) -> None:
        body = self.one_of(self.sending(), pick)
        if silent:
            self.case.turn(self.case.timeouts.silence)
        if body.delivering:
            body.fall_silent() if silent else body.cut()

    @rule(ranges=st.booleans(), lengths=st.booleans(), patient=st.booleans())
    def the_origin_changes(self, ranges: bool, lengths: bool, patient: bool) -> None:
        self.origin.ranges, self.origin.lengths, self.origin.patient = ranges, lengths, patient

    @rule(name=NAMES, kind=REFUSALS)
    def a_name_is_refused(self, name: Any, kind: UpstreamKind | None) -> None:
        self.origin.refusals.pop(name, None)
        if kind is not None:
            self.origin.refusals[name] = UpstreamFailure(kind, "refused", retry_after=0.5)

    @precondition(lambda self: self.data)
    @rule(pick=PICK, at=st.floats(0, 1), more=st.integers(-1, 1))
    def the_origin_lies(self, pick: int, at: float, more: int) -> None:
        """Some byte of a blob is another from now on, or one is too few or too many."""
        digest = self.one_of(list(self.data), pick)
        data = bytearray(self.data[digest])
        if data:
            data[int(at * (len(data) - 1))] ^= 1
        if more:
            data = data[:-1] if more < 0 else data + b"!"
        self.origin.blobs[digest] = bytes(data)
        self.wrong.add(digest)

    @precondition(lambda self: self.data)
    @rule(pick=PICK)
    def the_origin_tells_the_truth_again(self, pick: int) -> None:
        digest = self.one_of(list(self.data), pick)
        self.origin.blobs[digest] = self.data[digest]

    @precondition(lambda self: self.data)
    @rule(shift=st.integers(1, 3))
    def the_next_answer_begins_elsewhere(self, shift: int) -> None:
        data = next(iter(self.data.values()))

        def elsewhere(span: Span | None) -> FakeBody | UpstreamFailure | None:
            if span is None or span.start + shift >= len(data):
                return None
            return part(data, span, start=span.start + shift)

        self.origin.twists = [elsewhere]

    @precondition(lambda self: self.questions())
    @rule(pick=PICK)
    def a_question_is_answered(self, pick: int) -> None:
        self.origin.answer(self.one_of(self.questions(), pick))

    # Time and disk.

    @rule(seconds=st.sampled_from([0.0, 0.002, 0.3, 1.0, 11.0, 31.0]))
    def time_passes(self, seconds: float) -> None:
        self.case.turn(seconds)

    @rule(count=st.integers(1, 5))
    def disk_jobs_are_done(self, count: int) -> None:
        for _ in range(count):
            self.case.held.step()

    @rule()
    def all_disk_jobs_are_done(self) -> None:
        self.case.run_jobs()

    @rule(room=st.sampled_from([0, 50, 200, 600, PLENTY]))
    def the_disk_has_room_for(self, room: int) -> None:
        self.case.room = room

    @rule(call=st.sampled_from(["pwritev", "append", "rename", "unlink", "fsync", "punch"]))
    def a_call_of_the_disk_fails(self, call: str) -> None:
        self.case.disk.fail(call, errno.EIO, times=1)

    @precondition(lambda self: self.data)
    @rule(pick=PICK)
    def a_blob_is_evicted(self, pick: int) -> None:
        self.case.begin(self.case.store.drop_blob(self.one_of(list(self.data), pick)))

    @rule()
    def the_node_is_stopped_and_started(self) -> None:
        self.stop_fills()
        self.case.fills = self.case.new_fills()
        self.flights.clear()

    def stop_fills(self) -> None:
        stopped = self.case.begin(self.case.fills.stop())
        self.case.run_jobs()
        self.case.successResultOf(stopped)
        assert self.case.fills.active() == []
        for starting in self.starting:
            assert starting.called, "somebody still waits for a stopped fill"
        self.starting.clear()

    # What must hold.

    @invariant()
    def clients_have_only_right_bytes(self) -> None:
        for digest, client in self.clients:
            right = self.data[digest]
            if client.outcome == "complete" and client.held_back:
                assert bytes(client.got) == right[client.start :], "a complete wrong body"
            elif digest not in self.wrong:
                assert bytes(client.got) == right[client.start : client.at], "wrong bytes"

    @invariant()
    def there_are_never_too_many_connections(self) -> None:
        assert len(self.origin.open_bodies) <= self.case.limits.connections_per_node
        for flight in self.case.fills.active():
            assert flight.connections <= self.case.limits.connections_per_blob

    def teardown(self) -> None:
        try:
            self.heal()
            self.come_to_rest()
            self.nothing_is_left()
        finally:
            self.clean_up()

    def heal(self) -> None:
        self.origin.refusals.clear()
        self.origin.twists.clear()
        self.origin.ranges, self.origin.patient = True, False
        self.case.room = PLENTY
        self.case.disk.mend()
        for _, client in self.clients:
            if client.outcome is None:
                client.go()

    def come_to_rest(self) -> None:
        for _ in range(400):
            for asked in self.questions():
                self.origin.answer(asked)
            for body in self.sending():
                if body.delivering:
                    body.finish()
            self.case.run_jobs()
            if not self.case.fills.active():
                return
            self.case.turn(0.5)
        raise AssertionError("a fill has not come to rest")

    def nothing_is_left(self) -> None:
        # One that was dropped within its grace has its room until that is over.
        self.case.turn(self.case.timeouts.grace_pin)
        self.case.run_jobs()
        for _, client in self.clients:
            assert client.outcome is not None, "a client still waits"
        self.clients_have_only_right_bytes()
        for flight in self.flights:
            assert (flight.waiting, flight.readers) == (0, 0)
        assert all(starting.called for starting in self.starting)
        assert self.origin.open_bodies == []
        assert self.case.store.usage().reserved == 0
        assert not any(self.case.places())
        for digest, data in self.data.items():
            assert self.case.stored(digest) in {None, data}

        for outcome in {each.outcome for each in self.case.told("fill")}:
            event(f"a fill was {outcome}")
        for outcome in {client.outcome for _, client in self.clients}:
            event(f"a client: {outcome}")
        if any(flight.narrowed for flight in self.flights):
            event("a flight became narrow")

    def clean_up(self) -> None:
        for function, arguments, keywords in reversed(self.case._cleanups):
            function(*arguments, **keywords)
        assert descriptors() == self.before, "a descriptor is still open"

    # Little helpers.

    @staticmethod
    def one_of(some: list[Any], pick: int) -> Any:
        return some[pick % len(some)]

    def sending(self) -> list[FakeBody]:
        return [each for each in self.origin.open_bodies if each.delivering and not each.paused]

    def questions(self) -> list[Asked]:
        return [asked for asked in self.origin.asked if not asked.waiting.called]


FillMachine.TestCase.settings = settings(
    max_examples=120,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
FillsUnderAnyInterleaving = FillMachine.TestCase

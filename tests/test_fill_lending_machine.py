"""Any interleaving of what clients, peers, sources and the disk may do to fills that lend."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure as Raised

from nodecache.byteranges import Span
from nodecache.failures import Failure, PeerFailure
from nodecache.limits import LANES
from nodecache.reference import Digest
from nodecache.results import Loan
from nodecache.segments import Spread, segment_count
from tests.fakes_source import FakeBody
from tests.flight_case import ALPINE
from tests.lending_case import GONE, Borrower, LendingCase
from tests.test_fill_machine import NAMES, PICK, PLENTY, SEGMENT, FillMachine, Tiny

PEERS = st.sampled_from(["p1", "p2", "p3"])
SENDERS = st.sampled_from([None, "p1", "p2"])


class TinyLending(LendingCase, Tiny):
    limits = Tiny.limits
    wide = 2


class LendingMachine(FillMachine):
    made_of = TinyLending
    case: TinyLending

    def __init__(self) -> None:
        super().__init__()
        self.borrowers: list[tuple[Digest, Borrower]] = []
        self.lendings: list[Deferred[Loan | None]] = []
        self.disk_failed = False

    # Peers that ask.

    @initialize(
        indexes=st.lists(st.integers(0, 6), min_size=1, max_size=4),
        ranges=st.booleans(),
        joined=st.booleans(),
    )
    def peers_have_asked(self, indexes: list[int], ranges: bool, joined: bool) -> None:
        """Of a blob that no client, or one, has asked for."""
        self.origin.ranges, self.origin.lengths = ranges, True
        self.a_blob_appears(2400, 3)
        digest = list(self.data)[-1]
        for index in indexes:
            span = Span(index * SEGMENT, (index + 1) * SEGMENT)
            self.asks(digest, span, fetch=True, asker="p3", name=ALPINE, most=PLENTY)
        self.case.run_jobs()
        if joined:
            self.a_blob_is_asked_for(len(self.data) - 1, ALPINE, "none")

    @precondition(lambda self: self.data)
    @rule(
        pick=PICK,
        at=st.floats(0, 1),
        start=st.floats(0, 0.9),
        fetch=st.sampled_from([True, True, False]),
        asker=PEERS,
        name=NAMES,
        knows=st.booleans(),
        most=st.sampled_from([7, 100, PLENTY]),
    )
    def a_peer_asks(
        self,
        pick: int,
        at: float,
        start: float,
        fetch: bool,
        asker: str,
        name: Any,
        knows: bool,
        most: int,
    ) -> None:
        digest = self.one_of(list(self.data), pick)
        total = len(self.data[digest])
        index = int(at * segment_count(total))
        first = index * SEGMENT + int(start * SEGMENT)
        stop = (index + 1) * SEGMENT
        if knows:
            stop = max(first, min(stop, total))
        span = Span(first, stop)
        self.asks(digest, span, fetch=fetch, asker=asker, name=name, most=most)

    def asks(self, digest: Digest, span: Span, *, most: int, **more: Any) -> None:
        lending = self.case.lending(digest, span, **more)
        lending.addCallbacks(self.it_is_lent, self.it_is_not, (digest, span, most))
        self.lendings.append(lending)

    def it_is_lent(self, loan: Loan | None, digest: Digest, span: Span, most: int) -> None:
        if loan is not None:
            # An upstream that tells no size leaves it at what a manifest said.
            told = {len(self.data[digest]), *self.hinted.get(digest, ())}
            assert loan.total in told or digest in self.wrong
            borrower = Borrower(loan, span, most=most)
            self.borrowers.append((digest, borrower))

    def it_is_not(self, reason: Raised) -> None:
        reason.trap(Failure, CancelledError)
        assert not reason.check(PeerFailure)

    @precondition(lambda self: self.lendings)
    @rule(pick=PICK)
    def a_peer_waits_no_longer(self, pick: int) -> None:
        self.one_of(self.lendings, pick).cancel()

    @precondition(lambda self: self.borrowers)
    @rule(pick=PICK, what=st.sampled_from(["go", "go", "pause", "leave", "read"]))
    def a_peer_moves(self, pick: int, what: str) -> None:
        _, borrower = self.one_of(self.borrowers, pick)
        if borrower.outcome is not None:
            return
        if what == "read":
            borrower.pause()
            borrower.read()
        else:
            getattr(borrower, what)()

    @precondition(lambda self: self.data)
    @rule(pick=PICK, index=st.integers(0, 6))
    def a_peer_looks(self, pick: int, index: int) -> None:
        digest = self.one_of(list(self.data), pick)
        span = Span(index * SEGMENT, (index + 1) * SEGMENT)
        looking = Deferred.fromCoroutine(self.case.fills.holds(digest, span, "p1"))
        looking.addErrback(self.expected)

    @precondition(lambda self: self.data)
    @rule(pick=PICK, index=st.integers(0, 6))
    def a_node_knows_better(self, pick: int, index: int) -> None:
        digest = self.one_of(list(self.data), pick)
        knowing = Deferred.fromCoroutine(self.case.fills.distrust(digest, {index: (7,)}))
        knowing.addErrback(self.expected)

    # Peers that send.

    @rule(sender=SENDERS)
    def it_comes_from_another(self, sender: str | None) -> None:
        self.origin.sender = sender

    @rule(second=st.sampled_from([None, "p2", "p3"]), looks=st.booleans())
    def others_have_it_too(self, second: str | None, looks: bool) -> None:
        self.origin.second, self.origin.looks = second, looks

    @precondition(lambda self: self.data)
    @rule(pick=PICK, second=st.sampled_from([None, "p2"]), looks=st.booleans())
    def a_cluster_brings_it_slowly(self, pick: int, second: str | None, looks: bool) -> None:
        self.origin.sender, self.origin.second, self.origin.looks = "p1", second, looks
        self.case.wide, self.case.spread = 9, Spread(seed=2)
        self.a_blob_is_asked_for(pick, ALPINE, "none")
        self.case.run_jobs()
        self.all_of_it_comes_slowly()

    @precondition(lambda self: self.origin.looking)
    @rule()
    def a_second_sender_is_looked_up(self) -> None:
        self.origin.found()

    @precondition(lambda self: self.sending())
    @rule()
    def all_of_it_comes_slowly(self) -> None:
        for body in self.sending():
            body.send(1)
        self.case.turn(self.case.timeouts.peer_share)

    @rule(count=st.sampled_from([1, 3, 70]))
    def peers_are_gone(self, count: int) -> None:
        self.origin.twists = [lambda _: GONE] * count

    @precondition(lambda self: self.sending())
    @rule(pick=PICK)
    def a_peer_breaks_off(self, pick: int) -> None:
        body: FakeBody = self.one_of(self.sending(), pick)
        body.live()
        if body.sender is not None and body.delivering:
            body.lose_peer()

    # What else happens.

    @rule(width=st.integers(1, 5), scattered=st.booleans(), blamed=st.booleans())
    def the_cluster_changes(self, width: int, scattered: bool, blamed: bool) -> None:
        self.case.wide = width
        self.case.spread = Spread(seed=1, window=3) if scattered else None
        self.case.court.answer = blamed

    @rule(cap=st.sampled_from([1 << 15, 1 << 16, 1 << 18, 1 << 30]))
    def the_cache_is_limited_to(self, cap: int) -> None:
        self.case.store.set_limits(cap, 0)

    @rule()
    def nobody_asks_for_a_while(self) -> None:
        self.case.turn(self.case.timeouts.peer_linger)

    @rule(call=st.sampled_from(["pwritev", "append", "rename", "unlink", "fsync", "punch"]))
    def a_call_of_the_disk_fails(self, call: str) -> None:
        super().a_call_of_the_disk_fails(call)
        self.disk_failed = True

    # What must hold.

    @invariant()
    def peers_have_only_right_bytes(self) -> None:
        for digest, borrower in self.borrowers:
            if digest not in self.wrong:
                right = self.data[digest][borrower.start : borrower.at]
                assert bytes(borrower.got) == right, "wrong bytes"

    @invariant()
    def there_are_never_too_many_connections(self) -> None:
        limits, active = self.case.limits, self.case.fills.active()
        for flight in active:
            most = max(limits.connections_per_blob, 9) + 1 + LANES
            assert flight.connections <= most
        held, _, peers = self.case.places()
        assert held <= limits.connections_per_node
        assert peers <= limits.peer_fills
        assert self.case.fills._tools.share.taken >= 0

    def heal(self) -> None:
        super().heal()
        self.case.store.set_limits(1 << 30, 0)
        for _, borrower in self.borrowers:
            if borrower.outcome is None:
                borrower.go()

    def come_to_rest(self) -> None:
        for _ in range(40):
            self.all_that_is_on_its_way_comes()
        for _, borrower in self.borrowers:
            if borrower.outcome is None:
                assert not borrower.loan.alive(), "it waits for nothing"
                borrower.leave()
        super().come_to_rest()

    def all_that_is_on_its_way_comes(self) -> None:
        self.origin.looks = False
        self.origin.found()
        for asked in self.questions():
            self.origin.answer(asked)
        for body in self.sending():
            if body.delivering:
                body.finish()
        self.case.run_jobs()
        self.case.turn(0.5)
        for _, borrower in self.borrowers:
            if borrower.outcome is None:
                borrower.go()

    def nothing_is_left(self) -> None:
        super().nothing_is_left()
        assert all(lending.called for lending in self.lendings)
        assert self.case.fills._tools.share.taken == 0
        if not self.disk_failed:
            assert self.case.store.usage().bytes == self.case.on_disk()
        for outcome in {borrower.outcome for _, borrower in self.borrowers}:
            event(f"a peer: {outcome}")


LendingMachine.TestCase.settings = settings(
    max_examples=100,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
LendingUnderAnyInterleaving = LendingMachine.TestCase

"""Who is sent something now, who waits, and who is named somebody else."""

from __future__ import annotations

from collections.abc import Iterable

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from nodecache.admission import (
    Admission,
    Admitted,
    Answer,
    Pace,
    Queued,
    Referred,
    Ticket,
    is_urgent,
)
from nodecache.admission.urgency import LITTLE
from nodecache.byteranges import Span
from nodecache.limits import SEGMENT, Limits

LIMITS = Limits(peer_segment_transfers=2, peer_transfers=5, peer_queue=2)


def ticket_of(answer: Answer) -> Ticket:
    assert isinstance(answer, Admitted | Queued), answer
    return answer.ticket


def referred(answer: Answer) -> tuple[str, ...]:
    assert isinstance(answer, Referred), answer
    return answer.peers


def full(admission: Admission, key: str = "k") -> list[Ticket]:
    """Two askers, a and b, for whom there were places."""
    return [ticket_of(admission.ask(key, asker, 0.0)) for asker in "ab"]


def busy(admission: Admission) -> list[Ticket]:
    """All places of the node taken, by one key each."""
    return [ticket_of(admission.ask(f"other-{n}", f"p{n}", 0.0)) for n in range(5)]


def test_a_few_are_sent_one_thing_and_the_next_is_named_those() -> None:
    admission = Admission(LIMITS)
    full(admission)
    assert referred(admission.ask("k", "c", 0.0)) == ("a", "b")


def test_another_thing_has_places_of_its_own() -> None:
    admission = Admission(LIMITS)
    full(admission)
    assert isinstance(admission.ask("other", "c", 0.0), Admitted)


def test_who_was_referred_is_named_to_those_who_come_later() -> None:
    """The tree grows without anything more being sent from here."""
    admission = Admission(LIMITS)
    full(admission)
    parents = [referred(admission.ask("k", f"p{number}", 0.0))[0] for number in range(6)]
    assert parents[:2] == ["a", "b"]
    assert len(set(parents)) == 6


def test_nobody_is_named_to_itself_and_no_more_than_four_are() -> None:
    admission = Admission(LIMITS)
    full(admission)
    for number in range(20):
        peers = admission.refer("k", f"p{number % 10}", 0.0).peers
        assert f"p{number % 10}" not in peers
        assert len(set(peers)) == len(peers) <= 4


def test_a_transfer_that_ends_makes_a_place() -> None:
    admission = Admission(LIMITS)
    first, _ = full(admission)
    assert admission.finished(first, 0.1, complete=True) == ()
    assert isinstance(admission.ask("k", "c", 0.1), Admitted)


def test_one_that_broke_off_is_not_named() -> None:
    admission = Admission(LIMITS)
    first, _ = full(admission)
    admission.finished(first, 0.1, complete=False)
    admission.ask("k", "c", 0.1)
    assert referred(admission.ask("k", "d", 0.1)) == ("b", "c")


def test_who_may_be_named_to_nobody_waits_in_line() -> None:
    admission = Admission(LIMITS)
    taken = busy(admission)
    waiting = admission.ask("k", "c", 0.0)
    assert isinstance(waiting, Queued)
    assert isinstance(admission.ask("k", "d", 0.0), Queued)
    assert referred(admission.ask("k", "e", 0.0)) == ()
    assert admission.finished(taken[0], 0.1, complete=True) == (waiting.ticket,)
    assert admission.finished(taken[0], 0.1, complete=True) == ()


def test_who_comes_back_from_those_named_waits_in_line() -> None:
    """It is its turn next: the tree did not serve it."""
    admission = Admission(LIMITS)
    first, _ = full(admission)
    assert referred(admission.ask("k", "c", 0.0)) == ("a", "b")
    again = ticket_of(admission.ask("k", "c", 0.1))
    assert admission.finished(first, 0.2, complete=True) == (again,)


def test_who_left_the_line_is_not_admitted_from_it() -> None:
    admission = Admission(LIMITS)
    taken = busy(admission)
    first = ticket_of(admission.ask("k", "c", 0.0))
    second = ticket_of(admission.ask("k", "d", 0.0))
    admission.given_up(first, 0.0)
    admission.given_up(first, 0.0)
    assert admission.finished(taken[0], 0.1, complete=True) == (second,)


def test_who_has_waited_long_enough_is_referred() -> None:
    admission = Admission(LIMITS)
    busy(admission)
    admission.given_up(ticket_of(admission.ask("other-1", "p1", 0.0)), 1.0)
    assert referred(admission.refer("other-1", "x", 1.0)) == ("p1",)


def test_what_nobody_got_yet_has_places_of_its_own() -> None:
    """Else a few things that many want would keep all others from spreading."""
    admission = Admission(LIMITS)
    for number in range(2):
        ticket_of(admission.ask(f"k{number}", "a", 0.0))
    assert isinstance(admission.ask("k0", "b", 0.0), Admitted)
    assert referred(admission.ask("k1", "b", 0.0)) == ("a",)
    assert isinstance(admission.ask("k2", "b", 0.0), Admitted)
    assert isinstance(admission.ask("k3", "b", 0.0), Admitted)
    assert isinstance(admission.ask("k4", "b", 0.0), Queued)


def test_what_somebody_got_before_has_no_such_place() -> None:
    """Who has it can send it on: a sender that sends everything to somebody is slow for all."""
    admission = Admission(LIMITS)
    ticket = ticket_of(admission.ask("known", "a", 0.0))
    admission.finished(ticket, 0.1, complete=True)
    broken = ticket_of(admission.ask("broken", "a", 0.1))
    admission.finished(broken, 0.1, complete=False)
    for number in range(3):
        ticket_of(admission.ask(f"k{number}", "a", 0.1))
    assert referred(admission.ask("known", "b", 0.1)) == ("a",)
    assert isinstance(admission.ask("broken", "b", 0.1), Admitted)


def test_where_the_link_is_slow_there_are_few_of_these_as_well() -> None:
    """Else who alone has an image sends all of it at once, and nobody has any of it for long."""
    admission, now = Admission(Limits()), 0.0
    for number in range(20):
        ticket = ticket_of(admission.ask(f"slow-{number}", "a", now))
        now += 10.0
        admission.finished(ticket, now, complete=True)
    answers = [admission.ask(f"k{number}", "a", now) for number in range(20)]
    assert sum(isinstance(answer, Admitted) for answer in answers) == 12


def test_what_clients_wait_for_has_a_place_though_all_others_are_taken() -> None:
    """Its node asks for nothing else until it has it, and goes upstream if it comes too late."""
    admission = Admission(Limits())
    answers = [admission.ask(f"k{number}", "a", 0.0) for number in range(40)]
    taken = sum(isinstance(answer, Admitted) for answer in answers)
    assert taken < Limits().peer_transfers
    answers += [admission.ask(f"u{number}", "a", 0.0, urgent=True) for number in range(40)]
    taken = sum(isinstance(answer, Admitted) for answer in answers)
    assert taken == Limits().peer_transfers


def test_only_who_wants_little_of_a_segment_goes_before_the_others_in_line_for_it() -> None:
    """Of one segment one peer may lack the last bytes, and another all."""
    admission = Admission(Limits())
    taken = [ticket_of(admission.ask(f"k{number}", "a", 0.0)) for number in range(12)]
    referred(admission.ask("k0", "all", 0.0))
    assert isinstance(admission.ask("k0", "all", 0.0), Queued)
    running = [ticket_of(admission.ask("k0", asker, 0.0, urgent=True)) for asker in "bcd"]
    assert admission.finished(taken[1], 0.1, complete=False) == ()
    referred(admission.ask("k0", "little", 0.1, urgent=True))
    assert isinstance(admission.ask("k0", "little", 0.1, urgent=True), Queued)
    (next_one,) = admission.finished(running[0], 0.2, complete=False)
    assert next_one.asker == "little"


@pytest.mark.parametrize(
    ("span", "urgent"),
    [
        (Span(0, SEGMENT), True),  # only then the size is known
        (Span(100, SEGMENT), True),  # the rest of it, after a cut
        (Span(SEGMENT, 2 * SEGMENT), False),
        (Span(8 * SEGMENT, 8 * SEGMENT + 1536), True),  # the end of a layer of 64 MiB and a bit
        (Span(8 * SEGMENT, 8 * SEGMENT + LITTLE), True),
        (Span(8 * SEGMENT, 8 * SEGMENT + LITTLE + 1), False),
    ],
)
def test_first_segments_and_what_is_little_are_urgent(span: Span, *, urgent: bool) -> None:
    assert is_urgent(span) is urgent


def taken_at_once(admission: Admission, now: float) -> int:
    """How many places there are for things that are being sent to somebody."""
    first = [ticket_of(admission.ask(f"n{n}", "a", now)) for n in range(3)]
    more = [admission.ask(f"n{n}", f"p{p}", now) for n in range(3) for p in range(3)]
    admitted = [answer.ticket for answer in more if isinstance(answer, Admitted)]
    for ticket in [*first, *admitted]:
        admission.finished(ticket, now, complete=False)
    return len(first) + len(admitted)


def test_a_node_sends_to_few_until_its_link_has_shown_to_be_fast_and_while_it_is_slow() -> None:
    limits = Limits(peer_segment_transfers=4, peer_transfers=24)
    admission = Admission(limits)
    assert taken_at_once(admission, 0.0) == 6
    for number in range(30):
        ticket = ticket_of(admission.ask(f"k{number}", "a", 0.0))
        admission.finished(ticket, 0.1, complete=True)
    assert taken_at_once(admission, 1.0) == 12
    for number in range(30):
        ticket = ticket_of(admission.ask(f"k{number}", "a", 1.0))
        admission.finished(ticket, 6.0, complete=True)
    assert taken_at_once(admission, 6.0) == 6


def test_waiting_for_bytes_does_not_make_a_node_slow() -> None:
    admission = Admission(Limits(peer_segment_transfers=4, peer_transfers=24))
    for number in range(30):
        ticket = ticket_of(admission.ask(f"k{number}", "a", 0.0))
        admission.rests(ticket, 0.2, begun=False)
        admission.rests(ticket, 3.0, begun=True)  # as it did
        admission.goes_on(ticket, 4.0)
        admission.goes_on(ticket, 4.1)
        admission.rests(ticket, 4.3, begun=True)
        admission.finished(ticket, 5.0, complete=True)
    assert taken_at_once(admission, 5.0) == 12


def test_who_has_nothing_to_send_takes_no_place_but_there_are_not_endlessly_many() -> None:
    admission = Admission(Limits())
    passing_on = [ticket_of(admission.ask(f"k{number}", "a", 0.0)) for number in range(12)]
    assert isinstance(admission.ask("more", "a", 0.0), Queued)
    for ticket in passing_on:
        admission.rests(ticket, 0.1, begun=True)
    others = [admission.ask(f"o{number}", "a", 0.2) for number in range(30)]
    # One place is whose that stood in line.
    assert [isinstance(each, Admitted) for each in others] == [True] * 11 + [False] * 19


def test_what_has_yet_to_begin_has_its_place() -> None:
    """All of a herd's transfers wait at first, and most of them will have enough to send."""
    admission = Admission(Limits())
    for number in range(12):
        ticket = ticket_of(admission.ask(f"k{number}", "a", 0.0))
        assert admission.rests(ticket, 0.1, begun=False) == ()
    assert isinstance(admission.ask("more", "a", 0.2), Queued)


def test_who_stands_in_line_goes_once_somebody_has_nothing_to_send() -> None:
    admission = Admission(Limits(peer_transfers=8))
    for key in ("known", "known too"):
        admission.finished(ticket_of(admission.ask(key, "a", 0.0)), 0.0, complete=True)
    first, *_ = [ticket_of(admission.ask(f"k{number}", "b", 0.0)) for number in range(4)]
    waiting = admission.ask("known", "a", 0.0)
    assert isinstance(waiting, Queued)
    assert admission.rests(first, 0.1, begun=True) == (waiting.ticket,)
    admission.goes_on(first, 0.2)
    assert isinstance(admission.ask("known too", "a", 0.2), Queued)


def test_one_that_ended_while_it_rested_is_counted_no_more() -> None:
    admission = Admission(LIMITS)
    for _ in range(20):
        ticket = ticket_of(admission.ask("k", "a", 0.0))
        admission.rests(ticket, 0.1, begun=True)
        admission.finished(ticket, 0.2, complete=False)
        assert admission.rests(ticket, 0.3, begun=True) == ()
    busy(admission)
    assert isinstance(admission.ask("other-5", "x", 0.3), Queued)


def test_a_node_that_is_slow_sends_one_thing_to_one() -> None:
    admission = Admission(LIMITS)
    admission.slow = True
    assert isinstance(admission.ask("k", "a", 0.0), Admitted)
    assert referred(admission.ask("k", "b", 0.0)) == ("a",)


def test_nobody_is_referred_to_a_peer_whose_link_is_slow() -> None:
    admission = Admission(LIMITS)
    admission.behind = {"a"}
    full(admission)
    for asker in "cdef":
        assert "a" not in referred(admission.ask("k", asker, 0.0))


def test_where_only_such_a_peer_gets_it_one_waits_for_a_place() -> None:
    admission = Admission(LIMITS)
    admission.behind = {"a", "b"}
    first, _ = full(admission)
    waits = ticket_of(admission.ask("k", "c", 0.0))
    assert admission.refer("k", "c", 0.4).peers == ()
    assert admission.finished(first, 0.5, complete=True) == (waits,)


def test_what_only_such_a_peer_got_has_the_places_of_what_nobody_got() -> None:
    admission = Admission(LIMITS)
    admission.behind = {"a"}
    slow = ticket_of(admission.ask("k", "a", 0.0))
    admission.finished(slow, 0.1, complete=True)
    for number in range(3):
        admission.ask(f"other-{number}", f"p{number}", 0.1)
    assert isinstance(admission.ask("k", "b", 0.1), Admitted)


def test_a_node_that_is_leaving_refers_everybody() -> None:
    admission = Admission(LIMITS)
    full(admission)
    admission.leaving = True
    assert referred(admission.ask("k", "c", 0.0)) == ("a", "b")
    assert referred(admission.ask("new", "c", 0.0)) == ()


def test_the_askers_zone_is_named_first() -> None:
    admission = Admission(LIMITS)
    for asker, zone in (("a", "east"), ("b", "west")):
        admission.ask("k", asker, 0.0, zone)
    for _ in range(3):
        assert admission.refer("k", "c", 0.0, "west").peers[0] == "b"
    assert referred(admission.ask("k", "d", 0.0, "east"))[0] == "a"


@pytest.mark.parametrize(
    ("seconds", "least", "most"), [(0.0, 0.02, 0.05), (0.3, 0.25, 0.35), (60.0, 1.0, 1.0)]
)
def test_the_time_to_come_again_is_what_a_transfer_takes(
    seconds: float, least: float, most: float
) -> None:
    admission = Admission(LIMITS)
    for number in range(20):
        ticket = ticket_of(admission.ask(f"k{number}", "a", 0.0))
        admission.finished(ticket, seconds, complete=True)
    busy(admission)
    answer = admission.refer("k", "a", seconds)
    assert least <= answer.retry <= most


def test_memory_is_bounded_however_many_ask_for_however_much() -> None:
    admission = Admission(LIMITS)
    for number in range(6000):
        ticket = ticket_of(admission.ask(f"k{number}", "a", 0.0))
        admission.finished(ticket, 0.0, complete=True)
    assert admission.refer("k0", "b", 0.0).peers == ()
    assert admission.refer("k5999", "b", 0.0).peers == ("a",)
    full(admission)
    for number in range(1000):
        admission.ask("k", f"p{number}", 0.0)
    named = {peer for _ in range(1000) for peer in admission.refer("k", "c", 0.0).peers}
    assert len(named) == 64


def test_a_transfer_that_nobody_ended_holds_its_place_no_longer_than_a_quarter_of_an_hour() -> None:
    admission = Admission(LIMITS)
    lost = full(admission)[0]
    assert isinstance(admission.ask("k", "c", 899.0), Referred)
    assert isinstance(admission.ask("k", "c", 900.0), Admitted)
    assert admission.finished(lost, 901.0, complete=True) == ()


@attrs.define
class Model:
    running: set[Ticket]
    resting: set[Ticket]
    waiting: set[Ticket]
    given: set[str]


class Asking(RuleBasedStateMachine):
    """Whatever order things come in: limits are kept, and nobody is forgotten in the line."""

    @initialize()
    def begin(self) -> None:
        self.admission = Admission(LIMITS)
        self.model = Model(set(), set(), set(), set())
        self.now = 0.0

    @rule(key=st.sampled_from("xyz"), asker=st.sampled_from("abcdefgh"))
    def ask(self, key: str, asker: str) -> None:
        answer = self.admission.ask(key, asker, self.now)
        if isinstance(answer, Admitted):
            self.model.running.add(answer.ticket)
        elif isinstance(answer, Queued):
            self.model.waiting.add(answer.ticket)
        else:
            assert asker not in answer.peers

    @precondition(lambda self: self.model.running)
    @rule(data=st.data(), complete=st.booleans(), seconds=st.floats(0, 2))
    def finish(self, data: st.DataObject, complete: bool, seconds: float) -> None:
        self.now += seconds
        ticket = data.draw(st.sampled_from(sorted(self.model.running, key=lambda t: t.number)))
        admitted = self.admission.finished(ticket, self.now, complete=complete)
        self.model.running.remove(ticket)
        self.model.resting.discard(ticket)
        self.model.given |= {ticket.key} if complete else set()
        self.admitted(admitted)

    def admitted(self, tickets: Iterable[Ticket]) -> None:
        assert set(tickets) <= self.model.waiting
        self.model.waiting -= set(tickets)
        self.model.running |= set(tickets)

    @precondition(lambda self: self.model.running)
    @rule(data=st.data(), seconds=st.floats(0, 2))
    def rest_or_go_on(self, data: st.DataObject, seconds: float) -> None:
        self.now += seconds
        ticket = data.draw(st.sampled_from(sorted(self.model.running, key=lambda t: t.number)))
        if ticket in self.model.resting:
            self.admission.goes_on(ticket, self.now)
            self.model.resting.discard(ticket)
        else:
            self.admitted(self.admission.rests(ticket, self.now, begun=True))
            self.model.resting.add(ticket)

    @precondition(lambda self: self.model.waiting)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(sorted(self.model.waiting, key=lambda t: t.number)))
        self.admission.given_up(ticket, self.now)
        self.model.waiting.remove(ticket)

    @invariant()
    def limits_are_kept(self) -> None:
        running = self.model.running
        assert len(running) <= LIMITS.peer_transfers
        for key in "xyz":
            assert sum(ticket.key == key for ticket in running) <= LIMITS.peer_segment_transfers
            assert sum(each.key == key for each in self.model.waiting) <= LIMITS.peer_queue

    @invariant()
    def nobody_waits_while_there_is_a_place(self) -> None:
        running = self.model.running
        for each in self.model.waiting:
            same = sum(ticket.key == each.key for ticket in running)
            first = not same and each.key not in self.model.given  # half are for these
            places = LIMITS.peer_transfers if first else 3
            sending = len(running) - len(self.model.resting)
            most = min(2 * places, LIMITS.peer_transfers)
            full = sending >= places or len(running) >= most
            assert full or same >= LIMITS.peer_segment_transfers


TestAsking = Asking.TestCase
TestAsking.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


# Bytes a second


def test_a_burst_goes_at_once_and_what_follows_waits() -> None:
    pace = Pace(100.0, 50.0)
    assert pace.allow(50, 0.0) == 0.0
    assert pace.allow(100, 0.0) == pytest.approx(1.0)
    assert pace.allow(0, 1.0) == pytest.approx(0.0)
    assert pace.allow(50, 2.0) == 0.0


def test_no_more_than_a_burst_is_saved_up() -> None:
    pace = Pace(100.0, 50.0)
    pace.allow(0, 0.0)
    assert pace.allow(60, 1000.0) == pytest.approx(0.1)


def test_the_rate_is_kept_in_the_long_run() -> None:
    pace, now = Pace(1000.0, 100.0), 0.0
    for _ in range(100):
        now += pace.allow(100, now)
    assert now == pytest.approx(9.9)


def test_a_clock_that_goes_back_gives_nothing() -> None:
    pace = Pace(100.0, 50.0)
    pace.allow(50, 10.0)
    assert pace.allow(10, 5.0) == pytest.approx(0.1)


# What is not here, in a big cluster.


def test_the_first_few_are_sent_on_and_the_others_to_these_once_they_may_have_it() -> None:
    admission = Admission(LIMITS)
    assert [admission.introduce("k", asker, 0.0) for asker in "ab"] == [None, None]
    early = admission.introduce("k", "c", 0.1)
    assert early is not None
    assert early.peers == ()
    assert early.retry > 0
    later = admission.introduce("k", "c", 0.2)
    assert later is not None
    assert later.peers == ("a", "b")


def test_who_was_sent_on_and_comes_again_is_sent_on_again() -> None:
    admission = Admission(LIMITS)
    for at in (0.0, 1.0, 2.0):
        assert admission.introduce("k", "a", at) is None


def test_after_a_while_others_are_sent_on() -> None:
    """Those before may have died, or have it long since and be gone."""
    admission = Admission(LIMITS)
    for asker in "ab":
        admission.introduce("k", asker, 0.0)
    assert admission.introduce("k", "c", 4.9) is not None
    assert admission.introduce("k", "c", 5.1) is None


def test_of_another_thing_others_are_sent_on() -> None:
    admission = Admission(LIMITS)
    for asker in "ab":
        admission.introduce("k", asker, 0.0)
    assert admission.introduce("other", "c", 0.0) is None

"""Peers that fail: put aside each for itself, and all together when most of them do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodecache.failures import PeerKind
from nodecache.limits import WIRE_VERSION, Timeouts
from nodecache.membership import Address, Hello, Known, Membership, Peer
from nodecache.membership.breaker import Breaker
from nodecache.membership.outage import Outage, needed

FIRST, LAST, CORRUPT = 1.0, 16.0, 3600.0
TIMEOUTS = Timeouts(peer_pause_first=FIRST, peer_pause_last=LAST, peer_corrupt=CORRUPT)
REFUSED, SILENT = PeerKind.REFUSED, PeerKind.TIMEOUT


def cluster(count: int) -> Membership:
    """A node that has just greeted ``count`` others, ``n0`` at 10.0.0.0 and so on."""
    places = [place(number) for number in range(count)]
    members = Membership(Peer("me", ()), TIMEOUTS, "1.0", places)
    for number in range(count):
        greet(members, number, 0.0)
    return members


def place(number: int) -> Address:
    return Address(f"10.0.{number >> 8}.{number & 255}", 5001)


def greet(members: Membership, number: int, now: float, id_: str | None = None) -> None:
    hello = Hello(id_ or f"n{number}", WIRE_VERSION, "1.0", "", (), ())
    members.greeted(place(number), hello, now, answered=True)


def ids(members: Membership, now: float) -> list[str]:
    return [peer.id for peer in members.view(now).peers]


# Each for itself


def test_a_peer_that_failed_is_put_aside_and_comes_back_by_a_good_hello_alone() -> None:
    members = cluster(4)
    assert members.failed("n0", SILENT, 10.0) == FIRST
    assert ids(members, 10.0) == ["n1", "n2", "n3"]
    assert members.aside(10.0)["n0"].kind is SILENT
    members.succeeded("n0", 10.5)
    greet(members, 0, 10.9)
    assert "n0" not in ids(members, 10.9)  # its pause is not over
    assert "n0" not in ids(members, 1000.0)
    greet(members, 0, 1000.0)
    assert ids(members, 1000.0) == ["n0", "n1", "n2", "n3"]
    assert members.aside(1000.0) == {}


def test_it_is_greeted_when_its_pause_is_over() -> None:
    members = cluster(4)
    members.failed("n0", SILENT, 10.0)
    assert place(0) not in members.due(10.9, 9)
    assert place(0) in members.due(11.0, 9)


def test_pauses_double_with_each_failure_up_to_the_last() -> None:
    members = cluster(4)
    now, pauses = 10.0, []
    members.failed("n0", SILENT, now)
    for _ in range(6):
        pause = members.aside(now)["n0"].until - now
        pauses.append(pause)
        now += pause
        assert members.unanswered(place(0), SILENT, now) > 0
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 16.0]


def test_failures_within_a_pause_are_no_news() -> None:
    members = cluster(4)
    members.failed("n0", SILENT, 10.0)
    assert members.failed("n0", REFUSED, 10.4) == pytest.approx(0.6)
    assert members.failed("n0", REFUSED, 11.0) == 2 * FIRST


def test_a_hello_alone_does_not_make_pauses_short_again_but_a_real_answer_does() -> None:
    """Else a peer that greets well and stalls in every body would be asked every second."""
    members = cluster(4)
    members.failed("n0", SILENT, 10.0)
    greet(members, 0, 11.0)
    assert members.failed("n0", SILENT, 12.0) == 2 * FIRST
    greet(members, 0, 14.0)
    members.succeeded("n0", 14.5)
    assert members.failed("n0", SILENT, 15.0) == FIRST


def test_a_peer_that_was_well_for_long_begins_anew() -> None:
    members = cluster(4)
    members.failed("n0", SILENT, 10.0)
    greet(members, 0, 11.0)
    members.failed("n0", SILENT, 12.0)
    greet(members, 0, 14.0)
    assert members.failed("n0", SILENT, 14.0 + LAST) == FIRST


def test_a_restarted_peer_under_a_new_address_is_back_at_once() -> None:
    members = cluster(4)
    for at in (10.0, 11.0, 13.0, 17.0):
        members.failed("n0", SILENT, at)
    greet(members, 99, 17.5, "n0")
    assert "n0" in ids(members, 17.5)
    assert members.failed("n0", SILENT, 18.0) == FIRST


def test_a_hello_from_a_peer_that_is_put_aside_makes_it_due() -> None:
    """It was started anew, and greets everybody: no need to wait for the end of its pause."""
    members = cluster(4)
    for at in (10.0, 11.0, 13.0, 17.0):
        members.failed("n0", SILENT, at)
    members.greeted(place(0), Hello("n0", WIRE_VERSION, "1.0", "", ()), 18.0)
    assert "n0" not in ids(members, 18.0)
    assert place(0) in members.due(18.0, 9)
    greet(members, 0, 18.1)
    assert "n0" in ids(members, 18.1)


def test_a_corrupting_peer_stays_aside_for_its_time_whatever_it_says() -> None:
    members = cluster(4)
    members.failed("n0", SILENT, 9.0)
    assert members.failed("n0", PeerKind.CORRUPT, 9.1) == CORRUPT
    members.greeted(place(0), Hello("n0", WIRE_VERSION, "1.0", "", ()), 18.0)
    greet(members, 0, 20.0)
    greet(members, 99, 21.0, "n0")
    members.failed("n0", SILENT, 22.0)
    assert place(0) not in members.due(100.0, 9)
    greet(members, 99, 9.1 + CORRUPT)
    assert "n0" not in ids(members, 9.0 + CORRUPT)
    greet(members, 0, 9.1 + CORRUPT)
    assert "n0" in ids(members, 9.1 + CORRUPT)


def test_a_corrupting_peer_that_comes_again_is_still_put_aside() -> None:
    members = Membership(Peer("me", ()), TIMEOUTS, "1.0")
    greet(members, 0, 0.0)
    members.failed("n0", PeerKind.CORRUPT, 1.0)
    assert members.nodes(500.0) == ()
    greet(members, 7, 600.0, "n0")
    assert ids(members, 600.0) == []


@pytest.mark.parametrize("kind", [PeerKind.STRANGER, PeerKind.VERSION])
def test_strangers_and_other_versions_are_left_alone_for_growing_pauses(kind: PeerKind) -> None:
    members = cluster(4)
    assert [members.unanswered(place(0), kind, at) for at in (1.0, 2.0, 4.0)] == [1.0, 2.0, 4.0]
    greet(members, 0, 8.0)
    assert "n0" in ids(members, 8.0)


def test_a_failure_of_an_unknown_peer_is_harmless() -> None:
    members = cluster(1)
    assert members.failed("nobody", SILENT, 1.0) == 0.0
    members.succeeded("nobody", 1.0)
    assert members.unanswered(place(50), SILENT, 1.0) == 0.0
    assert ids(members, 1.0) == ["n0"]


def test_the_memory_of_troubles_is_bounded_and_goes_with_the_peer() -> None:
    breaker = Breaker(TIMEOUTS)
    for number in range(20_100):
        breaker.failed(f"n{number}", SILENT, 0.0)
    assert breaker.aside("n0") is None
    assert breaker.aside("n20099") is not None
    breaker.forget("n20099", 1.0)
    assert breaker.aside("n20099") is None


@given(st.lists(st.tuples(st.floats(0, 50), st.sampled_from(["failed", "hello", "moved", "ok"]))))
def test_whatever_happens_a_pause_is_bounded_and_ends(steps: list[tuple[float, str]]) -> None:
    breaker, now = Breaker(TIMEOUTS), 0.0
    for passed, what in steps:
        now += passed
        match what:
            case "failed":
                assert 0 < breaker.failed("n", SILENT, now) <= LAST
            case "hello":
                breaker.greeted("n", now)
            case "moved":
                breaker.returned("n", now)
                assert breaker.aside("n") is None
            case _:
                breaker.succeeded("n")
        trouble = breaker.aside("n")
        assert trouble is None or trouble.until <= now + LAST
    breaker.greeted("n", now + LAST)
    assert breaker.aside("n") is None


# All together


@pytest.mark.parametrize(
    ("peers", "enough"),
    [(0, 0), (1, 1), (2, 2), (3, 3), (5, 3), (6, 4), (7, 4), (16, 8), (5000, 8)],
)
def test_more_than_half_and_three_at_least_or_all_or_many_are_needed(
    peers: int, enough: int
) -> None:
    assert needed(peers) == enough


def test_when_most_peers_fail_in_a_row_none_is_asked() -> None:
    members = cluster(7)
    for number in range(3):
        members.failed(f"n{number}", SILENT, 10.0)
        assert not members.all_off(10.0)
    members.failed("n3", SILENT, 10.0)
    assert members.all_off(10.0)
    assert members.view(10.0).peers == ()
    assert members.view(10.0).rank("key", 3) == (Peer("me", ()),)


def test_one_success_ends_the_row_and_so_does_time() -> None:
    members = cluster(7)
    for number in range(3):
        members.failed(f"n{number}", SILENT, 10.0)
    members.succeeded("n6", 10.0)
    members.failed("n3", SILENT, 10.0)
    assert ids(members, 10.0) == ["n4", "n5", "n6"]
    members.failed("n4", SILENT, 25.0)
    assert ids(members, 25.0) == ["n5", "n6"]


def test_failures_of_one_peer_count_once_and_wrong_bytes_not_at_all() -> None:
    members = cluster(7)
    for _ in range(9):
        members.failed("n0", SILENT, 10.0)
    for number in range(1, 6):
        members.failed(f"n{number}", PeerKind.CORRUPT, 10.0)
    assert not members.all_off(10.0)
    assert ids(members, 10.0) == ["n6"]


def test_off_ends_when_its_pause_is_over_and_some_greetings_are_answered() -> None:
    members = cluster(8)
    for number in range(5):
        members.failed(f"n{number}", SILENT, 10.0)
    greet(members, 7, 10.5)
    assert members.all_off(10.5)  # too early
    for number in range(4):
        members.unanswered(place(number), SILENT, 10.6)
    assert members.all_off(11.0)  # one of five
    greet(members, 6, 11.0)
    assert not members.all_off(11.0)
    assert ids(members, 11.0) == ["n5", "n6", "n7"]


def test_off_lasts_for_ever_while_nobody_answers() -> None:
    members = cluster(3)
    now = 10.0
    for number in range(3):
        members.failed(f"n{number}", SILENT, now)
    for _ in range(200):
        now += 1.0
        for address in members.due(now, 32):
            members.unanswered(address, SILENT, now)
        assert members.view(now).peers == ()
    for number in range(3):
        greet(members, number, now + LAST)
    assert ids(members, now + LAST) == ["n0", "n1", "n2"]


def test_off_that_soon_comes_again_lasts_longer_until_there_was_a_real_answer() -> None:
    outage, now, pauses = Outage(TIMEOUTS), 0.0, []
    for _ in range(7):
        outage.failed("n", 1, now)
        pauses.append(outage.until - now)
        now = outage.until
        outage.greeting(answered=True, now=now)
        assert not outage.off
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 16.0, 16.0]
    outage.succeeded()
    outage.failed("n", 1, now)
    assert outage.until - now == FIRST


def test_while_in_doubt_others_are_greeted_than_those_that_are_due() -> None:
    members = cluster(20)
    assert members.due(10.0, 32) == ()
    members.failed("n0", SILENT, 10.0)
    probes = members.due(10.0, 32)
    assert len(probes) == 8
    assert place(0) not in probes
    assert members.due(10.1, 32) == ()  # those are under way


def test_all_peers_die_and_the_first_pull_finds_out_for_all() -> None:
    """What it costs: the silence of those that one pull asks, once; then nothing."""
    members = cluster(40)
    now = 10.0
    for peer in members.view(now).rank("lane", 1):
        members.failed(peer.id, SILENT, now)  # 1.5 s were lost
    greeted = members.due(now, 32)
    now += 1.5
    for address in greeted:
        members.unanswered(address, SILENT, now)
    assert members.view(now).peers == ()


def test_a_third_of_a_big_cluster_dies_and_the_others_are_asked_on() -> None:
    members = cluster(90)
    now = 10.0
    for number in range(0, 90, 3):
        members.failed(f"n{number}", REFUSED, now)
        members.succeeded(f"n{number + 1}", now)
    assert len(members.view(now).peers) == 60


def test_nodes_that_are_not_ranked_do_not_count() -> None:
    members = cluster(3)
    members.left("n0", 1.0)
    members.failed("n0", SILENT, 2.0)
    members.failed("n1", SILENT, 2.0)
    assert not members.all_off(2.0)
    members.failed("n2", SILENT, 2.0)
    assert members.all_off(2.0)


def test_a_node_that_is_dead_everywhere_is_forgotten_with_its_trouble() -> None:
    members = Membership(Peer("me", ()), TIMEOUTS, "1.0")
    members.resolved({place(0)}, 0.0)
    hello = Hello("n0", WIRE_VERSION, "1.0", "", (), (Known("n1", place(1), "", 1.0),))
    members.greeted(place(0), hello, 0.0, answered=True)
    members.failed("n1", SILENT, 1.0)
    assert [node.id for node in members.nodes(87.0)] == ["n0", "n1"]
    assert [node.id for node in members.nodes(90.0)] == ["n0"]
    assert members.aside(90.0) == {}

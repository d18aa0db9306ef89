"""Who is known, under which id and addresses, and who of them is ranked."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodecache.failures import PeerKind
from nodecache.limits import WIRE_VERSION, Timeouts
from nodecache.membership import Address, Hello, Known, Membership, Peer, View
from nodecache.membership.directory import Directory
from tests.strategies_peers import few_addresses

TIMEOUTS = Timeouts(peer_forget=90.0, peer_greet=30.0, peer_pause_first=1.0, peer_pause_last=60.0)
A, B, C, D = (Address(f"10.0.0.{n}", 5001) for n in range(1, 5))
A6, B6 = (Address(f"fd00::{n}", 5001) for n in range(1, 3))


def membership(*fixed: Address, me: Peer | None = None) -> Membership:
    return Membership(me or Peer("me", ()), TIMEOUTS, "1.0", fixed)


def hello(id_: str, *addresses: Address, known: tuple[Known, ...] = (), **more: object) -> Hello:
    wire = str(more.pop("wire", WIRE_VERSION))
    leaving, busy = bool(more.pop("leaving", False)), bool(more.pop("busy", False))
    inbound, behind = int(str(more.pop("inbound", 0))), bool(more.pop("behind", False))
    assert not more, more
    link = (inbound, behind)
    return Hello(id_, wire, "1.0", "zone", addresses, known, leaving, busy, "", *link)


def answered(members: Membership, address: Address, id_: str, now: float, **more: object) -> None:
    members.greeted(address, hello(id_, **more), now, answered=True)  # type: ignore[arg-type]


def ids(members: Membership, now: float) -> list[str]:
    return [peer.id for peer in members.view(now).peers]


def known(members: Membership, now: float) -> list[str]:
    return [node.id for node in members.nodes(now)]


# What DNS says


def test_addresses_of_the_last_three_good_answers_are_known() -> None:
    members = membership()
    for at, answer in enumerate([{A}, {B}, {C}]):
        members.resolved(answer, at * 10.0)
    assert ids(members, 20.0) == [str(A), str(B), str(C)]
    members.resolved({C}, 30.0)
    assert ids(members, 30.0) == [str(B), str(C)]
    members.resolved({C}, 40.0)
    assert ids(members, 40.0) == [str(C)]


def test_bad_and_empty_answers_take_nobody_away_however_long_they_last() -> None:
    members = membership()
    members.resolved({A, B}, 0.0)
    for at in range(1, 500):
        members.unresolved(at * 10.0)
        members.resolved((), at * 10.0)
    assert ids(members, 5000.0) == [str(A), str(B)]


def test_a_cut_off_answer_adds_and_takes_nobody_away() -> None:
    members = membership()
    members.resolved({A, B}, 0.0)
    for at in range(1, 8):
        members.resolved({C}, at * 10.0, partial=True)
    assert ids(members, 80.0) == [str(A), str(B), str(C)]


def test_answers_that_are_always_cut_off_are_believed_in_the_end() -> None:
    members = membership()
    members.resolved({A, B}, 0.0)
    for at in range(1, 20):
        members.resolved({C}, at * 10.0, partial=True)
    assert ids(members, 200.0) == [str(C)]


def test_a_static_list_never_ages() -> None:
    assert ids(membership(A, B), 1e9) == [str(A), str(B)]


def test_the_age_of_the_last_good_answer_is_told() -> None:
    members = membership()
    assert members.census(5.0).resolved_age == 0.0
    members.resolved({A}, 10.0)
    members.unresolved(20.0)
    census = members.census(25.0)
    assert (census.known, census.live, census.addresses, census.resolved_age) == (1, 1, 1, 15.0)


# Ids and addresses


def test_an_unknown_address_ranks_by_its_text_until_its_id_is_known() -> None:
    members = membership(A)
    assert members.view(0.0).peers == (Peer(str(A), (A,)),)
    answered(members, A, "one", 1.0)
    assert members.view(1.0).peers == (Peer("one", (A,), "zone"),)


def test_a_dual_stack_pod_is_one_peer() -> None:
    members = membership(A, A6)
    answered(members, A6, "one", 0.0)
    answered(members, A, "one", 0.0)
    assert members.view(0.0).peers == (Peer("one", (A, A6), "zone"),)


def test_an_address_that_does_not_answer_stands_behind_and_its_peer_stays() -> None:
    members = membership(A, A6)
    answered(members, A, "one", 0.0)
    answered(members, A6, "one", 0.0)
    assert members.unanswered(A, PeerKind.TIMEOUT, 30.0) == TIMEOUTS.peer_pause_first
    assert members.view(30.0).peers == (Peer("one", (A6,), "zone"),)
    answered(members, A, "one", 31.0)
    assert members.view(31.0).peers == (Peer("one", (A, A6), "zone"),)


def test_a_restarted_pod_keeps_its_rank_and_its_old_address_goes() -> None:
    members = membership()
    members.resolved({A, B, C}, 0.0)
    for address, id_ in ((A, "one"), (B, "two"), (C, "three")):
        answered(members, address, id_, 0.0)
    before = [peer.id for peer in members.view(0.0).rank("key", 4)]
    members.resolved({A, B, C, D}, 10.0)
    answered(members, D, "one", 11.0)
    one = members.view(11.0).get("one")
    assert one is not None
    assert one.addresses == (D,)
    assert [peer.id for peer in members.view(11.0).rank("key", 4)] == before
    assert members.due(11.0, 9) == (A,)  # is it still there?
    members.unanswered(A, PeerKind.REFUSED, 11.1)
    assert ids(members, 11.1) == ["one", "three", "two"]


def test_two_nodes_with_one_id_are_both_kept_as_one() -> None:
    members = membership(A, B)
    for now in (0.0, 30.0, 60.0):
        for address in (A, B):
            answered(members, address, "one", now)
            for doubted in members.due(now, 9):
                answered(members, doubted, "one", now)
    assert members.view(60.0).peers == (Peer("one", (A, B), "zone"),)


def test_an_address_that_another_node_has_now_moves() -> None:
    members = membership(A, B)
    answered(members, A, "one", 0.0)
    answered(members, B, "two", 0.0)
    answered(members, A, "three", 10.0)
    assert members.view(10.0).peers == (Peer("three", (A,), "zone"), Peer("two", (B,), "zone"))
    assert members.failed("one", PeerKind.CUT, 11.0) == 0.0


def test_addresses_that_a_node_tells_of_itself_are_its_own() -> None:
    members = membership(A)
    members.greeted(A, hello("one", A, A6), 0.0, answered=True)
    assert members.view(0.0).peers == (Peer("one", (A, A6), "zone"),)


def test_a_node_that_claims_where_another_one_answers_is_not_believed() -> None:
    members = membership(A, B)
    answered(members, A, "one", 0.0)
    members.greeted(B, hello("two", A, B), 5.0, answered=True)
    assert members.view(5.0).peers == (Peer("one", (A,), "zone"), Peer("two", (B,), "zone"))


# Oneself


def test_one_finds_oneself_and_is_never_ranked_twice() -> None:
    members = membership()
    members.resolved({A, B}, 0.0)
    assert members.due(0.0, 9) in {(A, B), (B, A)}
    answered(members, A, "me", 0.1)
    assert ids(members, 0.1) == [str(B)]
    assert members.view(0.1).me == Peer("me", (A,))
    assert members.hello(0.1).addresses == (A,)
    assert A not in members.due(80.0, 9)
    members.resolved({A, B}, 10.0)
    assert [peer.id for peer in members.view(10.0).rank("key", 9)].count("me") == 1


def test_an_own_address_that_was_told_is_never_a_peer_and_never_greeted() -> None:
    members = membership(A, B, me=Peer("me", (A,)))
    assert ids(members, 0.0) == [str(B)]
    assert members.due(0.0, 9) == (B,)
    members.greeted(A, hello("two", A), 1.0, answered=True)
    assert ids(members, 1.0) == [str(B)]


def test_an_own_address_is_looked_at_again_after_a_while() -> None:
    members = membership(A)
    answered(members, A, "me", 0.0)
    assert members.due(89.0, 9) == ()
    assert members.due(90.0, 9) == (A,)
    assert members.due(90.0, 9) == ()
    assert members.unanswered(A, PeerKind.TIMEOUT, 91.0) == 0.0
    assert ids(members, 91.0) == []


def test_an_own_address_that_dns_names_no_more_is_forgotten() -> None:
    members = membership()
    members.resolved({A, B}, 0.0)
    answered(members, A, "me", 0.0)
    for at in (10.0, 20.0, 30.0):
        members.resolved({B}, at)
    assert members.view(30.0).me.addresses == ()
    members.resolved({A, B}, 40.0)
    assert A in members.due(40.0, 9)


def test_another_node_that_had_our_id_by_mistake_is_a_peer_when_it_has_not() -> None:
    members = membership(A)
    answered(members, A, "me", 0.0)
    members.greeted(A, hello("two", A), 50.0)
    assert ids(members, 50.0) == ["two"]
    assert members.view(50.0).me.addresses == ()


def test_our_own_hello_coming_in_changes_nothing() -> None:
    members = membership(A)
    members.greeted(B, hello("me", B), 0.0)
    assert ids(members, 0.0) == [str(A)]
    assert members.view(0.0).me.addresses == ()


# Hearsay


def test_whom_another_node_knows_is_known() -> None:
    members = membership(A)
    answered(members, A, "one", 0.0, known=(Known("two", B, "far", 10.0), Known("me", C, "", 0.0)))
    assert members.view(0.0).peers == (Peer("one", (A,), "zone"), Peer("two", (B,), "far"))


def test_hearsay_alone_keeps_nobody_for_longer_than_somebody_met_it() -> None:
    """Three nodes tell each other of a dead one, again and again."""
    groups = [membership(A, B, C) for _ in range(3)]
    for members, address in zip(groups, (A, B, C), strict=True):
        answered(members, address, "me", 0.0)
    dead = Known("dead", D, "", 0.0)
    groups[0].greeted(B, hello("two", known=(dead,)), 0.0)
    for tick in range(1, 400):
        now = tick * 0.25
        teller, listener = groups[tick % 3], groups[(tick + 1) % 3]
        said = teller.hello(now)
        listener.greeted(D if tick % 2 else A, hello("x", known=said.known), now)
    assert all("dead" not in known(members, 100.0) for members in groups)


def test_nodes_beyond_dns_stay_known_as_long_as_they_are_met() -> None:
    members = membership()
    members.resolved({A}, 0.0)
    answered(members, A, "one", 0.0, known=(Known("two", B, "", 5.0),))
    for at in range(10, 300, 10):
        members.resolved({A}, float(at))
        members.succeeded("two", float(at))
    assert known(members, 300.0) == ["one", "two"]
    assert known(members, 290.0 + TIMEOUTS.peer_forget) == ["one"]


def test_a_younger_word_moves_an_address_and_an_older_one_does_not() -> None:
    members = membership(C)
    members.greeted(C, hello("one", known=(Known("two", A, "", 20.0),)), 100.0)
    members.greeted(C, hello("one", known=(Known("three", A, "", 30.0),)), 100.0)
    assert known(members, 100.0) == ["one", "two"]
    members.greeted(C, hello("one", known=(Known("three", A, "", 10.0),)), 100.0)
    assert known(members, 100.0) == ["one", "three"]


@pytest.mark.parametrize("age", [math.nan, math.inf, 90.0, 1e300])
def test_a_word_without_a_usable_age_is_passed_over(age: float) -> None:
    members = membership(C)
    members.greeted(C, hello("one", known=(Known("two", A, "", age),)), 100.0)
    assert known(members, 100.0) == ["one"]


def test_an_age_below_zero_makes_nobody_younger_than_now() -> None:
    members = membership(C)
    members.greeted(C, hello("one", known=(Known("two", A, "", -1e9),)), 100.0)
    assert "two" not in known(members, 100.0 + TIMEOUTS.peer_forget)


def test_the_memory_of_addresses_is_bounded() -> None:
    directory = Directory()
    crowd = (Known(f"n{n}", Address(f"10.{n >> 8}.{n & 255}.1", 1), "", 0.0) for n in range(25_000))
    directory.learn(crowd, -100.0, 0.0)
    assert len(directory.places) == len(directory.nodes) == 20_000
    assert directory.claim(A, "late", 0.0, 0.0) is None
    assert not directory.discover(B, 0.0)


def test_what_is_told_are_pairs_with_ages_the_last_met_first() -> None:
    members = membership(A, B, C)
    answered(members, A, "one", 10.0)
    answered(members, B, "two", 20.0)
    said = members.hello(25.0)
    assert said.known == (Known("two", B, "zone", 5.0), Known("one", A, "zone", 15.0))
    assert (said.id, said.wire, said.release) == ("me", WIRE_VERSION, "1.0")


def test_nodes_that_leave_or_speak_otherwise_are_not_told_of() -> None:
    members = membership(A, B, C)
    answered(members, A, "one", 0.0, leaving=True)
    answered(members, B, "two", 0.0, wire="2")
    assert members.hello(0.0).known == ()


# Who is ranked


def test_a_node_of_another_wire_version_is_known_and_not_ranked_until_it_speaks_ours() -> None:
    members = membership(A)
    answered(members, A, "one", 0.0, wire="2", known=(Known("two", B, "", 0.0),))
    assert ids(members, 0.0) == []
    assert known(members, 0.0) == ["one"]
    answered(members, A, "one", 30.0)
    assert ids(members, 30.0) == ["one"]


def carried(members: Membership, rate: int) -> None:
    """Bytes of peers came at so many a second, for long enough to tell."""
    for tenth in range(60):
        members.link.came(rate // 10, tenth / 10)


def test_a_node_whose_link_is_slow_beside_those_of_the_others_says_so_and_ranks_last() -> None:
    members = membership(A, B)
    answered(members, A, "one", 0.0, inbound=12_000_000)
    answered(members, B, "two", 0.0, inbound=11_000_000)
    carried(members, 3_000_000)
    assert not members.hello(7.0).busy  # it compares when it hears of them
    members.greeted(A, hello("one", inbound=12_000_000), 8.0)
    assert members.link.behind and members.hello(9.5).busy and members.hello(9.5).behind
    assert members.hello(9.5).inbound == members.link.best > 0
    for key in map(str, range(20)):
        assert members.view(10.0).rank(key, 3)[2].id == "me"


def test_what_a_peer_says_of_its_link_alone_is_no_news() -> None:
    members = membership(A)
    answered(members, A, "one", 0.0, inbound=12_000_000)
    view = members.view(0.0)
    answered(members, A, "one", 1.0, inbound=13_000_000)
    assert members.view(1.0) is view
    (node,) = members.nodes(1.0)
    assert node.inbound == 13_000_000


def test_a_leaving_node_is_not_ranked_until_a_later_hello_says_otherwise() -> None:
    members = membership(A)
    answered(members, A, "one", 0.0)
    members.left("one", 1.0)
    assert ids(members, 1.0) == []
    members.left("nobody", 1.0)
    members.greeted(A, hello("one", leaving=True), 2.0)
    assert ids(members, 2.0) == []
    members.greeted(A, hello("one"), 3.0)
    assert ids(members, 3.0) == ["one"]


def test_busy_nodes_rank_behind_all_others_and_so_do_we() -> None:
    members = membership(A, B)
    answered(members, A, "one", 0.0, busy=True)
    answered(members, B, "two", 0.0)
    for key in map(str, range(20)):
        assert members.view(0.0).rank(key, 3)[2].id == "one"
    members.busy = True
    for key in map(str, range(20)):
        assert members.view(0.0).rank(key, 3)[0].id == "two"
    assert members.hello(0.0).busy
    members.busy, members.leaving = False, True
    assert members.view(0.0).rank("key", 3)[0].id == "two"
    assert members.hello(0.0).leaving


def test_a_view_ranks_oneself_among_the_others_and_remembers_what_it_said() -> None:
    peers = [Peer(f"n{n}", ()) for n in range(5)]
    view = View(Peer("me", ()), [*peers, Peer("me", (A,))])
    ranked = view.rank("key", 6)
    assert sorted(peer.id for peer in ranked) == ["me", "n0", "n1", "n2", "n3", "n4"]
    assert view.rank("key", 6) is ranked
    assert view.rank("key", 2) == ranked[:2]
    assert view.get("n1") == peers[1]
    assert view.get("me") is view.get("nobody") is None
    for number in range(2000):
        view.rank(str(number), 1)
    assert len(view._rankings) <= 512
    assert view != object()


def test_a_view_knows_who_would_be_among_the_first_if_it_were_not_slow() -> None:
    peers = [Peer(f"n{n}", ()) for n in range(9)]
    before = View(Peer("me", ()), peers)
    now = View(Peer("me", ()), peers, last=["n1", "n2", "me"])
    keys = [str(number) for number in range(50)]
    for key in keys:
        first = [peer.id for peer in before.rank(key, 3)]
        assert now.former(key, 3) == tuple(id_ for id_ in first if id_ in {"n1", "n2"})
        assert before.former(key, 3) == ()
    assert any(now.former(key, 3) for key in keys)


def test_who_says_that_its_link_is_slow_is_behind_and_last() -> None:
    members = membership(A, B)
    answered(members, A, "one", 0.0, behind=True, busy=True)
    answered(members, B, "two", 0.0, busy=True)
    view = members.view(0.0)
    assert (set(view.behind), set(view.last)) == ({"one"}, {"one", "two"})
    answered(members, A, "one", 1.0, busy=True)
    assert not members.view(1.0).behind and members.view(1.0) != view


def test_a_view_is_the_same_object_until_something_changes() -> None:
    members = membership(A, B)
    answered(members, A, "one", 0.0)
    view = members.view(0.0)
    answered(members, A, "one", 30.0)
    members.resolved({A, B}, 31.0)
    members.succeeded("one", 32.0)
    members.unresolved(33.0)
    assert members.view(33.0) is view
    answered(members, B, "two", 34.0)
    assert members.view(34.0) is not view
    assert members.view(34.0) != view


@given(st.lists(few_addresses(), unique=True, min_size=1), st.data())
def test_views_are_equal_whatever_the_order_in_which_things_were_learned(
    named: list[Address], data: st.DataObject
) -> None:
    def learned(order: list[Address]) -> View:
        members = membership()
        members.resolved(order, 0.0)
        for address in order:
            answered(members, address, f"n{address.host[-1]}", 1.0)
        for address in members.due(1.0, 9):
            answered(members, address, f"n{address.host[-1]}", 1.0)
        return members.view(1.0)

    other = data.draw(st.permutations(named))
    assert learned(named) == learned(other)
    assert hash(learned(named)) == hash(learned(other))


# Who is greeted


def test_unknown_addresses_are_greeted_at_once_and_known_ones_at_the_interval() -> None:
    members = membership(A, B)
    assert sorted(members.due(0.0, 9)) == [A, B]
    assert members.due(0.1, 9) == ()
    answered(members, A, "one", 0.2)
    answered(members, B, "two", 0.2)
    assert members.due(30.1, 9) == ()
    members.succeeded("one", 30.1)
    assert members.due(30.2, 9) == (B,)
    answered(members, B, "two", 30.3)
    assert members.due(60.2, 9) == (A,)


def test_no_more_are_greeted_than_asked_for() -> None:
    members = membership(A, B, C)
    assert len(members.due(0.0, 2)) == 2
    assert len(members.due(0.0, 2)) == 1
    assert members.due(0.0, 0) == ()


def test_a_greeting_that_nobody_ended_is_sent_again() -> None:
    members = membership(A)
    assert members.due(0.0, 9) == (A,)
    assert members.due(9.9, 9) == ()
    assert members.due(10.0, 9) == (A,)
    members.ungreeted(A, 11.0)
    assert members.due(11.0, 9) == (A,)
    members.ungreeted(B, 11.0)


def test_nodes_do_not_all_greet_the_same_one_first() -> None:
    crowd = [Address(f"10.0.1.{n}", 5001) for n in range(100)]
    firsts = {
        Membership(Peer(f"node-{n}", ()), TIMEOUTS, "1", crowd).due(0.0, 1) for n in range(50)
    }
    assert len(firsts) > 25


def test_in_a_big_cluster_greetings_are_rarer_and_hearsay_is_not_run_after() -> None:
    crowd = tuple(
        Known(f"n{n}", Address(f"10.1.{n >> 8}.{n & 255}", 5001), "", 1.0) for n in range(5000)
    )
    members = membership(A)
    answered(members, A, "one", 0.0, known=crowd)
    assert members.due(1.0, 99) == ()
    assert members.due(29.0, 99) == ()
    members.thawed(60.0, 60.0)
    assert members.census(60.0).live == 5001
    assert members.due(60.0, 99) == ()


# Time


def test_a_node_that_stood_still_forgets_nobody_and_blames_nobody() -> None:
    members = membership(C)  # What is known is younger than it seems.
    answered(members, C, "three", 0.0, known=(Known("two", B, "", 0.0),))
    members.thawed(80.0, 80.0)
    members.failed("three", PeerKind.TIMEOUT, 80.0)
    members.failed("two", PeerKind.TIMEOUT, 80.0)
    assert members.all_off(80.0)
    members.thawed(80.1, 0.0)
    assert not members.all_off(80.1)
    assert ids(members, 80.1) == ["three", "two"]
    assert ids(members, 160.0) == ["three", "two"]


def test_whom_only_others_met_is_known_after_a_long_sleep_as_well() -> None:
    members = membership(C)
    answered(members, C, "three", 0.0, known=(Known("two", B, "", 0.0),))
    members.thawed(1000.0, 990.0)
    assert known(members, 1000.0) == ["three", "two"]
    assert known(members, 1000.0 + TIMEOUTS.peer_forget) == ["three"]


def test_an_address_that_is_met_no_more_goes_and_its_node_stays() -> None:
    members = membership(A)
    members.greeted(A, hello("one", A, B), 0.0, answered=True)
    assert members.view(0.0).peers[0].addresses == (A, B)
    assert members.view(TIMEOUTS.peer_forget).peers[0].addresses == (A,)


def test_what_is_certain_is_held_against_a_peer_after_a_thaw_as_well() -> None:
    members = membership(A)
    answered(members, A, "one", 0.0)
    members.failed("one", PeerKind.CORRUPT, 1.0)
    members.thawed(2.0)
    assert ids(members, 2.0) == []


def test_time_that_goes_backwards_changes_nothing() -> None:
    members = membership(A)
    answered(members, A, "one", 100.0)
    assert ids(members, 50.0) == ["one"]
    members.resolved({A}, 0.0)
    assert members.hello(0.0).known[0].age >= 0.0

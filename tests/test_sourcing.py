"""Whom a search asks, in which order, and that it always ends."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodecache.failures import PeerFailure, PeerKind, UpstreamKind
from nodecache.limits import Limits, Timeouts
from nodecache.membership import Address
from nodecache.peerwire.answers import (
    Absent,
    Denied,
    Elsewhere,
    Fetching,
    Refusal,
    UpstreamAbsent,
    UpstreamBroken,
)
from nodecache.peerwire.questions import Mode
from nodecache.sourcing import Ask, Holders, Pause, Refused, Search, SearchBudget, Step, Upstream

BUDGET = SearchBudget.of(Timeouts(), Limits())
MAY, HAVE = Mode.MAY_FETCH, Mode.ONLY_IF_HAVE
RANKS = ["owner", "second", "third", "fourth"]
GONE = UpstreamAbsent(UpstreamKind.NOT_FOUND, "no such blob", 404)
ABSENT = Absent()
BROKEN = UpstreamBroken(UpstreamKind.ERROR, "503", 503)


def search(
    ranked: list[str] = RANKS,
    me: str = "me",
    *,
    as_owner: bool = False,
    holders: tuple[str, ...] = (),
    asked_stand_ins: bool = False,
    budget: SearchBudget = BUDGET,
) -> Search:
    return Search(
        ranked,
        me,
        as_owner=as_owner,
        holders=holders,
        asked_stand_ins=asked_stand_ins,
        started=0.0,
        budget=budget,
    )


def elsewhere(*peers: str, retry: float = 0.1, leaving: bool = False) -> Elsewhere:
    return Elsewhere(retry, tuple((peer, Address("10.0.0.1", 5001)) for peer in peers), leaving)


def failure(peer: str, problem: PeerKind = PeerKind.CUT) -> PeerFailure:
    return PeerFailure(peer, problem, "broke")


def asked(step: Step) -> tuple[str, Mode]:
    assert isinstance(step, Ask), step
    return step.peer, step.mode


def questions(searched: Search, refusal: Refusal = ABSENT) -> list[tuple[str, Mode]]:
    """Whom it asks when everybody gives the same answer."""
    order = []
    while isinstance(step := searched.next(0.0), Ask):
        order.append(asked(step))
        searched.answered(step.peer, refusal, 0.0)
    assert step == Upstream()
    return order


# The order


def test_who_has_nothing_yet_may_keep_the_asker_waiting_unless_that_is_an_owner() -> None:
    searched = search(holders=("likely",))
    step = searched.next(0.0)
    assert isinstance(step, Ask)
    assert (step.mode, step.as_owner) == (HAVE, False)
    assert step.wait == pytest.approx(0.6 * step.silence)
    searched.answered("likely", ABSENT, 0.0)
    assert searched.next(0.0) == Ask("owner", MAY, step.silence)
    step = search(as_owner=True, holders=("likely",)).next(0.0)
    assert isinstance(step, Ask)
    assert (step.wait, step.as_owner) == (0.0, True)


def test_who_takes_over_makes_nobody_fetch_and_keeps_nobody_waiting() -> None:
    searched = search(me="second", holders=("likely",))
    assert asked(searched.next(0.0)) == ("likely", HAVE)
    searched.answered("likely", ABSENT, 0.0)
    assert asked(searched.next(0.0)) == ("owner", MAY)
    searched.answered("owner", Fetching(0.1), 0.0)
    searched.take_over()
    assert searched.next(0.0) == Pause(0.1)
    for peer in ("owner", "third"):
        assert searched.as_owner
        step = searched.next(0.1)
        assert isinstance(step, Ask)
        assert (step.peer, step.mode, step.as_owner, step.wait) == (peer, HAVE, True, 0.0)
        assert not searched.asked_stand_ins or peer == "third"
        searched.answered(peer, ABSENT, 0.1)
    assert searched.asked_stand_ins
    assert searched.next(0.1) == Upstream()


def test_after_not_yet_the_next_is_asked_later_each_time() -> None:
    """Whoever is named with it is likely to be no further."""
    searched, now, pauses = search(), 0.0, []
    assert asked(searched.next(now)) == ("owner", MAY)
    searched.answered("owner", elsewhere("a", "b", "c", "d"), now)
    searched.referred.clear()
    for peer in "abcd":
        assert asked(searched.next(now)) == (peer, HAVE)
        searched.answered(peer, elsewhere(retry=0.15), now)
        step = searched.next(now)
        assert isinstance(step, Pause)
        pauses.append(step.seconds)
        now += step.seconds
    assert pauses == [0.15, 0.3, 0.5, BUDGET.pause]  # the owner's own time has long passed
    assert searched.next(now) == Pause(BUDGET.pause)
    assert asked(searched.next(now)) == ("owner", MAY)


def test_who_named_others_is_left_alone_from_its_own_answer_on() -> None:
    """And not from when the last of these has answered: that cost up to two seconds."""
    searched = search()
    assert asked(searched.next(0.0)) == ("owner", MAY)
    searched.answered("owner", elsewhere("a", retry=1.0), 0.0)
    assert asked(searched.next(0.0)) == ("a", HAVE)
    searched.answered("a", Absent(), 0.75)
    assert searched.next(0.75) == Pause(0.25)
    assert asked(searched.next(1.0)) == ("owner", MAY)


def test_as_long_as_somebody_says_not_yet_there_is_hope() -> None:
    """Else what is on its way over slow links would be fetched once more."""
    searched, now = search(), 0.0
    while now < BUDGET.longest - 1.6:
        step = searched.next(now)
        if isinstance(step, Pause):
            now += step.seconds
            continue
        assert isinstance(step, Ask), step
        answer = elsewhere("a") if step.peer == "owner" else elsewhere(retry=1.5)
        searched.answered(step.peer, answer, now)
    assert now > BUDGET.seconds


def test_the_owner_is_asked_then_its_stand_ins_then_upstream() -> None:
    assert questions(search()) == [("owner", MAY), ("second", MAY), ("third", MAY)]


def test_a_stand_in_asks_those_before_it_to_fetch_and_the_one_behind_whether_it_has_it() -> None:
    assert questions(search(me="second")) == [("owner", MAY), ("third", HAVE)]
    assert questions(search(me="third")) == [("owner", MAY), ("second", MAY)]


def test_an_owner_asks_nobody_to_fetch() -> None:
    assert questions(search(me="owner")) == [("second", HAVE), ("third", HAVE)]
    assert questions(search(as_owner=True)) == [(peer, HAVE) for peer in RANKS[:3]]
    assert questions(search(me="second", as_owner=True)) == [("owner", HAVE), ("third", HAVE)]


def test_an_owner_asks_its_stand_ins_once_for_a_lane() -> None:
    first = search(me="owner")
    assert not first.asked_stand_ins
    questions(first)
    assert first.asked_stand_ins
    assert questions(search(me="owner", asked_stand_ins=True)) == []


def test_who_is_asked_to_fetch_asks_those_before_it_each_time() -> None:
    """Somebody does not know the owner; all others ask it, so it is likely to be getting it."""
    searched = search(me="third", as_owner=True, asked_stand_ins=True)
    assert questions(searched) == [("owner", HAVE), ("second", HAVE)]


def test_a_few_holders_are_asked_before_the_owner_to_spread_the_load() -> None:
    order = questions(search(holders=("me", "second", *"abcd")))
    assert order[:3] == [("a", HAVE), ("b", HAVE), ("c", HAVE)]
    assert order[3:] == [("owner", MAY), ("second", MAY), ("third", MAY)]


def test_a_holder_that_had_it_not_yet_is_asked_again_once_the_owner_names_it() -> None:
    """It was just getting it; else a fill waits for the owner's turn, and goes upstream."""
    searched = search(holders=("h",))
    assert asked(searched.next(0.0)) == ("h", HAVE)
    searched.answered("h", Absent(), 0.0)
    for at in (0.0, 0.1):
        assert asked(searched.next(at)) == ("owner", MAY)
        searched.answered("owner", elsewhere("h"), at)
        if at == 0.0:
            assert searched.next(at) == Pause(0.1)
    assert asked(searched.next(0.1)) == ("h", HAVE)


def test_a_holder_at_its_limit_is_not_waited_for_but_its_referrals_are_followed() -> None:
    searched = search(holders=("a",))
    searched.next(0.0)
    searched.answered("a", elsewhere("b"), 0.0)
    assert asked(searched.next(0.0)) == ("b", HAVE)
    searched.answered("b", Absent(), 0.0)
    assert asked(searched.next(0.0)) == ("owner", MAY)


def test_an_owner_waits_for_a_holder_at_its_limit() -> None:
    """Better than to fetch again what the cluster has."""
    searched = search(me="owner", holders=("a",), asked_stand_ins=True)
    searched.next(0.0)
    searched.answered("a", elsewhere(), 0.0)
    assert searched.next(0.0) == Pause(0.1)
    assert asked(searched.next(0.1)) == ("a", HAVE)


def test_an_owner_asks_all_holders_first() -> None:
    order = questions(search(me="owner", holders=("a", "b", "third")))
    assert order == [("a", HAVE), ("b", HAVE), ("third", HAVE), ("second", HAVE)]


def test_a_node_alone_goes_upstream() -> None:
    assert questions(search([])) == []
    assert questions(search(["me"])) == []


# A peer that lives


def test_a_peer_that_is_fetching_is_asked_again_after_the_time_it_names() -> None:
    searched = search()
    searched.next(0.0)
    searched.answered("owner", Fetching(0.5), 1.0)
    assert searched.next(1.0) == Pause(0.5)
    assert asked(searched.next(1.5)) == ("owner", MAY)


def test_a_peer_that_is_fetching_is_waited_for_longer_than_a_search_lasts() -> None:
    searched, now = search(), 0.0
    while isinstance(step := searched.next(now), Ask | Pause):
        if isinstance(step, Ask):
            assert step.peer == "owner"
            searched.answered("owner", Fetching(0.0), now)
        now += 1.0
    assert BUDGET.seconds < now <= BUDGET.longest + 1.0


def test_referrals_are_followed_in_order_and_then_the_owner_is_asked_again() -> None:
    searched = search()
    searched.next(0.0)
    searched.answered("owner", elsewhere("a", "me", "b"), 0.0)
    assert asked(searched.next(0.0)) == ("a", HAVE)
    searched.answered("a", elsewhere("c", "b"), 0.0)
    assert asked(searched.next(0.0)) == ("c", HAVE)
    searched.answered("c", Absent(), 0.0)
    assert asked(searched.next(0.0)) == ("b", HAVE)
    searched.answered("b", elsewhere("a", "c"), 0.0)
    assert searched.next(0.0) == Pause(0.1)
    assert asked(searched.next(0.1)) == ("owner", MAY)
    assert set(searched.referred) == {"a", "b", "c"}


def test_no_more_than_twelve_referrals_are_followed_in_a_row() -> None:
    searched = search()
    searched.next(0.0)
    searched.answered("owner", elsewhere("p0"), 0.0)
    for number in range(12):
        assert asked(searched.next(0.0)) == (f"p{number}", HAVE)
        searched.answered(f"p{number}", elsewhere(f"p{number + 1}"), 0.0)
    assert searched.next(0.0) == Pause(0.1)
    assert asked(searched.next(0.1)) == ("owner", MAY)


def test_a_peer_that_is_leaving_is_not_asked_again_but_its_referrals_are() -> None:
    searched = search()
    searched.next(0.0)
    searched.answered("owner", elsewhere("a", "owner", leaving=True), 0.0)
    assert asked(searched.next(0.0)) == ("a", HAVE)
    searched.answered("a", Absent(), 0.0)
    assert asked(searched.next(0.0)) == ("second", MAY)


def test_a_pause_is_never_so_short_that_it_would_spin() -> None:
    searched = search()
    searched.next(0.0)
    searched.answered("owner", elsewhere(retry=0.0), 0.0)
    assert searched.next(0.0) == Pause(BUDGET.pause)


def test_one_that_ever_names_others_in_vain_is_asked_less_and_less_often() -> None:
    """Else an owner that it knows as a holder would ask a thousand times in five seconds."""
    searched, now, questions = search(as_owner=True, holders=("holder",)), 0.0, 0
    while not isinstance(step := searched.next(now), Upstream):
        if isinstance(step, Pause):
            now += step.seconds
            continue
        assert isinstance(step, Ask)
        questions += 1
        answer = elsewhere("a", retry=0.0) if step.peer == "holder" else ABSENT
        searched.answered(step.peer, answer, now)
    assert now > 10.0
    assert questions < 150


# What upstream said to others


def test_upstreams_absence_is_an_answer() -> None:
    searched = search()
    searched.next(0.0)
    searched.answered("owner", GONE, 0.0)
    assert searched.next(0.0) == Refused(GONE)
    assert searched.next(99.0) == Refused(GONE)


def test_upstreams_absence_from_a_peer_that_was_not_to_fetch_says_nothing() -> None:
    assert questions(search(me="owner"), GONE) == [("second", HAVE), ("third", HAVE)]


def test_where_upstream_fails_for_the_owner_nobody_else_is_made_to_ask_it() -> None:
    order = questions(search(), BROKEN)
    assert order == [("owner", MAY), ("second", HAVE), ("third", HAVE)]


@pytest.mark.parametrize("refusal", [Denied("by rule"), Absent()])
def test_a_peer_that_can_not_is_passed_over(refusal: Refusal) -> None:
    assert questions(search(), refusal) == [("owner", MAY), ("second", MAY), ("third", MAY)]


# What it may spend


def test_a_peer_that_failed_is_not_asked_again() -> None:
    searched = search()
    searched.next(0.0)
    searched.failed("owner", failure("owner"), 0.0)
    assert asked(searched.next(0.0)) == ("second", MAY)
    searched.answered("second", elsewhere("owner", "a"), 0.0)
    assert asked(searched.next(0.0)) == ("a", HAVE)


def test_silence_is_bounded_over_the_whole_search() -> None:
    searched, now, silences = search(), 0.0, []
    while isinstance(step := searched.next(now), Ask):
        silences.append(step.silence)
        now += step.silence
        searched.failed(step.peer, failure(step.peer, PeerKind.TIMEOUT), now)
    assert silences == pytest.approx([1.0, 0.5])
    assert now == pytest.approx(BUDGET.silence)


def test_after_a_silent_owner_its_stand_in_is_still_asked() -> None:
    """Else a frozen owner would send the whole herd upstream."""
    searched = search()
    first = searched.next(0.0)
    assert isinstance(first, Ask)
    searched.failed("owner", failure("owner", PeerKind.TIMEOUT), first.silence)
    assert asked(searched.next(first.silence)) == ("second", MAY)


def test_the_whole_search_is_bounded() -> None:
    searched = search(budget=attrs.evolve(BUDGET, longest=BUDGET.seconds))
    searched.next(0.0)
    searched.answered("owner", elsewhere(retry=60.0), BUDGET.seconds - 1.0)
    assert searched.next(BUDGET.seconds - 1.0) == Pause(1.0)
    assert searched.next(BUDGET.seconds) == Upstream()
    assert searched.next(0.0) == Upstream()


def test_an_owner_without_a_place_that_names_nobody_is_asked_again_all_the_same() -> None:
    """It has it, or is getting it: from upstream it would be one copy more."""
    searched, now = search(), 0.0
    while now < 1.5 * BUDGET.seconds:
        step = searched.next(now)
        if isinstance(step, Ask):
            assert step.peer == "owner"
            searched.answered(step.peer, elsewhere(retry=0.4), now)
        else:
            assert isinstance(step, Pause)
            now += step.seconds


def test_a_peer_that_may_not_fetch_it_and_names_nobody_keeps_no_owner_from_upstream() -> None:
    searched = search(as_owner=True, ranked=["me", "second"], holders=("a",))
    now = 0.0
    while isinstance(step := searched.next(now), Ask | Pause):
        if isinstance(step, Ask):
            searched.answered(step.peer, elsewhere(retry=0.4), now)
        else:
            now += step.seconds
    assert now <= BUDGET.seconds


def test_a_search_goes_on_while_the_cluster_has_it_and_is_busy() -> None:
    """On slow links an answer may take long; upstream would only be slower for all."""
    searched, now = search(), 0.0
    while isinstance(step := searched.next(now), Ask | Pause):
        if isinstance(step, Ask):
            searched.answered(step.peer, elsewhere("a", retry=1.0), now)
            now += 0.1
        else:
            now += step.seconds
    assert BUDGET.seconds < now <= BUDGET.longest + 1.0
    assert searched.questions <= BUDGET.questions


def test_a_search_after_a_body_that_broke_off_leaves_its_sender_out() -> None:
    searched = search()
    searched.failed("owner", failure("owner", PeerKind.TIMEOUT), 0.0)
    assert asked(searched.next(0.0)) == ("second", MAY)


def test_holders_that_gave_are_guessed_at_first_and_the_longest_unused_of_them() -> None:
    holders = Holders()
    holders.told(["a", "b", "c"])
    holders.gave("b")
    assert holders.best(3) == ("b", "a", "c")
    holders.lacked("b")
    holders.lacked("a")
    assert holders.best(3) == ("c", "b", "a")
    holders.gave("a")
    holders.told(["a"])
    assert holders.best(1) == ("a",)
    holders.failed("a")
    assert holders.best(3) == ("c", "b")


def test_holders_that_are_left_out_take_no_place() -> None:
    holders = Holders()
    holders.told(["a", "b", "c"])
    assert holders.best(2, without={"a"}) == ("b", "c")


def test_holders_take_turns() -> None:
    holders = Holders()
    for peer in "abab":
        holders.gave(peer)
    assert holders.best(2) == ("a", "b")
    holders.gave("a")
    assert holders.best(2) == ("b", "a")


def test_no_more_than_32_holders_are_remembered_and_the_best_of_them() -> None:
    holders = Holders()
    holders.gave("good")
    holders.told(f"p{number}" for number in range(100))
    assert len(holders) == 32
    assert holders.best(1) == ("good",)


def test_a_search_is_offered_nobody_on_a_slow_link() -> None:
    holders = Holders()
    holders.told("abcdef")
    assert holders.offered(behind={"b", "d"}) == ("a", "c", "e", "f")


def test_an_owner_is_offered_everybody_and_once_those_that_owned_the_lane_before() -> None:
    holders = Holders()
    holders.told("abcdef")
    assert holders.offered_owner(lambda: "bxy") == ("a", "b", "c", "d", "x", "y")
    assert holders.offered_owner(None) == ("a", "b", "c", "d")


names = st.sampled_from([*RANKS, "me", *"abcdefghij"])
retries = st.floats(0, 2)
refusals = st.one_of(
    st.builds(Fetching, retries),
    st.builds(
        lambda retry, peers, leaving: elsewhere(*peers, retry=retry, leaving=leaving),
        retries,
        st.lists(names, max_size=4),
        st.booleans(),
    ),
    st.sampled_from([Absent(), GONE, Denied("no"), BROKEN]),
    st.sampled_from(list(PeerKind)),
)


@attrs.define
class Watched:
    """What one search did, from its start to its end."""

    asks: list[Ask]
    failed: set[str]
    silence: float
    seconds: float


@given(
    ranked=st.lists(names, unique=True, max_size=5),
    me=st.sampled_from(["me", "owner", "second"]),
    as_owner=st.booleans(),
    holders=st.lists(names, unique=True, max_size=5),
    asked_stand_ins=st.booleans(),
    script=st.lists(st.tuples(refusals, st.floats(0, 0.3)), min_size=1, max_size=8),
    taken_over_at=st.none() | st.integers(0, 12),
)
def test_whatever_the_peers_say_it_ends_within_its_budget_without_going_in_a_circle(
    ranked: list[str],
    me: str,
    as_owner: bool,
    holders: list[str],
    asked_stand_ins: bool,
    script: list[tuple[Refusal | PeerKind, float]],
    taken_over_at: int | None,
) -> None:
    searched = Search(
        ranked,
        me,
        as_owner=as_owner,
        holders=holders,
        asked_stand_ins=asked_stand_ins,
        started=0.0,
        budget=BUDGET,
    )
    seen, now, turn = Watched([], set(), 0.0, 0.0), 0.0, 0
    while True:
        if len(seen.asks) == taken_over_at:
            searched.take_over()
        step = searched.next(now)
        if isinstance(step, Upstream | Refused):
            break
        if isinstance(step, Pause):
            assert step.seconds > 0
            now += step.seconds
            continue
        assert step.peer not in seen.failed
        assert step.peer != me
        seen.asks.append(step)
        refusal, seconds = script[turn % len(script)]
        turn += 1
        if isinstance(refusal, PeerKind):
            seconds = step.silence if refusal is PeerKind.TIMEOUT else min(seconds, step.silence)
            now += seconds
            seen.failed.add(step.peer)
            seen.silence += seconds if refusal in {PeerKind.TIMEOUT, PeerKind.REFUSED} else 0.0
            searched.failed(step.peer, PeerFailure(step.peer, refusal, "broke"), now)
        else:
            now += seconds
            searched.answered(step.peer, refusal, now)
    assert len(seen.asks) == searched.questions <= BUDGET.questions
    assert seen.silence <= BUDGET.silence + 1e-6
    assert now <= BUDGET.longest + 1.0
    as_an_owner = seen.asks[taken_over_at:] if taken_over_at is not None else []
    if as_owner or ranked[:1] == [me]:
        as_an_owner = seen.asks
    assert all(ask.mode is HAVE and ask.as_owner and not ask.wait for ask in as_an_owner)
    assert searched.next(now) == step

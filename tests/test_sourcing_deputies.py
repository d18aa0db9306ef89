"""Who stands between the thousands of a big cluster and the owner of a lane."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodecache.failures import PeerFailure, PeerKind
from nodecache.limits import Limits, Timeouts
from nodecache.membership import Address
from nodecache.peerwire.answers import Absent, Elsewhere
from nodecache.peerwire.questions import Mode
from nodecache.sourcing import (
    RANKED,
    Ask,
    Deputy,
    Pause,
    Search,
    SearchBudget,
    Step,
    Upstream,
    deputy_of,
    has_deputies,
    ranks_of,
)

BUDGET = SearchBudget.of(Timeouts(), Limits())
RANKS = ["owner", "second", "third"]


def search(*, holders: tuple[str, ...] = (), as_owner: bool = False) -> Search:
    return Search(
        RANKS,
        "me",
        as_owner=as_owner,
        holders=holders,
        asked_stand_ins=False,
        started=0.0,
        budget=BUDGET,
    )


def offered(patience: float = 2.0, holders: tuple[str, ...] = ()) -> Search:
    searched = search(holders=holders)
    searched.offer("deputy", patience)
    return searched


def asked(step: Step) -> tuple[str, Mode]:
    assert isinstance(step, Ask), step
    return step.peer, step.mode


def elsewhere(*peers: str, retry: float = 0.1) -> Elsewhere:
    return Elsewhere(retry, tuple((peer, Address("10.0.0.1", 5001)) for peer in peers))


# Who is it?


def test_a_small_cluster_has_none() -> None:
    assert not has_deputies(512)
    assert ranks_of(1) == ranks_of(8) == ranks_of(512) == RANKED
    assert deputy_of(RANKS, "me", "k") is None


def test_a_big_one_has_one_for_128_nodes_in_each_lane() -> None:
    assert has_deputies(513)
    assert ranks_of(5000) == RANKED + 39


def test_the_owner_its_stand_ins_and_the_deputies_themselves_ask_the_owner() -> None:
    ranked = [f"n{number}" for number in range(10)]
    assert {deputy_of(ranked, me, "k") for me in ranked} == {None}


def test_the_others_are_shared_out_evenly_and_each_keeps_the_same() -> None:
    ranked = [f"n{number}" for number in range(RANKED + 39)]
    found = [deputy_of(ranked, f"other-{number}", "k") for number in range(5000)]
    assert found == [deputy_of(ranked, f"other-{number}", "k") for number in range(5000)]
    circles = Counter(each.peer for each in found if each is not None)
    assert set(circles) == set(ranked[RANKED:])
    assert max(circles.values()) < 2 * min(circles.values())


def test_not_all_lose_patience_at_the_same_moment() -> None:
    found = (deputy_of([*RANKS, "deputy"], f"other-{number}", "k") for number in range(300))
    patience = sorted(each.patience for each in found if each is not None)
    assert 1.5 <= patience[0] < 2.0
    assert 4.0 < patience[-1] <= 4.5
    assert 2.5 < patience[150] < 3.5


def test_two_keys_have_deputies_of_their_own() -> None:
    ranked = [f"n{number}" for number in range(RANKED + 39)]
    found = {deputy_of(ranked, "me", f"k/{lane}") for lane in range(8)}
    assert len({each.peer for each in found if isinstance(each, Deputy)}) > 3


# How it is asked.


def test_it_is_asked_behind_the_likely_holders_and_before_the_owner() -> None:
    searched = offered(holders=("h",))
    order = []
    while isinstance(step := searched.next(0.0), Ask):
        order.append(asked(step))
        searched.answered(step.peer, Absent(), 0.0)
    assert order[:3] == [
        ("h", Mode.ONLY_IF_HAVE),
        ("deputy", Mode.ONLY_IF_HAVE),
        ("owner", Mode.MAY_FETCH),
    ]
    assert step == Upstream()


def test_one_that_is_a_likely_holder_too_is_asked_once() -> None:
    searched = offered(holders=("deputy",))
    assert asked(searched.next(0.0)) == ("deputy", Mode.ONLY_IF_HAVE)
    searched.answered("deputy", Absent(), 0.0)
    assert asked(searched.next(0.0)) == ("owner", Mode.MAY_FETCH)


def test_an_owner_asks_none() -> None:
    searched = search(as_owner=True)
    searched.offer("deputy", 2.0)
    order = []
    while isinstance(step := searched.next(0.0), Ask):
        order.append(step.peer)
        searched.answered(step.peer, Absent(), 0.0)
    assert order == RANKS


def test_nor_does_who_takes_over_follow_one() -> None:
    searched = offered(holders=("h",))
    assert asked(searched.next(0.0)) == ("h", Mode.ONLY_IF_HAVE)
    searched.take_over()
    searched.answered("h", Absent(), 0.0)
    assert asked(searched.next(0.0)) == ("owner", Mode.ONLY_IF_HAVE)
    searched = offered()
    assert asked(searched.next(0.0)) == ("deputy", Mode.ONLY_IF_HAVE)
    searched.take_over()
    searched.answered("deputy", elsewhere("a"), 0.0)
    order = []
    while isinstance(step := searched.next(0.0), Ask):
        order.append(step.peer)
        searched.answered(step.peer, Absent(), 0.0)
    assert order == ["a", *RANKS]


def test_whom_it_names_is_asked_and_then_it_is_asked_again() -> None:
    searched = offered()
    searched.next(0.0)
    searched.answered("deputy", elsewhere("a", "b"), 0.0)
    for peer in ("a", "b"):
        assert asked(searched.next(0.0)) == (peer, Mode.ONLY_IF_HAVE)
        searched.answered(peer, Absent(), 0.0)
    assert searched.next(0.0) == Pause(0.1)
    assert asked(searched.next(0.1)) == ("deputy", Mode.ONLY_IF_HAVE)


def test_it_is_left_alone_for_twice_as_long_each_time_up_to_half_a_second() -> None:
    searched, now = offered(patience=10.0), 0.0
    pauses: list[float] = []
    while len(pauses) < 5:
        step = searched.next(now)
        if isinstance(step, Pause):
            pauses.append(step.seconds)
            now += step.seconds
        else:
            assert asked(step)[0] == "deputy"
            searched.answered("deputy", elsewhere(), now)
    assert pauses == pytest.approx([0.1, 0.2, 0.4, 0.5, 0.5])


def test_when_patience_is_over_the_owner_is_asked() -> None:
    searched, now = offered(patience=1.0), 0.0
    while asked_now(step := searched.next(now)) in ("deputy", ""):
        if isinstance(step, Pause):
            now += step.seconds
        else:
            searched.answered("deputy", elsewhere(), now)
    assert asked(step) == ("owner", Mode.MAY_FETCH)
    assert 1.0 <= now < 2.0


def asked_now(step: Step) -> str:
    """The peer; "" for a pause."""
    return "" if isinstance(step, Pause) else asked(step)[0]


def test_a_dead_one_costs_its_silence_and_the_owner_is_asked() -> None:
    searched = offered()
    step = searched.next(0.0)
    assert isinstance(step, Ask)
    searched.failed("deputy", PeerFailure("deputy", PeerKind.TIMEOUT, "silent"), step.silence)
    assert asked(searched.next(step.silence)) == ("owner", Mode.MAY_FETCH)


@given(
    patience=st.floats(0, 10),
    retry=st.floats(0, 2),
    names=st.lists(st.sampled_from(["a", "b", "owner", "me"]), max_size=4),
    seconds=st.floats(0, 0.3),
)
def test_however_it_answers_the_search_ends(
    patience: float, retry: float, names: list[str], seconds: float
) -> None:
    searched, now, steps = offered(patience), 0.0, 0
    while not isinstance(step := searched.next(now), Upstream):
        steps += 1
        assert steps < 10_000
        if isinstance(step, Pause):
            assert step.seconds > 0
            now += step.seconds
        elif isinstance(step, Ask):
            now += seconds
            answer = elsewhere(*names, retry=retry) if step.peer == "deputy" else Absent()
            searched.answered(step.peer, answer, now)
    assert now <= BUDGET.longest + 1.0

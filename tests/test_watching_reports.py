"""Who feeds whom in the whole cluster, from what each node says of its own feeds."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodecache.watching import Reports, Watch, documents, report
from nodecache.watching.feeds import LATELY, Feeds
from nodecache.watching.reports import EVERY, FED_BY, FEEDS, OLD, SECONDS, TOLD, Edge

START = 5000.0


def said(fed_by: dict[str, int] | None = None, feeds: dict[str, int] | None = None) -> Any:
    return {SECONDS: 300, FED_BY: fed_by or {}, FEEDS: feeds or {}}


def heard(*told: tuple[str, Any]) -> Reports:
    made = Reports()
    for peer, document in told:
        made.asking(peer, START)
        made.told(peer, document, START)
    return made


# What a node tells.


def test_what_moved_lately_is_told_and_what_moved_before_is_not() -> None:
    feeds = Feeds()
    feeds.moved("a", "in", 10, START)
    feeds.moved("a", "out", 7, START)
    feeds.moved("a", "in", 5, START + LATELY - 30)
    [soon], [late] = feeds.seen(START + LATELY - 31), feeds.seen(START + LATELY + 31)
    assert (soon.received_lately, soon.sent_lately) == (15, 7)
    assert (late.received_lately, late.sent_lately) == (5, 0)


def test_a_node_tells_of_its_biggest_feeds_alone() -> None:
    watch = Watch([])
    for number in range(40):
        watch.feeds.moved(f"n{number:02}", "in", 1000 + number, START)
        watch.feeds.moved(f"m{number:02}", "out", 1000 + number, START)
    told = report(documents.feeds(watch, START))
    assert list(told[FED_BY]) == [f"n{number}" for number in range(39, 39 - TOLD, -1)]
    assert len(told[FEEDS]) == TOLD
    assert told[FED_BY]["n39"] == 1039
    assert len(json.dumps(told)) < 1000


def test_a_node_that_feeds_nobody_says_so() -> None:
    assert report(documents.feeds(Watch([]), START)) == said()


# What is made of it.


def test_an_edge_is_known_from_either_end() -> None:
    found = heard(("a", said(feeds={"b": 5, "c": 9})), ("b", said(fed_by={"a": 7})))
    assert found.edges(START + 1) == [Edge("a", "c", 9, 1.0), Edge("a", "b", 7, 1.0)]


def test_a_node_does_not_feed_itself() -> None:
    assert heard(("a", said(feeds={"a": 5}))).edges(START) == []


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"release": "0.9"},
        {FED_BY: None},
        {FED_BY: ["b"]},
        {FED_BY: {"b": -1, "c": 1.5, "d": True, "e": "7", "": 3, "f" * 300: 3}},
    ],
)
def test_what_makes_no_sense_is_passed_over(document: Any) -> None:
    assert heard(("a", document)).edges(START) == []


def test_no_node_is_believed_more_than_it_may_tell() -> None:
    many = {f"n{number}": 1 for number in range(5000)}
    assert len(heard(("a", said(many, many))).edges(START)) == 2 * TOLD


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner),
)


@given(st.dictionaries(st.sampled_from([FED_BY, FEEDS, SECONDS, "more"]), json_like))
def test_whatever_a_peer_says_is_a_document_in_the_end(document: Any) -> None:
    found = heard(("a", document))
    made = documents.cluster(found, ["a"], START)
    assert json.loads(json.dumps(made)) == made
    assert len(made["edges"]) <= 2 * TOLD


# Whom to ask, and whose word is old.


def test_nobody_is_asked_twice_in_a_short_time() -> None:
    found = Reports()
    assert found.due(["a", "b", "c"], START, 2) == ["a", "b"]
    found.asking("a", START)
    found.asking("b", START)
    assert found.due(["a", "b", "c"], START, 2) == ["c"]
    assert found.due(["a", "b", "c"], START + EVERY, 3) == ["c", "a", "b"]


def test_those_that_feed_somebody_are_asked_first() -> None:
    found = heard(("z", said(feeds={"y": 5})))
    assert found.due(["a", "y", "z"], START + EVERY, 2) == ["y", "z"]


def test_all_are_asked_in_turn() -> None:
    """A hundred, a few at each look, two of them busy."""
    peers = [f"n{number}" for number in range(100)]
    found = heard(("n1", said(feeds={"n2": 5})))
    for look in range(20):
        now = START + 2 * look
        for peer in found.due(peers, now, 16):
            found.asking(peer, now)
            found.told(peer, said(feeds={"n2": 5} if peer == "n1" else {}), now)
    ages = [found.age(peer, START + 40) for peer in peers]
    assert all(age is not None and age <= 20 for age in ages)


def test_who_does_not_answer_any_more_has_an_old_report() -> None:
    found = heard(("a", said(feeds={"b": 5})))
    assert not found.is_old("a", START + 1000), "nobody looked, and so it was not asked"
    found.asking("a", START + 1000)
    found.asking("a", START + 1010)
    assert not found.is_old("a", START + 1000 + OLD)
    assert found.is_old("a", START + 1001 + OLD)
    found.told("a", said(), START + 1100)
    assert not found.is_old("a", START + 1100)


def test_what_was_told_long_ago_is_not_shown() -> None:
    found = heard(("a", said(feeds={"b": 5})))
    assert len(found.edges(START + LATELY)) == 1
    assert found.edges(START + LATELY + 1) == []


def test_memory_does_not_grow() -> None:
    found = Reports(kept=3)
    for number in range(10):
        found.asking(f"n{number}", START)
        found.told(f"n{number}", said(feeds={"x": 1}), START)
    assert {edge.giver for edge in found.edges(START)} == {"n7", "n8", "n9"}


def test_an_answer_of_who_was_forgotten_meanwhile_is_no_matter() -> None:
    found = Reports()
    found.told("a", said(feeds={"b": 5}), START)
    assert found.edges(START) == []

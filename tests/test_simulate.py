"""The simulation of a cluster: its own parts, and that the design keeps its figures in it."""

from __future__ import annotations

import functools
import xml.etree.ElementTree as ET
from statistics import median

import attrs
import pytest

from bench.simulate import setting
from bench.simulation import node, tags
from bench.simulation.events import Events, Link
from bench.simulation.plot import svg
from bench.simulation.run import Figures, bound, run
from bench.simulation.views import _score, spread
from bench.simulation.world import Setting
from nodecache.limits import MIB, Limits
from nodecache.rendezvous import Roster, hash64
from nodecache.sourcing import search


@functools.cache
def herd(scene: str, nodes: int = 60, seed: int = 1, begin: float = 0.0) -> Figures:
    """A small blob, so that the tests stay quick."""
    return run(attrs.evolve(setting(nodes, seed, scene, begin), blob=256 * MIB))


def crowd() -> Figures:
    """520 nodes at once with 6 ms a question press an owner as 5,200 do with 0.6 ms."""
    return run(attrs.evolve(setting(520, 1, "calm"), blob=64 * MIB, request=0.006))


SCENES = ["mixed", "told", "calm", "warm", "slow"]


@pytest.mark.parametrize("scene", SCENES)
def test_every_node_that_lives_gets_all(scene: str) -> None:
    figures = herd(scene)
    assert figures.whole == figures.living > 50


@pytest.mark.parametrize("scene", SCENES)
def test_few_questions_are_asked_for_a_segment(scene: str) -> None:
    assert herd(scene).requests <= 5.0


@pytest.mark.parametrize(
    ("scene", "most"), [("calm", 1.1), ("slow", 1.1), ("mixed", 1.3), ("told", 1.3)]
)
def test_about_one_copy_crosses_the_upstream_link(scene: str, most: float) -> None:
    """Each owner that dies takes some segments with it: in a small cluster that shows."""
    assert 1.0 <= herd(scene).copies <= most


def test_what_the_owners_hold_is_not_fetched_again() -> None:
    assert herd("warm").copies <= 0.05


@pytest.mark.parametrize("scene", SCENES)
def test_no_sender_is_a_hot_spot(scene: str) -> None:
    assert herd(scene).busiest < 4.0


@pytest.mark.parametrize("scene", SCENES)
def test_a_start_spread_over_a_second_asks_no_more(scene: str) -> None:
    """Less where links are fast; where all takes half a minute, a second changes little."""
    spread_out = herd(scene, begin=1.0)
    assert spread_out.whole == spread_out.living
    most = 1.05 if scene == "slow" else 1.0
    assert spread_out.requests < most * herd(scene).requests


def test_thousands_that_begin_at_once_fetch_one_copy() -> None:
    figures = crowd()
    assert figures.whole == figures.living == 520
    assert figures.copies <= 1.1


def test_without_deputies_they_would_take_the_owners_for_dead_and_go_upstream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So the test before would fail without them."""
    monkeypatch.setattr(node, "deputy_of", lambda *_: None)
    assert crowd().copies > 5.0


@pytest.mark.parametrize("nodes", [8, 512, 5000])
def test_a_tag_costs_one_head_and_one_get_however_many_ask_at_once(nodes: int) -> None:
    counted = tags.wave(tags.Wave(nodes))
    assert (counted.heads, counted.gets) == (1, 1)
    assert counted.at_once < min(nodes, Limits().peer_clients)
    assert counted.last < 1.0


def test_without_deputies_most_would_ask_upstream_what_the_tag_means(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tags, "deputy_of", lambda *_: None)
    assert tags.wave(tags.Wave(5000)).heads > 1000


def test_who_may_wait_for_the_first_bytes_asks_less(monkeypatch: pytest.MonkeyPatch) -> None:
    before = herd("calm").requests
    monkeypatch.setattr(search, "_WAIT", 0.0)
    assert herd.__wrapped__("calm").requests > 1.5 * before


@pytest.mark.parametrize("scene", ["calm", "slow"])
def test_the_last_node_is_not_far_behind_what_is_possible(scene: str) -> None:
    assert 1.0 <= herd(scene).over < 2.2


def test_the_same_seed_gives_the_same_figures() -> None:
    first = run(attrs.evolve(setting(20, 7, "mixed"), blob=64 * MIB))
    assert first == run(attrs.evolve(setting(20, 7, "mixed"), blob=64 * MIB))
    assert first != run(attrs.evolve(setting(20, 8, "mixed"), blob=64 * MIB))


def test_one_node_alone_fetches_it_from_upstream() -> None:
    figures = run(setting(1, 1, "calm"))
    assert (figures.whole, figures.requests, figures.copies) == (1, 0.0, 1.0)


def test_the_bound_is_that_of_the_narrowest_link() -> None:
    wide = Setting(100, blob=1000, link=100.0, slow=0.0, upstream=10.0)
    assert bound(wide, 100.0) == 100.0
    assert bound(attrs.evolve(wide, warm=True), 100.0) == 10.0
    assert bound(attrs.evolve(wide, warm=True), 5.0) == 200.0


# Its parts


def test_a_link_is_shared_evenly() -> None:
    events, ended = Events(), []
    link = Link(events, 100.0)
    link.add(1000.0, lambda: ended.append(("long", events.now)))
    link.add(100.0, lambda: ended.append(("short", events.now)))
    events.run(100.0)
    assert [name for name, _ in ended] == ["short", "long"]
    assert [at for _, at in ended] == pytest.approx([2.0, 11.0], rel=0.02)


def test_nobody_gets_more_than_one_connection_carries() -> None:
    events, ended = Events(), []
    Link(events, 100.0, 10.0).add(1000.0, lambda: ended.append(events.now))
    events.run(1000.0)
    assert ended == pytest.approx([100.0], rel=0.01)


def test_what_is_broken_off_leaves_the_link_to_the_others() -> None:
    events, ended = Events(), []
    link = Link(events, 100.0)
    link.add(1000.0, lambda: ended.append(events.now))
    dropped = link.add(1000.0, lambda: ended.append(events.now))
    left: list[float] = []
    events.after(10.0, lambda: left.append(link.drop(dropped)))
    events.run(100.0)
    assert left == [500.0]
    assert ended == pytest.approx([15.0], rel=0.01)


def test_views_rank_as_the_nodes_do() -> None:
    names = [f"node-{index:04}" for index in range(50)]
    ranked = sorted(names, key=lambda name: _score(hash64(name), hash64("key")))
    assert Roster(names).rank("key", 50) == tuple(ranked)


@pytest.mark.parametrize("shuffled", [True, False])
def test_nodes_that_dns_does_not_name_are_known_after_a_few_greetings(shuffled: bool) -> None:
    before, *_, after = spread(200, 1, 160, shuffled=shuffled, rounds=8)
    assert before.owners > 1.5
    assert after.mean == pytest.approx(1.0, abs=0.001)
    assert after.owners == 1.0


def test_the_plot_is_an_svg_with_a_line_for_each_figure() -> None:
    root = ET.fromstring(svg([herd("calm", 20), herd("calm", 60)]))
    lines = root.findall("{http://www.w3.org/2000/svg}polyline")
    assert len(lines) == 4


def test_fast_nodes_do_not_wait_for_slow_ones_that_are_known() -> None:
    """They are done nearly as soon as where there are none; where nobody knows, they are not.

    The median of five herds: who happens to ask whom moves a single one by a tenth.
    """
    seeds = range(1, 6)
    alone = median(herd("calm", seed=seed).over for seed in seeds)
    told = median(herd("told", seed=seed).fast for seed in seeds)
    mixed = median(herd("mixed", seed=seed).fast for seed in seeds)
    assert told < 1.05 * alone < 1.15 * alone < mixed

"""What is looked at of a running node: the parts of a blob that are there, and its surroundings."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from nodecache.config import UpstreamSettings
from nodecache.service.watching import SPANS, _merged, _place


@st.composite
def spans(draw: st.DrawFn) -> list[tuple[int, int]]:
    """Apart from each other, in order."""
    steps = draw(st.lists(st.integers(1, 1000), max_size=400))
    edges, at = [], 0
    for step in steps:
        at += step
        edges.append(at)
    return list(zip(edges[::2], edges[1::2], strict=False))


@given(spans())
def test_few_spans_stand_for_many(given_: list[tuple[int, int]]) -> None:
    """Nothing that is there is left out, and the two ends stay where they are."""
    merged = _merged(given_)
    assert len(merged) == min(len(given_), SPANS)
    for start, stop in given_:
        assert any(a <= start and stop <= b for a, b in merged)
    assert all(before[1] < after[0] for before, after in itertools.pairwise(merged))
    if given_:
        assert (merged[0][0], merged[-1][1]) == (given_[0][0], given_[-1][1])


def test_the_smallest_gaps_are_closed() -> None:
    many = [(at * 10, at * 10 + 9) for at in range(SPANS)]
    apart = (10_000, 10_010)
    assert _merged([*many, apart])[-1] == apart


def test_an_upstream_is_known_by_all_its_places() -> None:
    settings = UpstreamSettings(
        "docker.io", "https://registry-1.docker.io", mirrors=("http://mirror.example:5000",)
    )
    place = _place(settings)
    assert set(place.origins) == {
        "https://registry-1.docker.io:443",
        "http://mirror.example:5000",
    }
    assert (place.namespace, place.url) == ("docker.io", "https://registry-1.docker.io")

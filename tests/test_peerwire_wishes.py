"""Wishes and how far they are, as bytes and back."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodecache.peerwire.codec import WireFault, encode_warm
from nodecache.peerwire.wishes import (
    MOST_WORDS,
    Fulfilment,
    Stage,
    Wish,
    decode_fulfilment,
    decode_wish,
    encode_fulfilment,
    encode_wish,
)
from nodecache.reference import Digest, Repository, Tag

REPOSITORY = Repository("docker.io", "library/alpine")
references = st.sampled_from([Tag("3"), Digest("sha256", "a" * 64)])
platforms = st.sampled_from(["linux/amd64", "linux/arm/v7", "windows/amd64"])
wishes = st.builds(
    Wish,
    st.just(REPOSITORY),
    references,
    st.lists(platforms, max_size=3).map(tuple),
    st.booleans(),
    st.sampled_from(["", "0", "00ff"]),
)
fulfilments = st.builds(
    Fulfilment,
    st.sampled_from(Stage),
    st.integers(0, 1 << 61),
    st.integers(0, 1 << 61),
    st.text("ab é", max_size=20),
)


@given(wishes)
def test_a_wish_survives_the_wire(wish: Wish) -> None:
    assert decode_wish(encode_wish(wish)) == wish


@given(fulfilments)
def test_how_far_it_is_survives_the_wire(fulfilment: Fulfilment) -> None:
    assert decode_fulfilment(json.loads(encode_fulfilment(fulfilment))) == fulfilment


def test_what_an_older_release_sends_is_a_wish() -> None:
    assert decode_wish(encode_warm(REPOSITORY, Tag("3"))) == Wish(REPOSITORY, Tag("3"))


@pytest.mark.parametrize(
    "more",
    [
        {"platforms": "linux/amd64"},
        {"platforms": [1]},
        {"platforms": ["linux/amd64\n"]},
        {"platforms": ["a"] * 17},
        {"job": 3},
        {"job": "XYZ"},
        {"job": "0" * 33},
        {"ref": "../x"},
        {"name": "UPPER"},
    ],
)
def test_what_is_no_wish_is_refused(more: dict[str, object]) -> None:
    document = {**json.loads(encode_warm(REPOSITORY, Tag("3"))), **more}
    with pytest.raises(WireFault):
        decode_wish(json.dumps(document).encode())


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"stage": "dancing", "bytes": 0, "total": 0},
        {"stage": "done", "bytes": -1, "total": 0},
        {"stage": "done", "bytes": 1 << 63, "total": 0},
        {"stage": "done", "bytes": True, "total": 0},
        {"stage": "done", "bytes": 0},
        {"stage": "done", "bytes": 0, "total": 0, "words": 3},
    ],
)
def test_what_says_nothing_is_refused(document: dict[str, object]) -> None:
    with pytest.raises(WireFault):
        decode_fulfilment(document)


def test_words_of_a_peer_are_short_and_on_one_line() -> None:
    document = {"stage": "failed", "bytes": 0, "total": 0, "words": "a\nb\x1b[31m" + "c" * 1000}
    words = decode_fulfilment(document).words
    assert words.isprintable()
    assert len(words) == MOST_WORDS


@pytest.mark.parametrize("stage", list(Stage))
def test_it_is_over_once_there_is_nothing_to_wait_for(stage: Stage) -> None:
    assert Fulfilment(stage).over == (stage not in (Stage.BUSY, Stage.FETCHING))

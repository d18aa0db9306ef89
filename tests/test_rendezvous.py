"""Ranking ids for a key: the same everywhere, fair, and steady when ids come and go."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodecache.rendezvous import Roster, hash64
from tests.strategies_peers import node_ids

IDS = st.lists(node_ids(), unique=True, min_size=1, max_size=30)
KEYS = st.text(max_size=40)


def slowly(ids: list[str], key: str) -> tuple[str, ...]:
    """The order as the module's head defines it, one id at a time."""

    def score(id_: str) -> int:
        x = (hash64(id_) ^ hash64(key)) * 0xFF51AFD7ED558CCD % 2**64
        return (x ^ (x >> 32)) * 0xC4CEB9FE1A85EC53 % 2**64

    return tuple(sorted(ids, key=lambda id_: (score(id_), id_)))


@given(IDS, KEYS, st.data())
def test_the_order_of_the_input_does_not_matter(
    ids: list[str], key: str, data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(ids))
    assert Roster(shuffled + ids[:1]).rank(key, 99) == Roster(ids).rank(key, 99)


@given(IDS, KEYS)
def test_all_lanes_at_once_are_as_one_after_the_other(ids: list[str], key: str) -> None:
    assert Roster(ids).rank(key, len(ids)) == slowly(ids, key)


@given(IDS, KEYS, st.integers(0, 31))
def test_a_shorter_ranking_is_the_beginning_of_a_longer_one(
    ids: list[str], key: str, most: int
) -> None:
    whole = Roster(ids).rank(key, len(ids))
    assert sorted(whole) == sorted(ids)
    assert Roster(ids).rank(key, most) == whole[:most]


@given(IDS, KEYS, st.data())
def test_an_id_that_goes_leaves_the_order_of_the_others(
    ids: list[str], key: str, data: st.DataObject
) -> None:
    gone = data.draw(st.sampled_from(ids))
    before = Roster(ids).rank(key, len(ids))
    after = Roster(set(ids) - {gone}).rank(key, len(ids))
    assert after == tuple(id_ for id_ in before if id_ != gone)


def test_the_surrogates_of_a_damaged_text_are_ranked_as_well() -> None:
    assert Roster(["a", "b"]).rank("\udc80", 1)


def test_nobody_is_ranked_where_nobody_is() -> None:
    assert Roster([]).rank("key", 3) == ()


def unevenness(roster: Roster, place: int, name: str) -> float:
    """Chi squared over its degrees of freedom: about 1 for a fair die."""
    share = 50
    keys = [f"sha256:{name}{n:060x}/{n % 8}" for n in range(share * len(roster.ids))]
    shares = Counter(roster.rank(key, 2)[place] for key in keys)
    wrong = sum((shares[id_] - share) ** 2 / share for id_ in roster.ids)
    return wrong / (len(roster.ids) - 1)


@pytest.mark.parametrize("count", [2, 3, 8, 32])
@pytest.mark.parametrize("place", [0, 1])
def test_each_place_is_shared_out_evenly(count: int, place: int) -> None:
    measured = [
        unevenness(Roster(f"{cluster}-node-{n}" for n in range(count)), place, str(cluster))
        for cluster in range(40)
    ]
    assert 0.5 < sum(measured) / len(measured) < 1.5


def test_the_lanes_of_one_blob_go_to_different_owners() -> None:
    roster = Roster(f"node-{number}" for number in range(64))
    owners = [
        len({roster.rank(f"sha256:{blob:064x}/{lane}", 1) for lane in range(8)})
        for blob in range(200)
    ]
    assert sum(owners) / len(owners) > 7.2  # 64 * (1 - (63/64)**8) are 7.58


def test_the_hash_is_that_of_the_wire_version() -> None:
    """Another process, with another seed for its own hashes, and these very numbers."""
    assert hash64("") == 0xE4A6A0577479B2B4
    assert hash64("node-1") == 0x8F57B755BCA4EB29
    program = (
        "from nodecache.rendezvous import Roster\n"
        "print(Roster(f'node-{n}' for n in range(9)).rank('sha256:00/3', 9))"
    )
    answers = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            timeout=30,
        ).stdout
        for seed in ("1", "2")
    }
    order = tuple(f"node-{n}" for n in (2, 5, 6, 1, 0, 8, 3, 7, 4))
    assert answers == {f"{order}\n".encode()}

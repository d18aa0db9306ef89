"""How many segments of a blob are asked of peers at a time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nodecache.limits import Limits
from nodecache.sourcing import segments_at_a_time

LIMITS = Limits(peer_connections_per_blob=8, peer_connections_shared=12, peer_small_cluster=16)


def test_all_connections_where_nodes_are_few() -> None:
    assert segments_at_a_time(2, LIMITS) == 12
    assert segments_at_a_time(16, LIMITS) == 12
    assert segments_at_a_time(17, LIMITS) == 8
    assert segments_at_a_time(5000, LIMITS) == 8


@given(st.integers(2, 5000), st.integers(2, 5000))
def test_more_nodes_never_have_more(few: int, many: int) -> None:
    few, many = sorted((few, many))
    assert segments_at_a_time(few, LIMITS) >= segments_at_a_time(many, LIMITS)

"""Hypothesis strategies for what nodes know of each other."""

from __future__ import annotations

import string

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from nodecache.membership import Address

#: Of every kind that occurs: Kubernetes node names, random ids, addresses.
_ID_REST = string.ascii_letters + string.digits + "._-"


def node_ids() -> SearchStrategy[str]:
    first = st.sampled_from(string.ascii_letters + string.digits)
    return st.builds(str.__add__, first, st.text(_ID_REST, max_size=20))


def addresses() -> SearchStrategy[Address]:
    hosts = st.one_of(
        st.ip_addresses(v=4, network="10.0.0.0/8"), st.ip_addresses(v=6, network="fd00::/64")
    )
    return st.builds(lambda host, port: Address(str(host), port), hosts, st.integers(1, 65535))


def few_addresses() -> SearchStrategy[Address]:
    """So few that they are met again and again."""
    return st.sampled_from(
        [Address(f"10.0.0.{n}", 5001) for n in range(1, 7)]
        + [Address(f"fd00::{n}", 5001) for n in range(1, 4)]
    )

"""How much one read of a connection may bring."""

from __future__ import annotations

import attrs
from hypothesis import given
from hypothesis import strategies as st

from nodecache.upstream.reads import MOST_WIDE, READ_SIZE, WIDE, Reads


@attrs.define(eq=False)
class Transport:
    bufferSize: int = READ_SIZE


def test_a_source_that_fills_a_read_is_asked_for_more_until_it_brings_less() -> None:
    reads, transport = Reads(), Transport()
    reads.came(transport, READ_SIZE)
    assert transport.bufferSize == WIDE
    reads.came(transport, WIDE)
    reads.came(transport, READ_SIZE)
    assert transport.bufferSize == WIDE
    reads.came(transport, READ_SIZE // 2)
    assert transport.bufferSize == READ_SIZE


def test_what_little_tls_adds_makes_no_full_read_a_small_one() -> None:
    reads, transport = Reads(), Transport()
    reads.came(transport, READ_SIZE - 32 * 29)
    assert transport.bufferSize == WIDE


def test_of_too_many_the_one_that_was_it_the_longest_gives_way() -> None:
    reads, transports = Reads(), [Transport() for _ in range(MOST_WIDE + 1)]
    for transport in transports:
        reads.came(transport, READ_SIZE)
    assert [each.bufferSize == WIDE for each in transports] == [False] + [True] * MOST_WIDE


def test_a_connection_that_is_lost_makes_room() -> None:
    reads, transports = Reads(), [Transport() for _ in range(MOST_WIDE + 1)]
    for transport in transports[:MOST_WIDE]:
        reads.came(transport, READ_SIZE)
    reads.forget(transports[1])
    reads.forget(transports[1])
    reads.came(transports[-1], READ_SIZE)
    assert [each.bufferSize == WIDE for each in transports] == [True, False, True, True, True]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, WIDE))))
def test_there_are_never_more_wide_ones_than_may_be(reads_of: list[tuple[int, int]]) -> None:
    reads, transports = Reads(), [Transport() for _ in range(10)]
    for which, size in reads_of:
        transport = transports[which]
        reads.came(transport, min(size, transport.bufferSize))
        assert sum(each.bufferSize == WIDE for each in transports) <= MOST_WIDE
        assert all(each.bufferSize in (READ_SIZE, WIDE) for each in transports)

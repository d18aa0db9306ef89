"""Chunks come out as they went in, however they were cut on the way; and nothing else does."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.web._newclient import HTTPClientParser
from twisted.web.http import _ChunkedTransferDecoder, _DataLoss

from nodecache.peers.chunks import MOST_LINE, Chunks

NOISE = random.Random(7).randbytes(4096)


class Read:
    """What came of the pieces that it was fed with."""

    def __init__(self) -> None:
        self.given: list[bytes] = []
        self.behind: list[bytes] = []
        self.chunks = Chunks(lambda view: self.given.append(bytes(view)), self.behind.append)

    def feed(self, *pieces: bytes) -> Read:
        for piece in pieces:
            self.chunks.dataReceived(piece)
        return self

    @property
    def body(self) -> bytes:
        return b"".join(self.given)


def chunked(*chunks: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in chunks) + b"0\r\n\r\n"


@given(
    st.lists(st.integers(1, 400), max_size=6),
    st.lists(st.integers(1, 300), min_size=1, max_size=8),
)
@settings(max_examples=200)
def test_the_body_is_the_same_however_it_is_cut(sizes: list[int], cuts: list[int]) -> None:
    """And the same as that of Twisted's decoder, whose place it takes."""
    raw = chunked(*(NOISE[size : 2 * size] for size in sizes))
    read, theirs = Read(), list[bytes]()
    other = _ChunkedTransferDecoder(theirs.append, lambda _rest: None)
    at = number = 0
    while at < len(raw):
        size = cuts[number % len(cuts)]
        read.feed(raw[at : at + size])
        other.dataReceived(raw[at : at + size])
        at, number = at + size, number + 1
    assert read.body == b"".join(theirs) == b"".join(NOISE[size : 2 * size] for size in sizes)
    assert read.behind == [b""]
    read.chunks.noMoreData()


def test_what_is_behind_the_end_is_handed_back() -> None:
    read = Read().feed(chunked(b"all of it") + b"HTTP/1.1 200 OK")
    assert (read.body, read.behind) == (b"all of it", [b"HTTP/1.1 200 OK"])


def test_bytes_are_given_before_their_chunk_is_whole() -> None:
    assert Read().feed(b"5\r\nab").body == b"ab"


def test_no_byte_of_a_chunk_is_copied() -> None:
    given: list[memoryview] = []
    data = chunked(NOISE)
    Chunks(given.append, lambda _rest: None).dataReceived(data)
    assert [view.obj is data for view in given] == [True]


@pytest.mark.parametrize(
    "raw",
    [
        b"\r\n",
        b"5\n",
        b"x\r\n",
        b"+5\r\nabcde",
        b"0x5\r\nabcde",
        b"5;name=value\r\nabcde",
        b"5\r\nabcdef\r\n",
        b"0\r\nNamed: a trailer\r\n\r\n",
        b"0" * (MOST_LINE + 1),
        b"1" * 100_000,
        chunked(b"a")[:-2] + b"b\r\n",
    ],
)
def test_what_are_no_chunks_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError):
        Read().feed(raw)
    drops = Read()
    with pytest.raises(ValueError):
        drops.feed(*(raw[at : at + 1] for at in range(len(raw))))


def test_nothing_may_come_behind_the_end() -> None:
    read = Read().feed(chunked(b"a"))
    with pytest.raises(ValueError):
        read.feed(b"0")


@pytest.mark.parametrize("raw", [b"", b"5", b"5\r\nab", b"1\r\na\r\n", b"0\r\n", b"0\r\n\r"])
def test_a_body_that_ends_too_early_is_told_of(raw: bytes) -> None:
    read = Read().feed(raw)
    with pytest.raises(_DataLoss):
        read.chunks.noMoreData()
    assert read.behind == []


def test_twisted_still_looks_for_decoders_where_ours_is_put() -> None:
    """Where it did not, bodies would be right, and copied twice."""
    assert HTTPClientParser._transferDecoders == {b"chunked": _ChunkedTransferDecoder}

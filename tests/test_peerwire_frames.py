"""Bytes come out of the frames only as they went in, however they were cut on the way."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodecache.byteranges import Span
from nodecache.failures import UpstreamKind
from nodecache.limits import MIB
from nodecache.peerwire.fields import WireFault
from nodecache.peerwire.frames import (
    Alive,
    Broken,
    Checked,
    Decoder,
    Encoder,
    Ended,
    FrameEvent,
    Kind,
    SumFault,
    head,
)

NOISE = random.Random(5).randbytes(4 * MIB)


def frame(kind: int, payload: bytes = b"") -> bytes:
    return bytes((kind,)) + len(payload).to_bytes(4, "big") + payload


def data(piece: bytes) -> bytes:
    return frame(Kind.DATA, piece)


def summed(piece: bytes) -> bytes:
    return frame(Kind.SUM, crc32(piece).to_bytes(4, "big"))


def ended(*blocks: bytes) -> bytes:
    sums = b"".join(crc32(block).to_bytes(4, "big") for block in blocks)
    return frame(Kind.END, crc32(sums).to_bytes(4, "big"))


def cut(raw: bytes, sizes: list[int]) -> Iterator[bytes]:
    """``raw`` in pieces of these sizes, over and over."""
    at = number = 0
    while at < len(raw):
        size = sizes[number % len(sizes)]
        yield raw[at : at + size]
        at, number = at + size, number + 1


def decoded(span: Span, *pieces: bytes) -> tuple[bytes, list[FrameEvent]]:
    """The bytes that came out, and the other events."""
    decoder, out, others = Decoder(span), bytearray(), list[FrameEvent]()
    for piece in pieces:
        for event in decoder.feed(piece):
            if isinstance(event, Checked):
                out += b"".join(event.pieces)
            else:
                others.append(event)
    return bytes(out), others


#: Most of them near a place where blocks are cut.
OFFSETS = st.builds(
    lambda at, off: max(0, at * MIB + off), st.integers(0, 2), st.integers(-300, 300)
)
#: Sizes of pieces, small and big ones in turns: few enough for a test.
SIZES = st.tuples(st.integers(1, 5000), st.integers(20_000, MIB + 7)).map(list)


@settings(max_examples=60)
@given(
    OFFSETS | st.integers(0, 2 * MIB),
    st.sampled_from([MIB, MIB - 1, MIB // 2]) | st.integers(0, MIB - 300),
    SIZES,
    SIZES,
    st.lists(st.sampled_from(["alive", "sum", "none"]), min_size=1, max_size=5),
)
def test_a_span_comes_back_whole_however_it_was_cut(
    start: int, size: int, written: list[int], read: list[int], between: list[str]
) -> None:
    span = Span(start, start + size)
    body = NOISE[span.start : span.stop]
    encoder, raw = Encoder(span), bytearray()
    for number, piece in enumerate(cut(body, written)):
        raw += b"".join(encoder.data(piece))
        word = between[number % len(between)]
        if word != "none":
            raw += b"".join(encoder.alive() if word == "alive" else encoder.sum())
    raw += b"".join(encoder.end())
    out, others = decoded(span, *cut(bytes(raw), read))
    assert out == body
    assert others[-1] == Ended()
    assert set(others[:-1]) <= {Alive()}


def test_frames_may_come_byte_by_byte() -> None:
    encoder = Encoder(Span(7, 12))
    sent = [*encoder.data(b"ab"), *encoder.alive(), *encoder.sum(), *encoder.data(b"cde")]
    sent += encoder.end()
    out, others = decoded(Span(7, 12), *cut(b"".join(sent), [1]))
    assert (out, others) == (b"abcde", [Alive(), Ended()])


def test_no_byte_comes_out_before_its_sum() -> None:
    decoder = Decoder(Span(0, 5))
    assert decoder.feed(data(b"ab") + data(b"c")) == []
    assert decoder.feed(summed(b"abc")) == [Checked((b"ab", b"c"))]
    assert decoder.feed(data(b"de") + summed(b"de")) == [Checked((b"de",))]
    assert decoder.feed(ended(b"abc", b"de")) == [Ended()]


def test_the_sums_of_blocks_are_cut_at_the_blobs_own_offsets() -> None:
    span = Span(MIB - 3, 2 * MIB + 2)
    sent = b"".join(Encoder(span).data(NOISE[span.start : span.stop]))
    first, second = NOISE[MIB - 3 : MIB], NOISE[MIB : 2 * MIB]
    last = NOISE[2 * MIB : span.stop]
    assert sent == data(first) + summed(first) + data(second) + summed(second) + data(last)


def test_a_piece_over_a_cut_is_sent_once() -> None:
    span = Span(MIB - 3, MIB + 4)
    sent = b"".join(Encoder(span).data(b"abcdefg"))
    assert sent == data(b"abc") + summed(b"abc") + data(b"defg")


def test_an_empty_blob_is_its_end() -> None:
    sent = b"".join(Encoder(Span(0, 0)).end())
    assert decoded(Span(0, 0), sent) == (b"", [Ended()])


def test_a_sender_can_say_that_it_fails() -> None:
    sent = Encoder(Span(0, 5)).fail(UpstreamKind.TIMEOUT, "no byte for 10 s\n")
    out, others = decoded(Span(0, 5), data(b"ab") + summed(b"ab"), b"".join(sent))
    assert (out, others) == (b"ab", [Broken(UpstreamKind.TIMEOUT, "no byte for 10 s?")])


def test_alive_is_counted_until_a_byte_comes() -> None:
    decoder = Decoder(Span(0, 5))
    assert decoder.feed(frame(Kind.ALIVE) * 7) == [Alive()]
    assert decoder.idle == 7
    decoder.feed(data(b"a"))
    assert decoder.idle == 0


REASON = json.dumps({"kind": "cut", "message": "x"}).encode()


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (data(b"abcde") + summed(b"abcdf"), SumFault),
        (data(b"abcde") + summed(b"abcde") + ended(b"abcdf"), SumFault),
        (data(b"abcdef"), WireFault),
        (data(b"abcd") + data(b"ef"), WireFault),
        (data(b""), WireFault),
        (head(Kind.DATA, 2**32 - 1), WireFault),
        (summed(b""), WireFault),
        (data(b"a") + frame(Kind.SUM, b"abc"), WireFault),
        (frame(Kind.ALIVE, b"x"), WireFault),
        (ended(), WireFault),
        (data(b"abcde") + ended(b"abcde"), WireFault),
        (data(b"ab") + summed(b"ab") + ended(b"ab"), WireFault),
        (frame(ord("X")), WireFault),
        (frame(0), WireFault),
        (b"<html><body>", WireFault),
        (frame(Kind.FAIL), WireFault),
        (frame(Kind.FAIL, b"x" * 4097), WireFault),
        (frame(Kind.FAIL, b"tired"), WireFault),
        (frame(Kind.FAIL, b'{"kind": [], "message": ""}'), WireFault),
        (frame(Kind.FAIL, b'{"kind": "tired", "message": ""}'), WireFault),
        (frame(Kind.FAIL, b'{"kind": "cut"}'), WireFault),
        (frame(Kind.FAIL, REASON) + b"x", WireFault),
        (data(b"abcde") + summed(b"abcde") + ended(b"abcde") + b"x", WireFault),
    ],
)
@pytest.mark.parametrize("size", [1, 4, 10_000])
def test_what_is_wrong_is_refused(raw: bytes, fault: type[WireFault], size: int) -> None:
    with pytest.raises(fault):
        decoded(Span(0, 5), *cut(raw, [size]))


def test_a_block_without_a_sum_is_refused_at_its_end() -> None:
    with pytest.raises(WireFault):
        decoded(Span(0, 2 * MIB), data(NOISE[:MIB]), data(b"x"))
    with pytest.raises(WireFault):
        decoded(Span(MIB - 1, 2 * MIB), data(b"xy"))


def test_one_flipped_bit_is_found() -> None:
    span = Span(0, MIB)
    encoder = Encoder(span)
    sent = bytearray(b"".join([*encoder.data(NOISE[:MIB]), *encoder.end()]))
    sent[777_777] ^= 1
    with pytest.raises(SumFault):
        decoded(span, *cut(bytes(sent), [65536]))


def test_tiny_frames_are_kept_as_few_objects() -> None:
    decoder = Decoder(Span(0, MIB))
    body = NOISE[: MIB // 16]
    for piece in cut(body, [2]):
        decoder.feed(data(piece))
    (event,) = decoder.feed(summed(body))
    assert isinstance(event, Checked)
    assert b"".join(event.pieces) == body
    assert len(event.pieces) < 600


@given(st.lists(st.binary(max_size=40)), st.integers(0, 9))
def test_garbage_raises_a_wire_fault_and_nothing_else(pieces: list[bytes], size: int) -> None:
    try:
        decoded(Span(0, size), *pieces)
    except WireFault:
        return


KINDS = st.sampled_from([*Kind]) | st.integers(0, 255)


@given(st.lists(st.tuples(KINDS, st.binary(max_size=6))), st.integers(0, 9))
def test_any_frames_raise_a_wire_fault_and_nothing_else(
    frames: list[tuple[int, bytes]], size: int
) -> None:
    try:
        out, _ = decoded(Span(0, size), *(frame(kind, payload) for kind, payload in frames))
    except WireFault:
        return
    assert len(out) <= size


def test_a_sender_that_miscounts_is_told_so() -> None:
    encoder = Encoder(Span(0, 2))
    with pytest.raises(ValueError, match="more"):
        encoder.data(b"abc")
    with pytest.raises(ValueError, match="not whole"):
        encoder.end()
    encoder.data(b"ab")
    assert encoder.at == 2

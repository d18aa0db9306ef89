"""The checksum is the one that files of earlier releases and other nodes were written with."""

from __future__ import annotations

import zlib

from hypothesis import given
from hypothesis import strategies as st

from nodecache.crc import crc32


def test_it_is_the_one_of_zlib() -> None:
    assert crc32(b"123456789") == 0xCBF43926


@given(pieces=st.lists(st.binary(max_size=3000), max_size=5))
def test_pieces_one_behind_the_other_make_the_sum_of_all(pieces: list[bytes]) -> None:
    crc = 0
    for piece in pieces:
        crc = crc32(memoryview(piece), crc)
    assert crc == zlib.crc32(b"".join(pieces))

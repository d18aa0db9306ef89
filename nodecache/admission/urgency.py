"""What goes before everything else. Pure."""

from __future__ import annotations

from typing import Final

from nodecache.byteranges import Span
from nodecache.limits import KIB
from nodecache.segments import segment_of

#: Bytes that are sent sooner than anybody could be told to wait for them.
LITTLE: Final = 64 * KIB


def is_urgent(span: Span) -> bool:
    """Whether a sender has a place for it though all but the last are taken.

    Of a blob's first segment, since its asker knows the size, and can ask for the others, only
    then; and where it is little: the 1,536 bytes at the end of a layer stood in line for 10 s,
    behind bodies of 8 MiB over 100 Mbit/s.
    """
    return segment_of(span.start) == 0 or span.size <= LITTLE

"""Reads from a file without making the reactor wait for the disk."""

from __future__ import annotations

import os


def read_cached(fd: int, size: int, offset: int) -> bytes | None:
    """What the page cache holds of ``size`` bytes from ``offset`` on; b"" behind the end.

    None where the disk would have to be waited for, or where the file system
    can not tell (RWF_NOWAIT is refused by some): then a thread has to read.
    """
    buffer = bytearray(size)
    try:
        count = os.preadv(fd, [buffer], offset, os.RWF_NOWAIT)
    except OSError:
        return None
    return bytes(buffer[:count]) if count < size else bytes(buffer)

"""An archive that can not be read in any order, written to a place where it can.

That is one that comes through a pipe, or is compressed. It is unpacked into a
scratch file within the limits of the cache, so that one that grows without
end (which a few bytes can make) ends as ``NoRoom``.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable
from typing import Any, Final

from nodecache.archives import BadArchive
from nodecache.seams import DiskPool
from nodecache.steering.lasting import Stop
from nodecache.steering.pipes import readable, take
from nodecache.store.scratch import Scratch

GZIP: Final = b"\x1f\x8b"
#: Other compressions, by how they begin, and what undoes them.
_OTHERS: Final = (
    (b"\x28\xb5\x2f\xfd", "zstd -dc"),
    (b"\xfd7zXZ", "xz -dc"),
    (b"BZh", "bzip2 -dc"),
)
#: Bytes that one step unpacks to at most.
_GROWN: Final = 1 << 20
_GZIP_WINDOW: Final = 31  # zlib: with the header and checksum of gzip


#: How many bytes tell whether an archive is compressed.
START: Final = 8


def is_compressed(start: bytes) -> bool:
    """``start`` are the first bytes of an archive."""
    return start.startswith((GZIP, *(magic for magic, _ in _OTHERS)))


class Unpacker:
    """``feed`` and ``more`` give what was unpacked, a piece at a time; they may block."""

    def __init__(self) -> None:
        self._zipped: Any = None
        self._left = b""
        self._begun = False

    def feed(self, data: bytes) -> bytes:
        """``data`` are the next bytes of the archive. Raises BadArchive."""
        if not self._begun:
            self._begin(data)
        if self._zipped is None:
            return data
        self._left += data
        return self.more()

    def _begin(self, data: bytes) -> None:
        self._begun = True
        if data.startswith(GZIP):
            self._zipped = zlib.decompressobj(_GZIP_WINDOW)
        for magic, program in _OTHERS:
            if data.startswith(magic):
                raise BadArchive(
                    f"the archive is compressed in a way that is not read here"
                    f" (pipe it through {program!r})"
                )

    @property
    def has_more(self) -> bool:
        """Whether ``more`` has something to work on."""
        return self._zipped is not None and bool(self._left)

    def more(self) -> bytes:
        """Raises BadArchive."""
        try:
            if self._zipped.eof:  # another member behind the first
                if not self._left.strip(b"\0"):
                    self._left = b""
                    return b""
                self._zipped = zlib.decompressobj(_GZIP_WINDOW)
            out: bytes = self._zipped.decompress(self._left, _GROWN)
        except zlib.error:
            raise BadArchive("the compressed archive is damaged") from None
        self._left = self._zipped.unused_data if self._zipped.eof else self._zipped.unconsumed_tail
        return out

    def finish(self) -> None:
        """Raises BadArchive for an archive that is cut off."""
        if self._zipped is not None and not self._zipped.eof:
            raise BadArchive("the compressed archive is cut off")


async def unpack(
    fd: int,
    scratch: Scratch,
    pool: DiskPool,
    stop: Stop,
    reactor: Any,
    told: Callable[[int], None],
) -> None:
    """Unpack all that ``fd`` gives into ``scratch``; ``told`` hears how many bytes came in.

    Raises BadArchive, BrokenPipe, NoRoom, StoreFailure, and Refused when given up.
    """
    unpacker, came = Unpacker(), 0
    while (data := await _next(fd, pool, stop, reactor)) != b"":
        came += len(data)
        piece = await pool.run(functools.partial(unpacker.feed, data))
        await _keep(piece, scratch, pool, stop)
        while unpacker.has_more:
            await _keep(await pool.run(unpacker.more), scratch, pool, stop)
        told(came)
    unpacker.finish()


async def _next(fd: int, pool: DiskPool, stop: Stop, reactor: Any) -> bytes:
    while (data := await pool.run(lambda: take(fd))) is None:
        await stop.wait(readable(reactor, fd))
    stop.check()
    return data


async def _keep(piece: bytes, scratch: Scratch, pool: DiskPool, stop: Stop) -> None:
    stop.check()
    await scratch.grow(len(piece))
    await pool.run(lambda: scratch.append(piece))

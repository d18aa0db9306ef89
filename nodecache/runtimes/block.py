"""A part of a file that is ours, between two comment lines, so that it can be taken out again.

The first line carries a checksum of what stands between: where a person has
changed that by hand, it no longer matches, and the change is not overwritten.
Works for every format in which ``#`` begins a comment.
"""

from __future__ import annotations

import re
import zlib
from typing import Final

import attrs

from nodecache.runtimes.names import Unusable

_BEGIN: Final = "# begin nodecache"
_END: Final = "# end nodecache"
_FIRST = re.compile(
    r"# begin nodecache ([0-9a-f]{8}) \(written by node-config, and taken out by its --remove\)"
)


@attrs.frozen
class Cut:
    """A text without our block. ``block`` is what stood between its lines; None: there is none.

    ``edited`` says that it is no longer what we wrote.
    """

    rest: str
    block: str | None = None
    edited: bool = False


def wrap(body: str) -> str:
    """``body``, which ends in a newline, between its two lines."""
    return (
        f"{_BEGIN} {_sum(body)} (written by node-config, and taken out by its --remove)\n"
        f"{body}{_END}\n"
    )


def append(text: str, body: str) -> str:
    """``body``, wrapped, at the end of ``text``, on a line of its own."""
    return (text if not text or text.endswith("\n") else f"{text}\n") + wrap(body)


def _sum(body: str) -> str:
    return f"{zlib.crc32(body.encode()):08x}"


def cut(text: str) -> Cut:
    """Take the block out. Raises Unusable for one without an end, or a second one."""
    lines = text.splitlines(keepends=True)
    begins = [at for at, line in enumerate(lines) if line.startswith(_BEGIN)]
    if not begins:
        return Cut(text)
    ends = [at for at, line in enumerate(lines) if line.strip() == _END]
    if len(begins) > 1 or len(ends) != 1 or ends[0] < begins[0]:
        raise Unusable(f"a line {_BEGIN!r} or {_END!r} in it has lost its other one")
    [begin], [end] = begins, ends
    body = "".join(lines[begin + 1 : end])
    match = _FIRST.fullmatch(lines[begin].strip())
    edited = match is None or match[1] != _sum(body)
    return Cut("".join(lines[:begin] + lines[end + 1 :]), body, edited)


class BlockPart:
    """Our part of a file, where it is a block: how to find it, and to take it out."""

    __slots__ = ()

    def strip(self, text: str) -> str | None:
        """The file without our part; None where nothing else is in it."""
        rest = cut(text).rest
        return rest if rest.strip() else None

    def ours(self, text: str) -> bool:
        """Whether our part is in the file."""
        return cut(text).block is not None

    def edited(self, text: str) -> bool:
        """Whether a person changed our part."""
        return cut(text).edited

    def same(self, one: str, other: str) -> bool:
        """Whether two files say the same, as far as taking our part out can tell."""
        return one.rstrip("\n") == other.rstrip("\n")

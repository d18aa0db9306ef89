"""The table of contents of a tar archive, read strictly; and headers of one, written. Pure.

The standard library's reader takes what comes: it follows links, reads extended
headers of any size into memory, and lets a later member replace an earlier one
of the same name. Here an archive comes from outside, so all that is refused.
Formats: POSIX.1-1988 (ustar), POSIX.1-2001 (pax), and GNU's long names.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator
from typing import Final

import attrs

from nodecache.archives.faults import BadArchive
from nodecache.limits import KIB, MIB

BLOCK: Final = 512
#: Members of one archive; an image has some hundred.
MOST_MEMBERS: Final = 100_000
#: Bytes of one extended header, and characters of a name.
MOST_EXTENDED: Final = 1 * MIB
MOST_NAME: Final = 4 * KIB

_FILES: Final = frozenset(b"0\x007")
_FOLDER, _SYMLINK = ord("5"), ord("2")
_LONG_NAME, _LONG_LINK = ord("L"), ord("K")
_PAX, _PAX_GLOBAL = ord("x"), ord("g")
_KINDS: Final = {
    ord("1"): "a hard link",
    ord("3"): "a device",
    ord("4"): "a device",
    ord("6"): "a named pipe",
    ord("S"): "a sparse file",
}

#: ``read(offset, size)``: up to ``size`` bytes of the archive.
Read = Callable[[int, int], bytes]


@attrs.frozen
class Member:
    """``size`` bytes of the archive from ``offset`` on; ``link`` is what a symbolic link names.

    Names are relative, with no dot segments.
    """

    name: str
    size: int
    offset: int = 0
    link: str | None = None


@attrs.define
class _Extended:
    """What extended headers say of the next member."""

    name: str | None = None
    link: str | None = None
    size: int | None = None


def read_members(read: Read, total: int) -> dict[str, Member]:
    """All files and symbolic links of an archive of ``total`` bytes, by name.

    Raises BadArchive: not a tar archive, cut off, with members that are
    neither files nor folders, twice the same name, or a name that leaves it.
    """
    found: dict[str, Member] = {}
    for member in _members(read, total):
        if member.name in found:
            raise BadArchive(f"{_shown(member.name)} is in the archive twice")
        if len(found) >= MOST_MEMBERS:
            raise BadArchive(f"the archive has more than {MOST_MEMBERS} members")
        found[member.name] = member
    return found


def _members(read: Read, total: int) -> Iterator[Member]:
    offset, extended = 0, _Extended()
    while True:
        header = read(offset, BLOCK)
        if len(header) == BLOCK and not any(header):
            return
        if len(header) < BLOCK:
            raise BadArchive("the archive is cut off" if offset else "this is no tar archive")
        _check_sum(header, first=offset == 0)
        kind, data = header[156], offset + BLOCK
        plain = kind not in (_PAX, _PAX_GLOBAL, _LONG_NAME, _LONG_LINK)
        size = _number(header[124:136])
        if plain and extended.size is not None:
            size = extended.size
        if data + size > total:
            raise BadArchive("the archive is cut off, or the size of a member is a lie")
        if plain:
            member = _member(header, kind, size, data, extended)
            extended = _Extended()
            if member is not None:
                yield member
        else:
            _extend(extended, kind, _extended_body(read, data, size))
        bodiless = kind in (_FOLDER, _SYMLINK)
        offset = data if bodiless else data + -(-size // BLOCK) * BLOCK


def _check_sum(header: bytes, *, first: bool) -> None:
    try:
        stated = _number(header[148:156])
    except BadArchive:
        stated = -1
    counted = sum(header[:148]) + sum(header[156:]) + 8 * 0x20
    if stated != counted:
        raise BadArchive("this is no tar archive" if first else "the archive is damaged")


def _member(header: bytes, kind: int, size: int, data: int, extended: _Extended) -> Member | None:
    """None for a folder."""
    name = clean_name(_name(header) if extended.name is None else extended.name)
    if kind == _FOLDER or (kind in _FILES and not name):
        return None
    if kind == _SYMLINK:
        target = _text(header[157:257]) if extended.link is None else extended.link
        return Member(name, 0, data, clean_name(target, posixpath.dirname(name)))
    if kind not in _FILES:
        what = _KINDS.get(kind, "of a kind that no image has")
        raise BadArchive(f"{_shown(name)} in the archive is {what}")
    return Member(name, size, data)


def _extended_body(read: Read, offset: int, size: int) -> bytes:
    if size > MOST_EXTENDED:
        raise BadArchive(f"the archive has a header of more than {MOST_EXTENDED} bytes")
    return read(offset, size)


def _extend(extended: _Extended, kind: int, body: bytes) -> None:
    if kind == _LONG_NAME:
        extended.name = _text(body)
    elif kind == _LONG_LINK:
        extended.link = _text(body)
    elif kind == _PAX:
        for key, value in _records(body):
            if key == "path":
                extended.name = value
            elif key == "linkpath":
                extended.link = value
            elif key == "size":
                extended.size = _decimal(value)
            elif key.startswith("GNU.sparse."):
                raise BadArchive("the archive has a sparse file")


def _records(body: bytes) -> Iterator[tuple[str, str]]:
    """The records of a pax header: ``LENGTH key=value``, each with a newline behind it."""
    while body.strip(b"\0"):
        length, space, _ = body.partition(b" ")
        size = _decimal(length.decode("latin-1"))
        record = body[len(length) + 1 : size]
        if not space or size <= len(length) or size > len(body) or record[-1:] != b"\n":
            raise BadArchive("the archive has an extended header that is damaged")
        key, _, value = record[:-1].partition(b"=")
        yield _text(key), _text(value)
        body = body[size:]


def _decimal(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise BadArchive("the archive has a number that is none")
    return int(text)


def _number(field: bytes) -> int:
    """Octal text, or GNU's base 256."""
    if field[0] & 0x80:
        value = int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
        if value >= 1 << 62:
            raise BadArchive("the archive has a size that nothing has")
        return value
    text = field.split(b"\0", 1)[0].strip()
    try:
        return int(text, 8) if text else 0
    except ValueError:
        raise BadArchive("the archive has a number that is none") from None


def _name(header: bytes) -> str:
    name = _text(header[:100])
    prefix = _text(header[345:500]) if header[257:263] == b"ustar\0" else ""
    return f"{prefix}/{name}" if prefix else name


def _text(raw: bytes) -> str:
    try:
        return raw.split(b"\0", 1)[0].decode("utf-8")
    except UnicodeDecodeError:
        raise BadArchive("the archive has a name that is no text") from None


def clean_name(name: str, folder: str = "") -> str:
    """``name``, as seen from ``folder``, without dot segments. Raises BadArchive if it leaves."""
    if len(name) > MOST_NAME or not name.isprintable():
        raise BadArchive("the archive has a name that is overlong or not printable")
    if name.startswith("/") or "\\" in name:
        raise BadArchive(f"{_shown(name)} in the archive names a place outside of it")
    clean = posixpath.normpath(posixpath.join(folder, name))
    if clean == ".." or clean.startswith("../"):
        raise BadArchive(f"{_shown(name)} in the archive names a place outside of it")
    return "" if clean == "." else clean


def _shown(name: str) -> str:
    return repr(name if len(name) <= 80 else name[:80] + "…")


def header(name: str, size: int) -> bytes:
    """The header of a file, the same for the same name and size whoever writes it, and when."""
    raw = name.encode("ascii")
    if len(raw) > 100:
        raise ValueError(f"the name {name!r} is too long for a member")
    # 8 GiB and more do not fit into octal digits.
    sized = b"%011o\0" % size if size < 8**11 else b"\x80" + size.to_bytes(11, "big")
    fields = (
        raw.ljust(100, b"\0"),
        b"0000644\0",
        b"0000000\0" * 2,
        sized,
        b"00000000000\0",
        b" " * 8,
        b"0",
        b"\0" * 100,
        b"ustar\x0000",
        b"\0" * 64,
        b"0000000\0" * 2,
        b"\0" * 167,
    )
    plain = b"".join(fields)
    return plain[:148] + b"%06o\0 " % sum(plain) + plain[156:]


def padding(size: int) -> bytes:
    """What stands behind ``size`` bytes of a member."""
    return bytes(-size % BLOCK)


#: What an archive ends with.
END: Final = bytes(2 * BLOCK)

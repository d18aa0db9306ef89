"""The pod's resolver settings (resolv.conf), and the names that they make of one."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator, Sequence
from typing import Final

import attrs

#: As the C library's resolver: more are not read.
MOST_SERVERS: Final = 3
MOST_NDOTS: Final = 15
#: Bytes of the file that are read.
_MOST_BYTES: Final = 64 * 1024


@attrs.frozen
class ResolvConf:
    """``servers`` are IP addresses, ``search`` domains without a dot at their end."""

    servers: tuple[str, ...] = ("127.0.0.1",)
    search: tuple[str, ...] = ()
    ndots: int = 1

    def candidates(self, name: str) -> tuple[str, ...]:
        """The absolute names to be tried for ``name``, in order, without a dot at their end."""
        bare = name.rstrip(".")
        if name.endswith("."):
            return (bare,)
        listed = [f"{bare}.{domain}" for domain in self.search]
        first = bare.count(".") >= self.ndots
        names = [bare, *listed] if first else [*listed, bare]
        return tuple(dict.fromkeys(each for each in names if len(each) <= 253))


def parse(text: str) -> ResolvConf:
    """What ``text`` says; lines that make no sense are passed over, as the C library does."""
    servers: list[str] = []
    search: tuple[str, ...] = ()
    ndots = 1
    for keyword, words in _lines(text):
        if keyword == "nameserver" and _is_ip(words[0]):
            servers.append(words[0])
        elif keyword in {"search", "domain"}:
            domains = words if keyword == "search" else words[:1]
            search = tuple(word.rstrip(".").lower() for word in domains if word.rstrip("."))
        elif keyword == "options":
            ndots = _ndots(words, ndots)
    return ResolvConf(tuple(servers[:MOST_SERVERS]) or ResolvConf().servers, search, ndots)


def _lines(text: str) -> Iterator[tuple[str, Sequence[str]]]:
    for line in text.splitlines():
        words = line.split("#")[0].split(";")[0].split()
        if len(words) > 1:
            yield words[0], words[1:]


def _ndots(words: Sequence[str], before: int) -> int:
    for word in words:
        name, _, value = word.partition(":")
        if name == "ndots" and value.isascii() and value.isdigit():
            return min(int(value[:9]), MOST_NDOTS)
    return before


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


class ResolvConfFile:
    """The settings in the file at ``path``, read anew when it was written anew.

    Reads a small file in the caller's thread: it is in memory while anything
    in the pod resolves names. One that can not be read leaves the settings as
    they were, at first those of an empty file.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._seen: tuple[int, ...] | None = None
        self._settings = ResolvConf()

    def settings(self) -> ResolvConf:
        try:
            found = os.stat(self._path)
            seen = (found.st_mtime_ns, found.st_size, found.st_ino)
            if seen != self._seen:
                with open(self._path, "rb") as file:
                    self._settings = parse(file.read(_MOST_BYTES).decode("utf-8", "replace"))
                self._seen = seen
        except OSError:
            pass
        return self._settings

"""Whom this process connects to, and which names it looks up: as the interpreter's audit tells.

That sees every socket, whoever opened it, of all threads; nothing can pass it by.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import attrs


@attrs.define
class Dials:
    """``connected``: (host, port) each time; ``resolved``: names, and addresses as text."""

    connected: list[tuple[str, int]] = attrs.Factory(list)
    resolved: list[str] = attrs.Factory(list)
    #: A socket is told to connect once more to see how that went.
    _sockets: list[object] = attrs.Factory(list)

    def dial(self, dialling: object, host: str, port: int) -> None:
        if not any(each is dialling for each in self._sockets):
            self._sockets.append(dialling)
            self.connected.append((host, port))


_watching: list[Dials] = []
_hooked = False


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watching:
        return
    if event in ("socket.connect", "socket.sendto") and isinstance(arguments[1], tuple):
        host, port = arguments[1][:2]
        for dials in _watching:
            dials.dial(arguments[0], str(host), int(port))
    elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        name = arguments[0]
        for dials in _watching:
            dials.resolved.append(name.decode() if isinstance(name, bytes) else str(name))


@contextmanager
def dials() -> Iterator[Dials]:
    """All of them while this lasts. A hook of the interpreter can not be taken away again."""
    global _hooked  # noqa: PLW0603 -- as the interpreter's own hooks are
    if not _hooked:
        sys.addaudithook(_hear)
        _hooked = True
    seen = Dials()
    _watching.append(seen)
    try:
        yield seen
    finally:
        _watching.remove(seen)

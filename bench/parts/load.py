"""Clients that cost little: one loop that reads bodies into one buffer, and keeps nothing.

They copy each byte once, as any client does. With ``unread`` the kernel throws
the bodies away (``MSG_TRUNC``, tcp(7)), so that next to nothing but the server is
measured. Lengths are checked always, digests where ``checked``.
"""

from __future__ import annotations

import hashlib
import select
import socket
import time
import urllib.parse
from collections.abc import Sequence

import attrs

_PIECE = 1 << 18
_PATIENCE = 240.0


class NotWhole(AssertionError):
    """A body that was not what it had to be."""


@attrs.frozen
class Got:
    """Seconds since all began; ``first`` until the first byte of the body."""

    first: float
    last: float
    size: int


def target(url: str) -> tuple[tuple[str, int], bytes]:
    """Where to connect, and the request."""
    parts = urllib.parse.urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    head = f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n"
    return (parts.hostname, parts.port), head.encode()


def content_length(head: bytes) -> int:
    """As the headers name it."""
    fields = dict(line.split(b": ", 1) for line in head.lower().split(b"\r\n")[1:])
    return int(fields[b"content-length"])


class Transfer:
    """One request on a connection of its own."""

    def __init__(
        self, url: str, began: float, buffer: bytearray, *, checked: bool, unread: bool
    ) -> None:
        address, self.request = target(url)
        self.url, self.began, self.buffer = url, began, buffer
        self.hash = hashlib.sha256() if checked else None
        self.flags = socket.MSG_TRUNC if unread else 0
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.connect_ex(address)
        self.head = b""
        self.size, self.length = 0, -1
        self.first = 0.0
        self.connected = False

    def writable(self) -> None:
        """It is connected, or refused."""
        code = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise NotWhole(f"{self.url}: {OSError(code).errno}")
        self.socket.sendall(self.request)
        self.connected = True

    def readable(self) -> bool:
        """Take what is there; whether that was all."""
        if self.length < 0:
            self._read_head()
        else:
            self._took(self.socket.recv_into(self.buffer, _PIECE, self.flags))
        return self.size == self.length

    def _took(self, count: int) -> None:
        if count == 0:
            raise NotWhole(f"{self.url}: broken off after {self.size} of {self.length} bytes")
        self.first = self.first or time.perf_counter() - self.began
        self.size += count
        if self.hash:
            self.hash.update(memoryview(self.buffer)[:count])

    def _read_head(self) -> None:
        data = self.socket.recv(4096)
        if not data:
            raise NotWhole(f"{self.url}: hung up before an answer")
        self.head += data
        head, end, body = self.head.partition(b"\r\n\r\n")
        if not end:
            return
        if b" 200 " not in head[:14]:
            raise NotWhole(f"{self.url}: {head[:200]!r}")
        self.length = content_length(head)
        if body:
            self.buffer[: len(body)] = body
            self._took(len(body))

    def done(self) -> Got:
        self.socket.close()
        named = f"sha256:{self.hash.hexdigest()}" if self.hash else ""
        if named and named not in self.url:
            raise NotWhole(f"{self.url}: its digest is {named}")
        return Got(self.first, time.perf_counter() - self.began, self.size)


def pull(urls: Sequence[str], *, checked: bool = False, unread: bool = False) -> list[Got]:
    """All of them at once, whole; NotWhole if one is not."""
    began, buffer = time.perf_counter(), bytearray(_PIECE)
    poll, transfers = select.epoll(), {}
    got: dict[int, Got] = {}
    try:
        for number, url in enumerate(urls):
            one = Transfer(url, began, buffer, checked=checked, unread=unread)
            transfers[one.socket.fileno()] = number, one
            poll.register(one.socket.fileno(), select.EPOLLOUT)
        while len(got) < len(urls):
            events = poll.poll(_PATIENCE)
            if not events:
                raise NotWhole(f"nothing came for {_PATIENCE:.0f} s")
            for fd, _ in events:
                number, one = transfers[fd]
                if not one.connected:
                    one.writable()
                    poll.modify(fd, select.EPOLLIN)
                elif one.readable():
                    poll.unregister(fd)
                    got[number] = one.done()
    finally:
        poll.close()
        for _, one in transfers.values():
            one.socket.close()
    return [got[number] for number in range(len(urls))]

"""Requests for small documents over a few connections, one after the other on each."""

from __future__ import annotations

import gc
import select
import socket
import time
import urllib.parse
from collections.abc import Mapping

import attrs

from bench.core.samples import percentile
from bench.parts.load import NotWhole, content_length

_PIECE = 1 << 16
_PATIENCE = 30.0


@attrs.frozen
class Asked:
    """Seconds that each answer took, and all of them together."""

    waits: tuple[float, ...]
    seconds: float

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.waits) / self.seconds

    def figures(self, name: str) -> dict[str, float]:
        return {
            f"{name}, requests/s": self.rate,
            f"{name}, p50 ms": percentile(self.waits, 0.5) * 1000,
            f"{name}, p99 ms": percentile(self.waits, 0.99) * 1000,
        }


class Line:
    """One connection that is kept; ``body`` is the length of a body, the same each time."""

    def __init__(self, address: tuple[str, int], request: bytes) -> None:
        self.socket = socket.create_connection(address, timeout=_PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.request = request
        self.body = -1
        self.data = b""
        self.began = 0.0

    def ask(self) -> None:
        self.began = time.perf_counter()
        self.socket.sendall(self.request)

    def answered(self) -> bool:
        """Take what is there; whether the answer is whole."""
        data = self.socket.recv(_PIECE)
        if not data:
            raise NotWhole("the server hung up")
        self.data = self.data + data if self.data else data
        head = self.data.find(b"\r\n\r\n")
        if head < 0:
            return False
        if self.body < 0:
            self.body = content_length(self.data[:head])
        there = len(self.data) - head - 4
        if there > self.body or not self.data.startswith(b"HTTP/1.1 200"):
            raise NotWhole(f"{self.data[:200]!r}")
        if there == self.body:
            self.data = b""
        return there == self.body


def ask(url: str, lines: int, seconds: float, headers: Mapping[str, str]) -> Asked:
    """As many as are answered in ``seconds``; the next is asked once the last was answered."""
    parts = urllib.parse.urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    named = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    request = f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n{named}\r\n".encode()
    made = [Line((parts.hostname, parts.port), request) for _ in range(lines)]
    gc.disable()  # not to be measured
    try:
        return _asked({line.socket.fileno(): line for line in made}, seconds)
    finally:
        gc.enable()
        for line in made:
            line.socket.close()


def _asked(lines: Mapping[int, Line], seconds: float) -> Asked:
    poll, clock, waits = select.epoll(), time.perf_counter, []
    began = clock()
    for fd, line in lines.items():
        poll.register(fd, select.EPOLLIN)
        line.ask()
    while clock() - began < seconds:
        events = poll.poll(_PATIENCE)
        if not events:
            raise NotWhole(f"no answer for {_PATIENCE:.0f} s")
        for fd, _ in events:
            line = lines[fd]
            if line.answered():
                waits.append(clock() - line.began)
                line.ask()
    poll.close()
    return Asked(tuple(waits), clock() - began)

"""What ``nodecache bench`` measures: the mirror, and this machine without it."""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Final

import attrs

from nodecache.cli.problems import CommandError

_BUFFER: Final = 1 << 20
_SENT: Final = 8 << 20
#: Seconds without a byte after which the node is given up.
_SILENCE: Final = 15.0


@attrs.frozen
class Disk:
    """Bytes a second; ``read`` is None where the page cache could not be emptied."""

    write: float
    read: float | None


def measure_disk(folder: str, size: int) -> Disk:
    """Write and read a file of ``size`` bytes in ``folder``; it is gone then. Raises OSError."""
    path = os.path.join(folder, f"bench-{secrets.token_hex(8)}")
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    os.unlink(path)
    try:
        block = os.urandom(_BUFFER)
        began = time.perf_counter()
        for _ in range(0, size, _BUFFER):
            os.write(fd, block)
        os.fsync(fd)
        written = time.perf_counter()
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        view = memoryview(bytearray(_BUFFER))
        offset, start = 0, time.perf_counter()
        while count := os.preadv(fd, [view], offset):
            offset += count
        end = time.perf_counter()
    finally:
        os.close(fd)
    return Disk(size / (written - began), offset / max(1e-9, end - start))


def measure_loopback(folder: str, size: int, seconds: float) -> float:
    """Bytes a second of a file in memory sent over the loopback, again and again."""
    path = os.path.join(folder, f"bench-{secrets.token_hex(8)}")
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    os.unlink(path)
    try:
        for _ in range(0, size, _BUFFER):
            os.write(fd, bytes(_BUFFER))
        with socket.create_server(("127.0.0.1", 0)) as listening:
            sender = threading.Thread(target=_send, args=(listening, fd, size), daemon=True)
            sender.start()
            with socket.create_connection(listening.getsockname()) as connection:
                rate = _drained(connection, seconds)
            sender.join(_SILENCE)
    finally:
        os.close(fd)
    return rate


def _send(listening: socket.socket, fd: int, size: int) -> None:
    connection, _ = listening.accept()
    with connection:
        try:
            while True:
                offset = 0
                while offset < size:
                    offset += os.sendfile(
                        connection.fileno(), fd, offset, min(_SENT, size - offset)
                    )
        except OSError:
            return  # who measures has seen enough


def _drained(connection: socket.socket, seconds: float) -> float:
    view = memoryview(bytearray(_BUFFER))
    began = time.perf_counter()
    count = 0
    while time.perf_counter() - began < seconds:
        count += connection.recv_into(view)
    return count / (time.perf_counter() - began)


@attrs.frozen
class Mirror:
    """The mirror port."""

    host: str
    port: int

    def target(self, namespace: str, name: str, kind: str, digest: str) -> str:
        return f"/v2/{name}/{kind}/{digest}?ns={namespace}"


@attrs.define
class _Line:
    """One kept connection to the mirror."""

    mirror: Mirror
    connection: socket.socket
    buffer: bytearray = attrs.Factory(lambda: bytearray(_BUFFER))

    def get(self, target: str) -> int:
        """Read one answer whole: the bytes of its body. Raises CommandError."""
        ask = f"GET {target} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: nodecache-bench\r\n\r\n"
        self.connection.sendall(ask.encode())
        head, rest = self._head()
        status, size = _understood(head)
        if status != 200:
            raise CommandError(f"the mirror answers {status} for {target.partition('?')[0]}")
        left = size - rest
        view = memoryview(self.buffer)
        while left > 0:
            count = self.connection.recv_into(view[: min(left, _BUFFER)])
            if not count:
                raise CommandError("the mirror broke an answer off")
            left -= count
        return size

    def _head(self) -> tuple[bytes, int]:
        head = b""
        while b"\r\n\r\n" not in head:
            data = self.connection.recv(65536)
            if not data:
                raise CommandError("the mirror closed the connection")
            head += data
        found, _, rest = head.partition(b"\r\n\r\n")
        return found, len(rest)


def _understood(head: bytes) -> tuple[int, int]:
    """Status and Content-Length."""
    status, *lines = head.decode("latin-1").split("\r\n")
    fields = dict(line.lower().split(": ", 1) for line in lines if ": " in line)
    return int(status.split(" ", 2)[1]), int(fields.get("content-length", "0"))


@contextmanager
def _line(mirror: Mirror) -> Iterator[_Line]:
    try:
        connection = socket.create_connection((mirror.host, mirror.port), _SILENCE)
    except OSError as error:
        raise CommandError(
            f"no mirror listens on {mirror.host}:{mirror.port} ({error.strerror or error})",
            "Name its port with --mirror HOST:PORT.",
            3,
        ) from None
    with closing(connection):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield _Line(mirror, connection)


def measure_blob(mirror: Mirror, target: str, seconds: float, lines: int) -> float:
    """Bytes a second of a blob that is asked for again and again, on so many connections."""
    return _together(mirror, seconds, lines, lambda line: line.get(target))


def measure_requests(mirror: Mirror, target: str, seconds: float, lines: int) -> float:
    """Answers a second, on so many connections."""

    def one(line: _Line) -> int:
        line.get(target)
        return 1

    return _together(mirror, seconds, lines, one)


def _together(mirror: Mirror, seconds: float, lines: int, work: Callable[[_Line], int]) -> float:
    counts: list[int] = []
    problems: list[CommandError | OSError] = []
    until = time.perf_counter() + seconds

    def run() -> None:
        try:
            with _line(mirror) as line:
                while time.perf_counter() < until:
                    counts.append(work(line))
        except (CommandError, OSError) as error:
            problems.append(error)

    began = time.perf_counter()
    threads = [threading.Thread(target=run, daemon=True) for _ in range(lines)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for problem in problems:
        if isinstance(problem, CommandError):
            raise problem
        raise CommandError(f"the mirror did not answer ({problem})")
    return sum(counts) / (time.perf_counter() - began)

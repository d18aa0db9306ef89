"""A small GET every 10 ms, from a process of its own, until stdin is closed.

    python pinger.py HOST PORT PATH

Prints ``ready`` once it was answered, and in the end the seconds that each
answer took, as JSON. Needs nothing but Python, so that it starts at once.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

EVERY = 0.01


def ping(line: socket.socket, request: bytes) -> float:
    began = time.perf_counter()
    line.sendall(request)
    answer = line.recv(65536)
    if not answer.startswith(b"HTTP/1.1 200"):
        raise SystemExit(f"answered {answer[:100]!r}")
    return time.perf_counter() - began


def run(host: str, port: int, path: str) -> None:
    line = socket.create_connection((host, port), timeout=30)
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    request = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode()
    ping(line, request)
    print("ready", flush=True)
    waits: list[float] = []
    due = time.perf_counter()
    while True:
        waits.append(ping(line, request))
        due = max(due + EVERY, time.perf_counter())
        if select.select([sys.stdin], [], [], max(0.0, due - time.perf_counter()))[0]:
            break
    print(json.dumps(waits), flush=True)


@contextlib.contextmanager
def pinging(host: str, port: int, path: str = "/v2/") -> Iterator[list[float]]:
    """The list holds the seconds of each answer once the block has ended."""
    argv = [sys.executable, "-S", "-E", __file__, host, str(port), path]
    waits: list[float] = []
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", "the pinger was not answered"
        try:
            yield waits
        finally:
            told, _ = process.communicate()
    waits += json.loads(told)


if __name__ == "__main__":
    run(sys.argv[1], int(sys.argv[2]), sys.argv[3])

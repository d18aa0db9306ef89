"""Ten thousand connections to a node in a process of its own, from many addresses of 127.0.0.0/8.

Twice: all from one address, which meets the limit of one; then from a hundred, which meets that of
all. Who is over a limit is told so or closed, who was there before is served as ever, and when all
have gone at once nothing is left of them.
"""

from __future__ import annotations

import json
import os
import pathlib
import resource
import select
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import attrs

from nodecache.limits import MIB, Limits
from tests.cluster_case import SECRET, free_port
from tests.trust.abuse_ground import NODE, Port, good

#: Connections to each port, from so many addresses.
CROWD: Final = {Port.MIRROR: 10_000, Port.PEER: 4_000, Port.ADMIN: 2_000}
ADDRESSES: Final = 100
#: Descriptors that a node needs beside those of connections.
BESIDE: Final = 200
#: Bytes that a connection may cost a node, and what it may keep when all have gone.
EACH: Final = 40 * 1024
KEPT: Final = 64 * MIB
#: Seconds, on a busy machine.
PATIENCE: Final = 120.0


@attrs.define
class Crowd:
    """What was seen of one port; descriptors of the node, and bytes of its memory."""

    port: str
    connections: int
    most_of_one: int = 0
    most_of_all: int = 0
    descriptors: int = 0
    descriptors_after: int = 0
    grown: int = 0
    kept: int = 0
    problems: list[str] = attrs.Factory(list)


def limits_of(port: Port) -> tuple[int, int]:
    """Of one address, and of all."""
    limits = Limits()
    return {
        Port.MIRROR: (limits.client_connections_per_address, limits.client_connections),
        Port.PEER: (limits.peer_clients_per_address, limits.peer_clients),
        Port.ADMIN: (limits.admin_clients_per_address, limits.admin_clients),
    }[port]


class Process:
    """A node with peers, of whom there are none; ``numbers`` are its ports."""

    def __init__(self, folder: pathlib.Path) -> None:
        (folder / "secret").write_text(SECRET + "\n")
        peers = free_port()
        # Nobody upstream is needed; nobody idle is sent away while the crowd comes.
        (folder / "nodecache.toml").write_text('[timeouts]\nclient_idle = "10m"\n')
        given = {
            "config": folder / "nodecache.toml",
            "data-dir": folder / "data",
            "listen": "127.0.0.1:0",
            "admin-listen": "127.0.0.1:0",
            "peer-listen": f"127.0.0.1:{peers}",
            "peers": f"127.0.0.1:{peers}",
            "node-id": NODE,
            "peer-secret-file": folder / "secret",
            "upstream": "docker.io=http://127.0.0.1:9",
            "min-free": "0",
            "log-format": "json",
        }
        argv = [sys.executable, "-m", "nodecache", "serve"]
        argv += [f"--{name}={value}" for name, value in given.items()]
        self._log = folder / "log"
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(argv, stdout=log, stderr=log)
        started = _until(self._started, "it does not start")
        self.numbers = {
            Port.MIRROR: int(started["listen"].rpartition(":")[2]),
            Port.ADMIN: int(started["admin"].rpartition(":")[2]),
            Port.PEER: peers,
        }

    def _started(self) -> Any:
        assert self._process.poll() is None, self._log.read_text()[-2000:]
        for line in self._log.read_text().splitlines():
            if '"event": "start"' in line:
                return json.loads(line)
        return None

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()

    @property
    def problems(self) -> list[str]:
        """Lines of its log that tell of a defect."""
        text = self._log.read_text()
        return [line for line in text.splitlines() if "Traceback" in line or "unexpected" in line]

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self._process.pid}/fd"))

    def resident(self) -> int:
        text = pathlib.Path(f"/proc/{self._process.pid}/statm").read_text()
        return int(text.split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def connect(self, port: Port, source: str) -> socket.socket:
        made = socket.create_connection(
            ("127.0.0.1", self.numbers[port]), timeout=PATIENCE, source_address=(source, 0)
        )
        # Closed with a reset, so that nothing lingers, and all of them are gone at once.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return made


def _until(happened: Any, words: str) -> Any:
    give_up = time.monotonic() + PATIENCE
    while not (found := happened()):
        assert time.monotonic() < give_up, words
        time.sleep(0.05)
    return found


def is_served(made: socket.socket, port: Port) -> bool:
    """Whether a proper request on this connection is answered with 200; it is kept."""
    try:
        made.sendall(good(port, close=False))
        return made.recv(65536).startswith(b"HTTP/1.1 200 ")
    except OSError:
        return False


def still_open(crowd: list[socket.socket]) -> int:
    """How many the node has not closed."""
    poll = select.poll()
    for made in crowd:
        poll.register(made, select.POLLIN | select.POLLRDHUP)
    return len(crowd) - len(poll.poll(0))


@contextmanager
def descriptors_enough(count: int) -> Iterator[int]:
    """As many of ``count`` as this process may have at a time."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = count + 1000 if hard == resource.RLIM_INFINITY else min(hard, count + 1000)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
    try:
        yield min(count, most - 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def crowd_at(process: Process, port: Port, count: int) -> Crowd:
    """``count`` connections to ``port``, and what becomes of them."""
    found = Crowd(port.value, count)
    of_one, of_all = limits_of(port)
    early = process.connect(port, "127.0.0.1")
    served = {"before": is_served(early, port)}
    descriptors, memory = process.descriptors(), process.resident()
    crowd = [process.connect(port, "127.0.0.2") for _ in range(of_one + 100)]
    try:
        _until(lambda: still_open(crowd) <= of_one, "the limit of one address is not held")
        found.most_of_one = still_open(crowd)
        other = process.connect(port, "127.0.0.3")
        served["from another address"] = is_served(other, port)
        crowd.append(other)
        rest = count - len(crowd)
        crowd += [process.connect(port, f"127.0.1.{n % ADDRESSES}") for n in range(rest)]
        # Every second of them has begun to speak.
        for made in crowd[::2]:
            _say_something(made, port)
        _until(lambda: still_open(crowd) < of_all, "the limit of all is not held")
        found.most_of_all = still_open(crowd) + 1
        served["in the crowd"] = is_served(early, port)
        found.descriptors = process.descriptors()
        found.grown = process.resident() - memory
    finally:
        for made in crowd:
            made.close()
    _until(lambda: process.descriptors() <= descriptors, "connections that have gone are kept")
    found.descriptors_after = process.descriptors() - descriptors
    found.kept = max(0, process.resident() - memory)
    late = process.connect(port, "127.0.0.2")
    served["afterwards"] = is_served(late, port)
    late.close()
    early.close()
    _judge(found, of_one, of_all, served)
    return found


def _say_something(made: socket.socket, port: Port) -> None:
    try:
        made.sendall(good(port)[:30])
    except OSError:
        return  # one that was closed already


def _judge(found: Crowd, of_one: int, of_all: int, served: dict[str, bool]) -> None:
    found.problems += [
        f"{found.port}: not served {when}" for when, was in served.items() if not was
    ]
    if (found.most_of_one, found.most_of_all) != (of_one, of_all):
        found.problems.append(
            f"{found.port}: {found.most_of_one} and {found.most_of_all} were open"
        )
    if found.descriptors > of_all + BESIDE:
        found.problems.append(f"{found.port}: {found.descriptors} descriptors")
    if found.grown > of_all * EACH + KEPT or found.kept > KEPT:
        found.problems.append(f"{found.port}: {found.grown} bytes more, {found.kept} kept")


def crowds() -> list[Crowd]:
    """Each port in turn."""
    with (
        tempfile.TemporaryDirectory(prefix="crowd-") as folder,
        descriptors_enough(max(CROWD.values())) as most,
    ):
        process = Process(pathlib.Path(folder))
        try:
            found = [crowd_at(process, port, min(most, count)) for port, count in CROWD.items()]
            found[0].problems += process.problems
        finally:
            process.stop()
    return found

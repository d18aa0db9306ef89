"""A thousand idle connections, and two thousand that come within a second."""

from __future__ import annotations

import contextlib
import select
import socket
import time

import attrs

from bench.core.bars import Bar
from bench.core.samples import Figures, percentile
from bench.parts.clocks import forget_peak, peak_memory, settled
from bench.parts.peers import Cache, nodecache
from bench.parts.world import MIB, World
from bench.rows.row import Row, mine

IDLE, BURST = 1000, 2000
REFUSED, HURRIED = f"refused of {IDLE} idle", f"refused of {BURST} in a second"
_REQUEST = b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\n\r\n"
_PATIENCE = 30.0


@attrs.define
class Burst:
    """Connections by descriptor, and when each was begun; ``waits`` of those answered."""

    address: tuple[str, int]
    open: dict[int, tuple[socket.socket, float]] = attrs.Factory(dict)
    waits: list[float] = attrs.Factory(list)
    refused: int = 0
    _poll: select.epoll = attrs.Factory(select.epoll)

    def begin(self) -> None:
        made = socket.socket()
        made.setblocking(False)
        made.connect_ex(self.address)
        self.open[made.fileno()] = made, time.perf_counter()
        self._poll.register(made.fileno(), select.EPOLLOUT)

    def turn(self, seconds: float) -> bool:
        """See to what is ready; whether anything was."""
        events = self._poll.poll(seconds)
        for fd, event in events:
            made, began = self.open[fd]
            try:
                if event & select.EPOLLOUT:
                    made.sendall(_REQUEST)
                    self._poll.modify(fd, select.EPOLLIN)
                    continue
                answered = made.recv(4096).startswith(b"HTTP/1.1 200")
            except OSError:
                answered = False
            self._ended(fd, time.perf_counter() - began if answered else None)
        return bool(events)

    def _ended(self, fd: int, seconds: float | None) -> None:
        made, _ = self.open.pop(fd)
        self._poll.unregister(fd)
        made.close()
        if seconds is None:
            self.refused += 1
        else:
            self.waits.append(seconds)

    def finish(self) -> None:
        """Wait for the rest; what does not come is refused."""
        while self.open and self.turn(_PATIENCE):
            pass
        for fd in list(self.open):
            self._ended(fd, None)
        self._poll.close()


def idle(cache: Cache, count: int) -> dict[str, float]:
    """Each is answered once and stays."""
    settled(cache.child)
    forget_peak(cache.child.pid)
    before, refused = peak_memory(cache.child.pid), 0
    with contextlib.ExitStack() as stack:
        lines = []
        for _ in range(count):
            try:
                line = stack.enter_context(socket.create_connection(cache.address, timeout=10))
                line.sendall(_REQUEST)
                lines.append(line)
            except OSError:
                refused += 1
        for line in lines:
            try:
                refused += not line.recv(4096).startswith(b"HTTP/1.1 200")
            except OSError:
                refused += 1
        added = (peak_memory(cache.child.pid) - before) / MIB
    return {REFUSED: refused, f"added by {IDLE} idle, MiB": added}


def burst(cache: Cache, count: int) -> dict[str, float]:
    """``count`` within a second, evenly."""
    made, began = Burst(cache.address), time.perf_counter()
    for number in range(count):
        due = began + number / count
        while (left := due - time.perf_counter()) > 0:
            made.turn(left)
        made.begin()
        made.turn(0)
    taken = time.perf_counter() - began
    made.finish()
    return {
        HURRIED: made.refused,
        "took to begin, s": taken,
        "answered, p99 ms": percentile(made.waits or [_PATIENCE], 0.99) * 1000,
        "peak memory, MiB": peak_memory(cache.child.pid) / MIB,
    }


def measure(world: World) -> Figures:
    with world.upstream() as upstream, world.empty(nodecache, upstream.url) as cache:
        found = idle(cache, world.pick(IDLE, 200))
        found |= burst(cache, world.pick(BURST, 400))
    return {"nodecache": {what: [value] for what, value in found.items()}}


ROWS = (
    Row(
        key="connections",
        title=f"{IDLE:,} idle connections; {BURST:,} connects in a second",
        measure=measure,
        bars=(
            Bar(text="refused, idle", of=mine(REFUSED), at_most=0),
            Bar(text="refused, in a second", of=mine(HURRIED), at_most=0),
        ),
    ),
)

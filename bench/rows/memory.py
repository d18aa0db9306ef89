"""What a node needs of memory at most: idle, with many clients, big blobs, stalled clients."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial

import attrs

from bench.core.bars import Bar
from bench.core.samples import Figures
from bench.memory import stalled_client
from bench.parts.clocks import forget_peak, peak_memory, settled
from bench.parts.load import pull
from bench.parts.origin import Origin
from bench.parts.peers import Cache, nodecache
from bench.parts.world import MIB, World, layer, url_of, warm_up
from bench.rows.row import Row, mine
from tests.system.parts.cgroups import MemoryGroup, memory_group
from tests.system.parts.images import Blob

CROWD, STALLED = 100, 200
IDLE, CROWDED = "idle, MiB", f"{CROWD} clients of a cold blob, MiB"
GROWTH, ADDED = "most - least by size of blob, MiB", f"added by {STALLED} stalled clients, MiB"


@attrs.frozen
class Watched:
    """A node in a cgroup of its own."""

    cache: Cache
    group: MemoryGroup

    def begin(self) -> None:
        """Count anew from what is in use now."""
        settled(self.cache.child)
        forget_peak(self.cache.child.pid)
        self.group.peak = 0

    def peak(self) -> float:
        """MiB: the larger of VmHWM, and of what the cgroup counts without page cache."""
        self.group.look()
        return max(peak_memory(self.cache.child.pid), self.group.peak) / MIB


@contextlib.contextmanager
def watched(world: World, upstream: Origin) -> Iterator[Watched]:
    with (
        memory_group() as group,
        world.empty(partial(nodecache, group=group), upstream.url) as cache,
        group.watched(),
    ):
        yield Watched(cache, group)


def idle(world: World, upstream: Origin) -> float:
    with watched(world, upstream) as it:
        settled(it.cache.child)
        return it.peak()


def cold(world: World, upstream: Origin, blob: Blob, clients: int) -> float:
    """All of them at once; upstream sends it once."""
    with watched(world, upstream) as it:
        mark = upstream.mark()
        got = pull([url_of(it.cache, blob)] * clients, unread=True)
        assert {one.size for one in got} == {blob.size}
        assert upstream.sent(mark, blob.digest) == blob.size
        settled(it.cache.child)
        return it.peak()


def stalled(world: World, upstream: Origin) -> float:
    """What clients add that asked for a stored blob and take none of it."""
    of = world.image(world.pick(1024, 32))
    with watched(world, upstream) as it, contextlib.ExitStack() as stack:
        warm_up(it.cache, of)
        it.begin()
        before, path = it.peak(), f"/v2/{of.name}/blobs/{layer(of).digest}"
        for _ in range(STALLED):
            stack.callback(stalled_client(it.cache.part.port, path).close)
        settled(it.cache.child)
        return it.peak() - before


def measure(world: World) -> Figures:
    sizes = (10, 1024, 10240) if not world.quick else (1, 32)
    found: dict[str, list[float]] = {}
    with world.upstream() as upstream:
        found[IDLE] = [idle(world, upstream)]
        peaks = []
        for mib in sizes:
            peaks.append(cold(world, upstream, world.sparse(mib), 1))
            found[f"one client of a cold blob of {mib:,} MiB, MiB"] = [peaks[-1]]
        found[GROWTH] = [max(peaks) - min(peaks)]
        crowd = world.sparse(world.pick(1024, 32))
        found[CROWDED] = [cold(world, upstream, crowd, CROWD)]
        found[ADDED] = [stalled(world, upstream)]
    return {"nodecache": found}


ROWS = (
    Row(
        key="memory",
        title="memory (peak, without page cache)",
        measure=measure,
        bars=(
            Bar(text="idle, empty store", of=mine(IDLE), at_most=80, unit="MiB"),
            Bar(text=f"{CROWD} concurrent pulls", of=mine(CROWDED), at_most=120, unit="MiB"),
            Bar(text="10 GiB more than 10 MiB", of=mine(GROWTH), at_most=16, unit="MiB"),
            Bar(text=f"{STALLED} stalled clients add", of=mine(ADDED), at_most=40, unit="MiB"),
        ),
    ),
)

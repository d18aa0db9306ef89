"""A blob from the page cache, by one client and by eight."""

from __future__ import annotations

import time
from functools import partial

from bench.core.bars import Bar, Key
from bench.core.samples import Figures, interleaved
from bench.parts.clocks import used_by
from bench.parts.load import pull
from bench.parts.origin import Origin
from bench.parts.peers import Cache, drayage, nodecache, registry
from bench.parts.world import GIB, World, blob_url, layer, warm_up
from bench.rows.row import Row, mine
from tests.system.parts.images import Image

RATE, COST, SLOWEST = "MB/s", "CPU s/GiB", "slowest client / mean"


def sample(
    server: Cache | Origin,
    upstream: Origin,
    of: Image,
    clients: int,
    times: int,
    *,
    unread: bool = False,
) -> dict[str, float]:
    """``clients`` at once, ``times`` one after the other."""
    size, urls = layer(of).size, [blob_url(server, of)] * clients
    mark, used = upstream.mark(), used_by(server.child)
    began, slowest = time.perf_counter(), []
    for _ in range(times):
        rates = [size / one.last for one in pull(urls, unread=unread)]
        slowest.append(min(rates) / (sum(rates) / len(rates)))
    seconds, moved = time.perf_counter() - began, size * clients * times
    cost = (used_by(server.child) - used) / (moved / GIB)
    assert upstream.sent(mark) == (moved if server is upstream else 0), "it was not warm"
    found = {RATE: moved / 1e6 / seconds, COST: cost}
    return {**found, SLOWEST: min(slowest)} if clients > 1 else found


def measure(world: World, clients: int, times: int) -> Figures:
    of, rounds = world.image(world.pick(512, 32)), world.pick(7, 1)
    makers = (nodecache, registry, drayage)[: 3 if clients == 1 else 2]
    with world.upstream() as upstream, world.all_empty(makers, upstream.url) as caches:
        for cache in caches.values():
            warm_up(cache, of)
        servers: dict[str, Cache | Origin] = {**caches, "nginx": upstream}
        times = world.pick(times, 1)
        samples = {
            f"{name}{', unread' * unread}": partial(
                sample, server, upstream, of, clients, times, unread=unread
            )
            for unread in (False, True)
            for name, server in servers.items()
            if not unread or name in {"nodecache", "nginx"}
        }
        slow = {name: samples.pop(name) for name in ("drayage",) if name in samples}
        return interleaved(rounds, samples) | interleaved(1, slow)


ROWS = (
    Row(
        key="warm-1",
        title="warm blob, 1 client",
        measure=partial(measure, clients=1, times=4),
        bars=(
            Bar(text="MB/s / nginx's", of=mine(RATE), by=Key("nginx", RATE), at_least=0.75),
            Bar(text="CPU s/GiB / nginx's", of=mine(COST), by=Key("nginx", COST), at_most=1.3),
        ),
    ),
    Row(
        key="warm-8",
        title="warm blob, 8 clients",
        measure=partial(measure, clients=8, times=1),
        bars=(
            Bar(text="MB/s / nginx's", of=mine(RATE), by=Key("nginx", RATE), at_least=0.85),
            Bar(text="MB/s / registry's", of=mine(RATE), by=Key("registry", RATE), at_least=1.1),
            Bar(
                text="CPU s/GiB / registry's",
                of=mine(COST),
                by=Key("registry", COST),
                at_most=0.65,
            ),
            Bar(text="slowest client / mean", of=mine(SLOWEST), at_least=0.5),
        ),
    ),
)

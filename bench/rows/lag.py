"""How long the event loop keeps a small request waiting while bodies stream.

The eight clients are processes, as those of real nodes are (a runtime fetches its layers on all
processors): together with the server they want more than the machine has, and what is measured is
who gets his turn. One process that reads for all leaves nginx a processor of its own; that is
measured too, as *8 warm, one reader*.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from functools import partial

from bench.core.bars import Bar, Key
from bench.core.samples import Figures, interleaved, percentile
from bench.parts.load import pull
from bench.parts.origin import Origin
from bench.parts.peers import Cache, nodecache
from bench.parts.pinger import pinging
from bench.parts.world import World, blob_url, layer, warm_up
from bench.rows.row import Row, mine
from tests.system.parts.images import Image

CLIENTS = 8


def figures(name: str, waits: list[float]) -> dict[str, float]:
    assert waits, "nothing was asked"
    return {
        f"{name}, p50 ms": percentile(waits, 0.5) * 1000,
        f"{name}, p99 ms": percentile(waits, 0.99) * 1000,
        f"{name}, max ms": max(waits) * 1000,
    }


def again(urls: list[str], until: float) -> None:
    """Pull them all, again and again, until that time by the monotonic clock."""
    while time.monotonic() < until:
        pull(urls)


def crowd(url: str, until: float) -> None:
    """Eight processes, each a client."""
    context = multiprocessing.get_context("fork")
    clients = [context.Process(target=again, args=([url], until)) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
        assert client.exitcode == 0, "a client failed"


def one_reader(url: str, until: float) -> None:
    again([url] * CLIENTS, until)


def warm(server: Cache | Origin, of: Image, seconds: float) -> dict[str, float]:
    found: dict[str, float] = {}
    ways: dict[str, Callable[[str, float], None]] = {
        "8 warm": crowd,
        "8 warm, one reader": one_reader,
    }
    for name, way in ways.items():
        with pinging(*server.address) as waits:
            way(blob_url(server, of), time.monotonic() + seconds)
        found |= figures(name, waits)
    return found


def cold(world: World, upstream: Origin, of: Image) -> dict[str, float]:
    """One client of a blob that nobody has asked for."""
    with world.serving(nodecache, upstream.url) as cache:
        mark = upstream.mark()
        with pinging(*cache.address) as waits:
            pull([blob_url(cache, of)])
        assert upstream.sent(mark) == layer(of).size
    return figures("cold", waits)


def measure(world: World) -> Figures:
    of = world.image(world.pick(1024, 32))
    seconds = 2.5 if not world.quick else 0.5
    with world.upstream() as upstream, world.empty(nodecache, upstream.url) as cache:
        warm_up(cache, of)
        servers: dict[str, Cache | Origin] = {"nodecache": cache, "nginx": upstream}
        samples = {name: partial(warm, one, of, seconds) for name, one in servers.items()}
        found = interleaved(world.pick(5, 1), samples)
        mine_cold = interleaved(world.pick(5, 1), {"nodecache": partial(cold, world, upstream, of)})
        found["nodecache"] |= mine_cold["nodecache"]
    return found


def bars(name: str) -> tuple[Bar, ...]:
    late, last = mine(f"{name}, p99 ms"), mine(f"{name}, max ms")
    return (
        Bar(text=f"{name}: p99", of=late, at_most=10, unit="ms"),
        Bar(text=f"{name}: max", of=last, at_most=20, unit="ms"),
    )


ROWS = (
    Row(
        key="lag",
        title="loop lag while a cold blob streams, and 8 warm ones",
        measure=measure,
        bars=(
            *bars("cold"),
            *bars("8 warm"),
            *(
                Bar(
                    text=f"{name}: p99 / nginx's with 8 warm",
                    of=mine(f"{name}, p99 ms"),
                    by=Key("nginx", "8 warm, p99 ms"),
                    at_most=1.5,
                )
                for name in ("cold", "8 warm")
            ),
        ),
    ),
)

"""A blob that nobody has asked for, from a fast upstream, until it is stored and all is quiet."""

from __future__ import annotations

import time
from functools import partial

from bench.core.bars import Bar, Key
from bench.core.samples import Figures, interleaved
from bench.parts.clocks import forget_peak, peak_memory, settled, used_by
from bench.parts.load import pull
from bench.parts.origin import Origin
from bench.parts.peers import Maker, bare, caching_nginx, drayage, nodecache, registry
from bench.parts.world import GIB, MIB, World, blob_url, layer
from bench.rows.row import Row, mine
from tests.system.parts.images import Image

SPEED, IDLE, COST = "MB/s, as the client sees it", "until stored and idle, s", "CPU s, until idle"
SENT, FIRST = "upstream bytes / blob", "first byte, ms"
#: How often each fetches the blob from upstream: one that only tees, and one that fetches again.
COPIES = {"nodecache": 1.0, "bare": 1.0, "proxy_cache": 1.0, "registry": 2.0, "drayage": 1.0}


def sample(world: World, make: Maker, upstream: Origin, of: Image) -> dict[str, float]:
    blob = layer(of)
    with world.serving(make, upstream.url) as cache:
        forget_peak(cache.child.pid)
        mark, used, began = upstream.mark(), used_by(cache.child), time.monotonic()
        (got,) = pull([blob_url(cache, of)])
        done, used_then = time.monotonic() - began, used_by(cache.child) - used
        assert got.size == blob.size
        idle = max(settled(cache.child, cache.file_of(blob.digest)) - began, done)
        copies = upstream.sent(mark, blob.digest) / blob.size
        assert copies <= COPIES[cache.name] + 0.01, f"{cache.name} fetched {copies:.2f} copies"
        assert copies > 0.99, "it was not cold"
        return {
            SPEED: blob.size / 1e6 / got.last,
            FIRST: got.first * 1000,
            IDLE: idle,
            "CPU s, last byte": used_then,
            COST: used_by(cache.child) - used,
            "CPU s/GiB, until idle": (used_by(cache.child) - used) / (blob.size / GIB),
            SENT: copies,
            "peak memory, MiB": peak_memory(cache.child.pid) / MIB,
        }


def measure(world: World) -> Figures:
    of = world.image(world.pick(1024, 32))
    with world.upstream() as upstream:
        makers = world.here((nodecache, registry, caching_nginx, bare, drayage), upstream.url)
        samples = {make.__name__: partial(sample, world, make, upstream, of) for make in makers}
        slow = {name: samples.pop(name) for name in ("drayage",) if name in samples}
        return interleaved(world.pick(4, 1), samples) | interleaved(1, slow)


ROWS = (
    Row(
        key="cold",
        title="cold blob, fast upstream",
        measure=measure,
        bars=(
            Bar(
                text="time until idle / registry's",
                of=mine(IDLE),
                by=Key("registry", IDLE),
                at_most=0.55,
            ),
            Bar(
                text="CPU until idle / registry's",
                of=mine(COST),
                by=Key("registry", COST),
                at_most=0.6,
            ),
            Bar(
                text="MB/s for the client / registry's",
                of=mine(SPEED),
                by=Key("registry", SPEED),
                at_least=0.8,
            ),
            Bar(
                text="MB/s for the client / proxy_cache's",
                of=mine(SPEED),
                by=Key("caching_nginx", SPEED),
                at_least=1.0,
            ),
            Bar(text="upstream bytes / blob", of=mine(SENT), at_most=1.001, worst=True),
        ),
    ),
)

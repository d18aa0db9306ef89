"""An image of forty small layers, pulled by a real containerd, cold and warm."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from functools import partial

from bench.core.bars import Bar, Key
from bench.core.samples import Figures, interleaved
from bench.parts.clocks import settled
from bench.parts.origin import Origin
from bench.parts.peers import Maker, nodecache, registry
from bench.parts.world import World
from bench.rows.row import Row, mine
from tests.system.parts.images import Image, image, layer, noise
from tests.system.parts.runtimes import Containerd, Setup
from tests.system.parts.userlands import System

COUNT, SIZE = 40, 60_000
COLD, WARM = "cold, s", "warm, s"
#: Nothing listens there: what the mirror does not give, fails.
NOWHERE = {"HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.0/8"}


@contextlib.contextmanager
def containerd(world: World, mirror: str) -> Iterator[Containerd]:
    made = Containerd(Setup(world.place("c"), System(), mirror, NOWHERE))
    try:
        made.start()
        yield made
    finally:
        made.stop()


def timed(runtime: Containerd, of: Image) -> float:
    """Seconds; the image and its layers are gone again afterwards."""
    began = time.perf_counter()
    runtime.pull(of)
    seconds = time.perf_counter() - began
    runtime.check(of)
    runtime.remove(of)
    return seconds


def sample(
    world: World, make: Maker, upstream: Origin, of: Image, before: Image
) -> dict[str, float]:
    """``before`` is pulled first, so that neither runtime nor cache is at its first image."""
    with world.empty(make, upstream.url) as cache, containerd(world, cache.url) as runtime:
        timed(runtime, before)
        settled(cache.child)
        mark = upstream.mark()
        cold = timed(runtime, of)
        settled(cache.child)
        size = sum(blob.size for blob in of.manifest.blobs)
        assert upstream.sent(mark) >= size, "it was not cold"
        mark = upstream.mark()
        warm = [timed(runtime, of) for _ in range(2)]
        assert upstream.sent(mark) == 0, "it was not warm"
        return {COLD: cold, WARM: min(warm)}


def measure(world: World) -> Figures:
    of, before = (
        world.shelf.add(
            f"library/{name}",
            image([layer({f"f-{n}": noise(SIZE, (name, n))}) for n in range(count)]),
        )
        for name, count in (("layers", world.pick(COUNT, 4)), ("one", 1))
    )
    with world.upstream() as upstream:
        samples = {
            make.__name__: partial(sample, world, make, upstream, of, before)
            for make in (nodecache, registry)
        }
        return interleaved(world.pick(3, 1), samples)


ROWS = (
    Row(
        key="layers",
        title=f"image of {COUNT} small layers, containerd",
        measure=measure,
        bars=tuple(
            Bar(text=f"{what} / registry's", of=mine(what), by=Key("registry", what), at_most=1.0)
            for what in (COLD, WARM)
        ),
    ),
)

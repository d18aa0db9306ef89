"""A manifest that is on disk, by digest and by a tag that is fresh, over 8 connections."""

from __future__ import annotations

from functools import partial

from bench.core.bars import Bar, Key
from bench.core.samples import Figures, interleaved
from bench.parts.asking import ask
from bench.parts.clocks import used_by
from bench.parts.peers import Cache, drayage, nodecache, registry
from bench.parts.world import World
from bench.rows.row import Row, mine
from tests.system.parts.images import OCI, Image

LINES = 8
RATE, LATE = "{}, requests/s", "{}, p99 ms"


def sample(cache: Cache, of: Image, seconds: float) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, reference in (("by digest", of.digest), ("by fresh tag", of.tag)):
        url = f"{cache.url}/v2/{of.name}/manifests/{reference}"
        used = used_by(cache.child)
        asked = ask(url, LINES, seconds, {"Accept": OCI})
        cost = (used_by(cache.child) - used) / len(asked.waits)
        found |= {**asked.figures(name), f"{name}, CPU us/request": cost * 1e6}
    return found


def measure(world: World) -> Figures:
    of = world.image(1)
    makers = (nodecache, registry, drayage)
    with world.upstream() as upstream, world.all_empty(makers, upstream.url) as caches:
        for cache in caches.values():
            sample(cache, of, 0.2)
        seconds = 1.5 if not world.quick else 0.3
        samples = {name: partial(sample, one, of, seconds) for name, one in caches.items()}
        return interleaved(world.pick(4, 1), samples)


def bars(name: str) -> tuple[Bar, Bar]:
    rate, late = RATE.format(name), LATE.format(name)
    return (
        Bar(
            text=f"{name}: requests/s / registry's",
            of=mine(rate),
            by=Key("registry", rate),
            at_least=5,
        ),
        Bar(
            text=f"{name}: p99 / registry's", of=mine(late), by=Key("registry", late), at_most=0.25
        ),
    )


ROWS = (
    Row(
        key="manifests",
        title="warm manifest, 8 connections",
        measure=measure,
        bars=(*bars("by digest"), *bars("by fresh tag")),
    ),
)

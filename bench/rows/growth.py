"""What a byte and a request cost as work grows: bigger blobs, more clients, a fuller store."""

from __future__ import annotations

from collections.abc import Sequence

from bench.core.charts import CLIENTS, SIZES, STORED
from bench.core.samples import Figures
from bench.parts.asking import ask
from bench.parts.clocks import settled, used_by
from bench.parts.load import pull
from bench.parts.origin import Origin
from bench.parts.peers import Cache, nodecache
from bench.parts.world import GIB, World, blob_url, layer, url_of, warm_up
from bench.rows.row import Row
from bench.rows.start import node
from tests.system.parts.images import OCI, Blob, Image, noise

Found = dict[str, dict[str, list[float]]]
#: At least so much is moved for one figure, so that it stands out from noise, MiB.
MOVED = 256


def cost(server: Cache | Origin, urls: Sequence[str], times: int, size: int) -> float:
    """Processor seconds for each GiB."""
    used = used_by(server.child)
    for _ in range(times):
        pull(urls, unread=True)
    return (used_by(server.child) - used) / (size * len(urls) * times / GIB)


def blobs(world: World, mib: int) -> list[Blob]:
    """Enough of this size to see what a cold one costs."""
    count = max(1, world.pick(64, 4) // mib)
    if count == 1:
        return [world.sparse(mib)]
    made = [Blob.of(noise(mib << 20, (mib, number))) for number in range(count)]
    for blob in made:
        world.shelf.put(blob)
    return made


def by_size(world: World) -> Figures:
    found: Found = {"cold": {}, "warm": {}, "nginx, warm": {}}
    for mib, words in SIZES if not world.quick else SIZES[:2]:
        some = blobs(world, mib)
        with world.upstream() as upstream, world.empty(nodecache, upstream.url) as cache:
            settled(cache.child)
            used, mark = used_by(cache.child), upstream.mark()
            for blob in some:
                pull([url_of(cache, blob)], unread=True)
            settled(cache.child, cache.file_of(some[-1].digest))
            total = sum(blob.size for blob in some)
            assert upstream.sent(mark) == total
            found["cold"][words] = [(used_by(cache.child) - used) / (total / GIB)]
            times = max(1, world.pick(MOVED, 8) // mib)
            for name, server in (("warm", cache), ("nginx, warm", upstream)):
                url = url_of(server, some[0])
                found[name][words] = [cost(server, [url], times, some[0].size)]
    return found


def by_clients(world: World) -> Figures:
    of, found = world.image(world.pick(64, 8)), Found()
    with world.upstream() as upstream, world.empty(nodecache, upstream.url) as cache:
        warm_up(cache, of)
        for count, words in CLIENTS if not world.quick else CLIENTS[:3]:
            for name, server in (("nodecache", cache), ("nginx", upstream)):
                urls = [blob_url(server, of)] * count
                times = max(1, world.pick(32, 1) // count)
                taken = cost(server, urls, times, layer(of).size)
                found.setdefault(name, {})[words] = [taken]
    return found


def request_cost(cache: Cache, url: str, seconds: float) -> float:
    """Processor microseconds for each answer."""
    used = used_by(cache.child)
    asked = ask(url, 8, seconds, {"Accept": OCI})
    return (used_by(cache.child) - used) / len(asked.waits) * 1e6


def in_store(world: World, upstream: Origin, of: Image, count: int) -> dict[str, float]:
    at = node(world, world.filled(count), upstream.url)
    cache = Cache("nodecache", at)
    cache.start()
    try:
        seconds = 2.0 if not world.quick else 0.2
        config = of.manifest.blobs[0]
        blob = f"{cache.url}/v2/{of.name}/blobs/{config.digest}"
        manifest = f"{cache.url}/v2/{of.name}/manifests/{of.digest}"
        for url in (blob, manifest):
            request_cost(cache, url, 0.2)
        settled(cache.child)
        return {
            "small blob": request_cost(cache, blob, seconds),
            "manifest by digest": request_cost(cache, manifest, seconds),
        }
    finally:
        cache.stop()


def by_store(world: World) -> Figures:
    of, found = world.image(1), Found()
    with world.upstream() as upstream:
        for count, words in STORED if not world.quick else STORED[:2]:
            for name, value in in_store(world, upstream, of, count).items():
                found.setdefault(name, {})[words] = [value]
    return found


ROWS = (
    Row(usual=False, key="growth-size", title="cost by size of blob, CPU s/GiB", measure=by_size),
    Row(usual=False, key="growth-clients", title="cost by clients, CPU s/GiB", measure=by_clients),
    Row(
        usual=False,
        key="growth-store",
        title="cost by blobs in the store, CPU us/request",
        measure=by_store,
    ),
)

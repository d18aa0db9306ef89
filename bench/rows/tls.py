"""A cold blob from an upstream that speaks TLS, against the same one in cleartext."""

from __future__ import annotations

from functools import partial

from bench.core.bars import Bar, Key
from bench.core.samples import Figures, interleaved
from bench.parts.clocks import used_by
from bench.parts.load import pull
from bench.parts.origin import Origin
from bench.parts.peers import nodecache
from bench.parts.world import GIB, World, blob_url, layer
from bench.rows.row import Row, mine
from tests.system.parts.certificates import Identity, authority, server
from tests.system.parts.images import Image

RATE, COST = "MB/s", "CPU s/GiB"


def sample(
    world: World, upstream: Origin, of: Image, ca: Identity | None = None
) -> dict[str, float]:
    """Over TLS where there is a ``ca``."""
    url = upstream.url if ca is None else upstream.secure_url
    trust = (
        f"[upstreams.'docker.io']\nurl = '{url}'\nca_file = '{ca.certificate_file}'\n" if ca else ""
    )
    make = partial(nodecache, toml=trust)
    with world.serving(make, url) as cache:
        mark, used = upstream.mark(), used_by(cache.child)
        (got,) = pull([blob_url(cache, of)])
        cost = used_by(cache.child) - used
        copies = upstream.sent(mark, layer(of).digest) / got.size
        assert 0.99 < copies < 1.01, f"upstream sent {copies:.3f} of the blob"
        return {RATE: got.size / 1e6 / got.last, COST: cost / (got.size / GIB)}


def measure(world: World) -> Figures:
    of, folder = world.image(world.pick(512, 32)), world.place("tls")
    ca = authority(folder)
    with world.upstream(identity=server(folder, ca, ["127.0.0.2"])) as upstream:
        samples = {
            "nodecache": partial(sample, world, upstream, of, ca),
            "nodecache, cleartext": partial(sample, world, upstream, of),
        }
        return interleaved(world.pick(4, 1), samples)


ROWS = (
    Row(
        key="tls",
        title="cold blob, upstream over TLS",
        measure=measure,
        bars=(
            Bar(
                text="MB/s / cleartext",
                of=mine(RATE),
                by=Key("nodecache, cleartext", RATE),
                at_least=0.6,
            ),
        ),
    ),
)

"""Twenty clients of one cold blob, upstream as fast as it can, against twenty of a warm one."""

from __future__ import annotations

from bench.core.bars import Bar
from bench.core.samples import Figures, interleaved
from bench.parts.load import pull
from bench.parts.origin import Origin
from bench.parts.peers import nodecache
from bench.parts.world import World, blob_url, layer
from bench.rows.row import Row, mine
from tests.system.parts.images import Image

CROWD = 20
COLD, WARM, SENT = "last cold client, s", "last warm client, s", "upstream bytes / blob"


def sample(world: World, upstream: Origin, of: Image) -> dict[str, float]:
    """The same node and clients, cold and then warm."""
    with world.serving(nodecache, upstream.url) as cache:
        mark, urls = upstream.mark(), [blob_url(cache, of)] * CROWD
        last = max(one.last for one in pull(urls))
        copies = upstream.sent(mark, layer(of).digest) / layer(of).size
        assert 0.99 < copies < 1.01, f"upstream sent {copies:.3f} of the blob"
        warm = max(one.last for one in pull(urls))
        return {COLD: last, WARM: warm, SENT: copies}


def measure(world: World) -> Figures:
    of = world.image(world.pick(512, 32))
    with world.upstream() as upstream:
        return interleaved(world.pick(4, 1), {"nodecache": lambda: sample(world, upstream, of)})


ROWS = (
    Row(
        key="crowd-20",
        title=f"{CROWD} clients, one cold blob, fast upstream",
        measure=measure,
        bars=(
            Bar(text=SENT, of=mine(SENT), at_most=1.001, worst=True),
            Bar(
                text=f"last client / last of {CROWD} warm",
                of=mine(COLD),
                by=mine(WARM),
                at_most=1.2,
            ),
        ),
    ),
)

"""Upstream behind a cable: one client, connections that are capped, and fifty clients."""

from __future__ import annotations

from functools import partial

from bench.core.bars import Bar, Key
from bench.core.samples import Figures, interleaved
from bench.parts.ground import Ground, shaped
from bench.parts.load import pull
from bench.parts.origin import Origin
from bench.parts.peers import nodecache
from bench.parts.world import World, blob_url, layer
from bench.rows.row import Row, mine
from tests.system.cluster.network import MBIT
from tests.system.parts.images import Image

RATE, FIRST, LAST, SENT = "MB/s", "first byte, ms", "last client, s", "upstream bytes / blob"
CROWD = 50
#: Each connection is capped at one of so many parts of the cable.
PARTS = 8


def direct(upstream: Origin, of: Image) -> dict[str, float]:
    (got,) = pull([blob_url(upstream, of)])
    return {RATE: got.size / 1e6 / got.last, FIRST: got.first * 1000}


def cold(
    world: World, ground: Ground, upstream: Origin, of: Image, clients: int
) -> dict[str, float]:
    """``clients`` at once of a blob that the node lacks; the cable counts as well as the log."""
    size = layer(of).size
    with world.serving(nodecache, upstream.url) as cache:
        mark, before = upstream.mark(), ground.received()
        got = pull([blob_url(cache, of)] * clients)
        copies = upstream.sent(mark, layer(of).digest) / size
        carried = (ground.received() - before) / size
        assert 0.99 < copies < 1.01, f"upstream sent {copies:.3f} of the blob"
        assert 0.99 < carried < 1.05, f"the cable carried {carried:.3f} of the blob"
        last = max(one.last for one in got)
        return {
            RATE: size / 1e6 / last,
            FIRST: max(one.first for one in got) * 1000,
            LAST: last,
            SENT: copies,
        }


def beside_direct(world: World, of: Image, *, link: int, rate: int = 0, rounds: int) -> Figures:
    """Directly and by a node, over a cable of ``link`` bits a second.

    ``rate``: bytes a second that upstream gives a connection; 0 is as many as there are.
    """
    with (
        world.ground(partial(shaped, rate=link)) as ground,
        world.upstream(ground=ground, rate=rate) as upstream,
    ):
        samples = {
            "direct": partial(direct, upstream, of),
            "nodecache": partial(cold, world, ground, upstream, of, 1),
        }
        return interleaved(rounds, samples)


def slow_link(world: World) -> Figures:
    of = world.image(world.pick(64, 8))
    return beside_direct(world, of, link=100 * MBIT, rounds=world.pick(3, 1))


def capped(world: World) -> Figures:
    link = 800 * MBIT
    of = world.image(world.pick(256, 32))
    rate = link // 8 // PARTS
    return beside_direct(world, of, link=link, rate=rate, rounds=world.pick(2, 1))


def crowd(world: World) -> Figures:
    of = world.image(world.pick(64, 8))
    with (
        world.ground(partial(shaped, rate=100 * MBIT)) as ground,
        world.upstream(ground=ground) as upstream,
    ):
        samples = {
            "nodecache, alone": partial(cold, world, ground, upstream, of, 1),
            "nodecache": partial(cold, world, ground, upstream, of, CROWD),
        }
        return interleaved(world.pick(3, 1), samples)


DIRECT = Key("direct", RATE)

ROWS = (
    Row(
        key="link",
        title="cold blob, link of 100 Mbit/s",
        measure=slow_link,
        bars=(
            Bar(text="MB/s / direct", of=mine(RATE), by=DIRECT, at_least=0.97),
            Bar(
                text="first byte later than direct",
                of=mine(FIRST),
                minus=Key("direct", FIRST),
                at_most=20,
                unit="ms",
            ),
        ),
    ),
    Row(
        key="capped",
        title="cold blob, each upstream connection capped at an eighth of the link",
        measure=capped,
        bars=(Bar(text="MB/s / direct", of=mine(RATE), by=DIRECT, at_least=5),),
    ),
    Row(
        key="crowd-50",
        title=f"{CROWD} clients, one cold blob, link of 100 Mbit/s",
        measure=crowd,
        bars=(
            Bar(text=SENT, of=mine(SENT), at_most=1.001, worst=True),
            Bar(
                text="last client / one alone",
                of=mine(LAST),
                by=Key("nodecache, alone", LAST),
                at_most=1.1,
            ),
        ),
    ),
)

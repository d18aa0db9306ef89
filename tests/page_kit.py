"""Documents of ``/api/v1/`` to draw the status page of, from ordinary ones to the worst."""

from __future__ import annotations

import random
from typing import Any

import attrs

from nodecache import events
from nodecache.membership import Address
from nodecache.watching import CacheNow, Reports, Transfer, Watch, Window, documents
from nodecache.web.api import BytesByRole, PeerRow, PeersSeenHere, PeerState, peers_view
from nodecache.web.page.whole import Documents
from tests.test_watching import HUB, START, answered, pull, request
from tests.test_watching_troubles import limit, now

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&amp;\0"
LONG = "registry.example.internal/" + "a-very-long-name/" * 12 + "that-does-not-end"
GIB = 1 << 30


def transfer(**fields: Any) -> Transfer:
    common: dict[str, Any] = {
        "digest": "sha256:" + "a" * 64,
        "images": ("docker.io/library/nginx",),
        "status": "arriving",
        "present": 250,
        "total": 1000,
        "fetched": 250,
        "from_peers": (),
        "speed": 75.0,
        "seconds": 3.0,
        "readers": 1,
        "clients": 1,
        "connections": 2,
        "spans": ((0, 200), (500, 550)),
    }
    return Transfer(**{**common, **fields})


def peer(name: str, state: PeerState = PeerState.LIVE, **fields: Any) -> PeerRow:
    common: dict[str, Any] = {
        "id": name,
        "addresses": (Address("10.0.0.2", 5001),),
        "zone": "a",
        "release": "1.0",
        "state": state,
    }
    return PeerRow(**{**common, **fields})


def seen(*rows: PeerRow, **fields: Any) -> PeersSeenHere:
    common: dict[str, Any] = {
        "id": "node-1",
        "zone": "a",
        "release": "1.0",
        "wire": "1",
        "addresses": (Address("10.0.0.1", 5001),),
        "age_seconds": 0.0,
        "peers": rows,
    }
    return PeersSeenHere(**{**common, **fields})


def cluster_feeds(*edges: tuple[str, str, int, float], **reports: float | None) -> dict[str, Any]:
    """``reports`` are ages; one of more than a minute is old, and so is none at all."""
    return {
        "lately_seconds": 300.0,
        "edges": [
            {"from": giver, "to": taker, "bytes": count, "report_seconds": age}
            for giver, taker, count, age in edges
        ],
        "reports": [
            {"peer": name, "seconds": age, "old": age is None or age > 60}
            for name, age in reports.items()
        ],
    }


def made(
    *found: events.Event,
    transfers: tuple[Transfer, ...] = (),
    peers: PeersSeenHere | None = None,
    feeds: dict[str, Any] | None = None,
    window: Window = Window.HOUR,
    **around: Any,
) -> Documents:
    watch = Watch([HUB])
    for event in found:
        watch.observe(event, START)
    return Documents(
        status=documents.status(watch, now(**around), START),
        history=documents.history(watch, window, (), 5000.0, START),
        transfers=documents.transfers(transfers, 1),
        errors=documents.errors(watch, 5000.0, START),
        peers=None if peers is None else peers_view(peers),
        feeds=None if peers is None else feeds or documents.cluster(Reports(), (), START),
    )


def everything() -> Documents:
    rows = [peer(f"node-{number}", state) for number, state in enumerate(PeerState, 2)]
    return made(
        answered(),
        limit(40),
        request(),
        request(source="fill", bytes=500),
        request(kind="manifest", status=404, source="none"),
        events.PeerBytes(peer="node-2", direction="in", role="owner", bytes=10**8),
        events.PeerBytes(peer="node-2", direction="out", role="owner", bytes=10**8),
        pull(),
        transfers=(transfer(), transfer(status="asking", total=None, present=0, spans=())),
        peers=seen(*rows),
        feeds=cluster_feeds(("node-2", "node-3", 10**8, 1.0), **{"node-2": 1.0, "node-3": None}),
    )


def hostile() -> Documents:
    """Every word from outside is markup."""
    events_ = [
        answered(),
        pull(HOSTILE, reference=HOSTILE),
        request(kind="manifest", status=404, source="none", repository=HOSTILE, reason=HOSTILE),
        events.UpstreamHealth(origin=HUB.origins[0], up=False, reason=HOSTILE),
        events.UpstreamHealth(origin=HOSTILE, up=False, reason=HOSTILE),
        events.PeerBytes(peer=HOSTILE, direction="in", role="owner", bytes=10**8),
        events.SettingWarning(message=HOSTILE),
        events.Unexpected(where=HOSTILE, error=HOSTILE, trace=HOSTILE),
    ]
    return made(
        *events_,
        transfers=(transfer(digest=HOSTILE, images=(HOSTILE,), from_peers=((HOSTILE, 9),)),),
        peers=seen(peer(HOSTILE, zone=HOSTILE, release=HOSTILE), peer("b"), id=HOSTILE),
        feeds=cluster_feeds((HOSTILE, "b", 5, 1.0), **{HOSTILE: None}),
        node_id=HOSTILE,
        problem=HOSTILE,
    )


def cluster(count: int) -> Documents:
    """So many peers with long names: some fail, most feed others, some say nothing of it."""
    rng = random.Random(count)
    names = [f"ip-10-0-{n // 10}-{n % 10}.eu-west-1.compute.internal" for n in range(count)]
    rows = [
        peer(
            name,
            PeerState.ASIDE if number % 13 == 5 else PeerState.LIVE,
            zone="abc"[number % 3],
            received=BytesByRole(owner=10**9 * (number % 2)),
        )
        for number, name in enumerate(names)
    ]
    edges = [
        (giver, taker, int(10 ** rng.uniform(5, 10)), 100.0 if number % 7 == 3 else 2.0)
        for number, giver in enumerate(names)
        for taker in rng.sample(names, min(2, count - 1))
        if taker != giver
    ]
    ages = {name: 400.0 if n % 7 == 3 else 2.0 for n, name in enumerate(names)}
    moved = [
        events.PeerBytes(peer=name, direction=way, role="owner", bytes=10**8)
        for name, way in zip(names, ("in", "out", "in"), strict=False)
    ]
    return made(
        answered(),
        *moved,
        pull(LONG, reference="v" * 128),
        transfers=(transfer(images=(LONG,)),),
        peers=seen(*rows),
        feeds=cluster_feeds(*sorted(edges, key=lambda edge: -edge[2]), **ages),
        node_id="n" * 63,
    )


def trouble() -> Documents:
    """No other node, an upstream that is down and lets nobody pull, and a disk that is full."""
    full = CacheNow(
        bytes=20 * GIB,
        reserved=2 * GIB,
        cap=100 * GIB,
        floor=40 * GIB,
        disk_free=GIB,
        disk_total=200 * GIB,
        blobs=812,
        manifests=90,
        partials=2,
    )
    return made(
        limit(0),
        attrs.evolve(answered(), status=429),
        events.UpstreamHealth(origin=HUB.origins[0], up=False, reason="connection refused"),
        events.DiskFailed(operation="write a tag", reason="No space left on device"),
        request(kind="manifest", status=404, source="none"),
        peers=seen(),
        cache=full,
        problem="the data folder can not be written",
    )

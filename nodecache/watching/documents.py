"""What is known of the node as the documents of ``/api/v1/``. Pure.

The documents only grow: a field that is there stays there and keeps its
meaning. Bytes and seconds throughout; ``..._seconds`` are from now or ago, and
None stands where there is nothing to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import attrs

from nodecache.watching.facts import Now, Transfer
from nodecache.watching.feeds import LATELY, Feed
from nodecache.watching.health import health
from nodecache.watching.history import SERVED, Flow, Series, Window
from nodecache.watching.images import ImageSeen
from nodecache.watching.reports import Edge, Reports
from nodecache.watching.troubles import TroubleSeen
from nodecache.watching.upstreams import UpstreamSeen
from nodecache.watching.watch import Watch

#: How many of each a document names.
IMAGES: Final = 10
FEEDS: Final = 64
ERRORS_IN_STATUS: Final = 10

Document = dict[str, Any]


def status(watch: Watch, around: Now, now: float) -> Document:
    """How the node is. ``now`` is monotonic, as in all of these."""
    upstreams = watch.upstreams.seen(now)
    troubles = watch.troubles.seen(now)
    lines = health(around, upstreams, troubles)
    totals = watch.history.totals_with(around.going)
    return {
        "health": lines[0].text,
        "state": lines[0].state,
        "notices": [attrs.asdict(line) for line in lines],
        "ready": around.problem is None,
        "at": around.at,
        "version": around.version,
        "node_id": around.node_id,
        "uptime_seconds": _rounded(around.uptime),
        "offline": around.offline,
        "hits": int(totals[Series.HITS]),
        "misses": int(totals[Series.MISSES]),
        "hit_rate": _rate(totals[Series.HITS], totals[Series.MISSES]),
        **_bytes(totals),
        "cache": attrs.asdict(around.cache),
        "upstreams": [_upstream(seen, around.at, now) for seen in upstreams],
        "also_down": [
            {"origin": origin, "reason": reason} for origin, reason in watch.upstreams.others_down()
        ],
        "peers": None if around.peers is None else attrs.asdict(around.peers),
        "in_flight": around.in_flight,
        "sending": around.sending,
        "feeds": feeds(watch, now),
        "hottest": [_image(image) for image in watch.images.hottest(now, IMAGES)],
        "biggest": [_image(image) for image in watch.images.biggest(now, IMAGES)],
        "errors": [_trouble(each, around.at) for each in troubles[:ERRORS_IN_STATUS]],
    }


def _bytes(totals: dict[Series, float]) -> Document:
    served = sum(totals[series] for series in SERVED)
    sources = (*SERVED, Series.PEERS, Series.UPSTREAM)
    return {
        "bytes_by_source": {series.value: int(totals[series]) for series in sources},
        "served_bytes": int(served),
        "sent_to_peers_bytes": int(totals[Series.LENT]),
        "upstream_bytes_saved": max(0, int(served - totals[Series.UPSTREAM])),
    }


def _rate(hits: float, misses: float) -> float | None:
    asked = hits + misses
    return None if not asked else round(hits / asked, 4)


def _upstream(seen: UpstreamSeen, at: float, now: float) -> Document:
    limit = None
    if (known := seen.limit) is not None:
        resets = None if known.resets_at is None else max(0.0, known.resets_at - at)
        limit = {
            "limit": known.limit,
            "remaining": known.remaining,
            "window_seconds": known.window_seconds,
            "resets_in_seconds": _rounded(resets),
            "seen_seconds": _rounded(max(0.0, now - known.seen_at)),
        }
    return {
        "namespace": seen.place.namespace,
        "url": seen.place.url,
        "up": seen.up,
        "reason": seen.reason,
        "since_seconds": _rounded(seen.since),
        "refused_seconds": _rounded(seen.refused_seconds),
        "rate_limit": limit,
    }


def _feed(feed: Feed) -> Document:
    return {
        "peer": feed.peer,
        "received_bytes": feed.received,
        "sent_bytes": feed.sent,
        "received_bytes_per_second": round(feed.received_rate),
        "sent_bytes_per_second": round(feed.sent_rate),
        "received_lately_bytes": feed.received_lately,
        "sent_lately_bytes": feed.sent_lately,
        "idle_seconds": _rounded(feed.idle_seconds),
    }


def feeds(watch: Watch, now: float) -> list[Document]:
    """Of this node alone, as in ``status``."""
    return [_feed(feed) for feed in watch.feeds.seen(now)[:FEEDS]]


def cluster(reports: Reports, peers: Sequence[str], now: float) -> Document:
    """Who fed whom of late in the whole cluster, as far as nodes told this one.

    ``peers`` are those that are asked for it.
    """
    return {
        "lately_seconds": LATELY,
        "edges": [_edge(edge) for edge in reports.edges(now)],
        "reports": [
            {
                "peer": peer,
                "seconds": _rounded(reports.age(peer, now)),
                "old": reports.is_old(peer, now),
            }
            for peer in peers
        ],
    }


def _edge(edge: Edge) -> Document:
    return {
        "from": edge.giver,
        "to": edge.taker,
        "bytes": edge.bytes,
        "report_seconds": _rounded(edge.age_seconds),
    }


def _image(image: ImageSeen) -> Document:
    return {
        "image": image.image,
        "pulls": image.pulls,
        "failed_pulls": image.failed,
        "served_bytes": image.bytes,
        "largest_pull_bytes": image.largest,
        "last_pull_seconds": _rounded(image.idle_seconds),
    }


def errors(watch: Watch, at: float, now: float) -> Document:
    """The last things that went wrong, the latest first. ``at`` is the wall clock."""
    return {"errors": [_trouble(each, at) for each in watch.troubles.seen(now)]}


def _trouble(seen: TroubleSeen, at: float) -> Document:
    return {
        "problem": seen.problem,
        "next": seen.next_step,
        "grave": seen.grave,
        "count": seen.count,
        "over": seen.over,
        "first_seconds": _rounded(seen.first),
        "last_seconds": _rounded(seen.last),
        "last_at": _rounded(at - seen.last),
    }


def history(watch: Watch, window: Window, going: Sequence[Flow], at: float, now: float) -> Document:
    """Sums by step, the oldest first; the last step is going on for ``elapsed_seconds``."""
    past = watch.history.past(window, now, going)
    values = {
        series.value: [round(value) for value in values] for series, values in past.values.items()
    }
    hits, misses = past.values[Series.HITS], past.values[Series.MISSES]
    counts = len(hits)
    return {
        "window": window.value,
        "step_seconds": past.step,
        "elapsed_seconds": _rounded(past.elapsed),
        "first_step": past.first,
        "starts_at": _rounded(at - past.elapsed - (counts - 1) * past.step),
        "bytes": {name: values[name] for name in values if name not in {"hits", "misses"}},
        "hits": values["hits"],
        "misses": values["misses"],
        "hit_rate": [_rate(hit, miss) for hit, miss in zip(hits, misses, strict=True)],
    }


def transfers(found: Sequence[Transfer], sending: int) -> Document:
    """What is on its way to disk, the oldest first; ``sending`` bodies go out to clients."""
    return {"sending": sending, "transfers": [_transfer(each) for each in found]}


def _transfer(transfer: Transfer) -> Document:
    return {
        "digest": transfer.digest,
        "image": transfer.images[0] if transfer.images else "",
        "images": list(transfer.images),
        "status": transfer.status,
        "present_bytes": transfer.present,
        "total_bytes": transfer.total,
        "fetched_bytes": transfer.fetched,
        "from_upstream_bytes": transfer.from_upstream,
        "from_peers_bytes": dict(transfer.from_peers),
        "bytes_per_second": round(transfer.speed),
        "seconds": _rounded(transfer.seconds),
        "readers": transfer.readers,
        "clients": transfer.clients,
        "connections": transfer.connections,
        "spans": [list(span) for span in transfer.spans],
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)

"""What is told of peers, in plain words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from nodecache import events
from nodecache.config import format_size
from nodecache.events import Event


def _changed(event: events.PeersChanged) -> str:
    nodes = "1 other node" if event.known == 1 else f"{event.known} other nodes"
    return f"knows {nodes}, and asks {event.live} of them"


def _failed(event: events.PeerFailed) -> str:
    return f"peer {event.peer} failed ({event.what}, {event.kind}): {event.reason}"


def _health(event: events.PeerHealth) -> str:
    if event.up:
        return f"peer {event.peer} is asked again"
    if event.gone:
        return f"peer {event.peer} is no more: {event.reason}"
    return f"peer {event.peer} is left alone for now: {event.reason}"


def _off(event: events.PeersOff) -> str:
    if event.off:
        return f"no peer is asked for {event.pause_seconds:.0f} s: {event.reason}"
    return "peers are asked again"


def _suspected(event: events.PeerSuspected) -> str:
    what = f"segments {event.segments} of {event.digest}"
    if event.whose == "ours":
        return f"peer {event.peer} says that our {what} are wrong"
    return f"peer {event.peer} sent wrong bytes: {what}"


def _repaired(event: events.Repaired) -> str:
    return f"{event.digest} was fetched again from {event.source}, and is {event.outcome}"


def _link(event: events.LinkBehind) -> str:
    rate = f"{format_size(event.bytes_per_second)} a second"
    if event.behind:
        return f"the link is slow beside those of the peers ({rate}): it is asked last"
    return f"the link is as fast as those of the peers ({rate})"


def _twice(event: events.PeerIdTwice) -> str:
    return f"{event.address} has the id of this node, {event.id}: give each node its own --node-id"


def _unresolved(event: events.DiscoveryFailed) -> str:
    return f"the peers ({event.target}) were not found, those known stay: {event.reason}"


def _works(event: events.DiscoveryWorks) -> str:
    return f"the peers ({event.target}) are found again"


def _secrets(event: events.SecretsRead) -> str:
    count = "1 secret" if event.count == 1 else f"{event.count} secrets"
    if event.reason:
        return f"the peers' secrets could not be read ({event.reason}), still accepted: {count}"
    return f"accepts {count} of the peers"


def _wished(event: events.WishFinished) -> str:
    words = f"{event.peer} wished {event.image} to be here: {event.outcome}"
    return f"{words} ({event.reason})" if event.reason else words


#: The words for each kind; the counts are in the metrics.
PEERS: Final[Mapping[type[Event], Callable[[Any], str | None]]] = {
    events.PeersChanged: _changed,
    events.PeerFailed: _failed,
    events.PeerHealth: _health,
    events.PeersOff: _off,
    events.PeerSuspected: _suspected,
    events.Repaired: _repaired,
    events.LinkBehind: _link,
    events.PeerIdTwice: _twice,
    events.DiscoveryFailed: _unresolved,
    events.DiscoveryWorks: _works,
    events.SecretsRead: _secrets,
    events.WishFinished: _wished,
}

"""``/api/v1/`` of the admin port: what a program may read of this node, as JSON.

Plugs into ``admin_site(more=...)``. The documents only grow: a field that is
there stays there and keeps its meaning.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Callable
from typing import Any

import attrs
from klein import Klein

from nodecache.membership import Address
from nodecache.web.request import JSON, GuardedRequest

#: Decimals of seconds.
DECIMALS = 3


class PeerState(enum.Enum):
    """What another node is to this one; the value stands in the document."""

    LIVE = "live"  # it is ranked and asked
    ASIDE = "aside"  # it failed, and is asked again after ``aside_seconds``
    VERSION = "version"  # it speaks another version of the wire
    LEAVING = "leaving"  # it said that it stops
    UNKNOWN = "unknown"  # an address that nobody has met yet


@attrs.frozen
class BytesByRole:
    """Body bytes, by what the sender was: asked to fetch (owner), or not (holder)."""

    owner: int = 0
    holder: int = 0


@attrs.frozen(kw_only=True)
class PeerRow:
    """Another node. Times are seconds from now or ago; None where there is nothing to say."""

    id: str  # its address until its name is known
    addresses: tuple[Address, ...]
    zone: str
    release: str
    state: PeerState
    aside_seconds: float | None = None
    contact_seconds: float | None = None  # since it last answered or asked
    rtt_seconds: float | None = None  # of the last greeting
    failures: int = 0  # in a row
    busy: bool = False  # slow now, as it says, so that it ranks last
    inbound: int = 0  # bytes a second that its link was seen to carry; 0 before it says so
    received: BytesByRole = BytesByRole()
    sent: BytesByRole = BytesByRole()


@attrs.frozen(kw_only=True)
class PeersSeenHere:
    """The view of the cluster. ``age_seconds`` is that of the last good answer of DNS.

    It is 0 for a static list, and None before the first answer. ``off_seconds``
    is set while no peer is asked because most of them failed. ``inbound`` is
    what this node's link was seen to carry, ``behind`` whether it is slow
    beside those of the others.
    """

    id: str
    zone: str
    release: str
    wire: str
    addresses: tuple[Address, ...]
    age_seconds: float | None
    peers: tuple[PeerRow, ...]
    off_seconds: float | None = None
    leaving: bool = False
    inbound: int = 0
    behind: bool = False


def peers_api(seen: Callable[[], PeersSeenHere]) -> Callable[[Klein], None]:
    """For ``admin_site(more=...)``: adds ``/api/v1/peers``."""

    def peers(request: GuardedRequest) -> bytes:
        return request.reply(200, _dump(peers_view(seen())), JSON)

    def add(app: Klein) -> None:
        app.route("/api/v1/peers", methods=["GET"], endpoint="peers")(peers)

    return add


def peers_view(seen: PeersSeenHere) -> dict[str, Any]:
    """The document."""
    live = sum(1 for peer in seen.peers if peer.state is PeerState.LIVE)
    return {
        "id": seen.id,
        "zone": seen.zone,
        "release": seen.release,
        "wire": seen.wire,
        "addresses": [str(address) for address in seen.addresses],
        "leaving": seen.leaving,
        "inbound_bytes_per_second": seen.inbound or None,
        "behind": seen.behind,
        "age_seconds": _seconds(seen.age_seconds),
        "off_seconds": _seconds(seen.off_seconds),
        "known": len(seen.peers),
        "live": live,
        "peers": [_row(peer) for peer in seen.peers],
    }


def _row(peer: PeerRow) -> dict[str, Any]:
    return {
        "id": peer.id,
        "addresses": [str(address) for address in peer.addresses],
        "zone": peer.zone,
        "release": peer.release,
        "state": peer.state.value,
        "busy": peer.busy,
        "inbound_bytes_per_second": peer.inbound or None,
        "aside_seconds": _seconds(peer.aside_seconds),
        "contact_seconds": _seconds(peer.contact_seconds),
        "rtt_seconds": _seconds(peer.rtt_seconds),
        "failures": peer.failures,
        "received_bytes": attrs.asdict(peer.received),
        "sent_bytes": attrs.asdict(peer.sent),
    }


def _seconds(value: float | None) -> float | None:
    return None if value is None else round(value, DECIMALS)


def _dump(document: dict[str, Any]) -> bytes:
    return json.dumps(document, indent=1).encode("ascii") + b"\n"

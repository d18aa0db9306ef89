"""All nodes of the cluster, as this one sees them: each peer is asked for its status."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
from twisted.internet.defer import Deferred, gatherResults

from nodecache.failures import PeerFailure
from nodecache.limits import Timeouts
from nodecache.membership import Peer
from nodecache.service.neighbours import Neighbours
from nodecache.singleflight import SingleFlight
from nodecache.watching import report
from nodecache.web.api import PeerRow, PeerState

#: Peers that are asked at a time.
_WIDTH = 32


def summary(status: Mapping[str, Any]) -> dict[str, Any]:
    """Of this node's own status, what others are told; sizes in bytes."""
    cache, sources = status["cache"], status["bytes_by_source"]
    return {
        "id": status["node_id"],
        "release": status["version"],
        "state": status["state"],
        "health": status["health"],
        "uptime_seconds": status["uptime_seconds"],
        "blobs": cache["blobs"],
        "bytes": cache["bytes"],
        "cap": cache["cap"],
        "hit_rate": status["hit_rate"],
        "served_bytes": status["served_bytes"],
        "upstream_bytes": sources["upstream"],
        "peer_bytes": sources["peers"],
        "sent_to_peers_bytes": status["sent_to_peers_bytes"],
        "upstreams_down": [
            each["namespace"] for each in status["upstreams"] if each["up"] is False
        ],
        "peers_aside": 0 if status["peers"] is None else status["peers"]["aside"],
        **report(status["feeds"]),
    }


class ClusterView:
    """``status`` is what this node says of itself, to peers too."""

    def __init__(
        self,
        near: Neighbours | None,
        status: Callable[[], dict[str, Any]],
        timeouts: Timeouts,
        reactor: Any,
    ) -> None:
        self._near = near
        self._status = status
        self._timeouts = timeouts
        self._reactor = reactor
        self._asking: SingleFlight[str, dict[str, Any]] = SingleFlight()

    async def document(self) -> dict[str, Any]:
        """Every node, this one first. One that gives no answer in time has none.

        It takes ``Timeouts.answer`` seconds at the most; who asks meanwhile gets the same.
        """
        return await self._asking.run("all", self._document)

    async def _document(self) -> dict[str, Any]:
        own = {"id": self._status().get("id", ""), "self": True, "state": "live"}
        nodes = [{**own, "problem": "", "status": self._status()}]
        rows = () if self._near is None else self._near.table.seen().peers
        deadline = self._reactor.seconds() + self._timeouts.answer
        for start in range(0, len(rows), _WIDTH):
            asking = [
                Deferred.fromCoroutine(self._row(row, deadline))
                for row in rows[start : start + _WIDTH]
            ]
            nodes += await gatherResults(asking, consumeErrors=True)
        return {"nodes": nodes}

    async def _row(self, row: PeerRow, deadline: float) -> dict[str, Any]:
        told: dict[str, Any] = {"status": None, "problem": ""}
        if row.state in (PeerState.VERSION, PeerState.LEAVING):
            told["problem"] = _WHY[row.state]
        elif self._reactor.seconds() >= deadline or not row.addresses:
            told["problem"] = "it was not asked: there was no time left"
        else:
            told = await self._asked(row)
        common = attrs.asdict(row, filter=lambda field, _: field.name in ("id", "zone", "release"))
        addresses = [str(address) for address in row.addresses]
        state = row.state.value
        return {**common, "self": False, "state": state, "addresses": addresses, **told}

    async def _asked(self, row: PeerRow) -> dict[str, Any]:
        assert self._near is not None
        try:
            found = await self._near.peers.status(Peer(row.id, row.addresses, row.zone))
        except PeerFailure as failure:
            return {"status": None, "problem": str(failure)}
        return {"status": found, "problem": ""}


_WHY = {
    PeerState.VERSION: "it speaks another version of the wire",
    PeerState.LEAVING: "it is stopping",
}

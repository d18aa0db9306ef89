"""The other nodes as they are drawn and listed: what each is, and what flows."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import attrs

from nodecache.web.page.units import span

#: Bytes a second below which nobody is fed now.
QUIET: Final = 1024

WORDS: Final = {
    "live": "asked",
    "aside": "failed, left alone",
    "version": "other wire version",
    "leaving": "is stopping",
    "unknown": "not met yet",
}


@attrs.frozen
class Neighbour:
    """A row of ``/api/v1/peers``, and what flows between it and this node.

    ``others`` are bytes that went of late between it and any other node.
    """

    row: dict[str, Any]
    came: int  # bytes
    went: int
    came_rate: int  # bytes a second
    went_rate: int
    others: int

    @property
    def liveliness(self) -> tuple[int, bool, int, int]:
        return (
            self.came_rate + self.went_rate,
            self.row["state"] == "aside",
            self.others,
            self.came + self.went,
        )


def neighbours(
    peers: dict[str, Any], status: dict[str, Any], feeds: dict[str, Any]
) -> list[Neighbour]:
    """The liveliest first: those that feed this node or are fed, those that fail, the others."""
    own = {feed["peer"]: feed for feed in status["feeds"]}
    others: Counter[str] = Counter()
    for edge in feeds["edges"]:
        others[edge["from"]] += edge["bytes"]
        others[edge["to"]] += edge["bytes"]
    found = [_neighbour(row, own.get(row["id"], {}), others[row["id"]]) for row in peers["peers"]]
    return sorted(found, key=lambda each: each.liveliness, reverse=True)


def _neighbour(row: dict[str, Any], feed: dict[str, Any], others: int) -> Neighbour:
    return Neighbour(
        row,
        sum(row["received_bytes"].values()),
        sum(row["sent_bytes"].values()),
        feed.get("received_bytes_per_second", 0),
        feed.get("sent_bytes_per_second", 0),
        others,
    )


def words(row: dict[str, Any]) -> str:
    """What the peer is to this node."""
    found = WORDS[row["state"]]
    if row["state"] == "aside" and row["aside_seconds"] is not None:
        found += f", again in {span(row['aside_seconds'])}"
    return f"{found}, asked last" if row["busy"] else found

"""What is looked at, and not remembered, when somebody asks how the node is. Values only."""

from __future__ import annotations

import attrs

from nodecache.watching.history import Flow


@attrs.frozen(kw_only=True)
class CacheNow:
    """Bytes and counts; the disk as last looked at. ``floor`` is what stays free of it."""

    bytes: int
    reserved: int
    cap: int
    floor: int
    disk_free: int
    disk_total: int
    blobs: int
    manifests: int
    partials: int


@attrs.frozen(kw_only=True)
class PeersNow:
    """Other nodes: ``aside`` failed and are left alone; ``off``: none is asked for now."""

    known: int
    live: int
    aside: int
    off: bool


@attrs.frozen(kw_only=True)
class Transfer:
    """A blob on its way to disk. ``spans`` are the ranges present, merged to a few dozen.

    ``fetched`` is what came since it began, of it ``from_peers`` by node id; what
    an earlier fill left on disk is ``present`` as well. ``speed`` is bytes a second.
    """

    digest: str
    images: tuple[str, ...]
    status: str
    present: int
    total: int | None
    fetched: int
    from_peers: tuple[tuple[str, int], ...]
    speed: float
    seconds: float
    readers: int
    clients: int
    connections: int
    spans: tuple[tuple[int, int], ...]

    @property
    def from_upstream(self) -> int:
        return max(0, self.fetched - sum(count for _, count in self.from_peers))


@attrs.frozen(kw_only=True)
class Now:
    """``at`` is the wall clock. ``problem`` is why the node is not ready.

    ``going`` are bodies on their way to clients, ``sending`` how many.
    """

    at: float
    problem: str | None
    version: str
    node_id: str
    uptime: float
    offline: bool
    cache: CacheNow
    peers: PeersNow | None
    in_flight: int
    sending: int
    going: tuple[Flow, ...]

"""Which peers sent bytes of which segment: who may be to blame for them. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from nodecache.byteranges import Span
from nodecache.segments import segment_of


class Senders:
    def __init__(self) -> None:
        self._peers: dict[int, set[str]] = {}
        self.bytes_of_peers = 0

    def brought(self, peer: str | None, span: Span) -> None:
        """``peer`` sent ``span``; None: upstream did."""
        if peer is not None:
            self.bytes_of_peers += span.size
            for segment in range(segment_of(span.start), segment_of(span.stop - 1) + 1):
                self._peers.setdefault(segment, set()).add(peer)

    def vouched(self, peer: str | None, offset: int) -> None:
        """``peer`` told the size of the blob, asked for the segment at ``offset``."""
        if peer is not None:
            self._peers.setdefault(segment_of(offset), set()).add(peer)

    def by_segment(self) -> Mapping[int, frozenset[str]]:
        return {segment: frozenset(peers) for segment, peers in self._peers.items()}

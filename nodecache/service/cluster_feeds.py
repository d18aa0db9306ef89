"""Who feeds whom in the whole cluster, asked of the peers for as long as somebody looks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime

from nodecache.failures import PeerFailure
from nodecache.membership import Peer
from nodecache.service.neighbours import Neighbours
from nodecache.watching import Reports, report
from nodecache.watching.documents import cluster
from nodecache.web.api import PeerRow, PeerState

T = TypeVar("T")

#: Peers that are asked at a time, and at most at each look.
WIDTH: Final = 16


class ClusterFeeds:
    """Nothing is asked of anybody while nobody looks: ``document`` begins it, and waits for none.

    Each look asks those whose report is the oldest, and shows what is known by
    then; the next look shows what they answered.
    """

    def __init__(
        self,
        near: Neighbours,
        clock: IReactorTime,
        own: Callable[[], Sequence[Mapping[str, Any]]],
    ) -> None:
        """``own`` are the feeds of this node."""
        self._near = near
        self._clock = clock
        self._own = own
        self._reports = Reports()
        self._going = 0

    def document(self) -> dict[str, Any]:
        """As ``/api/v1/feeds`` has it."""
        seen = self._near.table.seen()
        now = self._clock.seconds()
        rows = {row.id: row for row in seen.peers if row.state is PeerState.LIVE and row.addresses}
        if not seen.leaving:
            for peer in self._reports.due(list(rows), now, WIDTH - self._going):
                self._begin(rows[peer], now)
        self._reports.asking(seen.id, now)
        self._reports.told(seen.id, report(self._own()), now)
        return cluster(self._reports, list(rows), now)

    def _begin(self, row: PeerRow, now: float) -> None:
        self._going += 1
        self._reports.asking(row.id, now)
        Deferred.fromCoroutine(self._ask(row)).addBoth(self._ended)

    def _ended(self, result: T) -> T:
        self._going -= 1
        return result

    async def _ask(self, row: PeerRow) -> None:
        try:
            said = await self._near.peers.status(Peer(row.id, row.addresses, row.zone))
        except (PeerFailure, CancelledError):
            return  # its last report gets old, and is shown as that
        self._reports.told(row.id, said, self._clock.seconds())

"""Blobs whose bytes were wrong, and who sent the wrong ones.

A fill tells what came of its bytes (``Blame``), and asks how the next one of
that blob is to be made (``trust``)::

    usual ── wrong, from peers ──> verified ── wrong again ──> alone ── wrong ──> given up
                                      │                          │
                                      └── right ── compare ──────┘

*Verified*: only bytes whose digest another node found right, from the one node
that ranks first for the repair of that blob, so that all who were deceived
cost upstream one copy together. That node may be the liar: where all of such a
copy came from one peer, the next in the ranks repairs, twice at most. *Alone*:
from upstream, whatever peers say. All this once in ``Timeouts.peer_repair``
for a digest.

A sender may have passed on what another sent it. So it is put aside for a
minute only, unless it has done so before, not within the same minute, or has
sent wrong bytes as ones that were found right.
"""

from __future__ import annotations

import enum
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from nodecache.events import PeerSuspected, Repaired
from nodecache.failures import PeerFailure, PeerKind
from nodecache.limits import Timeouts
from nodecache.membership import Peer
from nodecache.reference import Digest
from nodecache.seams import Observe
from nodecache.sharing.ports import Cluster

#: So many digests are remembered.
_MOST: Final = 1024

#: So many peers may fail to repair a blob before upstream alone is asked.
_REPAIRERS: Final = 2

#: CRC-32 of the 1 MiB blocks of a blob, by segment.
Sums: TypeAlias = Mapping[int, tuple[int, ...]]
#: Node ids of the peers that sent bytes of a segment.
Senders: TypeAlias = Mapping[int, frozenset[str]]


class Trust(enum.Enum):
    """Where the bytes of a blob may come from."""

    USUAL = enum.auto()
    VERIFIED = enum.auto()  # of peers, those only that found the digest right
    ALONE = enum.auto()  # of upstream only


@attrs.frozen
class _Copy:
    """One that did not match."""

    senders: Senders
    sums: Sums


@attrs.define
class _Case:
    """One repair. ``closed``: it came to an end, and there is no other for a while."""

    began: float
    trust: Trust
    copies: list[_Copy]
    failed: set[str] = attrs.field(factory=set)  # who repaired it wrongly
    from_peer: bool = False
    closed: bool = False


class Suspicions:
    """A ``Blame``. ``put_aside`` is told the node id of who sent wrong bytes; ``stop`` is owed."""

    def __init__(
        self,
        cluster: Cluster,
        clock: IReactorTime,
        observe: Observe,
        put_aside: Callable[[str, PeerKind], None],
        timeouts: Timeouts,
    ) -> None:
        self._cluster = cluster
        self._clock = clock
        self._observe = observe
        self._put_aside = put_aside
        self._timeouts = timeouts
        self._cases: OrderedDict[Digest, _Case] = OrderedDict()
        self._doubted: dict[str, float] = {}
        self._liars: dict[str, float] = {}
        self._telling: set[Deferred[None]] = set()

    # What a fill's source asks.

    def trust(self, digest: Digest) -> Trust:
        case = self._case(digest)
        return Trust.USUAL if case is None or case.closed else case.trust

    def brought(self, digest: Digest) -> None:
        """A peer sends verified bytes of ``digest``."""
        case = self._case(digest)
        if case is not None:
            case.from_peer = True

    def failed_repairers(self, digest: Digest) -> frozenset[str]:
        """Peers whose bytes of ``digest``, found right as they said, were wrong."""
        case = self._case(digest)
        return frozenset() if case is None else frozenset(case.failed)

    def repairs_alone(self, digest: Digest) -> bool:
        """Whether a fill of ``digest`` that begins now takes every byte from upstream."""
        trust = self.trust(digest)
        if trust is not Trust.VERIFIED:
            return trust is Trust.ALONE
        view, failed = self._cluster.view(), self.failed_repairers(digest)
        ranked = view.rank(f"{digest}/repair", 1 + len(failed))
        return next(peer.id for peer in ranked if peer.id not in failed) == view.me.id

    def doubts(self, peer: str) -> bool:
        """Whether ``peer`` sent wrong bytes not long ago; a referral may still name it."""
        until = self._liars.get(peer, 0.0)
        if until and self._clock.seconds() >= until:
            del self._liars[peer]
        return peer in self._liars

    # What a fill tells: Blame.

    def mismatched(self, digest: Digest, senders: Senders, sums: Sums) -> bool:
        """True: it shall be fetched again, in the way that ``trust`` says then.

        False: nothing of it came from a peer, or this was tried already.
        """
        deceived = any(senders.values())
        case = self._case(digest)
        if case is None:
            if deceived:
                self._open(digest, _Copy(senders, sums))
            return deceived
        if case.closed:
            return False
        self._tell_repaired(digest, from_peer=deceived, outcome="wrong")
        case.copies.append(_Copy(senders, sums))
        case.closed = case.trust is Trust.ALONE or not deceived
        if not self._another_repairs(case, senders):
            case.trust = Trust.ALONE
        case.from_peer = False
        return not case.closed

    def _another_repairs(self, case: _Case, senders: Senders) -> bool:
        """After a wrong repair; whether another peer shall be asked for one."""
        repairers = frozenset[str]().union(*senders.values())
        if case.trust is Trust.ALONE or len(repairers) != 1 or len(case.failed) >= _REPAIRERS:
            return False
        case.failed |= repairers
        return True

    def verified(self, digest: Digest, sums: Sums) -> None:
        """The bytes of a fill were right, and these are their checksums."""
        case = self._case(digest)
        if case is None or not case.copies:
            return
        if not case.closed:
            self._tell_repaired(digest, from_peer=case.from_peer, outcome="right")
        case.closed = True
        copies, case.copies = case.copies, []
        for peer, segments in sorted(self._differing(copies, sums).items()):
            wrong = {each: sums[each] for each in sorted(segments)}
            self._accuse(peer, digest, wrong, certain=peer in case.failed)

    def stop(self) -> None:
        """Tell nobody any more."""
        for task in list(self._telling):
            task.cancel()

    def _case(self, digest: Digest) -> _Case | None:
        case = self._cases.get(digest)
        if case is not None and self._clock.seconds() >= case.began + self._timeouts.peer_repair:
            del self._cases[digest]
            return None
        return case

    def _open(self, digest: Digest, copy: _Copy) -> None:
        self._cases[digest] = _Case(self._clock.seconds(), Trust.VERIFIED, [copy])
        if len(self._cases) > _MOST:
            self._cases.popitem(last=False)

    def _tell_repaired(self, digest: Digest, *, from_peer: bool, outcome: str) -> None:
        source = "peer" if from_peer else "upstream"
        self._observe(Repaired(digest=str(digest), source=source, outcome=outcome))

    def _differing(self, copies: list[_Copy], sums: Sums) -> dict[str, set[int]]:
        """Who sent segments that were not as they should be.

        What came from upstream or disk has no sender here. Where several sent
        parts of a segment, all of them are meant.
        """
        found: defaultdict[str, set[int]] = defaultdict(set)
        for copy in copies:
            for segment, right in sums.items():
                if copy.sums.get(segment, right) != right:
                    for peer in copy.senders.get(segment, ()):
                        found[peer].add(segment)
        return found

    def _accuse(
        self, peer: str, digest: Digest, sums: dict[int, tuple[int, ...]], *, certain: bool
    ) -> None:
        there = self._cluster.view().get(peer)
        now, timeouts = self._clock.seconds(), self._timeouts
        certain = certain or self._was_doubted(peer, now)
        self._doubted.setdefault(peer, now)
        while len(self._doubted) > _MOST:
            del self._doubted[next(iter(self._doubted))]
        pause = timeouts.peer_corrupt if certain else timeouts.peer_pause_last
        self._liars[peer] = max(self._liars.get(peer, 0.0), now + pause)
        self._put_aside(peer, PeerKind.CORRUPT if certain else PeerKind.DOUBTED)
        segments = ",".join(str(each) for each in sums)
        self._observe(
            PeerSuspected(peer=peer, whose="theirs", digest=str(digest), segments=segments)
        )
        if there is not None:
            task = Deferred.fromCoroutine(self._tell(there, digest, sums))
            self._telling.add(task)
            task.addBoth(lambda _: self._telling.discard(task))

    def _was_doubted(self, peer: str, now: float) -> bool:
        """Whether ``peer`` sent wrong bytes earlier; all in one minute may have one cause."""
        since = self._doubted.get(peer)
        if since is not None and now - since >= self._timeouts.peer_corrupt:
            del self._doubted[peer]
            since = None
        return since is not None and now - since >= self._timeouts.peer_pause_last

    async def _tell(self, peer: Peer, digest: Digest, sums: Sums) -> None:
        try:
            await self._cluster.suspect(peer, digest, sums)
        except PeerFailure:
            # It will find out by itself, or not; it is put aside here.
            return

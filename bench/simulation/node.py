"""A node of the simulation, and the half of it that fetches."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from functools import partial
from itertools import islice

import attrs

from bench.simulation.events import Link
from bench.simulation.giving import Giving
from bench.simulation.incoming import Incoming
from bench.simulation.world import DIGEST, World
from nodecache.admission import Ticket
from nodecache.byteranges import RangeSet
from nodecache.failures import PeerFailure, PeerKind
from nodecache.limits import MIB
from nodecache.peerwire.answers import Absent, Elsewhere, Fetching
from nodecache.segments import Spread, next_segment, segment_span
from nodecache.sourcing import (
    RANKED,
    Ask,
    Holders,
    Pause,
    Search,
    SearchBudget,
    deputy_of,
    ranks_of,
    segments_at_a_time,
)

#: As a fill searches once the blob's size is known: seconds, and questions.
_LONGEST = 300.0
_QUESTIONS = 1024
_SILENT = frozenset({PeerKind.TIMEOUT, PeerKind.REFUSED})


class Node:
    """``dead`` is how it died: ``killed`` or ``silent``. ``blind``: peers that it does not know."""

    def __init__(self, world: World, index: int, link: float, zone: str) -> None:
        self._world = world
        self._events = world.events
        self.index = index
        self.id = f"node-{index:04}"
        self.zone = zone
        self.link = link
        self.up = Link(world.events, link)
        self.down = Link(world.events, link)
        self.peers: dict[str, Node] = {}
        self.blind: set[str] = set()
        self.dead = ""
        self.begun: float | None = None
        self.finished: float | None = None
        self.present = RangeSet()
        self.whole = bytearray(world.segments)
        self.incoming: dict[int, Incoming] = {}
        self.giving = Giving(world, self)
        self._working = 0
        self._width = 1
        self._holders = Holders()
        self._first = SearchBudget.of(world.setting.timeouts, world.setting.limits)
        self._budget = attrs.evolve(self._first, longest=_LONGEST, questions=_QUESTIONS)
        self._spread = Spread(world.random.getrandbits(60))
        self._asked_stand_ins: set[int] = set()
        self._ranks: dict[int, list[str]] = {}
        self._connections: dict[int, int] = {}
        self._waiting: dict[int, deque[Incoming]] = {}

    def hold(self, index: int) -> None:
        """The segment is here."""
        self.whole[index] = 1
        self.present.add(segment_span(index, self._world.total))

    # Which segment, and whom to ask

    def begin(self) -> None:
        if not self.dead:
            self.begun = self._events.now
            self._work()

    def _work(self) -> None:
        """Fetch what is wanted next, as much as may be fetched at a time."""
        if self.dead or self.begun is None or self.finished is not None:
            return
        while self._working < self._width:
            position = self.present.covered_from(0)
            index = next_segment(
                self._world.total, self.present, self.incoming, [position], spread=self._spread
            )
            if index is None:
                return
            self._working += 1
            self.fetch(index, lent=False)

    def _widen(self) -> None:
        """The first answer tells the total; only then more than segment 0 is asked for."""
        if self._width == 1:
            setting = self._world.setting
            self._width = segments_at_a_time(setting.nodes, setting.limits)
            self._events.after(0.0, self._work)

    def fetch(self, index: int, *, lent: bool) -> None:
        """For this node's own client, or ``lent``: a peer asked to fetch it."""
        search = self._search(index, lent=lent)
        incoming = Incoming(self, index, self._world.sizes[index], search, lent=lent)
        self.incoming[index] = incoming
        self._advance(incoming)

    def _search(self, index: int, *, lent: bool) -> Search:
        lane = self._world.lane[index]
        ranked = self._rank(lane)
        search = Search(
            ranked[:RANKED],
            self.id,
            as_owner=lent,
            holders=self._offered(lane, as_owner=lent or ranked[:1] == [self.id]),
            asked_stand_ins=lane in self._asked_stand_ins,
            started=self._events.now,
            budget=self._first if self._width == 1 else self._budget,
        )
        deputy = deputy_of(ranked, self.id, f"{DIGEST}/{lane}")
        if deputy is not None:
            search.offer(deputy.peer, deputy.patience)
        return search

    def _offered(self, lane: int, *, as_owner: bool) -> tuple[str, ...]:
        if not as_owner:
            return self._holders.offered(self._world.behind)
        if lane in self._asked_stand_ins:
            return self._holders.offered_owner(None)
        return self._holders.offered_owner(partial(self._former, lane))

    def _former(self, lane: int) -> Iterable[str]:
        return (peer for peer in self._world.former[lane] if peer != self.id)

    def introduces(self, lane: int, asker: Incoming) -> bool:
        """Whether it is a deputy, and the asker neither one nor somebody who acts as owner."""
        ranked = self._rank(lane)
        is_deputy = self.id in ranked[RANKED:]
        return is_deputy and asker.node.id not in ranked and not asker.search.as_owner

    def _rank(self, lane: int) -> list[str]:
        """Those whose rank matters, as far as this node knows them."""
        ranks = self._ranks.get(lane)
        if ranks is None:
            known = (peer for peer in self._world.ranked[lane] if peer not in self.blind)
            ranks = self._ranks[lane] = list(islice(known, ranks_of(self._world.setting.nodes)))
        return ranks

    def _advance(self, incoming: Incoming) -> None:
        if self.dead or incoming.source is not None:
            return
        search = incoming.search
        step = search.next(self._events.now)
        if search.asked_stand_ins:
            self._asked_stand_ins.add(self._world.lane[incoming.segment])
        if isinstance(step, Ask):
            self._world.tally.requests += 1
            target = self.peers[step.peer].giving
            self._events.after(self._world.setting.hop, target.arrive, incoming, step)
        elif isinstance(step, Pause):
            self._world.tally.note("pause")
            self._events.after(step.seconds, self._advance, incoming)
        else:
            self._go_upstream(incoming)

    def refused(
        self, incoming: Incoming, peer: str, refusal: Absent | Elsewhere | Fetching
    ) -> None:
        self._world.tally.note(type(refusal).__name__.lower())
        if isinstance(refusal, Elsewhere):
            self._holders.told(named for named, _ in refusal.peers if named != self.id)
        self._holders.lacked(peer)
        incoming.search.answered(peer, refusal, self._events.now)
        self._advance(incoming)

    def failed(self, incoming: Incoming, peer: str, problem: PeerKind) -> None:
        if self.dead:
            return
        self._world.tally.note(problem.value)
        self._holders.failed(peer)
        if problem in _SILENT:
            self.blind.add(peer)
            self._ranks.clear()
        incoming.search.failed(peer, PeerFailure(peer, problem, ""), self._events.now)
        self._advance(incoming)

    def lost(self, incoming: Incoming, body: int, problem: PeerKind) -> None:
        """The body broke off with its sender."""
        if incoming.body == body and incoming.source is not None:
            peer = incoming.source.id
            incoming.break_off()
            incoming.search = self._search(incoming.segment, lent=incoming.lent)
            self.failed(incoming, peer, problem)

    # Upstream

    def _go_upstream(self, incoming: Incoming) -> None:
        """A few connections for each lane; what is wanted meanwhile waits for one."""
        lane = self._world.lane[incoming.segment]
        incoming.source = self
        if self._connections.get(lane, 0) >= self._world.setting.connections:
            self._waiting.setdefault(lane, deque()).append(incoming)
        else:
            self._connections[lane] = self._connections.get(lane, 0) + 1
            self._events.after(self._world.setting.upstream_wait, self._from_upstream, incoming)

    def _from_upstream(self, incoming: Incoming) -> None:
        if not self.dead:
            self._world.tally.upstream += incoming.left
            self.start(incoming, incoming.body)

    def _next_upstream(self, lane: int) -> None:
        waiting = self._waiting.get(lane)
        if waiting:
            self._from_upstream(waiting.popleft())
        else:
            self._connections[lane] -= 1

    # Bodies

    def take(self, incoming: Incoming, source: Node, ticket: Ticket) -> None:
        """``source`` sends; bytes come as soon as it has some."""
        if self.dead or source.dead or incoming.source is not None or self.whole[incoming.segment]:
            source.giving.finished(ticket, 0.0, complete=False)
            if source.dead and incoming.source is None:
                self.failed(incoming, source.id, PeerKind.CUT)
            return
        there = source.incoming.get(incoming.segment)
        if there is not None and there.is_fed_by(self):
            self._wait_in_a_circle(incoming, source, ticket)
            return
        incoming.source, incoming.ticket = source, ticket
        self._widen()
        if there is None or there.block:
            self.start(incoming, incoming.body)
        else:
            there.followers.append((incoming, incoming.body))
            source.giving.rests(ticket)

    def _wait_in_a_circle(self, incoming: Incoming, source: Node, ticket: Ticket) -> None:
        """Meanwhile the sender began to wait for us: no byte comes until one gives up."""
        self._world.tally.note("circle")
        source.giving.finished(ticket, 0.0, complete=False)
        silence = self._world.setting.timeouts.peer_silence
        self._events.after(silence, self.failed, incoming, source.id, PeerKind.TIMEOUT)

    def start(self, incoming: Incoming, body: int) -> None:
        """Bytes flow, over the sender's link and over ours; and on to those that follow."""
        source = incoming.source
        if self.dead or incoming.body != body or source is None or incoming.started:
            return
        incoming.started = True
        if source is not self and incoming.ticket is not None:
            source.giving.goes_on(incoming.ticket)
        incoming.parts = 2
        self._widen()
        for link in (self._world.upstream if source is self else source.up, self.down):
            share = link.add(incoming.left, lambda: self._passed(incoming, body))
            incoming.shares.append((link, share))
        if incoming.from_upstream:
            self.giving.there_is_some(incoming)
        seconds = max(min(MIB, incoming.left) / link.rate for link, _ in incoming.shares)
        self._events.after(seconds, self._has_a_block, incoming, body)

    def _has_a_block(self, incoming: Incoming, body: int) -> None:
        """The first bytes are checked; so long it took by the rate at the beginning."""
        if self.dead or incoming.body != body or incoming.block:
            return
        incoming.block = True
        for follower, turn in incoming.followers:
            self._events.after(self._world.setting.hop, follower.node.start, follower, turn)
        incoming.followers.clear()
        self.giving.there_is_some(incoming)

    def _passed(self, incoming: Incoming, body: int) -> None:
        if incoming.body == body:
            incoming.parts -= 1
            if not incoming.parts:
                self.end(incoming, body)

    def end(self, incoming: Incoming, body: int) -> None:
        """All has passed; it is whole once the sender has it whole."""
        source, index = incoming.source, incoming.segment
        if self.dead or incoming.body != body or source is None or self.whole[index]:
            return
        if source is not self and index in source.incoming:
            source.incoming[index].enders.append((incoming, body))
            return
        self.hold(index)
        self._has_a_block(incoming, body)
        del self.incoming[index]
        incoming.shares.clear()
        for ender, turn in incoming.enders:
            self._events.after(self._world.setting.hop, ender.node.end, ender, turn)
        self._release(incoming, source)
        if self.present.is_whole(self._world.total) and self.finished is None:
            self.finished = self._events.now
        self._work()

    def _release(self, incoming: Incoming, source: Node) -> None:
        if source is self:
            self._next_upstream(self._world.lane[incoming.segment])
        elif incoming.ticket is not None:
            self._holders.gave(source.id)
            size = self._world.sizes[incoming.segment]
            source.giving.finished(incoming.ticket, size, complete=True)
        if not incoming.lent:
            self._working -= 1

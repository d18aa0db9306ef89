"""The half of a node that gives to others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from bench.simulation.incoming import Incoming
from bench.simulation.world import World
from nodecache.admission import Admission, Admitted, Queued, Referred, Ticket, is_urgent
from nodecache.failures import PeerKind
from nodecache.peerwire.answers import Absent, Elsewhere, Fetching
from nodecache.peerwire.questions import Mode
from nodecache.rendezvous import Roster
from nodecache.segments import segment_span
from nodecache.sourcing import Ask

if TYPE_CHECKING:
    from bench.simulation.node import Node

#: Seconds. When to come again for what upstream brings, and for what is on its way otherwise.
_SOON: Final = 0.1
_NOT_YET: Final = 0.2


class Giving:
    """Answers one question after the other; each costs processor time."""

    def __init__(self, world: World, node: Node) -> None:
        self._world = world
        self._events = world.events
        self._node = node
        self._free_at = 0.0
        self.admission = Admission(world.setting.limits)
        self.line: dict[int, Incoming] = {}
        self.heard = 0
        self.sent = 0.0

    def arrive(self, incoming: Incoming, ask: Ask) -> None:
        """A question comes in; a dead node answers by a reset, or not at all."""
        asker, setting, now = incoming.node, self._world.setting, self._events.now
        if self._node.dead == "silent":
            silence = min(setting.timeouts.peer_connect, ask.silence)
            self._events.after(silence, asker.failed, incoming, self._node.id, PeerKind.TIMEOUT)
            return
        if self._node.dead:
            self._events.after(setting.hop, asker.failed, incoming, self._node.id, PeerKind.REFUSED)
            return
        self.heard += 1
        self._free_at = max(self._free_at, now) + setting.request
        wait = self._free_at - now
        if wait + 2 * setting.hop > ask.silence:
            silence = ask.silence
            self._events.after(silence, asker.failed, incoming, self._node.id, PeerKind.TIMEOUT)
        else:
            self._events.after(wait, self._serve, incoming, ask)

    def _serve(self, incoming: Incoming, ask: Ask) -> None:
        if self._node.dead:
            self.arrive(incoming, ask)
        elif self._may_promise(incoming, ask):
            self._admit(incoming)
        else:
            self._wait_or_not(incoming, ask, self._node.incoming.get(incoming.segment))

    def _wait_or_not(self, asker: Incoming, ask: Ask, there: Incoming | None) -> None:
        """There is no block of it yet: who may wait for the first does, for a while."""
        if there is None or there.is_fed_by(asker.node):
            self._introduce(asker)
        elif ask.wait > 0:
            there.waiting[asker] = ask
            self._events.after(ask.wait, self._wait_no_longer, asker, there)
        else:
            self._not_yet(asker, ask, there)

    def _wait_no_longer(self, asker: Incoming, there: Incoming) -> None:
        ask = there.waiting.pop(asker, None)
        if ask is not None and self._node.dead:
            self.arrive(asker, ask)
        elif ask is not None:
            self._world.tally.note("waited in vain")
            self._not_yet(asker, ask, there)

    def _not_yet(self, asker: Incoming, ask: Ask, there: Incoming) -> None:
        """As nodecache.cache.lending, and nodecache.sharing.duties."""
        seeks = there.search.as_owner and there.source is None
        if there.from_upstream or (seeks and self._goes_first(asker)):
            self._reply(asker, Fetching(_SOON))
        elif ask.wait > 0:
            self._reply(asker, Elsewhere(_NOT_YET))
        else:
            self._introduce(asker)

    def _goes_first(self, asker: Incoming) -> bool:
        me = self._node.id
        return Roster((me, asker.node.id)).rank(self._world.keys[asker.segment], 1) == (me,)

    def there_is_some(self, there: Incoming) -> None:
        """Who waited for the first of it is answered."""
        waiting, there.waiting = there.waiting, {}
        for asker, ask in waiting.items():
            self._world.tally.note("waited")
            self._serve(asker, ask)

    def _introduce(self, incoming: Incoming) -> None:
        """It is not here; in a big cluster those who want it are brought together."""
        answer, key = None, self._world.keys[incoming.segment]
        if self._node.introduces(self._world.lane[incoming.segment], incoming):
            answer = self.admission.introduce(key, incoming.node.id, self._events.now)
        self._reply(incoming, Absent() if answer is None else self._elsewhere(answer))

    def _may_promise(self, incoming: Incoming, ask: Ask) -> bool:
        """Whether there are bytes of it, or will be."""
        node, index = self._node, incoming.segment
        if node.whole[index]:
            return True
        there = node.incoming.get(index)
        if there is not None and there.is_fed_by(incoming.node):
            return False
        if ask.mode is Mode.MAY_FETCH and there is None:
            node.fetch(index, lent=True)
            return True
        if there is None:
            return False
        if ask.mode is Mode.MAY_FETCH:
            there.search.take_over()
        has_some = there.block or (there.from_upstream and there.started)
        return has_some or ask.mode is Mode.MAY_FETCH

    def _admit(self, incoming: Incoming) -> None:
        asker, world = incoming.node, self._world
        key = world.keys[incoming.segment]
        urgent = is_urgent(segment_span(incoming.segment, world.total))
        answer = self.admission.ask(key, asker.id, self._events.now, asker.zone, urgent=urgent)
        world.tally.note(type(answer).__name__.lower())
        if isinstance(answer, Admitted):
            self._give(incoming, answer.ticket)
        elif isinstance(answer, Queued):
            self.line[answer.ticket.number] = incoming
            self._events.after(world.setting.timeouts.peer_patience, self._tire, answer.ticket)
        else:
            self._reply(incoming, self._elsewhere(answer))

    def _elsewhere(self, answer: Referred) -> Elsewhere:
        address = self._world.address
        return Elsewhere(answer.retry, tuple((peer, address) for peer in answer.peers))

    def _reply(self, incoming: Incoming, refusal: Absent | Elsewhere | Fetching) -> None:
        hop, asker = self._world.setting.hop, incoming.node
        self._events.after(hop, asker.refused, incoming, self._node.id, refusal)

    def _give(self, incoming: Incoming, ticket: Ticket) -> None:
        hop = self._world.setting.hop
        self._events.after(hop, incoming.node.take, incoming, self._node, ticket)

    def _tire(self, ticket: Ticket) -> None:
        """The time in line is over."""
        incoming = self.line.pop(ticket.number, None)
        if incoming is None or self._node.dead:
            return
        now = self._events.now
        self.admission.given_up(ticket, now)
        answer = self.admission.refer(ticket.key, ticket.asker, now, incoming.node.zone)
        self._reply(incoming, self._elsewhere(answer))

    def rests(self, ticket: Ticket) -> None:
        """A body has nothing to send yet."""
        self._call(self.admission.rests(ticket, self._events.now, begun=False))

    def goes_on(self, ticket: Ticket) -> None:
        self.admission.goes_on(ticket, self._events.now)

    def finished(self, ticket: Ticket, size: float, *, complete: bool) -> None:
        """A body has ended; the next of those in line go."""
        self.sent += size
        self._call(self.admission.finished(ticket, self._events.now, complete=complete))

    def _call(self, tickets: Iterable[Ticket]) -> None:
        for each in tickets:
            waiting = self.line.pop(each.number, None)
            if waiting is not None:
                self._give(waiting, each)

"""Which nodes there are, and which of them may be asked.

Theory of operation. Rooms, each with one question to answer::

    resolved    which addresses does DNS name?
    directory   which node is at which address?
    breaker     which peer failed, and until when is it left alone?
    link        is ours slow beside those of the others?
    outage      do most of them fail, so that none is asked?
    schedule    who is greeted next?
    view        what comes of it: an immutable list, ranked for any key

**Known** is an address that one of the last three good answers of DNS names, or
that somebody met within ``Timeouts.peer_forget``; so nodes that do not fit into
one answer of DNS still know each other, by word of mouth. Only a contact makes
an address young again: a dead node is soon forgotten, however many tell of it.

**Asked** is a known node that speaks our wire version, is not stopping, and has
not failed since its last good hello. Whatever DNS says, or does not say, takes
nobody away at once.

A node has one id and any number of addresses. Our own are learned when a
greeting comes back with our own id; they are never peers.

Nothing here raises, and nothing depends on the wall clock: ``now`` is seconds
on one monotonic clock, everywhere.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from nodecache.failures import PeerKind
from nodecache.limits import WIRE_VERSION, Timeouts
from nodecache.membership.breaker import Breaker, Trouble
from nodecache.membership.directory import Directory, Node, Trust
from nodecache.membership.hello import Hello, Known
from nodecache.membership.link import Link
from nodecache.membership.meeting import Meeting
from nodecache.membership.outage import Outage
from nodecache.membership.own import Own
from nodecache.membership.peer import Address, Peer
from nodecache.membership.resolved import Resolved
from nodecache.membership.saying import known_of, ranked
from nodecache.membership.schedule import Schedule
from nodecache.membership.view import Census, View

#: Seconds for which the same is told: to collect it costs a pass over all nodes.
HELLO_LIFE: Final = 1.0
#: Failures so long before a late timer are not held against anybody.
BLAMELESS: Final = 10.0
#: Kinds that tell nothing of the network: they do not count in an outage.
_OWN_FAULTS: Final = frozenset({PeerKind.CORRUPT, PeerKind.VERSION})
_NEVER: Final = float("-inf")


class Membership:
    """``fixed`` addresses never age. Our ``leaving``, ``busy`` and ``instance`` go into a hello."""

    def __init__(
        self, me: Peer, timeouts: Timeouts, release: str, fixed: Collection[Address] = ()
    ) -> None:
        self._timeouts = timeouts
        self._release = release
        self.leaving, self.busy, self.instance = False, False, ""
        self.link = Link()
        self._now = _NEVER
        self._own = Own(me, timeouts.peer_forget)
        self._resolved = Resolved(fixed, timeouts.peer_forget)
        self._directory = Directory()
        self._breaker = Breaker(timeouts)
        self._outage = Outage(timeouts)
        self._meeting = Meeting(self._own, self._directory, self._breaker, timeouts.peer_forget)
        self._schedule = Schedule(me.id, timeouts, self._directory, self._breaker, self._outage)
        self._view: View | None = None
        self._seen_as = (False, False)
        self._told: tuple[float, tuple[Known, ...]] | None = None
        self._place()

    # What we are

    @property
    def me(self) -> Peer:
        return self._own.peer()

    def me_at(self, address: Address) -> None:
        """``address`` is ours: a greeting to it came back with our own id."""
        self._own.found(address, self._now)
        self._directory.drop(address)
        self._changed()

    # What comes of it

    def view(self, now: float) -> View:
        """Who may be asked now; the same object until something changes."""
        now = self._pass(now)
        seen_as = (self._outage.look(now), self.leaving or self.busy or self.link.behind)
        if self._view is None or seen_as != self._seen_as:
            self._view, self._seen_as = self._seen(*seen_as), seen_as
        return self._view

    def _seen(self, off: bool, last: bool) -> View:  # noqa: FBT001  # a pair that is compared
        live = [] if off else [node for node in self._nodes() if self._may_be_asked(node)]
        busy = {node.id for node in live if node.busy} | ({self._own.id} if last else set())
        behind = {node.id for node in live if node.behind}
        return View(self.me, (node.peer() for node in live), busy, behind)

    def _may_be_asked(self, node: Node) -> bool:
        return ranked(node) and self._breaker.aside(node.id) is None

    def _nodes(self) -> Iterable[Node]:
        return self._directory.nodes.values()

    def all_off(self, now: float) -> bool:
        """Most peers failed, one after the other: ``view`` has none."""
        now = self._pass(now)
        return self._outage.look(now)

    @property
    def off_until(self) -> float:
        """When an answered greeting may end what ``all_off`` says, or did."""
        return self._outage.until

    def aside(self, now: float) -> Mapping[str, Trouble]:
        """Why each peer that is put aside is."""
        self._pass(now)
        troubles = ((node.id, self._breaker.aside(node.id)) for node in self._nodes())
        return {id_: trouble for id_, trouble in troubles if trouble is not None}

    def census(self, now: float) -> Census:
        view, answered = self.view(now), self._resolved.answered
        age = 0.0 if answered is None else self._now - answered
        directory = self._directory
        return Census(len(directory.nodes), len(view.peers), len(directory.places), age)

    def nodes(self, now: float) -> tuple[Node, ...]:
        """All that is known, by id; to be looked at only."""
        self._pass(now)
        return tuple(sorted(self._nodes(), key=lambda node: node.id))

    def hello(self, now: float) -> Hello:
        """What we say: who we are and whom we know, those met last first."""
        now = self._pass(now)
        if self._told is None or not 0.0 <= now - self._told[0] < HELLO_LIFE:
            self._told = (now, known_of(self._nodes(), self._timeouts.peer_forget, now))
        me, known = self.me, self._told[1]
        link = self.link
        state = (self.leaving, self.busy or link.behind, self.instance, link.best, link.behind)
        return Hello(me.id, WIRE_VERSION, self._release, me.zone, me.addresses, known, *state)

    # What DNS says

    def resolved(self, addresses: Iterable[Address], now: float, *, partial: bool = False) -> None:
        """A good answer of DNS; ``partial`` where it was cut off. An empty one says nothing."""
        now = self._pass(now)
        if self._resolved.good(addresses, now, partial=partial):
            self._place()
            self._expire()

    def unresolved(self, now: float) -> None:
        """No good answer: what is known stays."""
        self._pass(now)

    def _place(self) -> None:
        named = self._resolved.named
        if self._own.keep(named):
            self._changed()
        for address in sorted(named):
            if address not in self._own and self._directory.discover(address, self._now):
                self._changed()

    # What peers say

    def greeted(
        self, address: Address, hello: Hello, now: float, *, answered: bool = False
    ) -> None:
        """A hello came from the node at ``address``.

        ``answered``: it is the answer to ours, so the node can be reached
        there. One that we received says only that it lives.
        """
        now = self._pass(now)
        if hello.id == self._own.id:
            if answered:
                self.me_at(address)
            return
        news = self._own.lost(address)
        if answered:
            self._outage.greeting(answered=True, now=now)
        if address not in self._own:
            news = self._meeting.met(address, hello, now, answered=answered) or news
        self.link.compare(node.inbound for node in self._nodes())
        if hello.wire == WIRE_VERSION:
            news = self._meeting.learn(hello.known, now) or news
        if news:
            self._changed()

    # How they do

    def due(self, now: float, most: int) -> tuple[Address, ...]:
        """At most ``most`` addresses to be greeted now.

        How each greeting ends is to be told: ``greeted``, or ``unanswered``.
        """
        now = self._pass(now)
        own = self._own.due(now, most)
        return (*own, *self._schedule.due(now, most - len(own)))

    def unanswered(self, address: Address, kind: PeerKind, now: float) -> float:
        """The greeting sent to ``address`` failed; seconds until the next one.

        Where its node answers elsewhere, only the address is left alone.
        """
        now = self._pass(now)
        place = self._directory.places.get(address)
        if place is None:
            return 0.0
        self._outage.greeting(answered=False, now=now)
        pause = place.missed(now, self._timeouts)
        self._changed()
        node = self._directory.nodes[place.owner]
        if any(other.trust is not Trust.FAILED for other in node.places.values()):
            return pause
        return self.failed(node.id, kind, now)

    def ungreeted(self, address: Address, now: float) -> None:
        """The greeting to ``address`` came to nothing, and nobody is to blame: it is due again."""
        self._pass(now)
        place = self._directory.places.get(address)
        if place is not None:
            place.asked = None

    def failed(self, peer_id: str, kind: PeerKind, now: float) -> float:
        """Put a peer aside; the seconds until it is greeted. 0 for one that is not known."""
        now = self._pass(now)
        node = self._directory.nodes.get(peer_id)
        if node is None:
            return 0.0
        pause = self._breaker.failed(peer_id, kind, now)
        if ranked(node) and kind not in _OWN_FAULTS:
            peers = sum(map(ranked, self._nodes()))
            self._outage.failed(peer_id, peers, now)
        self._changed()
        return pause

    def succeeded(self, peer_id: str, now: float) -> None:
        """A peer gave a real answer, which may be a refusal."""
        now = self._pass(now)
        node = self._directory.nodes.get(peer_id)
        if node is None:
            return
        self._breaker.succeeded(peer_id)
        self._outage.succeeded()
        best = min(place.trust for place in node.places.values())
        for place in node.places.values():
            if place.trust is best:
                place.met = place.spoke = now

    def left(self, peer_id: str, now: float) -> None:
        """A peer says that it is stopping: not ranked until a hello says otherwise."""
        self._pass(now)
        node = self._directory.nodes.get(peer_id)
        if node is not None and not node.leaving:
            node.leaving = True
            self._changed()

    def thawed(self, now: float, late: float | None = None) -> None:
        """This process stood still for ``late`` seconds, or for as long as anything lives.

        Nobody is to blame for what it missed: failures of the last moments
        are dropped, and what is known is as old as it was.
        """
        now = self._now = max(self._now, now)
        self._breaker.forgive(now - BLAMELESS)
        self._outage.forgive(now - BLAMELESS)
        self._directory.stood_still(now, self._timeouts.peer_forget if late is None else late)
        self._changed()

    # Time

    def _pass(self, now: float) -> float:
        """Time has come to ``now``, and never goes back; what is too old goes."""
        self._now = max(self._now, now)
        self._outage.look(self._now)
        if self._directory.oldest <= self._now - self._timeouts.peer_forget:
            self._expire()
        return self._now

    def _expire(self) -> None:
        oldest = self._now - self._timeouts.peer_forget
        for id_ in self._directory.expire(oldest, self._resolved.named, self._now):
            self._changed()
            if id_ not in self._directory.nodes:
                self._breaker.forget(id_, self._now)

    def _changed(self) -> None:
        self._view = self._told = None

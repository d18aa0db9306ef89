"""Which nodes there are, and which of them may be asked.

Theory of operation. Rooms, each with one question to answer::

    resolved    which addresses does DNS name?
    directory   which node is at which address?
    breaker     which peer failed, and until when is it left alone?
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

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

import attrs

from nodecache.failures import PeerKind
from nodecache.limits import WIRE_VERSION, Timeouts
from nodecache.membership.breaker import Breaker, Trouble
from nodecache.membership.directory import Directory, Node, Trust
from nodecache.membership.hello import Hello, Known
from nodecache.membership.outage import Outage
from nodecache.membership.peer import Address, Peer
from nodecache.membership.resolved import Resolved
from nodecache.membership.schedule import Schedule
from nodecache.membership.view import View

#: Seconds for which one hello is said again: to make it costs a pass over all nodes.
HELLO_LIFE: Final = 1.0
#: Failures so long before a late timer are not held against anybody.
BLAMELESS: Final = 10.0
#: Kinds that tell nothing of the network: they do not count in an outage.
_OWN_FAULTS: Final = frozenset({PeerKind.CORRUPT, PeerKind.VERSION})
_NEVER: Final = float("-inf")


@attrs.frozen
class Census:
    """``known`` other nodes, ``live`` ones that are asked, ``addresses`` of all of them.

    ``resolved_age`` is seconds since the last good answer of DNS, 0 without one.
    """

    known: int
    live: int
    addresses: int
    resolved_age: float


class Membership:
    """``fixed`` addresses never age. ``leaving`` and ``busy`` are our own, told in ``hello``."""

    def __init__(
        self, me: Peer, timeouts: Timeouts, release: str, fixed: Collection[Address] = ()
    ) -> None:
        self._me = me
        self._timeouts = timeouts
        self._release = release
        self._leaving = self._busy = False
        self._now = _NEVER
        self._own: dict[Address, float] = {}
        self._resolved = Resolved(fixed, timeouts.peer_forget)
        self._directory = Directory()
        self._breaker = Breaker(timeouts)
        self._outage = Outage(timeouts)
        self._schedule = Schedule(me.id, timeouts, self._directory, self._breaker, self._outage)
        self._view: View | None = None
        self._viewed_off = False
        self._hello: tuple[float, Hello] | None = None
        self._expiry = _NEVER
        self._placed = False

    # What we are

    @property
    def leaving(self) -> bool:
        return self._leaving

    @leaving.setter
    def leaving(self, value: bool) -> None:
        self._leaving = value
        self._changed()

    @property
    def busy(self) -> bool:
        return self._busy

    @busy.setter
    def busy(self, value: bool) -> None:
        self._busy = value
        self._changed()

    @property
    def me(self) -> Peer:
        own = dict.fromkeys((*self._me.addresses, *sorted(self._own)))
        return attrs.evolve(self._me, addresses=tuple(own))

    def me_at(self, address: Address) -> None:
        """``address`` is ours: a greeting to it came back with our own id."""
        self._own[address] = self._now
        self._directory.drop(address)
        self._changed()

    def _is_mine(self, address: Address) -> bool:
        return address in self._own or address in self._me.addresses

    # What comes of it

    def view(self, now: float) -> View:
        """Who may be asked now; the same object until something changes."""
        self._pass(now)
        off = self._outage.look(now)
        if self._view is None or off is not self._viewed_off:
            self._view, self._viewed_off = self._seen(off=off), off
        return self._view

    def _seen(self, *, off: bool) -> View:
        live = [] if off else [node for node in self._nodes() if self._may_be_asked(node)]
        last = {node.id for node in live if node.busy}
        if self._busy or self._leaving:
            last.add(self._me.id)
        return View(self.me, (node.peer() for node in live), last)

    def _may_be_asked(self, node: Node) -> bool:
        return _ranked(node) and self._breaker.aside(node.id) is None

    def _nodes(self) -> Iterable[Node]:
        return self._directory.nodes.values()

    def all_off(self, now: float) -> bool:
        """Most peers failed, one after the other: ``view`` has none."""
        self._pass(now)
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
        age = 0.0 if answered is None else now - answered
        directory = self._directory
        return Census(len(directory.nodes), len(view.peers), len(directory.places), age)

    def nodes(self, now: float) -> tuple[Node, ...]:
        """All that is known, by id; to be looked at only."""
        self._pass(now)
        return tuple(sorted(self._nodes(), key=lambda node: node.id))

    def hello(self, now: float) -> Hello:
        """What we say: who we are and whom we know, those met last first."""
        self._pass(now)
        if self._hello is None or not 0.0 <= now - self._hello[0] < HELLO_LIFE:
            self._hello = (now, self._said(now))
        return self._hello[1]

    def _said(self, now: float) -> Hello:
        oldest = now - self._timeouts.peer_forget
        met = [
            (place.met, node, place)
            for node in self._nodes()
            if node.named and _ranked(node)
            for place in node.places.values()
            if place.met > oldest and place.trust is not Trust.FAILED
        ]
        met.sort(key=lambda each: (-each[0], each[1].id, each[2].address))
        known = tuple(Known(node.id, place.address, node.zone, now - at) for at, node, place in met)
        me = self.me
        return Hello(
            me.id,
            WIRE_VERSION,
            self._release,
            me.zone,
            me.addresses,
            known,
            self._leaving,
            self._busy,
        )

    # What DNS says

    def resolved(self, addresses: Iterable[Address], now: float, *, partial: bool = False) -> None:
        """A good answer of DNS; ``partial`` where it was cut off. An empty one says nothing."""
        self._pass(now)
        if self._resolved.good(addresses, now, partial=partial):
            self._place()
            self._expire()

    def unresolved(self, now: float) -> None:
        """No good answer: what is known stays."""
        self._pass(now)

    def _place(self) -> None:
        named = self._resolved.named
        for address in [address for address in self._own if address not in named]:
            del self._own[address]
        for address in sorted(named):
            if not self._is_mine(address) and self._directory.discover(address, self._now):
                self._changed()

    # What peers say

    def greeted(
        self, address: Address, hello: Hello, now: float, *, answered: bool = False
    ) -> None:
        """A hello came from the node at ``address``.

        ``answered``: it is the answer to ours, so the node can be reached
        there. One that we received says only that it lives.
        """
        self._pass(now)
        if hello.id == self._me.id:
            if answered:
                self.me_at(address)
            return
        self._own.pop(address, None)  # it was ours, or another's that had our id by mistake
        if answered:
            self._outage.greeting(answered=True, now=now)
        if not self._is_mine(address):
            self._met(address, hello, answered=answered)
        if hello.wire == WIRE_VERSION:
            self._learn(hello.known)

    def _met(self, address: Address, hello: Hello, *, answered: bool) -> None:
        now = self._now
        moved = self._directory.claim(address, hello.id, now, now)
        place = self._directory.places.get(address)
        if place is None:  # no room for more
            return
        node = self._directory.nodes[place.owner]
        before = (attrs.evolve(node, places={}), node.peer())
        self._introduced(node, hello)
        place.spoke = now
        if answered:
            place.answered()
        if moved is not None:
            self._directory.supersede(moved, hello.addresses)
        back = self._back(node.id, answered=answered, moved=moved is not None)
        if back or moved is not None or before != (attrs.evolve(node, places={}), node.peer()):
            self._changed()

    def _introduced(self, node: Node, hello: Hello) -> None:
        node.wire, node.release, node.zone = hello.wire, hello.release, hello.zone
        node.leaving, node.busy = hello.leaving, hello.busy
        for address in hello.addresses:
            place = self._directory.places.get(address)
            elsewhere = place is not None and place.owner != node.id
            if elsewhere and place is not None and place.trust is Trust.ANSWERED:
                continue  # somebody else answers there: they will find out themselves
            if not self._is_mine(address):
                self._directory.claim(address, node.id, self._now - HELLO_LIFE, self._now)

    def _back(self, id_: str, *, answered: bool, moved: bool) -> bool:
        if not answered:
            self._breaker.heard(id_, self._now)
            return False
        if moved:
            return self._breaker.returned(id_, self._now)
        return self._breaker.greeted(id_, self._now)

    def _learn(self, known: Sequence[Known]) -> None:
        others = (
            each for each in known if each.id != self._me.id and not self._is_mine(each.address)
        )
        oldest = self._now - self._timeouts.peer_forget
        if self._directory.learn(others, oldest, self._now):
            self._changed()

    # How they do

    def due(self, now: float, most: int) -> tuple[Address, ...]:
        """At most ``most`` addresses to be greeted now.

        How each greeting ends is to be told: ``greeted``, or ``unanswered``.
        """
        self._pass(now)
        forgotten = now - self._timeouts.peer_forget
        own = [address for address, at in self._own.items() if at <= forgotten][:most]
        self._own.update(dict.fromkeys(own, now))
        return (*own, *self._schedule.due(now, most - len(own)))

    def unanswered(self, address: Address, kind: PeerKind, now: float) -> float:
        """The greeting sent to ``address`` failed; seconds until the next one.

        Where its node answers elsewhere, only the address is left alone.
        """
        self._pass(now)
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

    def failed(self, peer_id: str, kind: PeerKind, now: float) -> float:
        """Put a peer aside; the seconds until it is greeted. 0 for one that is not known."""
        self._pass(now)
        node = self._directory.nodes.get(peer_id)
        if node is None:
            return 0.0
        pause = self._breaker.failed(peer_id, kind, now)
        if _ranked(node) and kind not in _OWN_FAULTS:
            peers = sum(1 for each in self._nodes() if _ranked(each))
            self._outage.failed(peer_id, peers, now)
        self._changed()
        return pause

    def succeeded(self, peer_id: str, now: float) -> None:
        """A peer gave a real answer, which may be a refusal."""
        self._pass(now)
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
        """This process stood still for ``late`` seconds (as long as anything lives, if not told).

        Nobody is to blame for what it missed: failures of the last moments
        are dropped, and what is known is as old as it was.
        """
        self._pass(now)
        since = now - BLAMELESS
        self._breaker.forgive(since)
        self._outage.forgive(since)
        late = self._timeouts.peer_forget if late is None else late
        for place in self._directory.places.values():
            place.met = min(now, place.met + late)
            place.asked = None
            place.retry = min(now, place.retry)
        self._changed()

    # Time

    def _pass(self, now: float) -> None:
        """Time has come to ``now``; what is too old goes."""
        self._now = max(self._now, now)
        if not self._placed:
            self._placed = True
            self._place()
        if self._now >= self._expiry:
            self._expire()

    def _expire(self) -> None:
        forget, named = self._timeouts.peer_forget, self._resolved.named
        oldest = self._now - forget
        gone = self._directory.expire(lambda p: p.address in named or p.met > oldest)
        for id_ in gone:
            self._breaker.forget(id_, self._now)
        places = self._directory.places.values()
        mortal = (place.met for place in places if place.address not in named)
        # Places that come later live longer than this, or ``_changed`` looks again.
        self._expiry = min(itertools.chain(mortal, (self._now,))) + forget
        if gone:
            self._view = self._hello = None

    def _changed(self) -> None:
        self._view = None
        self._hello = None
        self._expiry = _NEVER


def _ranked(node: Node) -> bool:
    return not node.leaving and node.wire in {None, WIRE_VERSION}

"""Which address belongs to which node.

An address that nobody has met belongs to a node of its own, whose id is the
address as text. A hello names the node behind it, and the address moves there.
Whoever claims an address last has it: ids and addresses come and go with the
pods, and every claim carries the time of the contact that it rests on. What
others tell is older by ``HOP`` with every hand it went through, so that no
rumour stays young by going round.

Times are seconds on one monotonic clock.
"""

from __future__ import annotations

import enum
from collections.abc import Container, Iterable
from typing import Final

import attrs

from nodecache.limits import Timeouts
from nodecache.membership.breaker import growing
from nodecache.membership.hello import Known
from nodecache.membership.peer import Address, Peer

#: Seconds by which what others tell is made older.
HOP: Final = 1.0
#: Addresses that are remembered; more are not taken in.
MOST: Final = 20_000

_NEVER = float("-inf")


class Trust(enum.IntEnum):
    """How sure it is that the node is at the address; the lower the better."""

    ANSWERED = 0  # our last greeting there was answered by it
    TOLD = 1  # it says so itself, or others do
    FAILED = 2  # our last greeting there was not answered, or it has moved


@attrs.define
class Place:
    """One address. ``met`` is when anybody last spoke to ``owner`` there, as far as we know.

    ``spoke``: when we ourselves did. ``asked``: a greeting is under way since
    then. ``retry``: when it is greeted again after it failed alone.
    """

    address: Address
    owner: str
    since: float
    met: float = _NEVER
    spoke: float = _NEVER
    trust: Trust = Trust.TOLD
    asked: float | None = None
    misses: int = 0
    retry: float = _NEVER

    def answered(self) -> None:
        """A greeting to it was answered by its owner."""
        self.trust, self.asked, self.misses = Trust.ANSWERED, None, 0

    def missed(self, now: float, timeouts: Timeouts) -> float:
        """A greeting to it failed; seconds until the next one."""
        self.misses += 1
        self.trust, self.asked = Trust.FAILED, None
        pause = growing(self.misses, timeouts)
        self.retry = now + pause
        return pause


@attrs.define
class Node:
    """One id, and what its last hello said. ``wire`` is None until it was heard."""

    id: str
    named: bool
    zone: str = ""
    wire: str | None = None
    release: str = ""
    leaving: bool = False
    busy: bool = False
    behind: bool = False
    inbound: int = attrs.field(default=0, eq=False)
    places: dict[Address, Place] = attrs.field(factory=dict)
    _peer: Peer | None = attrs.field(default=None, eq=False)

    def peer(self) -> Peer:
        """Its addresses: those that answered, then those that were told of; else any."""
        addresses = tuple(self.places) if len(self.places) == 1 else self._usable()
        known = self._peer
        if known is None or known.addresses != addresses or known.zone != self.zone:
            known = self._peer = Peer(self.id, addresses, self.zone)
        return known

    def _usable(self) -> tuple[Address, ...]:
        best = min(place.trust for place in self.places.values())
        trusted = max(best, Trust.TOLD)
        usable = [place for place in self.places.values() if place.trust <= trusted]
        usable.sort(key=lambda place: (place.trust, place.address))
        return tuple(place.address for place in usable)


class Directory:
    """All addresses but our own, and the nodes that they belong to."""

    def __init__(self) -> None:
        self.places: dict[Address, Place] = {}
        self.nodes: dict[str, Node] = {}
        #: No contact on which alone a place rests is older than this.
        self.oldest = _NEVER

    def discover(self, address: Address, now: float) -> bool:
        """DNS or a setting names ``address``; True if that is news."""
        if address in self.places or len(self.places) >= MOST:
            return False
        self._attach(address, Node(str(address), named=False), now)
        return True

    def claim(self, address: Address, id_: str, met: float, now: float) -> Place | None:
        """``id_`` is at ``address`` since ``met`` at least; the place if it has moved there.

        None where that was known, or where a younger claim stands against it.
        """
        place = self.places.get(address)
        if place is not None and place.owner == id_:
            place.met = max(place.met, met)
            return None
        if place is None and len(self.places) >= MOST:
            return None
        if place is not None:
            if self.nodes[place.owner].named and place.met >= met:
                return None
            self.drop(address)
        moved = self._attach(address, self.nodes.get(id_) or Node(id_, named=True), now)
        moved.met = met
        self.oldest = min(self.oldest, met)
        return moved

    def _attach(self, address: Address, node: Node, now: float) -> Place:
        place = Place(address, node.id, now)
        self.nodes[node.id] = node
        self.places[address] = node.places[address] = place
        return place

    def drop(self, address: Address) -> None:
        """Forget ``address``, and its node if that was the last one."""
        place = self.places.pop(address, None)
        if place is not None:
            node = self.nodes[place.owner]
            del node.places[address]
            if not node.places:
                del self.nodes[node.id]

    def learn(self, known: Iterable[Known], oldest: float, now: float) -> bool:
        """Take in what another node knows; True if a place or zone is news.

        What was not met since ``oldest`` is left out.
        """
        news = False
        for each in known:
            met = now - HOP - (0.0 if each.age < 0 else each.age)
            if not met > oldest:  # also where the age is no number
                continue
            place = self.places.get(each.address)
            if place is not None and place.owner == each.id:
                place.met = max(place.met, met)
            elif self.claim(each.address, each.id, met, now) is not None:
                self._zoned(self.nodes[each.id], each.zone)
                news = True
        return news

    def _zoned(self, node: Node, zone: str) -> None:
        if node.wire is None:
            node.zone = zone

    def supersede(self, moved: Place, told: Iterable[Address]) -> None:
        """The node of ``moved`` answered there for the first time: is it elsewhere still?

        Its other addresses of the family are doubted, but for those ``told``
        by itself, and greeted anew: a pod that was restarted has left them.
        """
        kept = set(told)
        for place in self.nodes[moved.owner].places.values():
            other = place.address
            if (
                place is not moved
                and other not in kept
                and _family(other) == _family(moved.address)
            ):
                place.trust = Trust.FAILED
                place.retry = _NEVER
                place.misses = 1

    def stood_still(self, now: float, seconds: float) -> None:
        """Nobody could be met for so long: what is known is as old as before, and due again."""
        for place in self.places.values():
            place.met = min(now, place.met + seconds)
            place.asked = None
            place.retry = min(now, place.retry)

    def expire(self, oldest: float, named: Container[Address], now: float) -> list[str]:
        """Drop the places not ``named`` nor met since ``oldest``; their nodes' ids."""
        mortal = [place for place in self.places.values() if place.address not in named]
        dead = [place for place in mortal if not place.met > oldest]
        for place in dead:
            self.drop(place.address)
        self.oldest = min((place.met for place in mortal if place.met > oldest), default=now)
        return sorted({place.owner for place in dead})


def _family(address: Address) -> bool:
    return ":" in address.host

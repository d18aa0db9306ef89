"""What this node is, and at which addresses it has met itself."""

from __future__ import annotations

from collections.abc import Container

import attrs

from nodecache.membership.peer import Address, Peer


class Own:
    """``me`` as it was told, and the addresses that were found since.

    Found ones are looked at again after ``forget`` seconds: another node that
    has our id by mistake answers as we do, and may cease to.
    """

    def __init__(self, me: Peer, forget: float) -> None:
        self.id = me.id
        self._me = me
        self._forget = forget
        self._found: dict[Address, float] = {}

    def __contains__(self, address: Address) -> bool:
        return address in self._found or address in self._me.addresses

    def peer(self) -> Peer:
        """``me``, with all addresses."""
        every = dict.fromkeys((*self._me.addresses, *sorted(self._found)))
        return attrs.evolve(self._me, addresses=tuple(every))

    def found(self, address: Address, now: float) -> None:
        self._found[address] = now

    def lost(self, address: Address) -> bool:
        """Somebody else answers at ``address``; True if it was a found one."""
        return self._found.pop(address, None) is not None

    def keep(self, named: Container[Address]) -> bool:
        """Of the found ones, those that are still ``named``; True if others were lost."""
        gone = [address for address in self._found if address not in named]
        for address in gone:
            del self._found[address]
        return bool(gone)

    def due(self, now: float, most: int) -> tuple[Address, ...]:
        """Found ones to be looked at again; they count as looked at."""
        old = [address for address, at in self._found.items() if at <= now - self._forget][:most]
        self._found.update(dict.fromkeys(old, now))
        return tuple(old)

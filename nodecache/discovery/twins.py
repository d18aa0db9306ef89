"""Find out that another node has our id.

Whoever answers with our own id is taken for ourselves, so that two nodes of
one id never ask each other: where a setting gives all nodes the same, none
shares with any, and nothing fails. Each start of a node has a word of its own
(``Hello.instance``), which tells the two apart.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from nodecache.events import PeerIdTwice
from nodecache.membership import Address, Hello
from nodecache.seams import Observe


class Twins:
    """Greets as ``greet`` does; tells of each address at which another has our id, once."""

    def __init__(
        self, greet: Callable[[Address], Awaitable[Hello]], me: str, instance: str, observe: Observe
    ) -> None:
        self._greet = greet
        self._me = me
        self._instance = instance
        self._observe = observe
        self._told: set[Address] = set()

    async def hello(self, address: Address) -> Hello:
        """Raises what ``greet`` raises."""
        found = await self._greet(address)
        if found.id != self._me or found.instance in ("", self._instance):
            self._told.discard(address)
        elif address not in self._told:
            self._told.add(address)
            self._observe(PeerIdTwice(id=self._me, address=str(address)))
        return found

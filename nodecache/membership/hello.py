"""How nodes introduce themselves, and each other."""

from __future__ import annotations

import attrs

from nodecache.membership.peer import Address


@attrs.frozen
class Known:
    """A node that the sender knows; ``age`` is seconds since somebody spoke to it there."""

    id: str
    address: Address
    zone: str
    age: float


@attrs.frozen
class Hello:
    """``wire`` is the wire version, ``release`` that of the program.

    ``leaving``: it is stopping. ``busy``: it is slow now, and better asked
    last; ``behind``: since its link is slow beside those of its peers.
    ``inbound`` are the bytes a second that its link was seen to carry, 0 before
    that is known. ``instance`` is another word each time that a node is started. Both
    sides of a ``hello`` send one.
    """

    id: str
    wire: str
    release: str
    zone: str
    addresses: tuple[Address, ...]
    known: tuple[Known, ...] = ()
    leaving: bool = False
    busy: bool = False
    instance: str = ""
    inbound: int = 0
    behind: bool = False

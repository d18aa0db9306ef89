"""Which nodes there are, and which of them are asked."""

from nodecache.membership.peer import Address, Peer

__all__ = ["Address", "Peer"]

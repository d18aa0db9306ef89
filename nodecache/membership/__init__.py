"""Which nodes there are, and which of them are asked."""

from nodecache.membership.peer import Address, Peer
from nodecache.membership.target import PEER_PORT, PeerTarget, parse_peers

__all__ = ["PEER_PORT", "Address", "Peer", "PeerTarget", "parse_peers"]

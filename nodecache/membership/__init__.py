"""Which nodes there are, and which of them are asked."""

from nodecache.membership.hello import Hello, Known
from nodecache.membership.membership import Membership
from nodecache.membership.peer import Address, Peer
from nodecache.membership.target import PEER_PORT, PeerTarget, parse_peers
from nodecache.membership.view import Census, View

__all__ = [
    "PEER_PORT",
    "Address",
    "Census",
    "Hello",
    "Known",
    "Membership",
    "Peer",
    "PeerTarget",
    "View",
    "parse_peers",
]

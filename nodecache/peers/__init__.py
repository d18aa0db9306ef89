"""The client side of the peers' protocol.

The way of a question, from the outside in: ``peers`` knows the questions;
``courier`` signs one, takes it to a peer and proves the answer; ``line`` does
HTTP over kept connections, which ``dialling`` makes; ``chunks`` puts together what
comes over them; ``body`` gives on what is
checked of a blob. ``books`` tells the membership, and everybody by events, how
peers do. ``secrets`` reads the file of the cluster's secrets.
"""

from nodecache.peers.body import PeerBody
from nodecache.peers.peers import Peers
from nodecache.peers.secrets import Secrets

__all__ = ["PeerBody", "Peers", "Secrets"]

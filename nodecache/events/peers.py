"""What happens between nodes."""

from __future__ import annotations

from typing import ClassVar

import attrs

from nodecache.events.base import Event, Level


@attrs.frozen(kw_only=True, eq=False, repr=False)
class PeerAsked(Event):
    """One question to a peer was answered, or failed.

    ``what`` is blob, manifest, tag, hello or suspect. ``outcome`` is hit, fetched (for
    us), fetching, referral, absent, upstream_absent, denied, upstream_failed,
    or a PeerKind value. ``head``: the bytes of a manifest were not asked for.
    """

    name: ClassVar[str] = "peer_asked"
    level: ClassVar[Level] = Level.DEBUG
    peer: str
    what: str
    mode: str  # may-fetch, only-if-have, or empty
    outcome: str
    seconds: float
    reason: str = ""
    head: bool = False


@attrs.frozen(kw_only=True, eq=False, repr=False)
class PeerFailed(Event):
    """A peer failed; ``kind`` is a PeerKind value. It is put aside for ``pause_seconds``."""

    name: ClassVar[str] = "peer_failed"
    level: ClassVar[Level] = Level.WARNING
    peer: str
    what: str
    kind: str
    reason: str
    pause_seconds: float


@attrs.frozen(kw_only=True, eq=False, repr=False)
class PeerHealth(Event):
    """A peer was put aside (``up`` False) or came back, or is ``gone``: why, says ``reason``."""

    name: ClassVar[str] = "peer_health"
    peer: str
    up: bool
    reason: str
    gone: bool = False


@attrs.frozen(kw_only=True, eq=False, repr=False)
class PeersOff(Event):
    """Most peers failed: none is asked for ``pause_seconds`` (``off`` True), or all are again."""

    name: ClassVar[str] = "peers_off"
    level: ClassVar[Level] = Level.WARNING
    off: bool
    pause_seconds: float
    reason: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class PeerBytes(Event):
    """Body bytes that came from a peer (``direction`` in) or went to one (out).

    ``role`` is that of the sender: owner (it was asked to fetch) or holder.
    """

    name: ClassVar[str] = "peer_bytes"
    level: ClassVar[Level] = Level.DEBUG
    peer: str
    direction: str
    role: str
    bytes: int


@attrs.frozen(kw_only=True, eq=False, repr=False)
class PeerAnswered(Event):
    """One request of a peer was answered.

    ``outcome`` is as of PeerAsked, or unsigned, replayed, stranger, version, wrong; and of a body
    that did not get through, cut (also by who takes the rest from another), timeout or error.
    """

    name: ClassVar[str] = "peer_answered"
    level: ClassVar[Level] = Level.DEBUG
    peer: str
    what: str
    mode: str
    status: int
    outcome: str
    bytes: int
    seconds: float
    reason: str = ""
    trace_id: str = ""  # of the request for which the peer asked
    span_id: str = ""
    parent_id: str = ""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class PeersSeen(Event):
    """The view of the cluster changed, or was looked at again.

    ``known`` counts other nodes, ``live`` those that are asked; ``age_seconds``
    is that of the last good answer of DNS (0 for a static list).
    """

    name: ClassVar[str] = "peers"
    level: ClassVar[Level] = Level.DEBUG
    known: int
    live: int
    addresses: int
    age_seconds: float


@attrs.frozen(kw_only=True, eq=False, repr=False)
class PeersChanged(Event):
    """Another number of nodes is known, or asked."""

    name: ClassVar[str] = "peers_changed"
    known: int
    live: int


@attrs.frozen(kw_only=True, eq=False, repr=False)
class LinkBehind(Event):
    """This node's link is slow beside those of its peers, or is so no longer.

    While ``behind``, others fetch for the cluster what it would have fetched.
    ``bytes_per_second`` are those that its link was seen to carry.
    """

    name: ClassVar[str] = "link_behind"
    behind: bool
    bytes_per_second: int


@attrs.frozen(kw_only=True, eq=False, repr=False)
class PeerIdTwice(Event):
    """Another node answers with this one's id: the two take each other for themselves."""

    name: ClassVar[str] = "peer_id_twice"
    level: ClassVar[Level] = Level.ERROR
    id: str
    address: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class DiscoveryFailed(Event):
    """The name of the peers was not resolved; the last good view stays."""

    name: ClassVar[str] = "discovery_failed"
    level: ClassVar[Level] = Level.WARNING
    target: str
    reason: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class DiscoveryWorks(Event):
    """The name of the peers is resolved again, after it was not."""

    name: ClassVar[str] = "discovery_works"
    target: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class PeerSuspected(Event):
    """A sender's bytes differed from those of the digest, or we were told so of ours.

    ``whose`` is theirs or ours; ``peer`` is the sender, or the one that told
    us; ``segments`` are the numbers of the segments.
    """

    name: ClassVar[str] = "peer_suspected"
    level: ClassVar[Level] = Level.ERROR
    peer: str
    whose: str
    digest: str
    segments: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Repaired(Event):
    """After wrong bytes from peers a blob was fetched again; ``outcome`` is right or wrong."""

    name: ClassVar[str] = "repair"
    level: ClassVar[Level] = Level.WARNING
    digest: str
    source: str  # peer or upstream
    outcome: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class SecretsRead(Event):
    """The file of the peers' secrets was read anew; ``count`` are accepted."""

    name: ClassVar[str] = "peer_secrets"
    count: int
    reason: str = ""  # why the old ones stay, when it can not be read

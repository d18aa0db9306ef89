"""What happens, as values. Logs and metrics are made from these and from nothing else.

``name`` is the stable name of the event in the log; the field names are the
log's field names (docs/operations.md lists both). No event carries a secret:
links are given by host, never with their query.
"""

from __future__ import annotations

import enum
from typing import ClassVar

import attrs


class Level(enum.IntEnum):
    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40


class Source(enum.Enum):
    """Where a body came from; the value of ``Nodecache-Source``."""

    DISK = "disk"
    FLIGHT = "flight"
    FILL = "fill"
    STALE = "stale"


@attrs.frozen
class Event:
    name: ClassVar[str] = "event"
    level: ClassVar[Level] = Level.INFO


@attrs.frozen(kw_only=True)
class RequestFinished(Event):
    """One request on the mirror port was answered, or its client left."""

    name: ClassVar[str] = "request"
    level: ClassVar[Level] = Level.DEBUG
    request_id: str
    client: str
    agent: str
    method: str
    kind: str  # base, manifest, blob, tags, referrers, other
    namespace: str
    repository: str
    reference: str
    status: int
    source: str  # a Source value, or "none"
    bytes: int
    seconds: float
    first_byte_seconds: float | None = None
    outcome: str  # complete, aborted (by us), left (by the client), stalled (client took nothing)
    code: str = ""  # registry error code
    reason: str = ""  # in words


@attrs.frozen(kw_only=True)
class PullFinished(Event):
    """The requests of one client for one image, taken together."""

    name: ClassVar[str] = "pull"
    client: str
    agent: str
    namespace: str
    repository: str
    reference: str
    digest: str
    requests: int
    bytes: int
    seconds: float
    bytes_by_source: dict[str, int]
    failed: int


@attrs.frozen(kw_only=True)
class TagResolved(Event):
    """A tag was looked at: ``outcome`` is hit, revalidated, changed, stale or miss."""

    name: ClassVar[str] = "tag"
    level: ClassVar[Level] = Level.DEBUG
    namespace: str
    repository: str
    tag: str
    digest: str
    outcome: str
    reason: str = ""


@attrs.frozen(kw_only=True)
class ServedStale(Event):
    name: ClassVar[str] = "stale"
    level: ClassVar[Level] = Level.WARNING
    namespace: str
    repository: str
    reference: str
    age_seconds: float
    reason: str


@attrs.frozen(kw_only=True)
class Coalesced(Event):
    """A request joined a fetch that was already under way."""

    name: ClassVar[str] = "coalesced"
    level: ClassVar[Level] = Level.DEBUG
    kind: str  # blob, manifest, tag, token


@attrs.frozen(kw_only=True)
class FillStarted(Event):
    name: ClassVar[str] = "fill_start"
    level: ClassVar[Level] = Level.DEBUG
    digest: str
    namespace: str
    repository: str
    resumed_bytes: int


@attrs.frozen(kw_only=True)
class FillFinished(Event):
    """``outcome`` is stored, kept (segments for peers), mismatch, failed, discarded (no room)
    or stopped.
    """

    name: ClassVar[str] = "fill"
    digest: str
    namespace: str
    repository: str
    outcome: str
    total: int
    fetched: int
    seconds: float
    connections: int
    resumes: int
    reason: str = ""


@attrs.frozen(kw_only=True)
class FillResumed(Event):
    """A source broke off or stalled and is taken up again."""

    name: ClassVar[str] = "fill_resume"
    level: ClassVar[Level] = Level.WARNING
    digest: str
    offset: int
    reason: str


@attrs.frozen(kw_only=True)
class PassedThrough(Event):
    """A blob was streamed without being stored."""

    name: ClassVar[str] = "pass_through"
    level: ClassVar[Level] = Level.WARNING
    digest: str
    namespace: str
    repository: str
    bytes: int
    reason: str
    outcome: str  # complete, mismatch, failed, left


@attrs.frozen(kw_only=True)
class UpstreamAnswered(Event):
    """One request to an upstream got its headers.

    ``leg`` is token, manifest, blob, cdn, listing or probe.
    """

    name: ClassVar[str] = "upstream"
    level: ClassVar[Level] = Level.DEBUG
    namespace: str
    leg: str
    method: str
    host: str
    status: int
    seconds: float


@attrs.frozen(kw_only=True)
class UpstreamFailed(Event):
    """One request to an upstream failed; ``kind`` is an UpstreamKind value."""

    name: ClassVar[str] = "upstream_failed"
    level: ClassVar[Level] = Level.WARNING
    namespace: str
    leg: str
    method: str
    host: str
    kind: str
    reason: str
    seconds: float


@attrs.frozen(kw_only=True)
class UpstreamBytes(Event):
    """Body bytes that came from upstream; told at the end of each body."""

    name: ClassVar[str] = "upstream_bytes"
    level: ClassVar[Level] = Level.DEBUG
    namespace: str
    leg: str
    bytes: int


@attrs.frozen(kw_only=True)
class UpstreamHealth(Event):
    """An origin went down or came back."""

    name: ClassVar[str] = "upstream_health"
    level: ClassVar[Level] = Level.WARNING
    origin: str
    up: bool
    reason: str


@attrs.frozen(kw_only=True)
class PeerAsked(Event):
    """One question to a peer was answered, or failed.

    ``what`` is blob, manifest, tag, hello or suspect. ``outcome`` is hit, fetched (for
    us), fetching, referral, absent, upstream_absent, denied, upstream_failed,
    or a PeerKind value.
    """

    name: ClassVar[str] = "peer_asked"
    level: ClassVar[Level] = Level.DEBUG
    peer: str
    what: str
    mode: str  # may-fetch, only-if-have, or empty
    outcome: str
    seconds: float
    reason: str = ""


@attrs.frozen(kw_only=True)
class PeerFailed(Event):
    """A peer failed; ``kind`` is a PeerKind value. It is put aside for ``pause_seconds``."""

    name: ClassVar[str] = "peer_failed"
    level: ClassVar[Level] = Level.WARNING
    peer: str
    what: str
    kind: str
    reason: str
    pause_seconds: float


@attrs.frozen(kw_only=True)
class PeerHealth(Event):
    """A peer was put aside (``up`` False) or came back."""

    name: ClassVar[str] = "peer_health"
    peer: str
    up: bool
    reason: str


@attrs.frozen(kw_only=True)
class PeersOff(Event):
    """Most peers failed: none is asked for ``pause_seconds`` (``off`` True), or all are again."""

    name: ClassVar[str] = "peers_off"
    level: ClassVar[Level] = Level.WARNING
    off: bool
    pause_seconds: float
    reason: str


@attrs.frozen(kw_only=True)
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


@attrs.frozen(kw_only=True)
class PeerAnswered(Event):
    """One request of a peer was answered.

    ``outcome`` is as of PeerAsked, or unsigned, replayed, stranger, version, wrong; and of a body
    that did not get through, cut, timeout or error.
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


@attrs.frozen(kw_only=True)
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


@attrs.frozen(kw_only=True)
class PeersChanged(Event):
    """Another number of nodes is known, or asked."""

    name: ClassVar[str] = "peers_changed"
    known: int
    live: int


@attrs.frozen(kw_only=True)
class DiscoveryFailed(Event):
    """The name of the peers was not resolved; the last good view stays."""

    name: ClassVar[str] = "discovery_failed"
    level: ClassVar[Level] = Level.WARNING
    target: str
    reason: str


@attrs.frozen(kw_only=True)
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


@attrs.frozen(kw_only=True)
class Repaired(Event):
    """After wrong bytes from peers a blob was fetched again; ``outcome`` is right or wrong."""

    name: ClassVar[str] = "repair"
    level: ClassVar[Level] = Level.WARNING
    digest: str
    source: str  # peer or upstream
    outcome: str


@attrs.frozen(kw_only=True)
class SecretsRead(Event):
    """The file of the peers' secrets was read anew; ``count`` are accepted."""

    name: ClassVar[str] = "peer_secrets"
    count: int
    reason: str = ""  # why the old ones stay, when it can not be read


@attrs.frozen(kw_only=True)
class RateLimitSeen(Event):
    """Rate-limit headers of an upstream. ``remaining`` may be below zero."""

    name: ClassVar[str] = "rate_limit"
    level: ClassVar[Level] = Level.DEBUG
    namespace: str
    limit: int | None
    remaining: int | None
    window_seconds: int | None
    resets_at: float | None  # wall clock; None when upstream names no time
    source: str


@attrs.frozen(kw_only=True)
class TokenFetched(Event):
    name: ClassVar[str] = "token"
    level: ClassVar[Level] = Level.DEBUG
    namespace: str
    host: str
    scope: str
    life_seconds: float


@attrs.frozen(kw_only=True)
class Evicted(Event):
    name: ClassVar[str] = "evict"
    level: ClassVar[Level] = Level.DEBUG
    kind: str  # blob, manifest, partial
    digest: str
    bytes: int
    idle_seconds: float


@attrs.frozen(kw_only=True)
class CorruptionFound(Event):
    """Bytes on disk did not match their digest or checksum; they were dropped."""

    name: ClassVar[str] = "corrupt"
    level: ClassVar[Level] = Level.ERROR
    kind: str  # blob, manifest, segment
    digest: str
    found_by: str  # scan, scrub, read, resume


@attrs.frozen(kw_only=True)
class DiskFailed(Event):
    name: ClassVar[str] = "disk_failed"
    level: ClassVar[Level] = Level.ERROR
    operation: str
    reason: str


@attrs.frozen(kw_only=True)
class CacheSize(Event):
    """Told after each change of what the store holds."""

    name: ClassVar[str] = "cache_size"
    level: ClassVar[Level] = Level.DEBUG
    bytes: int
    reserved: int
    blobs: int
    manifests: int


@attrs.frozen(kw_only=True)
class Started(Event):
    name: ClassVar[str] = "start"
    version: str
    listen: str
    admin: str
    peers: str  # this node's id, and whom it looks for; empty without peers
    data_dir: str
    upstreams: str
    blobs: int
    bytes: int
    scan_seconds: float
    unclean: bool


@attrs.frozen(kw_only=True)
class Stopping(Event):
    name: ClassVar[str] = "stop"
    reason: str
    bodies: int


@attrs.frozen(kw_only=True)
class Stopped(Event):
    name: ClassVar[str] = "stopped"
    aborted: int
    seconds: float


@attrs.frozen(kw_only=True)
class Reloaded(Event):
    """SIGHUP: ``changed`` names what took effect, ``ignored`` what needs a restart."""

    name: ClassVar[str] = "reload"
    changed: str
    ignored: str


@attrs.frozen(kw_only=True)
class SettingWarning(Event):
    name: ClassVar[str] = "setting"
    level: ClassVar[Level] = Level.WARNING
    message: str


@attrs.frozen(kw_only=True)
class Unexpected(Event):
    """A bug: an exception that nothing foresaw. ``trace`` is its traceback."""

    name: ClassVar[str] = "unexpected"
    level: ClassVar[Level] = Level.ERROR
    where: str
    error: str
    trace: str

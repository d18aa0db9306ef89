"""What a node serves and keeps, and its own life."""

from __future__ import annotations

from typing import ClassVar

import attrs

from nodecache.events.base import Event, Level


@attrs.frozen(kw_only=True, eq=False, repr=False)
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
    trace_id: str = ""
    span_id: str = ""  # empty where nobody records the trace
    parent_id: str = ""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class PullFinished(Event):
    """The requests of one client for one image, taken together.

    ``bytes_by_source`` has the values of Source; ``peer`` are those bytes of a
    fetch that other nodes brought. ``source`` is that of most bytes. ``senders``
    are those of these nodes that gave most, eight at most, each with its bytes.
    """

    name: ClassVar[str] = "pull"
    client: str
    agent: str
    runtime: str = "other"
    namespace: str
    repository: str
    reference: str
    digest: str
    requests: int
    bytes: int
    seconds: float
    bytes_by_source: dict[str, int]
    source: str = "none"
    senders: dict[str, int] = attrs.field(factory=dict)
    failed: int
    trace_id: str = ""
    span_id: str = ""
    parent_id: str = ""


@attrs.frozen(kw_only=True, eq=False, repr=False)
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


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ServedStale(Event):
    name: ClassVar[str] = "stale"
    level: ClassVar[Level] = Level.WARNING
    namespace: str
    repository: str
    reference: str
    age_seconds: float
    reason: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Evicted(Event):
    name: ClassVar[str] = "evict"
    level: ClassVar[Level] = Level.DEBUG
    kind: str  # blob, manifest, partial
    digest: str
    bytes: int
    idle_seconds: float


@attrs.frozen(kw_only=True, eq=False, repr=False)
class CorruptionFound(Event):
    """Bytes on disk did not match their digest or checksum; they were dropped."""

    name: ClassVar[str] = "corrupt"
    level: ClassVar[Level] = Level.ERROR
    kind: str  # blob, manifest, segment
    digest: str
    found_by: str  # scan, scrub, read, resume, verify


@attrs.frozen(kw_only=True, eq=False, repr=False)
class DiskFailed(Event):
    name: ClassVar[str] = "disk_failed"
    level: ClassVar[Level] = Level.ERROR
    operation: str
    reason: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ListingFailed(Event):
    """At a start, processes that list many blobs could not be had; threads listed them instead."""

    name: ClassVar[str] = "listing_failed"
    level: ClassVar[Level] = Level.WARNING
    reason: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class CacheSize(Event):
    """Told after each change of what the store holds."""

    name: ClassVar[str] = "cache_size"
    level: ClassVar[Level] = Level.DEBUG
    bytes: int
    reserved: int
    blobs: int
    manifests: int


@attrs.frozen(kw_only=True, eq=False, repr=False)
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


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Stopping(Event):
    name: ClassVar[str] = "stop"
    reason: str
    bodies: int


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Stopped(Event):
    name: ClassVar[str] = "stopped"
    aborted: int
    seconds: float


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Reloaded(Event):
    """SIGHUP: ``changed`` names what took effect, ``ignored`` what needs a restart."""

    name: ClassVar[str] = "reload"
    changed: str
    ignored: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class OrderFinished(Event):
    """An order that came over the control socket is over: done, failed or given_up.

    ``given`` is what came with it, as JSON, its beginning where it is long.
    """

    name: ClassVar[str] = "order"
    verb: str
    given: str
    outcome: str
    reason: str = ""
    seconds: float


@attrs.frozen(kw_only=True, eq=False, repr=False)
class TurnedAway(Event):
    """A port refused who came, before there was a request.

    ``limit`` is the one that was met: ``all`` (open connections), ``address`` (those from one
    address), ``head`` (what was sent is no request, or too large), ``slow`` (a request was begun
    and did not become whole in time). ``status`` is what was answered, 0 for nothing.
    """

    name: ClassVar[str] = "turned_away"
    level: ClassVar[Level] = Level.WARNING
    port: str  # mirror, peer, admin, control
    limit: str
    client: str
    status: int
    reason: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class SettingWarning(Event):
    name: ClassVar[str] = "setting"
    level: ClassVar[Level] = Level.WARNING
    message: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class LeftOut(Event):
    """So many more of one kind happened than were logged, to keep the log readable."""

    name: ClassVar[str] = "left_out"
    level: ClassVar[Level] = Level.WARNING
    of: str  # the name of the event
    count: int


@attrs.frozen(kw_only=True, eq=False, repr=False)
class LogLevelSet(Event):
    """The least level that is logged was changed, for ``seconds`` (0: until further notice)."""

    name: ClassVar[str] = "log_level"
    level: ClassVar[Level] = Level.WARNING
    before: str
    now: str
    seconds: float = 0.0


@attrs.frozen(kw_only=True, eq=False, repr=False)
class TracesFailed(Event):
    """The collector of traces did not take spans; they are lost, and nothing else is."""

    name: ClassVar[str] = "traces_failed"
    level: ClassVar[Level] = Level.WARNING
    reason: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Unexpected(Event):
    """A bug: an exception that nothing foresaw. ``trace`` is its traceback."""

    name: ClassVar[str] = "unexpected"
    level: ClassVar[Level] = Level.ERROR
    where: str
    error: str
    trace: str

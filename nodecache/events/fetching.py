"""What is fetched, and how upstream is."""

from __future__ import annotations

from typing import ClassVar

import attrs

from nodecache.events.base import Event, Level


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Coalesced(Event):
    """A request joined a fetch that was already under way."""

    name: ClassVar[str] = "coalesced"
    level: ClassVar[Level] = Level.DEBUG
    kind: str  # blob, manifest, tag, token


@attrs.frozen(kw_only=True, eq=False, repr=False)
class FillStarted(Event):
    name: ClassVar[str] = "fill_start"
    level: ClassVar[Level] = Level.DEBUG
    digest: str
    namespace: str
    repository: str
    resumed_bytes: int


@attrs.frozen(kw_only=True, eq=False, repr=False)
class FillFinished(Event):
    """``outcome`` is stored, kept (segments for peers), mismatch, failed, discarded (no room)
    or stopped. ``fetched`` bytes came, ``from_peers`` of them from other nodes;
    ``senders`` are those nodes that sent most, each with its bytes.
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
    from_peers: int = 0
    senders: dict[str, int] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class FillResumed(Event):
    """A source broke off or stalled and is taken up again."""

    name: ClassVar[str] = "fill_resume"
    level: ClassVar[Level] = Level.WARNING
    digest: str
    offset: int
    reason: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
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


@attrs.frozen(kw_only=True, eq=False, repr=False)
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


@attrs.frozen(kw_only=True, eq=False, repr=False)
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


@attrs.frozen(kw_only=True, eq=False, repr=False)
class UpstreamBytes(Event):
    """Body bytes that came from upstream; told at the end of each body."""

    name: ClassVar[str] = "upstream_bytes"
    level: ClassVar[Level] = Level.DEBUG
    namespace: str
    leg: str
    bytes: int


@attrs.frozen(kw_only=True, eq=False, repr=False)
class UpstreamHealth(Event):
    """An origin went down or came back."""

    name: ClassVar[str] = "upstream_health"
    level: ClassVar[Level] = Level.WARNING
    origin: str
    up: bool
    reason: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
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


@attrs.frozen(kw_only=True, eq=False, repr=False)
class TokenFetched(Event):
    name: ClassVar[str] = "token"
    level: ClassVar[Level] = Level.DEBUG
    namespace: str
    host: str
    scope: str
    life_seconds: float

"""What is to be told of one request on the peer port."""

from __future__ import annotations

from typing import Final

import attrs

from nodecache.events import PeerAnswered
from nodecache.peerwire.answers import (
    Absent,
    BlobAnswer,
    Bytes,
    Denied,
    Elsewhere,
    Fetching,
    Manifest,
    ManifestAnswer,
    UpstreamAbsent,
    UpstreamBroken,
)
from nodecache.traces import Trace

_OUTCOMES: Final[dict[type, str]] = {
    Bytes: "hit",
    Manifest: "hit",
    Fetching: "fetching",
    Elsewhere: "referral",
    Absent: "absent",
    UpstreamAbsent: "upstream_absent",
    Denied: "denied",
    UpstreamBroken: "upstream_failed",
}


@attrs.define
class PeerExchange:
    """Filled in as the request is answered. ``peer`` is an address until we know better."""

    peer: str
    started_at: float
    what: str = "other"
    mode: str = ""
    outcome: str = ""
    reason: str = ""
    trace: Trace | None = None

    def answers(self, answer: BlobAnswer | ManifestAnswer) -> None:
        """What we are about to answer."""
        fetched = isinstance(answer, Bytes | Manifest) and answer.fetched
        self.outcome = "fetched" if fetched else _OUTCOMES[type(answer)]
        if isinstance(answer, UpstreamAbsent | UpstreamBroken):
            self.reason = answer.message
        elif isinstance(answer, Denied):
            self.reason = answer.reason

    def failed(self, outcome: str, reason: str) -> None:
        self.outcome, self.reason = outcome, reason

    def answered(self, status: int, sent: int, now: float) -> PeerAnswered:
        """``sent`` counts body bytes. One that nobody ended was left by the peer."""
        return PeerAnswered(
            peer=self.peer,
            what=self.what,
            mode=self.mode,
            status=status,
            outcome=self.outcome or "cut",
            bytes=sent,
            seconds=now - self.started_at,
            reason=self.reason,
            trace_id="" if self.trace is None else self.trace.trace_id,
            span_id="" if self.trace is None else self.trace.recorded_id,
            parent_id="" if self.trace is None else self.trace.parent_id,
        )

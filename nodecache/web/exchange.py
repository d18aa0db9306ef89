"""What is to be told of one request on the mirror port."""

from __future__ import annotations

import attrs

from nodecache.body import Outcome
from nodecache.events import RequestFinished
from nodecache.traces import NO_TRACE, Trace

#: Characters that are kept of what a client says about itself.
AGENT_LENGTH = 120
METHOD_LENGTH = 16


def printable(raw: bytes, length: int) -> str:
    """``raw`` as visible ASCII of at most ``length`` characters."""
    text = raw[:length].decode("latin-1")
    return "".join(char if " " <= char <= "~" else "?" for char in text)


def client_name(host: str) -> str:
    """A client's address; an IPv4 one that came over an IPv6 socket as itself."""
    return host.removeprefix("::ffff:") if "." in host else host


@attrs.define
class Exchange:
    """Filled in as the request is answered. Times are of the monotonic clock."""

    request_id: str
    client: str
    agent: str
    method: str
    started_at: float
    trace: Trace = NO_TRACE
    kind: str = "other"
    namespace: str = ""
    repository: str = ""
    reference: str = ""
    source: str = "none"
    outcome: Outcome | None = None
    code: str = ""
    reason: str = ""
    in_pull: bool = False

    def finished(
        self, status: int, sent: int, first_byte_at: float | None, now: float
    ) -> RequestFinished:
        """``sent`` counts body bytes. An exchange that nobody ended was left by its client."""
        outcome = Outcome.LEFT if self.outcome is None else self.outcome
        first = None if first_byte_at is None else first_byte_at - self.started_at
        return RequestFinished(
            request_id=self.request_id,
            client=self.client,
            agent=self.agent,
            method=self.method,
            kind=self.kind,
            namespace=self.namespace,
            repository=self.repository,
            reference=self.reference,
            status=status,
            source=self.source,
            bytes=sent,
            seconds=now - self.started_at,
            first_byte_seconds=first,
            outcome=outcome.value,
            code=self.code,
            reason=self.reason,
            trace_id=self.trace.trace_id,
            span_id=self.trace.recorded_id,
            parent_id=self.trace.parent_id,
        )

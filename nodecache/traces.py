"""What a request belongs to, across programs: W3C Trace Context, as far as it is needed. Pure.

A client that traces sends ``traceparent``; for others a trace is begun here. All
requests of one pull share it, so that a log line, an exemplar of a metric and a
span meet in ``trace_id``.
"""

from __future__ import annotations

import re
from contextvars import ContextVar
from typing import Final

import attrs

#: Version, trace, parent, flags; what later versions add stands behind another dash.
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 1


@attrs.frozen
class Trace:
    """``trace_id`` has 32 hexadecimal digits, the others 16; ``parent_id`` is empty at the root.

    ``sampled`` is False where the client said that nobody records its trace.
    """

    trace_id: str
    span_id: str
    parent_id: str = ""
    sampled: bool = True

    @property
    def traceparent(self) -> str:
        """For whoever is asked on behalf of this."""
        return f"00-{self.trace_id}-{self.span_id}-{self.sampled:02x}"

    @property
    def recorded_id(self) -> str:
        """``span_id``, or nothing where no span is wanted."""
        return self.span_id if self.sampled else ""


#: That of what belongs to none.
NO_TRACE: Final = Trace("", "")

#: That of the request for which the running coroutine works; None outside of one.
CURRENT: ContextVar[Trace | None] = ContextVar("nodecache_trace", default=None)


def parse_traceparent(text: str | None, span_id: str) -> Trace | None:
    """The trace of a client, with ``span_id`` for what is done here; None where it has none."""
    match = _TRACEPARENT.fullmatch((text or "").strip())
    if match is None:
        return None
    version, trace_id, parent_id, flags, more = match.groups()
    if version == "ff" or (version == "00" and more) or not int(trace_id, 16):
        return None
    if not int(parent_id, 16):
        return None
    return Trace(trace_id, span_id, parent_id, bool(int(flags, 16) & _SAMPLED))

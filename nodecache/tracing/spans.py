"""Events as spans: what was done for a request, from when to when, and under what. Pure."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from nodecache import events
from nodecache.events import Event
from nodecache.traces import Trace

Value = str | int | float


class Kind(enum.Enum):
    """As OpenTelemetry has them."""

    SERVER = "server"
    CLIENT = "client"
    INTERNAL = "internal"


@attrs.frozen(kw_only=True)
class Span:
    """``seconds`` end when the event was told. ``error`` is empty where nothing went wrong."""

    name: str
    kind: Kind
    trace_id: str
    span_id: str
    parent_id: str
    seconds: float
    attributes: Mapping[str, Value]
    error: str = ""


@attrs.frozen
class _Part:
    """What an event brings to its span."""

    name: str
    kind: Kind
    seconds: float
    attributes: dict[str, Value]
    error: str = ""


def _request(event: events.RequestFinished) -> _Part:
    attributes: dict[str, Value] = {
        "http.request.method": event.method,
        "http.response.status_code": event.status,
        "http.response.body.size": event.bytes,
        "client.address": event.client,
        "user_agent.original": event.agent,
        "nodecache.request_id": event.request_id,
        "nodecache.namespace": event.namespace,
        "nodecache.repository": event.repository,
        "nodecache.reference": event.reference,
        "nodecache.source": event.source,
        "nodecache.outcome": event.outcome,
    }
    if event.first_byte_seconds is not None:
        attributes["nodecache.first_byte_seconds"] = event.first_byte_seconds
    broken = event.status >= 500 or event.outcome in {"aborted", "stalled"}
    error = (event.reason or event.outcome) if broken else ""
    return _Part(f"{event.method} {event.kind}", Kind.SERVER, event.seconds, attributes, error)


def _pull(event: events.PullFinished) -> _Part:
    attributes: dict[str, Value] = {
        "nodecache.namespace": event.namespace,
        "nodecache.repository": event.repository,
        "nodecache.reference": event.reference,
        "nodecache.digest": event.digest,
        "nodecache.runtime": event.runtime,
        "nodecache.requests": event.requests,
        "nodecache.bytes": event.bytes,
        **{f"nodecache.bytes.{name}": size for name, size in event.bytes_by_source.items()},
    }
    error = f"{event.failed} of {event.requests} requests failed" if event.failed else ""
    return _Part("pull", Kind.INTERNAL, event.seconds, attributes, error)


def _fill(event: events.FillFinished) -> _Part:
    attributes: dict[str, Value] = {
        "nodecache.namespace": event.namespace,
        "nodecache.repository": event.repository,
        "nodecache.digest": event.digest,
        "nodecache.outcome": event.outcome,
        "nodecache.bytes": event.fetched,
        "nodecache.bytes.peer": event.from_peers,
        "nodecache.connections": event.connections,
        "nodecache.resumes": event.resumes,
    }
    return _Part("fill", Kind.INTERNAL, event.seconds, attributes, event.reason)


def _answered(event: events.UpstreamAnswered) -> _Part:
    attributes: dict[str, Value] = {
        "http.request.method": event.method,
        "http.response.status_code": event.status,
        "server.address": event.host,
        "nodecache.namespace": event.namespace,
    }
    error = f"status {event.status}" if event.status >= 500 else ""
    return _Part(f"upstream {event.leg}", Kind.CLIENT, event.seconds, attributes, error)


def _failed(event: events.UpstreamFailed) -> _Part:
    attributes: dict[str, Value] = {
        "http.request.method": event.method,
        "server.address": event.host,
        "nodecache.namespace": event.namespace,
        "error.type": event.kind,
    }
    return _Part(f"upstream {event.leg}", Kind.CLIENT, event.seconds, attributes, event.reason)


def _peer(event: events.PeerAsked) -> _Part:
    attributes: dict[str, Value] = {
        "nodecache.peer": event.peer,
        "nodecache.mode": event.mode,
        "nodecache.outcome": event.outcome,
    }
    return _Part(f"peer {event.what}", Kind.CLIENT, event.seconds, attributes, event.reason)


def _for_a_peer(event: events.PeerAnswered) -> _Part:
    attributes: dict[str, Value] = {
        "http.response.status_code": event.status,
        "http.response.body.size": event.bytes,
        "nodecache.peer": event.peer,
        "nodecache.mode": event.mode,
        "nodecache.outcome": event.outcome,
    }
    error = event.reason if event.status >= 500 else ""
    return _Part(f"for a peer: {event.what}", Kind.SERVER, event.seconds, attributes, error)


#: Events that say themselves what trace they belong to.
_OWN: Final[Mapping[type[Event], Callable[[Any], _Part]]] = {
    events.RequestFinished: _request,
    events.PullFinished: _pull,
    events.PeerAnswered: _for_a_peer,
}
#: Events that belong to the request for which they happen.
_WITHIN: Final[Mapping[type[Event], Callable[[Any], _Part]]] = {
    events.FillFinished: _fill,
    events.UpstreamAnswered: _answered,
    events.UpstreamFailed: _failed,
    events.PeerAsked: _peer,
}


def span_of(event: Event, current: Trace | None, new_id: Callable[[], str]) -> Span | None:
    """The span that ends with ``event``; None for one that belongs to no trace that is kept.

    ``current`` is the trace of the running request; ``new_id`` gives 16 hexadecimal digits.
    """
    if (own := _OWN.get(type(event))) is not None:
        told: Any = event
        return _span(own(event), told.trace_id, told.span_id, told.parent_id)
    within = _WITHIN.get(type(event))
    if within is None or current is None or not current.recorded_id:
        return None
    return _span(within(event), current.trace_id, new_id(), current.span_id)


def _span(part: _Part, trace_id: str, span_id: str, parent_id: str) -> Span | None:
    if not trace_id or not span_id:
        return None
    return Span(
        name=part.name,
        kind=part.kind,
        trace_id=trace_id,
        span_id=span_id,
        parent_id=parent_id,
        seconds=part.seconds,
        attributes=part.attributes,
        error=part.error,
    )

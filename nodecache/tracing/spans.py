"""Events as spans: what was done for a request, from when to when, and under what. Pure."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
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


@attrs.frozen(kw_only=True)
class _Row:
    """How an event is told as a span: ``name`` is a format of it, ``attributes`` are fields of it.

    A field of None is left out, and one of several values is told value by value.
    ``error`` gives words where something went wrong.
    """

    name: str
    kind: Kind
    attributes: Sequence[tuple[str, str]]
    error: Callable[[Any], str]


_METHOD: Final = ("http.request.method", "method")
_STATUS: Final = ("http.response.status_code", "status")
_SIZE: Final = ("http.response.body.size", "bytes")
_SERVER: Final = ("server.address", "host")


def _ours(*fields: str, **others: str) -> tuple[tuple[str, str], ...]:
    """Attributes of our own, named as their fields; ``others`` by their names."""
    named = {**{field: field for field in fields}, **others}
    return tuple((f"nodecache.{name}", field) for name, field in named.items())


def _reason(event: Any) -> str:
    return str(event.reason)


def _broken(event: events.RequestFinished) -> str:
    broken = event.status >= 500 or event.outcome in {"aborted", "stalled"}
    return (event.reason or event.outcome) if broken else ""


def _failed_requests(event: events.PullFinished) -> str:
    return f"{event.failed} of {event.requests} requests failed" if event.failed else ""


#: Events that say themselves what trace they belong to.
_OWN: Final[Mapping[type[Event], _Row]] = {
    events.RequestFinished: _Row(
        name="{0.method} {0.kind}",
        kind=Kind.SERVER,
        attributes=(
            *(_METHOD, _STATUS, _SIZE),
            *(("client.address", "client"), ("user_agent.original", "agent")),
            *_ours("request_id", "namespace", "repository", "reference", "source", "outcome"),
            *_ours("first_byte_seconds"),
        ),
        error=_broken,
    ),
    events.PullFinished: _Row(
        name="pull",
        kind=Kind.INTERNAL,
        attributes=(
            *_ours("namespace", "repository", "reference", "digest", "runtime", "requests"),
            *_ours("bytes"),
            ("nodecache.bytes", "bytes_by_source"),
        ),
        error=_failed_requests,
    ),
    events.PeerAnswered: _Row(
        name="for a peer: {0.what}",
        kind=Kind.SERVER,
        attributes=(_STATUS, _SIZE, *_ours("peer", "mode", "outcome")),
        error=lambda event: event.reason if event.status >= 500 else "",
    ),
}
#: Events that belong to the request for which they happen.
_WITHIN: Final[Mapping[type[Event], _Row]] = {
    events.FillFinished: _Row(
        name="fill",
        kind=Kind.INTERNAL,
        attributes=(
            *_ours("namespace", "repository", "digest", "outcome", "connections", "resumes"),
            *_ours(**{"bytes": "fetched", "bytes.peer": "from_peers"}),
        ),
        error=_reason,
    ),
    events.UpstreamAnswered: _Row(
        name="upstream {0.leg}",
        kind=Kind.CLIENT,
        attributes=(_METHOD, _STATUS, _SERVER, *_ours("namespace")),
        error=lambda event: f"status {event.status}" if event.status >= 500 else "",
    ),
    events.UpstreamFailed: _Row(
        name="upstream {0.leg}",
        kind=Kind.CLIENT,
        attributes=(_METHOD, _SERVER, ("error.type", "kind"), *_ours("namespace")),
        error=_reason,
    ),
    events.PeerAsked: _Row(
        name="peer {0.what}",
        kind=Kind.CLIENT,
        attributes=_ours("peer", "mode", "outcome"),
        error=_reason,
    ),
}


def span_of(event: Event, current: Trace | None, new_id: Callable[[], str]) -> Span | None:
    """The span that ends with ``event``; None for one that belongs to no trace that is kept.

    ``current`` is the trace of the running request; ``new_id`` gives 16 hexadecimal digits.
    """
    told: Any = event
    if (own := _OWN.get(type(event))) is not None:
        return _span(own, told, told.trace_id, told.span_id, told.parent_id)
    within = _WITHIN.get(type(event))
    if within is None or current is None or not current.recorded_id:
        return None
    return _span(within, told, current.trace_id, new_id(), current.span_id)


def _span(row: _Row, event: Any, trace_id: str, span_id: str, parent_id: str) -> Span | None:
    if not trace_id or not span_id:
        return None
    return Span(
        name=row.name.format(event),
        kind=row.kind,
        trace_id=trace_id,
        span_id=span_id,
        parent_id=parent_id,
        seconds=event.seconds,
        attributes=dict(_attributes(row, event)),
        error=row.error(event),
    )


def _attributes(row: _Row, event: Any) -> Iterator[tuple[str, Value]]:
    for name, field in row.attributes:
        value = getattr(event, field)
        if isinstance(value, Mapping):
            yield from ((f"{name}.{key}", each) for key, each in value.items())
        elif value is not None:
            yield name, value

"""Traces for OpenTelemetry, where the settings name a collector; off, and not even loaded, else."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Protocol

from nodecache.events import Event
from nodecache.failures import ConfigError
from nodecache.limits import Timeouts
from nodecache.seams import WallClock
from nodecache.traces import CURRENT
from nodecache.tracing.spans import Span, span_of

__all__ = ["Sink", "Span", "Tracing", "start_tracing"]


class Sink(Protocol):
    """Where spans go; neither call may raise."""

    def send(self, span: Span, ended_at: float) -> None: ...

    def close(self) -> None: ...


class Tracing:
    """``observe`` takes every event, within the context in which it happened."""

    def __init__(self, sink: Sink, wall: WallClock) -> None:
        self._sink = sink
        self._wall = wall

    def observe(self, event: Event) -> None:
        """Events that are no part of a trace are ignored."""
        span = span_of(event, CURRENT.get(), _new_id)
        if span is not None:
            self._sink.send(span, self._wall())

    def close(self) -> None:
        """Send what is left."""
        self._sink.close()


def _new_id() -> str:
    return secrets.token_hex(8)


def start_tracing(
    url: str, node: str, timeouts: Timeouts, wall: WallClock, complain: Callable[[str], None]
) -> Tracing:
    """Spans go to ``url``, as those of ``node``. Raises ConfigError where the library is missing.

    ``complain`` is called in any thread, with what the collector did not take and why.
    """
    try:
        from nodecache.tracing.otel import Collector  # noqa: PLC0415 - few have the library
    except ImportError as error:
        raise ConfigError(
            f"telemetry.traces: needs OpenTelemetry (pip install 'nodecache[otel]'): {error}"
        ) from None
    return Tracing(Collector(url, node, timeouts, complain), wall)

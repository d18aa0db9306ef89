"""Spans to a collector, with the library of OpenTelemetry; imported only where it is wanted.

A thread of the library sends them in batches. What it can not keep in its queue
is dropped, and what the collector does not take is told of and forgotten: none
of it holds up a request.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.status import Status, StatusCode

from nodecache import __version__
from nodecache.limits import Timeouts
from nodecache.tracing.spans import Kind, Span

_KINDS: Final = {
    Kind.SERVER: SpanKind.SERVER,
    Kind.CLIENT: SpanKind.CLIENT,
    Kind.INTERNAL: SpanKind.INTERNAL,
}
_SCOPE: Final = InstrumentationScope("nodecache", __version__)
#: The library says there what it could not send.
_LOGGER: Final = "opentelemetry"


class _Complaints(logging.Handler):
    def __init__(self, complain: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._complain = complain

    def emit(self, record: logging.LogRecord) -> None:
        self._complain(record.getMessage())


class Collector:
    """Where spans go: ``url`` takes OTLP over HTTP. ``close`` is owed.

    ``complain`` is called in any thread, with what went wrong in words.
    """

    def __init__(
        self, url: str, node: str, timeouts: Timeouts, complain: Callable[[str], None]
    ) -> None:
        self._complaints = _Complaints(complain)
        logger = logging.getLogger(_LOGGER)
        self._propagated, logger.propagate = logger.propagate, False
        logger.addHandler(self._complaints)
        self._patience = timeouts.traces_close
        self._resource = Resource.create(
            {
                "service.name": "nodecache",
                "service.version": __version__,
                **({"service.instance.id": node} if node else {}),
            }
        )
        exporter = OTLPSpanExporter(endpoint=url, timeout=int(max(1.0, timeouts.traces_send)))
        self._processor = BatchSpanProcessor(
            exporter, schedule_delay_millis=int(timeouts.traces_flush * 1000)
        )

    def send(self, span: Span, ended_at: float) -> None:
        """``ended_at`` is in seconds since the epoch. Does not block."""
        end = int(ended_at * 1e9)
        self._processor.on_end(
            ReadableSpan(
                name=span.name,
                context=_context(span.trace_id, span.span_id),
                parent=_context(span.trace_id, span.parent_id) if span.parent_id else None,
                resource=self._resource,
                attributes=dict(span.attributes),
                kind=_KINDS[span.kind],
                status=Status(StatusCode.ERROR, span.error) if span.error else Status(),
                start_time=end - int(span.seconds * 1e9),
                end_time=end,
                instrumentation_scope=_SCOPE,
            )
        )

    def close(self) -> None:
        """Send what is left, for a moment at most: a process that ends waits for no collector."""
        ending = threading.Thread(target=self._processor.shutdown, daemon=True)
        ending.start()
        ending.join(self._patience)
        logger = logging.getLogger(_LOGGER)
        logger.removeHandler(self._complaints)
        logger.propagate = self._propagated


def _context(trace_id: str, span_id: str) -> SpanContext:
    return SpanContext(
        int(trace_id, 16), int(span_id, 16), is_remote=False, trace_flags=TraceFlags(1)
    )

"""Failures that nobody handled, from Twisted's log into ours."""

from __future__ import annotations

from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from twisted.python.failure import Failure as Reason
from zope.interface import implementer

from nodecache.events import Unexpected
from nodecache.seams import Observe

_SEVERE = frozenset({LogLevel.error, LogLevel.critical})


@implementer(ILogObserver)
class UnexpectedObserver:
    """Begin logging to it; what is no error is dropped.

    All that Twisted and its kin log as an error (an exception in a callback, a
    lost Deferred) is a defect: what may go wrong is an event of its own.
    """

    def __init__(self, observe: Observe) -> None:
        self._observe = observe
        self._inside = False

    def __call__(self, event: LogEvent) -> None:
        if self._inside or event.get("log_level") not in _SEVERE:
            return
        self._inside = True
        try:
            self._observe(_unexpected(event))
        finally:
            self._inside = False


def _unexpected(event: LogEvent) -> Unexpected:
    where = str(event.get("log_namespace", ""))
    said = formatEvent(event)
    failure = event.get("log_failure")
    if not isinstance(failure, Reason):
        return Unexpected(where=where, error=said, trace="")
    error = f"{getattr(failure.type, '__name__', '')}: {failure.getErrorMessage()}"
    return Unexpected(where=f"{where} {said}".strip(), error=error, trace=failure.getTraceback())

"""The life of a body on its way to a client, whatever it is made from.

A body ends in one of four ways (``Outcome``). It is finished only when every
byte was handed over; in all other cases the connection ends before them, so
that no client takes a part for the whole. Where the bytes so far are right it
is closed, and runtimes take the rest up by Range, here or elsewhere; where they
are wrong, or nobody reads, it is reset. What a body holds is released in ``_end``,
which acts once, whoever calls it first: the body itself, the transport
(``stopProducing``), the watch for stalled clients, or who stops the node.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure as Reason
from zope.interface import implementer

from nodecache.body.stall import StallWatch
from nodecache.body.wire import Outcome, Tools, Wire
from nodecache.events import Unexpected
from nodecache.failures import Failure, UpstreamFailure, UpstreamKind, root_of


@implementer(IPushProducer)
class Sender:
    """``ended`` is called once, before the request is finished or broken off."""

    def __init__(self, wire: Wire, tools: Tools, ended: Callable[[Outcome, str], None]) -> None:
        self.position = 0
        self._wire = wire
        self._tools = tools
        self._ended = ended
        self._active = True
        self._paused = False
        self._cut = False
        #: What the client has is wrong, or may be: nothing is to be added to it.
        self._poisoned = False
        self._watch = StallWatch(tools.clock, tools.stall, self._sample, self._stall)

    def start(self) -> None:
        """Write the headers, and then the body as it comes."""
        if self._wire.gone:
            self._end(Outcome.LEFT, "")
            return
        self._wire.registerProducer(self, True)
        self._wire.write(b"")
        self._watch.start()
        self._begin()

    def abort(self, reason: str) -> None:
        """Break the body off. Nothing happens when it has ended."""
        self._end(Outcome.ABORTED, reason)

    # What the transport calls.

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False

    def stopProducing(self) -> None:
        self._cut = True
        self._end(Outcome.LEFT, "")

    # What a kind of body brings.

    def _begin(self) -> None:
        raise NotImplementedError

    def _release(self) -> None:
        """Give back what is held; called once."""
        raise NotImplementedError

    # Ends.

    def _defect(self) -> None:
        """To be called in the handling of an exception that nothing foresaw."""
        reason = Reason()
        error, trace = repr(reason.value), reason.getTraceback()
        self._tools.observe(Unexpected(where="body", error=error, trace=trace))
        self._poisoned = True
        self._end(Outcome.ABORTED, "a defect of nodecache")

    def _source_failed(self, reason: Reason) -> None:
        """Where the bytes come from has failed."""
        if not self._active:
            return  # our own cancellation
        if isinstance(reason.value, Failure):
            self._poisoned = _was_wrong(reason.value)
        else:
            self._poisoned = True
            error, trace = repr(reason.value), reason.getTraceback()
            self._tools.observe(Unexpected(where="body", error=error, trace=trace))
        self._end(Outcome.ABORTED, str(reason.value) or "the fetch failed")

    def _sample(self) -> object | None:
        unsent = self._wire.unsent()
        return (self.position, unsent) if unsent or self._paused else None

    def _stall(self) -> None:
        self._end(Outcome.STALLED, f"the client took nothing for {self._tools.stall:g} s")

    def _end(self, outcome: Outcome, reason: str) -> None:
        if not self._active:
            return
        self._active = False
        self._watch.stop()
        self._release()
        if not self._wire.gone:
            self._wire.unregisterProducer()
        self._ended(outcome, reason)
        if self._wire.gone or self._cut:
            return
        if outcome is Outcome.COMPLETE:
            self._wire.finish()
        elif outcome is Outcome.ABORTED and not self._poisoned:
            self._wire.break_off()
        else:
            self._wire.abort()


def _was_wrong(failure: Failure) -> bool:
    root = root_of(failure)
    return isinstance(root, UpstreamFailure) and root.kind is UpstreamKind.WRONG

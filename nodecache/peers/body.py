"""The bytes of a blob on their way from a peer: given on once their sum was right."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, TypeAlias

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure as Reason

from nodecache.byteranges import Span
from nodecache.failures import PeerKind, UpstreamFailure, UpstreamKind
from nodecache.limits import Timeouts
from nodecache.peerwire.answers import Bytes
from nodecache.peerwire.fields import WireFault
from nodecache.peerwire.frames import Broken, Checked, Decoder, Ended, FrameEvent, SumFault
from nodecache.seams import BlobBody
from nodecache.upstream.body import BodyStream, least_in
from nodecache.upstream.waits import NEAR_TURNS
from nodecache.upstream.wire import Reply

Sink: TypeAlias = Callable[[bytes], None]

#: Makes the failure of a kind and words; ``blame``: it is held against the peer.
Fail: TypeAlias = Callable[[PeerKind, str, bool], Exception]


@attrs.frozen
class Pulse:
    """``heard`` is told of each sign of life, with the bytes that came; ``lives`` whether there
    was one elsewhere.
    """

    heard: Callable[[int], None]
    lives: Callable[[], bool]


#: Called once, when the body is over, with the bytes that were given on.
Over: TypeAlias = Callable[[int], None]


class PeerBody(BlobBody):
    """``span`` is what comes; ``silence`` is measured as in BodyStream.

    A sender that only says that it lives, or drips, is believed for ``Timeouts.stall_total``.
    The sink is called with no bytes when the sender lives and has nothing, and
    now and then while bytes come whose sum has not.
    """

    def __init__(
        self,
        clock: Any,
        reply: Reply,
        peer: str,
        span: Span,
        answer: Bytes,
        timeouts: Timeouts,
        fail: Fail,
        over: Over,
        pulse: Pulse,
    ) -> None:
        self._clock = clock
        self._peer = peer
        self._span = span
        self._answer = answer
        self._fail = fail
        self._told = over
        self._alive = timeouts.peer_alive
        self._most_idle = max(2, int(timeouts.stall_total / timeouts.peer_alive))
        self._patience = timeouts.stall_total
        self._lately, self._came_at = 0, clock.seconds()
        self._heard = pulse.heard
        self._decoder = Decoder(span)
        self._stream = BodyStream(
            clock, reply, timeouts.peer_stall, lambda _received: None, NEAR_TURNS, pulse.lives
        )
        self._waiting: deque[bytes | Broken | Ended] = deque()
        self._sink: Sink | None = None
        self._done: Deferred[None] | None = None
        self._given = 0
        self._given_at = 0.0
        self._paused = self._giving = self._whole = self._over = False

    @property
    def answer(self) -> Bytes:
        return self._answer

    @property
    def peer(self) -> str:
        return self._peer

    @property
    def start(self) -> int:
        return self._span.start

    @property
    def stop_at(self) -> int:
        return self._span.stop

    @property
    def total(self) -> int:
        return self._answer.total

    @property
    def ranged(self) -> bool:
        return True

    def deliver(self, sink: Sink) -> Deferred[None]:
        """Fires when the span is whole.

        Fails with PeerFailure: CUT, TIMEOUT, CORRUPT, WRONG (no frames, or
        not those of the span), ERROR (the sender says why).
        """
        done: Deferred[None] = Deferred(lambda _done: self.stop())
        self._sink, self._done = sink, done
        self._given_at = self._came_at = self._clock.seconds()
        self._stream.deliver(self._take).addCallbacks(self._ended, self._broken)
        return done

    def pause(self) -> None:
        """No byte is delivered until ``resume``."""
        self._paused = True
        self._stream.pause()

    def resume(self) -> None:
        self._paused = False
        self._lately, self._came_at = 0, self._clock.seconds()
        if not self._giving:
            self._give_on()

    def stop(self) -> None:
        """Close the connection; idempotent."""
        if self._over:
            return
        done = self._done
        self._end()
        if done is not None and not done.called:
            done.errback(CancelledError())

    def _take(self, data: bytes) -> None:
        if self._over:
            return
        self._heard(len(data))
        if self._whole:
            self._succeeded()
            return
        try:
            events = self._decoder.feed(data)
        except SumFault as fault:
            self._failed(PeerKind.CORRUPT, str(fault))
            return
        except WireFault as fault:
            self._failed(PeerKind.WRONG, str(fault))
            return
        for event in events:
            self._sort(event)
        if not events and self._clock.seconds() - self._given_at >= self._alive:
            self._waiting.append(b"")
        self._give_on()
        self._expect_more(len(data))

    def _expect_more(self, came: int) -> None:
        """Give up a sender of which too little comes, though it is not silent."""
        now = self._clock.seconds()
        self._lately += came
        if self._lately >= least_in(self._patience):
            self._lately, self._came_at = 0, now
        if self._over:
            return
        if self._decoder.idle > self._most_idle:
            self._failed(PeerKind.TIMEOUT, "it lives, and has nothing to send")
        elif now - self._came_at > self._patience and not (self._paused or self._decoder.idle):
            self._failed(PeerKind.TIMEOUT, f"only {self._lately} bytes in {self._patience:g} s")

    def _sort(self, event: FrameEvent) -> None:
        if isinstance(event, Checked):
            self._waiting.extend(event.pieces)
        elif isinstance(event, Broken | Ended):
            self._waiting.append(event)
        # Of ALIVE nothing is passed on: of nodes that wait for each other in a ring none would
        # ever be silent.

    def _give_on(self) -> None:
        self._giving = True
        while self._waiting and not (self._paused or self._over):
            item = self._waiting.popleft()
            if isinstance(item, bytes):
                self._give(item)
            elif isinstance(item, Ended):
                # The end of the answer follows, and with it the connection
                # can be used again; whatever else does makes no difference.
                self._whole = True
            else:
                self._failed(PeerKind.ERROR, f"it broke off: {item.message}", blame=False)
        self._giving = False
        if not self._paused:
            self._stream.resume()

    def _give(self, piece: bytes) -> None:
        assert self._sink is not None
        self._given += len(piece)
        self._given_at = self._clock.seconds()
        self._sink(piece)

    # The end

    def _succeeded(self) -> None:
        done = self._done
        self._end()
        assert done is not None
        done.callback(None)

    def _ended(self, _result: None) -> None:
        if self._whole:
            self._succeeded()
        elif not self._over:
            self._failed(PeerKind.CUT, f"the body ended after {self._given} bytes")

    def _broken(self, reason: Reason) -> None:
        error = reason.value
        if self._over or not isinstance(error, UpstreamFailure):
            return
        if self._whole:
            self._succeeded()
            return
        silent = error.kind is UpstreamKind.TIMEOUT
        self._failed(PeerKind.TIMEOUT if silent else PeerKind.CUT, error.message)

    def _failed(self, kind: PeerKind, words: str, *, blame: bool = True) -> None:
        done = self._done
        self._end()
        assert done is not None
        done.errback(self._fail(kind, words, blame))

    def _end(self) -> None:
        self._over = True
        self._whole = False
        self._waiting.clear()
        self._stream.stop()
        self._told(self._given)

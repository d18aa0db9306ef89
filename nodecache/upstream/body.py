"""The body of an answer on its way in.

A body has a silence timer, as nothing in Twisted bounds the time between two
reads. It stands still while the body is paused by us: the transport does not
read then, and would not even see that the connection is gone. Twisted may
hand over bytes after a pause, and the end with them; both are kept back until
``resume``, so that a paused sink is not called. A drip is silence too: where
``least`` bytes do not come within the time, the body is given up, and whoever
takes it up again does so on a connection that may be better.

On a slow link bytes would come a packet at a time, each at the price of a whole
read. So after a small read the transport rests for a few milliseconds, in which
the kernel gathers (``upstream.gather``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss

from nodecache.failures import UpstreamFailure, UpstreamKind
from nodecache.limits import KIB
from nodecache.upstream.encoding import decoded
from nodecache.upstream.gather import Gathering
from nodecache.upstream.waits import EXTENSIONS, LATE, TimedOut, bounded
from nodecache.upstream.wire import Reply

#: A body that nobody wants is read to its end, to keep the connection, if it
#: has at most this many bytes and ends within these seconds.
DISCARD_BYTES = 64 * KIB
DISCARD_SECONDS = 2.0

#: Bytes a second. A body of which fewer come, over the time that counts as silence, drips.
DRIP_RATE = 100

Sink = Callable[[bytes], None]


def least_in(seconds: float) -> int:
    """Bytes that a body brings in this time, or it drips."""
    return max(1, int(DRIP_RATE * seconds))


class BodyStream(Protocol):
    """The body of one Reply. ``deliver`` or ``stop`` is called exactly once.

    ``received`` counts bytes; ``ended`` is called once, at the end of the
    body or of our interest in it. ``turns`` and ``lives`` as for ``waits.bounded``.
    """

    def __init__(
        self,
        clock: Any,
        reply: Reply,
        silence: float,
        ended: Callable[[int], None],
        turns: int = 1,
        lives: Callable[[], bool] = lambda: False,
        least: int = 1,
    ) -> None:
        self._clock = clock
        self._least = least
        self._lately = 0
        reply.taken = True
        self._reply = reply
        self._silence = silence
        self._turns = turns
        self._looks = 0
        self._lives = lives
        self._extensions = EXTENSIONS
        self._told = ended
        self._sink: Sink | None = None
        self._done: Deferred[None] | None = None
        self._held: deque[bytes] = deque()
        self._end: Failure | None = None
        self._paused = False
        self._over = False
        self._flushing = False
        self._heard_at = 0.0
        self._timer: Any = None
        self._gathering = Gathering(clock.seconds())
        self._resting: Any = None
        self.received = 0

    def deliver(self, sink: Sink) -> Deferred[None]:
        """Fires at the complete end. Fails with UpstreamFailure: CUT, TIMEOUT."""
        done: Deferred[None] = Deferred(lambda _done: self.stop())
        self._sink, self._done = sink, done
        if not self._paused:
            self._listen()
        self._reply.response.deliverBody(self)
        if self._paused and not self._over and self.transport is not None:
            self._halt(self.transport)
        return done

    def pause(self) -> None:
        """No byte is delivered until ``resume``."""
        if self._paused or self._over:
            return
        self._paused = True
        self._deafen()
        self._wake()
        if self.transport is not None:
            self._halt(self.transport)

    @staticmethod
    def _halt(transport: Any) -> None:
        transport.pauseProducing()

    def resume(self) -> None:
        if not self._paused or self._over:
            return
        self._paused = False
        if self._flushing or self._done is None:
            return
        self._flush()

    def _flush(self) -> None:
        self._flushing = True
        while self._held and not (self._paused or self._over):
            self._give(self._held.popleft())
        self._flushing = False
        if self._paused or self._over:
            return
        if self._end is not None:
            self._finish(self._end)
            return
        self._listen()
        transport: Any = self.transport
        transport.resumeProducing()

    def stop(self) -> None:
        """Close the connection, unless the body has come in whole; idempotent."""
        if self._over:
            return
        whole = self._end is not None
        self._close()
        if not whole:
            self._reply.abort()
        if self._done is not None and not self._done.called:
            self._done.errback(CancelledError())

    def _close(self) -> None:
        self._over = True
        self._held.clear()
        self._deafen()
        self._wake()
        self._told(self.received)

    # Called by Twisted

    def dataReceived(self, data: bytes) -> None:
        if self._over:
            return
        self.received += len(data)
        now = self._clock.seconds()
        self._lately += len(data)
        if self._lately >= self._least:
            self._heard_at, self._lately = now, 0
            self._looks = 0
            self._extensions = EXTENSIONS
        if self._paused or self._held:
            self._held.append(data)
        else:
            self._give(data)
            self._rest(len(data), now)

    def _rest(self, read: int, now: float) -> None:
        """Let bytes gather, after a read of so many, unless they come fast."""
        seconds = self._gathering.read(read, now)
        if seconds and not (self._paused or self._over or self._resting):
            transport: Any = self.transport
            self._halt(transport)
            self._resting = self._clock.callLater(seconds, self._rested)

    def _rested(self) -> None:
        self._resting = None
        transport: Any = self.transport
        transport.resumeProducing()

    def _wake(self) -> None:
        """No rest any more: whoever comes next says whether the transport reads."""
        resting, self._resting = self._resting, None
        if resting is not None:
            resting.cancel()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._over:
            return
        self._end = reason
        if not (self._paused or self._held):
            self._finish(reason)

    def _give(self, data: bytes) -> None:
        assert self._sink is not None
        self._sink(data)

    def _finish(self, reason: Failure) -> None:
        done = self._done
        self._close()
        assert done is not None
        if isinstance(reason.value, ResponseDone):
            done.callback(None)
        elif isinstance(reason.value, PotentialDataLoss):
            done.errback(_cut("the body has neither a length nor chunks: its end proves nothing"))
        else:
            done.errback(_cut(f"the body was cut after {self.received} bytes"))

    # Silence

    def _listen(self) -> None:
        self._heard_at = self._clock.seconds()
        self._looks = self._lately = 0
        if self._timer is None:
            self._timer = self._clock.callLater(self._silence / self._turns, self._look)

    def _deafen(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def _look(self) -> None:
        due, now = self._timer.getTime(), self._clock.seconds()
        self._timer = None
        if now - due > LATE:  # we were frozen; the bytes may be waiting for us
            self._listen()
            return
        self._looks += 1
        left = self._silence - (now - self._heard_at)
        if left > 0 or self._looks < self._turns:
            slice_ = self._silence / self._turns
            pause = left if self._turns == 1 else max(min(left, slice_), slice_ / 2)
            self._timer = self._clock.callLater(pause, self._look)
            return
        if self._extensions and self._lives():
            self._extensions -= 1
            self._listen()
            return
        done = self._done
        self._close()
        self._reply.abort()
        assert done is not None
        done.errback(_silent(self._silence, self._lately, self.received))


def _cut(words: str) -> UpstreamFailure:
    return UpstreamFailure(UpstreamKind.CUT, words)


def _silent(seconds: float, lately: int, received: int) -> UpstreamFailure:
    came = f"only {lately} bytes in" if lately else "no byte for"
    words = f"{came} {seconds:g} s after {received} bytes of the body"
    return UpstreamFailure(UpstreamKind.TIMEOUT, words)


def discard(clock: Any, reply: Reply) -> None:
    """Drop the body, unless it is taken already; keep the connection when that is cheap."""
    if reply.taken:
        return
    stream = BodyStream(clock, reply, DISCARD_SECONDS, lambda _received: None)
    if (reply.length or 0) > DISCARD_BYTES and reply.method != "HEAD":
        stream.stop()
        return
    deadline = clock.seconds() + DISCARD_SECONDS

    def drop(_data: bytes) -> None:
        if stream.received > DISCARD_BYTES or clock.seconds() > deadline:
            stream.stop()

    stream.deliver(drop).addErrback(lambda _broken: None)


async def read_whole(
    clock: Any, stream: BodyStream, encoding: str | None, most: int, seconds: float
) -> bytes:
    """A small body, decoded, of at most ``most`` bytes before and after that.

    Raises TimedOut after ``seconds``, and UpstreamFailure: CUT, TIMEOUT, WRONG.
    """
    parts: list[bytes] = []
    too_big = UpstreamFailure(UpstreamKind.WRONG, f"the answer has more than {most} bytes")

    def take(data: bytes) -> None:
        parts.append(data)
        if stream.received > most:
            stream.stop()

    try:
        await bounded(clock, stream.deliver(take), seconds)
    except CancelledError:
        if stream.received > most:
            raise too_big from None
        raise
    except TimedOut:
        stream.stop()
        raise
    return decoded(b"".join(parts), encoding, most)

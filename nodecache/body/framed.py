"""Sends bytes of a blob, whole or still arriving, to a peer, in frames.

As ``sender`` does, it stands at a position and does the one thing that can be
done there. Three things differ. The bytes are copied, because each goes into a
checksum. While nothing can be sent the peer is told that we live, as long as
what is missing is on its way to us: a peer bounds silence, not duration. And a
source that fails does not reset the connection: the peer is told so in a frame,
and goes on asking elsewhere on the same connection.

What a byte costs is counted: it is read into a buffer that stays in the
processor's cache, summed there, joined with what frames it, and handed over.
Measured (a segment a hundred times from the page cache over loopback, on a
machine of two cores that was busy with other work): 1.4 to 1.8 s of processor
time a GB, more than half of it the kernel's ``send``, a quarter the CRC-32.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Protocol, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure as Reason

from nodecache.body.sending import Sender
from nodecache.body.uplink import PIECE, Place, Uplink
from nodecache.body.wire import FileTools, Outcome, Wire
from nodecache.byteranges import Span
from nodecache.events import DiskFailed
from nodecache.failures import Failure, UpstreamFailure, UpstreamKind, root_of
from nodecache.limits import CHECKSUM_BLOCK
from nodecache.peerwire.frames import Encoder
from nodecache.results import Loan

#: Seconds. A peer that takes nothing for so long is dropped. Longer than its own
#: patience, because a slow link empties a full buffer slowly; far shorter than that
#: of clients, because others stand in line behind it.
PEER_STALL = 15.0
#: Seconds. How soon a waiting sender looks again without having been called.
AGAIN = 0.05


class PartsWire(Wire, Protocol):
    def write_parts(self, parts: list[bytes]) -> None:
        """Write them as one, behind the headers; they may be overwritten afterwards."""
        ...


class FramedSender(Sender):
    """Owns ``loan`` and closes it once. ``failure`` is why the peer was told of one, in words.

    ``alive`` is in seconds: so often a peer hears of us (Timeouts.peer_alive).
    """

    def __init__(
        self,
        wire: PartsWire,
        loan: Loan,
        span: Span,
        tools: FileTools,
        uplink: Uplink,
        alive: float,
        place: Place,
        ended: Callable[[Outcome, str], None],
    ) -> None:
        super().__init__(wire, tools, ended)
        self.failure = ""
        self.position = span.start
        self._span = span
        self._loan = loan
        self._readable = loan.readable
        self._files = tools
        self._uplink = uplink
        self._parts = wire.write_parts
        self._alive = alive
        self._place = place
        self._encoder = Encoder(span)
        self._stepping = False
        self._woken = False
        self._reading = False
        self._wait: Deferred[None] | None = None
        self._again: IDelayedCall | None = None
        self._beat: IDelayedCall | None = None
        self._heard_at = 0.0
        self._paused_before = False
        self._paid = 0  # bytes that may go, as far as the rate is concerned

    @property
    def sent(self) -> int:
        """Bytes of the blob that were written."""
        return self.position - self._span.start

    def resumeProducing(self) -> None:
        super().resumeProducing()
        self._paused_before = True
        self._step()

    # The one thing that can be done now.

    def _begin(self) -> None:
        self._heard_at = self._tools.clock.seconds()
        self._beat = self._tools.clock.callLater(self._alive, self._look_at_silence)
        self._step()

    def _step(self) -> None:
        if self._stepping:
            return
        self._stepping = True
        try:
            while self._active and not self._is_waiting() and self._advance():
                pass
        except Exception:
            self._defect()
        finally:
            self._stepping = False

    def _is_waiting(self) -> bool:
        return bool(self._paused or self._reading or self._wait or self._again)

    def _advance(self) -> bool:
        """Send, or do what has to come before. False when the reactor must have its turn first."""
        left = self._span.stop - self.position
        if left == 0:
            self._tell(self._encoder.end())
            self._end(Outcome.COMPLETE, "")
            return False
        present = self._readable.available(self.position, held_back=False)
        if present <= 0:
            return self._wait_for_bytes()
        self._woken = False
        block = CHECKSUM_BLOCK - self.position % CHECKSUM_BLOCK
        return self._send(min(present, left, PIECE, block))

    # Waiting: for bytes, or for the others' share of the rate.

    def _wait_for_bytes(self) -> bool:
        total = self._readable.total
        if total is not None and total < self._span.stop:
            self._fail(UpstreamKind.WRONG, f"the blob has {total} bytes after all")
        elif self._woken:
            # Woken, and still nothing to do: look again, but never spin on it.
            self._woken = False
            self._look_again_in(AGAIN)
        else:
            self._tell(self._encoder.sum())  # so that the peer can use what it has
            self._place.rests(begun=self.sent > 0)
            self._wait = self._readable.wait(self.position, held_back=False)
            self._wait.addCallbacks(self._bytes_came, self._no_bytes_come)
            return True
        return False

    def _bytes_came(self, _: None) -> None:
        self._wait = None
        self._place.goes_on()
        self._woken = True
        self._step()

    def _no_bytes_come(self, reason: Reason) -> None:
        self._wait = None
        if not self._active:
            return  # our own cancellation
        if isinstance(reason.value, Failure):
            self._fail(_kind(reason.value), str(reason.value))
        else:
            self._source_failed(reason)

    def _look_again_in(self, seconds: float) -> None:
        self._again = self._tools.clock.callLater(seconds, self._look_again)

    def _look_again(self) -> None:
        self._again = None
        self._step()

    # Silence.

    def _look_at_silence(self) -> None:
        now = self._tools.clock.seconds()
        if now - self._heard_at >= self._alive and self._lives():
            self._tell(self._encoder.alive())
        pause = self._heard_at + self._alive - now
        self._beat = self._tools.clock.callLater(
            pause if pause > 0 else self._alive, self._look_at_silence
        )

    def _lives(self) -> bool:
        """Whether nothing goes out for a good reason; while paused, the peer has some to take."""
        if self._paused or self._reading:
            return False
        return self._wait is None or self._loan.alive()

    # Sending.

    def _send(self, size: int) -> bool:
        if not self._paid:
            self._paid = size
            pause = self._uplink.pace.allow(size, self._tools.clock.seconds())
            if pause > 0:
                self._look_again_in(pause)
                return False
        size = min(size, self._paid)
        data = self._uplink.read_cached(self._readable.fd, size, self.position)
        if data is None:
            self._read_in_thread(size)
        else:
            self._write(data)
        return True

    def _read_in_thread(self, size: int) -> None:
        self._reading = True
        fd, offset = self._readable.fd, self.position
        read = self._files.pool.run(lambda: os.pread(fd, size, offset))
        read.addCallbacks(self._was_read, self._not_read)

    def _was_read(self, data: bytes) -> None:
        self._reading = False
        if self._active:
            self._write(data)
            self._step()
        else:
            self._loan.close()  # owed since the end: the thread used the descriptor

    def _not_read(self, reason: Reason) -> None:
        self._reading = False
        if self._active:
            self._disk_failed(str(reason.value) or repr(reason.value))
        else:
            self._loan.close()

    def _write(self, data: bytes | memoryview) -> None:
        if not data:
            # Short of what the index says.
            self._disk_failed(f"the file ends before byte {self.position + 1}")
            return
        self.position += len(data)
        self._paid -= len(data)
        self._readable.punched(self.position)
        # It sums and slices, which a view of the buffer takes as bytes do.
        frames = self._encoder.data(cast(bytes, data))
        if self._paused_before:
            # The link is slower than we are: what is summed now can be used there, and
            # passed on to others, long before the block is full.
            self._paused_before = False
            frames = [*frames, *self._encoder.sum()]
        self._tell(frames)

    def _tell(self, frames: list[bytes]) -> None:
        if frames:
            self._heard_at = self._tools.clock.seconds()
            self._parts(frames)

    # Ends.

    def _disk_failed(self, reason: str) -> None:
        self._tools.observe(DiskFailed(operation="send", reason=reason))
        self._fail(UpstreamKind.ERROR, reason)

    def _fail(self, kind: UpstreamKind, reason: str) -> None:
        self.failure = reason or kind.value
        self._tell(self._encoder.fail(kind, self.failure))
        self._end(Outcome.COMPLETE, self.failure)

    def _release(self) -> None:
        for call in (self._beat, self._again):
            if call is not None and call.active():
                call.cancel()
        if self._wait is not None:
            self._wait.cancel()
        if not self._reading:
            self._loan.close()


def _kind(failure: Failure) -> UpstreamKind:
    root = root_of(failure)
    return root.kind if isinstance(root, UpstreamFailure) else UpstreamKind.ERROR

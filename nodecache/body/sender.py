"""Sends bytes of a blob, whole or still arriving, to one client.

Theory of operation
-------------------

A sender stands at a position and does the one thing that can be done there:
send what is present, wait for more to arrive, wait for the client, or end. All
events (bytes came, the client took some, a read is done) lead to ``_step``.

It has two gears. *Copying* reads a piece and writes it through the transport.
*Sendfile* moves pages to a second descriptor of the socket, at half the cost.
A sender begins in the first, because the headers must have left the
transport's buffer before anything may be sent beside it, and the transport
tells of an empty buffer only after it was full once: it pauses its producer
when a write takes the buffer over its mark (64 KiB), and resumes it when the
buffer is empty. So the first resume after a pause of our own is the moment to
change gear. A body whose bytes trickle in is copied until so much is present at
once that a pause comes about; a body of at most one piece is only ever copied.
Over TLS, and where the length is not known (chunked), the first gear is the
only one.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure as Reason

from nodecache.body.part import Part
from nodecache.body.reading import read_cached
from nodecache.body.sendfile import SocketDuplicate
from nodecache.body.sending import Sender
from nodecache.body.turn import PIECE
from nodecache.body.wire import BlobTools, Outcome, Wire
from nodecache.events import DiskFailed
from nodecache.limits import MIB
from nodecache.seams import Readable

#: Seconds. A sendfile call that took longer waited for the disk: the next ones are short.
SLOW = 0.002
#: Bytes that are sent before the flight is told again what will not be wanted any more.
TOLD = 4 * MIB
#: Seconds. How soon a waiting sender looks again without having been called.
AGAIN = 0.05

_CLIENT_LEFT = frozenset({errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.ETIMEDOUT})


class BlobSender(Sender):
    """Owns ``readable`` and closes it once."""

    def __init__(
        self,
        wire: Wire,
        readable: Readable,
        part: Part,
        tools: BlobTools,
        ended: Callable[[Outcome, str], None],
    ) -> None:
        super().__init__(wire, tools, ended)
        self._files = tools
        self.position = self._taken = self._told = part.start
        self._readable = readable
        self._part = part
        self._stepping = False
        self._turned = 0.0
        self._wait: Deferred[None] | None = None
        self._woken = False
        self._reading = False
        self._duplicate: SocketDuplicate | None = None
        self._again: IDelayedCall | None = None
        self._from_disk = False

    def resumeProducing(self) -> None:
        # Only a pause of our own says that our headers were in the buffer that
        # is empty now; a client that pipelines may leave the resume of another
        # body behind.
        if self._paused and not self._reading:
            self._change_gear()
        super().resumeProducing()
        self._step()

    # The one thing that can be done now.

    def _begin(self) -> None:
        self._step()

    def _step(self) -> None:
        if self._stepping:
            return
        self._stepping = True
        self._turned = self._tools.clock.seconds()
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
        if self._contradicted():
            self._poisoned = True
            self._end(Outcome.ABORTED, f"the blob has {self._readable.total} bytes after all")
            return False
        count = self._sendable()
        if count > 0:
            self._woken = False
            return self._send(count) if self._duplicate else self._copy(count)
        if not self._at_end():
            return self._wait_for_bytes()
        self._end(Outcome.COMPLETE, "")
        return False

    def _contradicted(self) -> bool:
        """Whether the blob turns out to be none that the headers or the digest allow."""
        total = self._readable.total
        if total is None:
            return False
        if total == 0 and self._part.stop is None and not self._part.may_be_empty:
            return True
        return self._part.total is not None and total != self._part.total

    def _sendable(self) -> int:
        part = self._part
        present = self._readable.available(self.position, held_back=part.held_back)
        return present if part.stop is None else min(present, part.stop - self.position)

    def _at_end(self) -> bool:
        total, stop = self._readable.total, self._part.stop
        if total is None:  # then what is held back has no end yet
            return stop is not None and not self._part.held_back and self.position >= stop
        return self.position >= (total if stop is None else stop)

    # Waiting for bytes.

    def _wait_for_bytes(self) -> bool:
        if self._woken:
            # Woken, and still nothing to do: look again, but never spin on it.
            self._woken = False
            self._again = self._tools.clock.callLater(AGAIN, self._look_again)
            return False
        if self._duplicate:
            self._duplicate.rest()
        self._wait = self._readable.wait(self.position, held_back=self._part.held_back)
        self._wait.addCallbacks(self._bytes_came, self._no_bytes_come)
        self._tell_taken()
        return True

    def _bytes_came(self, _: None) -> None:
        self._wait = None
        self._woken = True
        self._forget_again()
        self._step()

    def _no_bytes_come(self, reason: Reason) -> None:
        self._wait = None
        self._source_failed(reason)

    def _look_again(self) -> None:
        self._again = None
        if self._wait is None:
            self._step()
        else:
            self._tell_taken()

    def _forget_again(self) -> None:
        again, self._again = self._again, None
        if again is not None:
            again.cancel()

    # First gear: copying.

    def _copy(self, count: int) -> bool:
        size = min(count, PIECE)
        data = read_cached(self._readable.fd, size, self.position)
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
            self._readable.close()  # owed since the end: the thread used the descriptor

    def _not_read(self, reason: Reason) -> None:
        self._reading = False
        if self._active:
            self._disk_failed(str(reason.value) or repr(reason.value))
        else:
            self._readable.close()

    def _write(self, data: bytes) -> None:
        if not data:
            self._too_short()
            return
        self.position += len(data)
        self._tell_taken()
        self._wire.write(data)

    # Second gear: sendfile.

    def _change_gear(self) -> None:
        stop = self._part.stop
        if self._duplicate or not self._active or stop is None or stop - self.position <= PIECE:
            return
        original = self._wire.plain_socket()
        if original is None:
            return
        try:
            self._duplicate = SocketDuplicate(
                self._files.lane, original, self._step, self._client_left
            )
        except OSError:
            return  # out of descriptors: the first gear does it
        self._files.turn.enter()

    def _send(self, count: int) -> bool:
        assert self._duplicate is not None
        began = self._tools.clock.seconds()
        asked = min(count, PIECE if self._from_disk else self._files.turn.share)
        try:
            sent = self._duplicate.send(self._readable.fd, self.position, asked)
        except OSError as error:
            if error.errno in _CLIENT_LEFT:
                self._client_left()
            else:
                self._disk_failed(str(error))
            return False
        if sent == 0:
            self._too_short()
            return False
        if sent is not None:
            self.position += sent
            self._wire.sentLength += sent
            self._from_disk = self._tools.clock.seconds() - began > SLOW
            if self.position - self._told >= TOLD:
                self._tell_taken()
        if sent == count or (sent == asked and self._may_go_on()):
            return True
        self._duplicate.wait()
        return False

    def _may_go_on(self) -> bool:
        return self._files.turn.lasts(self._tools.clock.seconds() - self._turned)

    def _client_left(self) -> None:
        self._end(Outcome.LEFT, "")

    def _tell_taken(self) -> None:
        """Tell the flight which bytes will not be wanted again.

        Those that the client has not acknowledged may be: the kernel still
        sends them from the file's own pages, which must not be punched out.
        """
        self._told = self.position
        unsent = self._wire.unsent() if self._duplicate else 0
        self._taken = max(self._taken, self.position - unsent)
        self._readable.punched(self._taken)
        if unsent and self._wait is not None and self._again is None:
            self._again = self._tools.clock.callLater(AGAIN, self._look_again)

    # Ends.

    def _too_short(self) -> None:
        # Short of what the index says: sendfile would send nothing for ever.
        self._disk_failed(f"the file ends before byte {self.position + 1}")

    def _disk_failed(self, reason: str) -> None:
        self._tools.observe(DiskFailed(operation="send", reason=reason))
        self._end(Outcome.ABORTED, reason)

    def _release(self) -> None:
        self._forget_again()
        if self._duplicate is not None:
            self._duplicate.close()
            self._files.turn.leave()
        if self._wait is not None:
            self._wait.cancel()
        if not self._reading:
            self._readable.close()

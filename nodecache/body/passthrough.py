"""Sends a body straight from upstream to one client, without storing it.

The digest is reckoned on the way, and the last bytes are kept until it is
known: a wrong body ends short, with a reset. The client's pace is upstream's:
while the transport's buffer is full, the upstream connection is paused.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable

from twisted.internet.defer import Deferred

from nodecache.body.sending import Sender
from nodecache.body.wire import Outcome, Tools, Wire
from nodecache.events import PassedThrough
from nodecache.results import PassThroughResult


class HeldTail:
    """Lets bytes through but for the last ``size`` of them."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._held = 0
        self._chunks: deque[bytes] = deque()

    def feed(self, data: bytes) -> bytes:
        """Bytes that may go, now that ``data`` stands behind them."""
        self._chunks.append(data)
        self._held += len(data)
        ready = []
        while self._held > self._size:
            first = self._chunks.popleft()
            surplus = min(len(first), self._held - self._size)
            ready.append(first[:surplus])
            self._held -= surplus
            if surplus < len(first):
                self._chunks.appendleft(first[surplus:])
        return b"".join(ready)

    def rest(self) -> bytes:
        """What was held; only for a body that was found right."""
        rest = b"".join(self._chunks)
        self._chunks.clear()
        self._held = 0
        return rest


class PassThroughSender(Sender):
    """Owns the upstream body and stops it; tells a ``PassedThrough`` event.

    ``tail`` is the number of bytes held back (Limits.tail).
    """

    def __init__(
        self,
        wire: Wire,
        result: PassThroughResult,
        tail: int,
        tools: Tools,
        ended: Callable[[Outcome, str], None],
    ) -> None:
        super().__init__(wire, tools, ended)
        self._result = result
        self._hash = hashlib.sha256()
        self._received = 0
        self._tail = HeldTail(tail)
        self._delivery: Deferred[None] | None = None
        self._wrong = ""

    def resumeProducing(self) -> None:
        super().resumeProducing()
        if self._active:
            self._result.body.resume()

    def pauseProducing(self) -> None:
        super().pauseProducing()
        if self._active:
            self._result.body.pause()

    def _begin(self) -> None:
        self._delivery = self._result.body.deliver(self._came)
        self._delivery.addCallbacks(self._came_whole, self._source_failed)

    def _came(self, data: bytes) -> None:
        if not self._active:
            return
        self._received += len(data)
        self._hash.update(data)
        if self._result.total is not None and self._received > self._result.total:
            self._mismatch(f"upstream sends more than {self._result.total} bytes")
            return
        self._write(self._tail.feed(data))

    def _came_whole(self, _: None) -> None:
        if not self._active:
            return
        total = self._result.total
        if total is not None and self._received != total:
            self._mismatch(f"upstream sent {self._received} bytes of {total}")
        elif self._hash.hexdigest() != self._result.digest.hex:
            self._mismatch("upstream's bytes do not match the digest")
        else:
            self._write(self._tail.rest())
            self._end(Outcome.COMPLETE, "")

    def _write(self, data: bytes) -> None:
        if data:
            self.position += len(data)
            self._wire.write(data)

    def _mismatch(self, reason: str) -> None:
        self._wrong, self._poisoned = reason, True
        self._end(Outcome.ABORTED, reason)

    def _release(self) -> None:
        if self._delivery is not None:
            self._delivery.cancel()
        self._result.body.stop()

    def _end(self, outcome: Outcome, reason: str) -> None:
        if self._active:
            super()._end(outcome, reason)
            self._tell(outcome)

    def _tell(self, outcome: Outcome) -> None:
        result = self._result
        ending = {Outcome.COMPLETE: "complete", Outcome.ABORTED: "failed"}.get(outcome, "left")
        self._tools.observe(
            PassedThrough(
                digest=str(result.digest),
                namespace=result.repository.namespace,
                repository=result.repository.name,
                bytes=self.position,
                reason=result.reason,
                outcome="mismatch" if self._wrong else ending,
            )
        )

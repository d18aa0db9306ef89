"""A body of which the first bytes have come already."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure as Raised

from nodecache.seams import BlobBody


class PrimedBody(BlobBody):
    """``body``, paused once its first bytes are here, until it is delivered.

    A peer that answers may still wait for others itself, even for this node.
    Only bytes show that it has any, and until then other ways stay open.
    """

    def __init__(self, body: BlobBody) -> None:
        self._body = body
        self._pieces: deque[bytes] = deque()
        self._first: Deferred[None] = Deferred()
        self._inner: Deferred[None] | None = None
        self._sink: Callable[[bytes], None] | None = None
        self._done: Deferred[None] | None = None
        self._result: Raised | None = None
        self._over = False
        self._paused = False

    async def prime(self) -> None:
        """Returns when the first bytes are here, or it has ended well without any.

        Raises what ``deliver`` of the body fails with; then, and when this is
        cancelled, the body is over.
        """
        self._inner = self._body.deliver(self._take)
        self._inner.addBoth(self._ended)
        try:
            await self._first
        except CancelledError:
            self._body.stop()
            raise

    @property
    def start(self) -> int:
        return self._body.start

    @property
    def stop_at(self) -> int | None:
        return self._body.stop_at

    @property
    def total(self) -> int | None:
        return self._body.total

    @property
    def ranged(self) -> bool:
        return self._body.ranged

    @property
    def peer(self) -> str | None:
        return self._body.peer

    def deliver(self, sink: Callable[[bytes], None]) -> Deferred[None]:
        done: Deferred[None] = Deferred(lambda _: self._give_up())
        self._sink, self._done = sink, done
        self.resume()
        return done

    def pause(self) -> None:
        self._paused = True
        if not self._over:
            self._body.pause()

    def resume(self) -> None:
        self._paused = False
        self._give()
        if not self._over and not self._paused:
            self._body.resume()

    def stop(self) -> None:
        self._pieces.clear()
        self._body.stop()
        self._settle()

    def _take(self, data: bytes) -> None:
        if self._sink is not None and not self._pieces and not self._paused:
            self._sink(data)
        elif data:
            self._pieces.append(data)
            if not self._first.called:
                self._body.pause()
                self._first.callback(None)

    def _give(self) -> None:
        assert self._sink is not None
        while self._pieces and not self._paused:
            self._sink(self._pieces.popleft())
        self._settle()

    def _ended(self, result: Raised | None) -> None:
        self._over, self._result = True, result
        if not self._first.called:
            self._first.callback(result)
        else:
            self._settle()

    def _settle(self) -> None:
        """Tell the end, once all that came before it was taken."""
        done = self._done
        if self._over and not self._pieces and done is not None and not done.called:
            done.callback(self._result)

    def _give_up(self) -> None:
        self._pieces.clear()
        if self._inner is not None:
            self._inner.cancel()

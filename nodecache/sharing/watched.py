"""A body whose end somebody else has to hear of."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure as Raised

from nodecache.failures import UpstreamFailure
from nodecache.seams import BlobBody

R = TypeVar("R")

#: Told how it ended: None is well, or because it was not wanted any more.
Ended: TypeAlias = Callable[[UpstreamFailure | None], None]


class WatchedBody(BlobBody):
    """``body``, as it is; ``ended`` is called exactly once, before its taker hears of the end.

    ``brought`` is called whenever bytes come.
    """

    def __init__(
        self, body: BlobBody, ended: Ended, brought: Callable[[], None] = lambda: None
    ) -> None:
        self._body = body
        self._ended: Ended | None = ended
        self._brought = brought

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
        def take(data: bytes) -> None:
            if data:
                self._brought()
            sink(data)

        return self._body.deliver(take).addBoth(self._over)

    def pause(self) -> None:
        self._body.pause()

    def resume(self) -> None:
        self._body.resume()

    def stop(self) -> None:
        self._body.stop()
        self._tell(None)

    def _over(self, result: R) -> R:
        error = result.value if isinstance(result, Raised) else None
        self._tell(error if isinstance(error, UpstreamFailure) else None)
        return result

    def _tell(self, failure: UpstreamFailure | None) -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            ended(failure)

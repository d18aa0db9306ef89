"""Room for a blob whose size nobody knows yet: spoken for in steps, ahead of its bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure as Raised

from nodecache.failures import NoRoom


class Growing(Protocol):
    """Room that is spoken for, and can be more."""

    @property
    def size(self) -> int:
        """Bytes, as asked for."""
        ...

    async def grow(self, more: int) -> None:
        """Raises NoRoom, StoreFailure."""
        ...


class Allowance:
    """Asks for ``step`` bytes more when half a step is left of ``reservation``.

    ``granted`` is called when there is more, ``refused`` once when there is
    not, ``broken`` when the store fails. ``close`` is owed.
    """

    def __init__(
        self,
        reservation: Growing,
        step: int,
        granted: Callable[[], None],
        refused: Callable[[NoRoom], None],
        broken: Callable[[Exception], None],
    ) -> None:
        self._reservation = reservation
        self._step = step
        self._granted = granted
        self._refused = refused
        self._broken = broken
        self._asking: Deferred[None] | None = None
        self._over = False

    def allows(self, stop: int) -> bool:
        """Whether there is room for bytes up to ``stop``."""
        if stop + self._step // 2 > self._reservation.size:
            # What comes out of order may be further than a step away.
            self.ask(max(self._step, stop - self._reservation.size))
        return stop <= self._reservation.size

    def ask(self, more: int) -> None:
        """Speak for ``more`` bytes, unless that is being done."""
        if self._asking is None and not self._over:
            self._asking = Deferred.fromCoroutine(self._reservation.grow(more))
            self._asking.addCallbacks(self._grown, self._failed)

    def close(self) -> None:
        self._over = True
        if self._asking is not None:
            self._asking.cancel()

    def _grown(self, _: None) -> None:
        self._asking = None
        if not self._over:
            self._granted()

    def _failed(self, raised: Raised) -> None:
        self._asking = None
        over, self._over = self._over, True
        if over or raised.check(CancelledError):
            return
        if isinstance(raised.value, NoRoom):
            self._refused(raised.value)
        else:
            assert isinstance(raised.value, Exception)
            self._broken(raised.value)

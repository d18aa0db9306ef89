"""Jobs of one owner that are under way, until which it can not be closed."""

from __future__ import annotations

from twisted.internet.defer import Deferred


class Jobs:
    """``began`` and ``ended`` belong together."""

    def __init__(self) -> None:
        self._under_way = 0
        self._over: Deferred[None] | None = None

    def began(self) -> None:
        self._under_way += 1

    def ended(self) -> None:
        self._under_way -= 1
        if self._over is not None and not self._under_way:
            over, self._over = self._over, None
            over.callback(None)

    async def over(self) -> None:
        """Returns when none is under way. To be awaited once at a time, when no more begin."""
        if self._under_way:
            self._over = Deferred()
            await self._over

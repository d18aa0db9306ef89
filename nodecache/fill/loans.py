"""Bytes that are lent to peers (``results.Loan``): of a blob in the store, and of one in flight."""

from __future__ import annotations

from collections.abc import Callable

from nodecache.results import Loan
from nodecache.seams import Readable


class StoredLoan(Loan):
    """Over a whole blob, which is pinned as long as it is open."""

    def __init__(self, readable: Readable) -> None:
        assert readable.total is not None
        self._readable = readable
        self._total = readable.total

    @property
    def readable(self) -> Readable:
        return self._readable

    @property
    def total(self) -> int:
        return self._total

    @property
    def ranged(self) -> bool:
        return True

    @property
    def fetched(self) -> bool:
        return False

    def alive(self) -> bool:
        """Nothing is missing."""
        return True

    def close(self) -> None:
        self._readable.close()


class FlightLoan(Loan):
    """Over a flight. ``alive`` and ``close`` are the lender's, the latter called once."""

    def __init__(
        self,
        readable: Readable,
        total: int,
        *,
        ranged: bool,
        fetched: bool,
        alive: Callable[[], bool],
        close: Callable[[], None],
    ) -> None:
        self._readable = readable
        self._total = total
        self._ranged = ranged
        self._fetched = fetched
        self._alive = alive
        self._close: Callable[[], None] | None = close

    @property
    def readable(self) -> Readable:
        return self._readable

    @property
    def total(self) -> int:
        return self._total

    @property
    def ranged(self) -> bool:
        return self._ranged

    @property
    def fetched(self) -> bool:
        return self._fetched

    def alive(self) -> bool:
        return self._close is not None and self._alive()

    def close(self) -> None:
        close, self._close = self._close, None
        if close is not None:
            close()

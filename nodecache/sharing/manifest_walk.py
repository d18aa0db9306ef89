"""Asking many peers the same thing: some at a time, until there is enough or time is up."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable, Iterable, Sequence
from typing import Any, Generic, TypeVar

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure as Raised

from nodecache.membership import Peer

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")

#: One peer's part; None: it has nothing to give. Raises nothing.
Ask = Callable[[Peer], Coroutine[Any, Any, T | None]]
#: Whether what was found will do, now that so many have answered.
Enough = Callable[[list[T], int], bool]


async def walk(
    peers: Sequence[Peer],
    ask: Ask[T],
    enough: Enough[T],
    *,
    width: int,
    clock: IReactorTime,
    seconds: float,
) -> list[T]:
    """What ``peers`` gave, in the order in which it came; the ones still asked then are let go.

    ``width`` are asked at a time. Ends when all have answered, when there is
    enough, or after ``seconds``.
    """
    if not peers:
        return []
    round_ = _Round(peers, ask, enough)
    over = round_.begin(min(width, len(peers)))
    over.addTimeout(seconds, clock, lambda _result, _seconds: None)
    try:
        await over
    finally:
        round_.end()
    return round_.found


class _Round(Generic[T]):
    def __init__(self, peers: Iterable[Peer], ask: Ask[T], enough: Enough[T]) -> None:
        self.found: list[T] = []
        self._left = iter(peers)
        self._ask = ask
        self._enough = enough
        self._answered = 0
        self._asking: list[Deferred[None]] = []
        self._working = 0
        self._over: Deferred[None] = Deferred()

    def begin(self, width: int) -> Deferred[None]:
        self._working = width
        for _ in range(width):
            worker = Deferred.fromCoroutine(self._work())
            self._asking.append(worker)
            worker.addBoth(self._leave)
        return self._over

    async def _work(self) -> None:
        for peer in self._left:
            answer = await self._ask(peer)
            self._answered += 1
            if answer is not None:
                self.found.append(answer)
            if self._enough(self.found, self._answered):
                self._left = iter(())
                self._working = 1
                return

    def _leave(self, result: Raised | None) -> Raised | None:
        # Told once the worker itself has ended, so that all may be cancelled then.
        self._working -= 1
        if not self._working and not self._over.called:
            self._over.callback(None)
        if isinstance(result, Raised) and not result.check(CancelledError):
            return result
        return None

    def end(self) -> None:
        self._left = iter(())
        for worker in self._asking:
            worker.cancel()


@attrs.frozen
class _Kept(Generic[T]):
    value: T
    until: float


class Recent(Generic[K, T]):
    """What was found out a short while ago. At most ``most``; the oldest goes first."""

    def __init__(self, most: int = 4096) -> None:
        self._most = most
        self._kept: OrderedDict[K, _Kept[T]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: K, now: float) -> tuple[T] | None:
        """What is known, in a tuple; None where nothing is known any more."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        if now >= kept.until:
            del self._kept[key]
            return None
        return (kept.value,)

    def take(self, key: K, now: float) -> tuple[T] | None:
        """As ``get``; it is not known any more then."""
        found = self.get(key, now)
        self._kept.pop(key, None)
        return found

    def put(self, key: K, value: T, until: float) -> None:
        self._kept[key] = _Kept(value, until)
        self._kept.move_to_end(key)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)

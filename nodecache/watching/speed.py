"""How fast each of several things moves, from looks at how far they are. Pure.

Times are seconds on one monotonic clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Hashable

#: Seconds that a speed is taken over.
OVER = 8.0
#: Looks that are kept of each; whoever looks more often moves the last one.
LOOKS = 32
#: Seconds between two looks that are kept.
APART = 0.25


class Speeds:
    """``keep`` is owed now and then: it forgets what is over."""

    def __init__(self) -> None:
        self._looks: dict[Hashable, deque[tuple[float, float]]] = {}

    def at(self, key: Hashable, place: float, now: float, began: float) -> float:
        """Units a second over the last while; ``place`` is where it is now.

        At the first look: since it ``began``, at place 0.
        """
        looks = self._looks.setdefault(key, deque(maxlen=LOOKS))
        if not looks:
            looks.append((began, 0.0))
        while len(looks) > 1 and looks[1][0] <= now - OVER:
            looks.popleft()
        then, was = looks[0]
        if now - looks[-1][0] >= APART:
            looks.append((now, place))
        return max(0.0, place - was) / (now - then) if now > then else 0.0

    def keep(self, keys: Collection[Hashable]) -> None:
        """Forget all others."""
        for key in [key for key in self._looks if key not in keys]:
            del self._looks[key]

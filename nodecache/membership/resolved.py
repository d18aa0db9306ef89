"""What DNS said: the union of its last good answers, which no bad one empties."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

from nodecache.membership.peer import Address

#: Good answers that count together: one alone may be cut off, or made while pods change.
ANSWERS: Final = 3


class Resolved:
    """``named`` are the addresses that an answer named; ``fixed`` ones always are.

    ``answered``: when the last good answer came, None for a list that was given.
    ``forget``: seconds for which a whole answer is not superseded by partial ones.
    """

    def __init__(self, fixed: Iterable[Address], forget: float) -> None:
        self._fixed = frozenset(fixed)
        self._forget = forget
        self._answers: deque[frozenset[Address]] = deque(maxlen=ANSWERS)
        self._whole_at = float("-inf")
        self.named = self._fixed
        self.answered: float | None = None

    def good(self, addresses: Iterable[Address], now: float, *, partial: bool) -> bool:
        """Take in an answer; True if ``named`` has changed by it.

        An empty one says nothing. A ``partial`` one (cut off) only adds, until
        there has been no whole one for long.
        """
        answer = frozenset(addresses)
        if not answer:
            return False
        if partial and self._answers and now - self._whole_at < self._forget:
            self._answers[-1] |= answer
        else:
            self._answers.append(answer)
        if not partial:
            self._whole_at = now
        self.answered = None if self._fixed else now
        before = self.named
        self.named = self._fixed.union(*self._answers)
        return self.named != before

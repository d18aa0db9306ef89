"""Which body of a peer is shared with a second sender, and how. Pure.

The last segments of a blob come as one body each, as slowly as the busiest of
their senders, while others have nothing to send. So once every segment is
being fetched, what is left of the slowest body is cut in two, and another peer
that has the segment is asked for the second half.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import attrs

from nodecache.byteranges import Span
from nodecache.limits import CHECKSUM_BLOCK

K = TypeVar("K")


@attrs.frozen
class Running:
    """A body that brought ``brought`` bytes in ``seconds``; ``left`` is yet to come of it."""

    left: Span
    brought: int
    seconds: float

    @property
    def seconds_left(self) -> float:
        """At its pace so far."""
        if not self.brought:
            return float("inf")
        return self.left.size / self.brought * self.seconds


def second_half(left: Span) -> Span | None:
    """Of ``left``, from a block on, which has a checksum; None where that would leave no half."""
    blocks = -(-(left.start + left.size // 2) // CHECKSUM_BLOCK)
    middle = blocks * CHECKSUM_BLOCK
    if left.size < 2 * CHECKSUM_BLOCK or middle >= left.stop:
        return None
    return Span(middle, left.stop)


def slowest(bodies: Iterable[tuple[K, Running]], least: float) -> tuple[K, Span] | None:
    """The one that ends last, and its second half.

    None where none has gone on for ``least`` seconds, and will for as long again.
    """
    worth = [
        (body.seconds_left, key, half)
        for key, body in bodies
        if body.seconds >= least
        and body.seconds_left >= least
        and (half := second_half(body.left)) is not None
    ]
    if not worth:
        return None
    _, key, half = max(worth, key=lambda each: each[0])
    return key, half

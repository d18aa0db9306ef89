"""How many lines one kind of event may fill. Pure.

When upstream is down or a disk is full, each request may have its warning; a
log that is flooded hides what it is read for, and can fill the disk by itself.
A kind may have a burst, and a steady rate after that; how many were left out
is told with the next one that is written, or once they have ceased.
"""

from __future__ import annotations

import attrs

#: Seconds after which a kind that has ceased is summed up.
QUIET = 10.0


@attrs.define
class _Bucket:
    tokens: float
    at: float
    left_out: int = 0
    last: float = 0.0


class Sampler:
    """``burst`` lines of a kind at once, and ``rate`` a second after that.

    Times are seconds on one clock; one that is set back counts as standing still.
    """

    def __init__(self, rate: float, burst: int) -> None:
        self._rate = rate
        self._burst = burst
        self._buckets: dict[str, _Bucket] = {}
        self._waiting = 0  # kinds with something left out

    def admit(self, name: str, now: float) -> int | None:
        """None: leave it out. Else how many were left out before it."""
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = _Bucket(self._burst, now)
        gained = max(0.0, now - bucket.at) * self._rate
        bucket.tokens = min(self._burst, bucket.tokens + gained)
        bucket.at = max(bucket.at, now)
        if bucket.tokens < 1:
            self._waiting += not bucket.left_out
            bucket.left_out += 1
            bucket.last = now
            return None
        bucket.tokens -= 1
        return self._take(bucket)

    def ceased(self, now: float) -> list[tuple[str, int]]:
        """Kinds of which some were left out, and none came for a while; each is told once."""
        if not self._waiting:
            return []
        quiet = [
            (name, bucket)
            for name, bucket in self._buckets.items()
            if bucket.left_out and abs(now - bucket.last) >= QUIET
        ]
        return [(name, self._take(bucket)) for name, bucket in quiet]

    def _take(self, bucket: _Bucket) -> int:
        left_out, bucket.left_out = bucket.left_out, 0
        self._waiting -= bool(left_out)
        return left_out

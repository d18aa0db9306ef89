"""How long a body that breaks off is taken up again. Pure."""

from __future__ import annotations

from nodecache.deadline import Deadline

#: Failures of peers that one segment survives without a new byte. Whoever asks peers
#: ends at upstream long before; this only bounds what we have to trust.
PEER_FAILURES = 64


class Patience:
    """For one segment, or one stream: ``resumes`` tries, and ``total`` seconds, without a new byte.

    Any new byte restores it in full. ``pause`` is in seconds; ``now`` is the
    reactor's clock throughout.
    """

    def __init__(self, resumes: int, total: float, pause: float, now: float) -> None:
        self._resumes = resumes
        self._total = total
        self._pause = pause
        self._failures = 0
        self._forgiven = 0
        self._since = now

    def progressed(self, now: float) -> None:
        self._failures = self._forgiven = 0
        self._since = now

    def rested(self, now: float) -> None:
        """The silence so far was of our own making: we had paused the source."""
        self._since = now

    def deadline(self, now: float, answer: float) -> Deadline:
        """When the headers of the next try must be in, which may take ``answer`` seconds."""
        return Deadline(min(now + answer, self._since + self._total))

    def forgives(self) -> bool:
        """A peer failed: whether that costs nothing, so that it is tried again at once."""
        self._forgiven += 1
        return self._forgiven <= PEER_FAILURES

    def failed(self, now: float, retry_after: float | None = None) -> float | None:
        """Seconds to wait before the next try; None when there shall be none."""
        self._failures += 1
        pause = 0.0 if self._failures == 1 else self._pause * 2 ** (self._failures - 2)
        pause = max(pause, retry_after or 0.0)
        left = self._since + self._total - now
        return pause if self._failures <= self._resumes and pause < left else None


class Patiences:
    """One for each segment that is being fetched; ``now`` is when one begins."""

    def __init__(self, resumes: int, total: float, pause: float) -> None:
        self._resumes = resumes
        self._total = total
        self._pause = pause
        self._each: dict[int, Patience] = {}

    def with_segment(self, segment: int, now: float) -> Patience:
        if segment not in self._each:
            self._each[segment] = Patience(self._resumes, self._total, self._pause, now)
        return self._each[segment]

    def rested(self, now: float) -> None:
        """The silence so far was of our own making, in all of them."""
        for patience in self._each.values():
            patience.rested(now)

    def forget(self, segment: int | None) -> None:
        """The segment is whole."""
        self._each.pop(-1 if segment is None else segment, None)

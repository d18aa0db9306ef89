"""May a tag's entry be served as it is, must upstream be asked, or neither?

Digests never expire; only what a tag means does. Everything here is a
function of the entry, the policy and ``now``; times are seconds since the
epoch for tags (they are kept on disk) and on any one clock for absences.
"""

from __future__ import annotations

import enum
import json
import math
import re
from collections import OrderedDict
from collections.abc import Hashable

import attrs

from nodecache.failures import BadRequest, UpstreamFailure, UpstreamKind
from nodecache.reference import Digest

#: What a header line can hold; a file that says otherwise was damaged.
_MEDIA_TYPE = re.compile(r"[!-~](?:[ -~]{0,253}[!-~])?")


@attrs.frozen
class TagEntry:
    """What a tag means, as last told by upstream or set by an import.

    ``size`` is that of the manifest in bytes; ``checked_at`` is when upstream
    last said so, in seconds since the epoch. A ``pinned`` tag keeps its image
    from eviction; an ``imported`` one is not asked upstream until a refresh.
    """

    digest: str
    media_type: str
    size: int
    checked_at: float
    pinned: bool = False
    imported: bool = False

    def age(self, now: float) -> float:
        """Seconds since the check; 0 where the clock has jumped back since."""
        return max(0.0, now - self.checked_at)

    def to_json(self) -> bytes:
        return json.dumps(attrs.asdict(self), separators=(",", ":")).encode("ascii")

    @classmethod
    def from_json(cls, raw: bytes) -> TagEntry | None:
        """The entry, or None for anything that is not one; unknown keys are ignored."""
        try:
            found = json.loads(raw)
        except (ValueError, RecursionError):
            return None
        if not isinstance(found, dict):
            return None
        checked_at = _seconds(found.get("checked_at"))
        size = found.get("size")
        flags = (found.get("pinned", False), found.get("imported", False))
        if (
            checked_at is None
            or type(size) is not int
            or size < 0
            or not all(isinstance(flag, bool) for flag in flags)
            or not _is_digest(found.get("digest"))
            or not _is_media_type(found.get("media_type"))
        ):
            return None
        return cls(found["digest"], found["media_type"], size, checked_at, *flags)


def _is_digest(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(Digest.parse(value))
    except BadRequest:
        return False


def _is_media_type(value: object) -> bool:
    return isinstance(value, str) and _MEDIA_TYPE.fullmatch(value) is not None


def _seconds(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        seconds = float(value)
    except OverflowError:
        return None
    return seconds if math.isfinite(seconds) else None


class Verdict(enum.Enum):
    """What to do about a tag."""

    FRESH = "fresh"  # serve it
    REVALIDATE = "revalidate"  # ask upstream; serve it stale if that fails
    STALE_ONLY = "stale_only"  # serve it, with a warning, without asking
    MISS = "miss"  # there is nothing to serve


def judge(
    entry: TagEntry | None, now: float, ttl: float, *, offline: bool, upstream_down: bool
) -> Verdict:
    """What to do about a tag whose entry is ``entry``, when upstream's word lasts ``ttl`` seconds.

    An entry checked in the future (the clock has jumped back) is not fresh:
    nobody can tell its age. With ``ttl`` 0 nothing but an import is fresh.
    """
    if entry is None:
        return Verdict.MISS
    if entry.imported or 0 <= now - entry.checked_at < ttl:
        return Verdict.FRESH
    if offline or upstream_down:
        return Verdict.STALE_ONLY
    return Verdict.REVALIDATE


def newer(current: TagEntry | None, candidate: TagEntry, now: float | None = None) -> TagEntry:
    """The one of the two that the tag means from now on: never the older check.

    Of two checks at one time the candidate wins. With ``now``, a current
    entry checked in the future gives way: otherwise a clock that was once
    ahead would freeze the tag until it is ahead again.
    """
    if current is None or candidate.checked_at >= current.checked_at:
        return candidate
    if now is not None and current.checked_at > now >= candidate.checked_at:
        return candidate
    return current


@attrs.frozen
class _Absence:
    until: float
    kind: UpstreamKind
    message: str
    status: int | None


class Absences:
    """What upstream did not have or would not give, remembered for seconds.

    At most ``most`` keys; the one longest unasked goes first.
    """

    def __init__(self, most: int = 4096) -> None:
        self._most = most
        self._known: OrderedDict[Hashable, _Absence] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def remember(self, key: Hashable, until: float, failure: UpstreamFailure) -> None:
        """Answer ``key`` with ``failure`` until then, on the clock of ``recall``."""
        self._known[key] = _Absence(until, failure.kind, failure.message, failure.status)
        self._known.move_to_end(key)
        while len(self._known) > self._most:
            self._known.popitem(last=False)

    def recall(self, key: Hashable, now: float) -> UpstreamFailure | None:
        """A failure to raise, made anew each time (a raised one keeps its traceback)."""
        absence = self._known.get(key)
        if absence is None:
            return None
        if now >= absence.until:
            del self._known[key]
            return None
        self._known.move_to_end(key)
        return UpstreamFailure(
            absence.kind,
            absence.message,
            status=absence.status,
            retry_after=absence.until - now,
        )

    def forget(self, key: Hashable) -> None:
        self._known.pop(key, None)

    def clear(self) -> None:
        self._known.clear()

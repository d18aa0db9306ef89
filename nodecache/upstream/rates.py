"""What an upstream's headers say about its rate limit. Pure.

Docker Hub sends ``ratelimit-limit: 100;w=21600`` and ``ratelimit-remaining``
of the same form (it may be below zero) and names no time of reset; others send
``ratelimit-reset`` (seconds), or with ``x-`` before each of the three.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from email.utils import parsedate_to_datetime

import attrs

_NUMBER = re.compile(r"\s*(-?[0-9]{1,15})(?:\.[0-9]+)?\s*(?:[;,].*)?")
_WINDOW = re.compile(r";\s*w=([0-9]{1,12})")
#: A reset beyond this is no number of seconds but a time since the epoch.
_EPOCH = 1_000_000_000

Header = Callable[[str], str | None]


@attrs.frozen
class Rates:
    """``resets_at`` is wall clock. ``source`` is whom upstream counts, as it names it."""

    limit: int | None
    remaining: int | None
    window_seconds: int | None
    resets_at: float | None
    source: str


def parse_rates(header: Header, now: float) -> Rates | None:
    """None when the answer says nothing of limits. ``now`` is wall clock."""
    limit = _named(header, "limit")
    remaining = _named(header, "remaining")
    if limit is None and remaining is None:
        return None
    window = _WINDOW.search(limit or "") or _WINDOW.search(remaining or "")
    reset = _number(_named(header, "reset"))
    if reset is not None and reset < _EPOCH:
        reset = int(now) + reset
    return Rates(
        _number(limit),
        _number(remaining),
        int(window[1]) if window else None,
        None if reset is None else float(reset),
        (header("docker-ratelimit-source") or "")[:128],
    )


def _named(header: Header, which: str) -> str | None:
    return header(f"ratelimit-{which}") or header(f"x-ratelimit-{which}")


def _number(text: str | None) -> int | None:
    match = _NUMBER.fullmatch(text or "")
    return int(match[1]) if match else None


def parse_retry_after(text: str | None, now: float) -> float | None:
    """Seconds from ``now`` (wall clock), of a number or a date; None for anything else."""
    if text is None:
        return None
    match = re.fullmatch(r"\s*([0-9]{1,9})\s*", text)
    if match:
        return float(match[1])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (TypeError, ValueError, OverflowError):  # the last: of a year of fifty digits
        return None

"""How each upstream is, and what is left of its rate limit, as last told. Pure.

Times are seconds on one monotonic clock, but for ``resets_at``, which is wall clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs

from nodecache.events import RateLimitSeen, UpstreamAnswered, UpstreamHealth

#: Origins that are remembered beside those of the upstreams themselves (CDNs, token servers).
MOST: Final = 64


@attrs.frozen
class Place:
    """An upstream of the settings. ``origins`` are its own and those of its mirrors."""

    namespace: str
    url: str
    origins: tuple[str, ...]


@attrs.frozen
class Limit:
    """``remaining`` may be below zero. ``seen_at`` is monotonic."""

    limit: int | None
    remaining: int | None
    window_seconds: int | None
    resets_at: float | None
    seen_at: float


@attrs.frozen(kw_only=True)
class UpstreamSeen:
    """``up`` is None until it was asked the first time; ``since`` is seconds ago."""

    place: Place
    up: bool | None
    reason: str
    since: float | None
    limit: Limit | None
    refused_seconds: float | None  # since it last answered 429


@attrs.frozen
class _State:
    up: bool
    reason: str
    since: float


class UpstreamsSeen:
    def __init__(self, places: Sequence[Place]) -> None:
        self.places = tuple(places)
        self._namespaces = {place.namespace for place in places}
        self._own = {origin for place in places for origin in place.origins}
        self._states: dict[str, _State] = {}
        self._limits: dict[str, Limit] = {}
        self._refused: dict[str, float] = {}
        self._answered: dict[str, float] = {}

    def health(self, event: UpstreamHealth, now: float) -> None:
        known = event.origin in self._own or event.origin in self._states
        if known or len(self._states) < MOST + len(self._own):
            self._states[event.origin] = _State(event.up, event.reason, now)

    def rates(self, event: RateLimitSeen, now: float) -> None:
        if event.namespace in self._namespaces:
            self._limits[event.namespace] = Limit(
                event.limit, event.remaining, event.window_seconds, event.resets_at, now
            )

    def answered(self, event: UpstreamAnswered, now: float) -> None:
        if event.namespace not in self._namespaces:
            return
        self._answered.setdefault(event.namespace, now)
        if event.status == 429:
            self._refused[event.namespace] = now
        elif event.leg == "manifest" and event.method == "GET" and event.status < 400:
            self._refused.pop(event.namespace, None)

    def seen(self, now: float) -> list[UpstreamSeen]:
        """In the order of the settings."""
        return [self._seen(place, now) for place in self.places]

    def others_down(self) -> list[tuple[str, str]]:
        """Origin and reason of what upstreams lead to (CDNs, token servers) and is down."""
        return [
            (origin, state.reason)
            for origin, state in sorted(self._states.items())
            if not state.up and origin not in self._own
        ]

    def _seen(self, place: Place, now: float) -> UpstreamSeen:
        # One origin that answers is enough: the mirrors of an upstream stand in for it.
        states = [self._states.get(origin) for origin in place.origins]
        down = [state for state in states if state is not None and not state.up]
        last = down[-1] if down else states[-1] if states else None
        up: bool | None = len(down) < len(states)
        if place.namespace not in self._answered and not any(states):
            up = None
        since = self._answered.get(place.namespace) if last is None else last.since
        refused = self._refused.get(place.namespace)
        return UpstreamSeen(
            place=place,
            up=up,
            reason=last.reason if last is not None and not last.up else "",
            since=None if since is None else max(0.0, now - since),
            limit=self._limits.get(place.namespace),
            refused_seconds=None if refused is None else max(0.0, now - refused),
        )

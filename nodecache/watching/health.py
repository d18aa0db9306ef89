"""The health of a node in one line, and what else is to be said. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from nodecache.config import format_size
from nodecache.watching.facts import Now
from nodecache.watching.troubles import TroubleSeen, printable
from nodecache.watching.upstreams import UpstreamSeen

#: Seconds. A grave trouble is part of the health for so long.
GRAVE_FOR = 600.0
#: Troubles (the first word of their key) of whose state there are lines of their own.
STANDING = frozenset({"upstream", "limited", "peers off"})
#: Seconds. A refusal for its rate limit (429) is believed to hold for so long.
REFUSED_FOR = 3600.0
#: Of the limit: with less left, somebody should know.
FEW_LEFT = 0.1

BAD, WARN, OK = "bad", "warn", "ok"


@attrs.frozen
class Line:
    """``state`` is ok, warn (it serves, and something fails) or bad (it does not serve)."""

    state: str
    text: str


def health(now: Now, upstreams: list[UpstreamSeen], troubles: list[TroubleSeen]) -> list[Line]:
    """What is to be said, the most important first; at least one line."""
    found = [*_not_ready(now), *_upstreams(now, upstreams), *_room(now), *_peers(now)]
    if not found:
        found = list(_grave(troubles))
    found = found or [Line(OK, _all_well(now, upstreams))]
    return [Line(line.state, printable(line.text)) for line in found]


def _not_ready(now: Now) -> Iterator[Line]:
    if now.problem is not None:
        yield Line(BAD, f"Not ready: {now.problem}.")


def _upstreams(now: Now, upstreams: list[UpstreamSeen]) -> Iterator[Line]:
    if now.offline:
        return
    for seen in upstreams:
        name = seen.place.namespace
        if seen.up is False:
            since = "" if seen.since is None else f" for {span(seen.since)}"
            why = f" ({seen.reason})" if seen.reason else ""
            yield Line(WARN, f"{name} has been down{since}{why}. What is cached is served.")
        if seen.refused_seconds is not None and seen.refused_seconds < REFUSED_FOR:
            ago = span(seen.refused_seconds)
            yield Line(WARN, f"{name} refused a pull {ago} ago: its rate limit is used up.")
        elif (left := _few_left(seen)) is not None:
            yield Line(WARN, f"{name} has {left} left. Cached images cost none.")


def _few_left(seen: UpstreamSeen) -> str | None:
    known = seen.limit
    if known is None or not known.limit or known.remaining is None:
        return None
    if known.remaining > known.limit * FEW_LEFT:
        return None
    return f"{max(0, known.remaining)} of {known.limit} pulls"


def _room(now: Now) -> Iterator[Line]:
    cache = now.cache
    if cache.disk_free <= cache.floor:
        free, floor = format_size(cache.disk_free), format_size(cache.floor)
        yield Line(WARN, f"The disk is at its floor: {free} free, {floor} are kept free.")


def _peers(now: Now) -> Iterator[Line]:
    peers = now.peers
    if peers is None:
        return
    if peers.off:
        yield Line(WARN, "No peer is asked for now, since most of them failed.")
    elif peers.aside:
        are = "is" if peers.aside == 1 else "are"
        failed = f"{peers.aside} of {peers.known} peers failed and {are} left alone for now."
        yield Line(WARN, failed)


def _grave(troubles: list[TroubleSeen]) -> Iterator[Line]:
    for seen in troubles:
        grave = seen.grave and seen.key[0] not in STANDING
        if grave and not seen.over and seen.last < GRAVE_FOR:
            yield Line(WARN, f"{span(seen.last)} ago: {seen.problem}.")


def _all_well(now: Now, upstreams: list[UpstreamSeen]) -> str:
    if now.offline:
        return "Serving what is cached: this node is set to be offline."
    names = [seen.place.namespace for seen in upstreams if seen.up]
    answer = "answers" if len(names) == 1 else "answer"
    said = f"{', '.join(names)} {answer}" if names else "nothing was asked of upstream yet"
    if now.peers is not None:
        said += f", {now.peers.live} of {now.peers.known} peers are asked"
    return f"All is well: {said}."


def span(seconds: float) -> str:
    """A time that went by, for people: ``5 min``, ``3 h``, ``2 d``.

    No seconds: the line is read aloud each time that it changes.
    """
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return "less than a minute"

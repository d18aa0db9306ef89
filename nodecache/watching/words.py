"""What an event means to a person, and what to do about it. Pure.

Only what somebody would ask about: requests that failed, upstream, disk and
peers that fail. What repairs itself unnoticed is in the log and in the metrics.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from nodecache import events
from nodecache.events import Event
from nodecache.watching.images import image_name
from nodecache.watching.troubles import Over, Trouble
from nodecache.watching.words_peers import PEERS

_ASKED: Final = frozenset({"manifest", "blob"})
_NETWORK: Final = (
    "Look at this node's network, DNS and proxy. What is cached is served meanwhile, and"
    " upstream is looked at again and again."
)
_DISK: Final = (
    "Look at the disk of the data folder (df, dmesg). Blobs are passed through without"
    " being stored meanwhile."
)
_LIMITED: Final = (
    "Give this upstream an account under [upstreams], or wait until its limit is"
    " reset. What is cached is served."
)
_BY_STATUS: Final[Mapping[int, str]] = {
    400: "The client asked for something that no registry has; look at the name it uses.",
    403: "The rules of this node (allow, deny) refuse the name. Change them, or the name.",
    404: "Look at the name and the tag. A private image needs an account under [upstreams].",
    429: _LIMITED,
    500: "This is a defect of nodecache: please report it with the lines of the log around it.",
    503: "Pull again in a moment; see what else is listed here about upstream and disk.",
}


def meaning(event: Event) -> Trouble | Over | None:
    """None for what nobody needs to be told."""
    words = _WORDS.get(type(event))
    return None if words is None else words(event)


def _request(event: events.RequestFinished) -> Trouble | None:
    if event.kind not in _ASKED or event.outcome == "left":
        return None
    image = image_name(event.namespace, event.repository, event.reference)
    if event.status < 400:
        return _broken(event, image)
    if event.status in {405, 416} or _is_signature(event.reference):
        return None
    reason = f": {event.reason}" if event.reason else ""
    what = image if event.repository else f"a request for a {event.kind}"
    return Trouble(
        key=("request", image, str(event.status)),
        problem=f"{what} was answered with {event.status}{reason}",
        next_step=_next_step(event),
        grave=event.status == 500,
    )


def _next_step(event: events.RequestFinished) -> str:
    if event.code == "NAME_UNKNOWN":
        return "Only the upstreams of the settings are served; --upstream adds one."
    return _BY_STATUS.get(event.status, _BY_STATUS[503])


def _is_signature(reference: str) -> bool:
    """Tags that signing tools ask for, whether there is a signature or not."""
    return reference.startswith("sha256-")


def _broken(event: events.RequestFinished, image: str) -> Trouble | None:
    if event.outcome == "aborted":
        return Trouble(
            key=("aborted", image),
            problem=f"the answer for {image} was broken off: {event.reason}",
            next_step="Pull again: what had come is kept. If it repeats, look at upstream.",
        )
    if event.outcome == "stalled":
        return Trouble(
            key=("stalled", event.client),
            problem=f"{event.client} stopped taking bytes of {image}: {event.reason}",
            next_step="Look at that client: its disk may be full, or its process stopped.",
        )
    return None


def _health(event: events.UpstreamHealth) -> Trouble | Over:
    key = ("upstream", event.origin)
    if event.up:
        return Over(key)
    return Trouble(
        key=key,
        problem=f"{event.origin} is down: {event.reason}",
        next_step=_NETWORK,
        grave=True,
    )


def _failed(event: events.UpstreamFailed) -> Trouble | None:
    if event.leg == "probe":
        return None
    return Trouble(
        key=("asking", event.host, event.leg, event.kind),
        problem=f"{event.host} failed to answer ({event.leg}): {event.reason}",
        next_step=_NETWORK,
    )


def _answered(event: events.UpstreamAnswered) -> Trouble | None:
    if event.status != 429:
        return None
    return Trouble(
        key=("limited", event.namespace),
        problem=f"{event.namespace} counts no more pulls for now: {event.host} answered 429",
        next_step=_LIMITED,
        grave=True,
    )


def _stale(event: events.ServedStale) -> Trouble:
    image = image_name(event.namespace, event.repository, event.reference)
    return Trouble(
        key=("stale", image),
        problem=f"{image} was served as it was {_age(event.age_seconds)} ago: {event.reason}",
        next_step="Nothing has to be done: it is asked again once upstream answers.",
    )


def _fill(event: events.FillFinished) -> Trouble | None:
    if event.outcome in {"stored", "kept", "stopped", "discarded"}:
        return None
    image = image_name(event.namespace, event.repository, event.digest)
    wrong = event.outcome == "mismatch"
    return Trouble(
        key=("fill", image, event.outcome),
        problem=f"fetching {image} ended ({event.outcome}): {event.reason}",
        next_step=(
            "Its bytes were not those of its digest and were dropped; pull again."
            if wrong
            else "Pull again: what had come is kept."
        ),
        grave=wrong,
    )


def _passed(event: events.PassedThrough) -> Trouble:
    image = image_name(event.namespace, event.repository, event.digest)
    return Trouble(
        key=("passed", event.namespace, event.repository),
        problem=f"{image} was sent without being stored: {event.reason}",
        next_step="Give the cache more room (max-size, min-free), or the disk.",
    )


def _corrupt(event: events.CorruptionFound) -> Trouble:
    return Trouble(
        key=("corrupt", event.kind),
        problem=f"{event.kind} {event.digest} was rotten on disk (found by {event.found_by})",
        next_step="It was dropped and is fetched anew when asked for. If it repeats, replace"
        " the disk.",
        grave=True,
    )


def _disk(event: events.DiskFailed) -> Trouble:
    return Trouble(
        key=("disk", event.operation),
        problem=f"the disk failed to {event.operation}: {event.reason}",
        next_step=_DISK,
        grave=True,
    )


def _setting(event: events.SettingWarning) -> Trouble:
    return Trouble(
        key=("setting", event.message),
        problem=event.message,
        next_step="Change the setting that is named; see docs/operations.md.",
    )


def _defect(event: events.Unexpected) -> Trouble:
    return Trouble(
        key=("defect", event.where),
        problem=f"a defect of nodecache in {event.where}: {event.error}",
        next_step="Please report it with the lines of the log around it.",
        grave=True,
    )


def _age(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


_WORDS: Final[Mapping[type[Event], Callable[[Any], Trouble | Over | None]]] = {
    events.RequestFinished: _request,
    events.UpstreamHealth: _health,
    events.UpstreamFailed: _failed,
    events.UpstreamAnswered: _answered,
    events.ServedStale: _stale,
    events.FillFinished: _fill,
    events.PassedThrough: _passed,
    events.CorruptionFound: _corrupt,
    events.DiskFailed: _disk,
    events.SettingWarning: _setting,
    events.Unexpected: _defect,
    **PEERS,
}

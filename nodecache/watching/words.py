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
from nodecache.watching.troubles import Over, Trouble, Words
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


_DOWN: Final = Words(
    key=("upstream", "{0.origin}"),
    problem="{0.origin} is down: {0.reason}",
    next_step=_NETWORK,
    grave=True,
)
_FAILED: Final = Words(
    key=("asking", "{0.host}", "{0.leg}", "{0.kind}"),
    problem="{0.host} failed to answer ({0.leg}): {0.reason}",
    next_step=_NETWORK,
)
_REFUSED: Final = Words(
    key=("limited", "{0.namespace}"),
    problem="{0.namespace} counts no more pulls for now: {0.host} answered 429",
    next_step=_LIMITED,
    grave=True,
)


def _health(event: events.UpstreamHealth) -> Trouble | Over:
    down = _DOWN(event)
    return Over(down.key) if event.up else down


def _failed(event: events.UpstreamFailed) -> Trouble | None:
    return None if event.leg == "probe" else _FAILED(event)


def _answered(event: events.UpstreamAnswered) -> Trouble | None:
    return _REFUSED(event) if event.status == 429 else None


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
    events.CorruptionFound: Words(
        key=("corrupt", "{0.kind}"),
        problem="{0.kind} {0.digest} was rotten on disk (found by {0.found_by})",
        next_step="It was dropped and is fetched anew when asked for. If it repeats, replace"
        " the disk.",
        grave=True,
    ),
    events.DiskFailed: Words(
        key=("disk", "{0.operation}"),
        problem="the disk failed to {0.operation}: {0.reason}",
        next_step=_DISK,
        grave=True,
    ),
    events.SettingWarning: Words(
        key=("setting", "{0.message}"),
        problem="{0.message}",
        next_step="Change the setting that is named; see docs/operations.md.",
    ),
    events.Unexpected: Words(
        key=("defect", "{0.where}"),
        problem="a defect of nodecache in {0.where}: {0.error}",
        next_step="Please report it with the lines of the log around it.",
        grave=True,
    ),
    **PEERS,
}

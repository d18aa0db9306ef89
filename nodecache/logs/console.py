"""Events in plain words, for the person in front of a terminal.

One line for a pull, one for what may need a hand; the rest is in the JSON log
and in the metrics. An event that has no words of its own is told with its
fields, if it is a warning or worse.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import attrs

from nodecache import events
from nodecache.config import format_size
from nodecache.events import Event, Level
from nodecache.logs.console_peers import PEERS

_FROM: Final = {
    "disk": "from disk",
    "stale": "from disk (stale)",
    "fill": "fetched",
    "flight": "from a fetch under way",
    "peer": "from other nodes",
}


class Console:
    """``text`` is the line for an event, without its time; None where it has none."""

    def __init__(self) -> None:
        self._words: dict[type[Event], Callable[[Any], str | None]] = {
            events.PullFinished: _pull,
            events.Started: _started,
            events.Stopping: lambda e: f"stopping ({e.reason}), {_bodies(e.bodies)} to finish",
            events.Stopped: _stopped,
            events.Reloaded: _reloaded,
            events.SettingWarning: lambda e: e.message,
            events.ServedStale: _stale,
            events.FillFinished: _fill,
            events.PassedThrough: _passed,
            events.UpstreamHealth: _health,
            events.UpstreamFailed: _upstream_failed,
            **PEERS,
            events.CorruptionFound: _corrupt,
            events.DiskFailed: lambda e: f"the disk failed to {e.operation}: {e.reason}",
            events.ListingFailed: lambda e: f"{e.reason}; threads did its share",
            events.LeftOut: lambda e: f"{e.count} more lines like this were left out ({e.of})",
            events.LogLevelSet: _level,
            events.TurnedAway: lambda e: f"{e.port} port turned {e.client} away: {e.reason}",
            events.TracesFailed: lambda e: f"the collector of traces takes none: {e.reason}",
            events.Unexpected: lambda e: (
                f"a defect of nodecache in {e.where}: {e.error}\n{e.trace}"
            ),
        }

    def text(self, event: Event) -> str | None:
        words = self._words.get(type(event))
        if words is not None:
            return words(event)
        return _fields(event) if event.level >= Level.WARNING else None


def _seconds(value: float) -> str:
    return f"{value:.1f} s" if value < 100 else f"{value:.0f} s"


def _image(namespace: str, repository: str, reference: str) -> str:
    separator = "@" if ":" in reference else ":"
    return f"{namespace}/{repository}{separator}{reference}"


def _pull(event: events.PullFinished) -> str:
    image = _image(event.namespace, event.repository, event.reference)
    if event.failed == event.requests:
        requests = "its request" if event.failed == 1 else f"all {event.failed} requests"
        return f"could not pull {image} for {event.client}: {requests} failed"
    took = f"{format_size(event.bytes)} in {_seconds(event.seconds)}"
    line = f"pulled {image} for {event.client}: {took}{_sources(event)}"
    if event.failed:
        line += f"; {event.failed} of {event.requests} requests failed"
    return line


def _sources(event: events.PullFinished) -> str:
    parts = {source: size for source, size in event.bytes_by_source.items() if source in _FROM}
    if len(parts) == 1:
        return f", all {_FROM[next(iter(parts))]}"
    order = sorted(parts, key=lambda source: -parts[source])
    return "".join(f", {format_size(parts[source])} {_FROM[source]}" for source in order)


def _started(event: events.Started) -> str:
    scan = f"{event.blobs} blobs, {format_size(event.bytes)}"
    unclean = ", after an unclean stop" if event.unclean else ""
    sharing = f"\nshares as {event.peers}" if event.peers else ""
    return (
        f"nodecache {event.version} listens on {event.listen}"
        f" (admin {event.admin}), stores in {event.data_dir} ({scan}{unclean}),"
        f" upstream {event.upstreams}{sharing}\n"
        f"try it: docker pull {_to_type(event.listen)}/library/alpine"
        " (its line follows when the pull is over)"
    )


def _to_type(listen: str) -> str:
    """The first of the open addresses, as a person would type it."""
    first = listen.partition(",")[0]
    for anywhere in ("127.0.0.1", "0.0.0.0", "[::1]", "[::]"):
        if first.startswith(f"{anywhere}:"):
            return f"localhost{first.removeprefix(anywhere)}"
    return first


def _bodies(count: int) -> str:
    return "1 body" if count == 1 else f"{count} bodies"


def _stopped(event: events.Stopped) -> str:
    cut = f", {_bodies(event.aborted)} cut off" if event.aborted else ""
    return f"stopped after {_seconds(event.seconds)}{cut}"


def _reloaded(event: events.Reloaded) -> str:
    rest = f"; needs a restart: {event.ignored}" if event.ignored else ""
    return f"settings read again, changed: {event.changed or 'nothing'}{rest}"


def _stale(event: events.ServedStale) -> str:
    image = _image(event.namespace, event.repository, event.reference)
    return f"served {image} as it was {_seconds(event.age_seconds)} ago: {event.reason}"


def _fill(event: events.FillFinished) -> str | None:
    if event.outcome in {"stored", "kept", "stopped"}:
        return None
    image = _image(event.namespace, event.repository, event.digest)
    return f"fetching {image} ended ({event.outcome}): {event.reason}"


def _passed(event: events.PassedThrough) -> str:
    image = _image(event.namespace, event.repository, event.digest)
    return f"sent {image} without storing it ({event.reason}): {event.outcome}"


def _health(event: events.UpstreamHealth) -> str:
    if event.up:
        return f"upstream {event.origin} is back"
    return f"upstream {event.origin} is down: {event.reason}"


def _upstream_failed(event: events.UpstreamFailed) -> str | None:
    # An upstream that is down is told once, and once more when it is back.
    if event.leg == "probe":
        return None
    return f"{event.host} failed to answer ({event.method}, {event.leg}): {event.reason}"


def _level(event: events.LogLevelSet) -> str:
    until = f" for {_seconds(event.seconds)}" if event.seconds else ""
    return f"logs what is {event.now} or worse{until} (was {event.before})"


def _corrupt(event: events.CorruptionFound) -> str:
    return f"{event.kind} {event.digest} was rotten on disk (found by {event.found_by}), dropped"


def _fields(event: Event) -> str:
    fields = attrs.asdict(event)
    return f"{event.name}: " + ", ".join(f"{name} {value}" for name, value in fields.items())

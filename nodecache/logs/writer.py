"""Writes events to a stream, one a line."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import attrs

from nodecache.events import CacheSize, Event, LeftOut, Level, PullFinished, UpstreamAnswered
from nodecache.logs.console import Console
from nodecache.logs.sampling import Sampler
from nodecache.logs.scrub import scrub
from nodecache.seams import WallClock
from nodecache.traces import CURRENT

JSON: Final = "json"
CONSOLE: Final = "console"

#: What is a gauge for the metrics, and told too often for a log.
_UNLOGGED: Final = (CacheSize,)
#: What is never left out: there is one for each pull.
_UNSAMPLED: Final = (PullFinished, LeftOut)
#: Fields that say nothing where they are empty.
_TRACE: Final = ("trace_id", "span_id", "parent_id")


#: Answers by which upstream refuses; a CDN's only says that a link is used up.
_REFUSALS: Final = frozenset({403, 429})


def _level(event: Event) -> Level:
    """That of its kind; an upstream that refuses is told of, else a pull fails without a word."""
    if isinstance(event, UpstreamAnswered) and event.leg != "cdn" and event.status in _REFUSALS:
        return Level.WARNING
    return event.level


class LogWriter:
    """``form`` is ``json`` or ``console``; ``level`` may be set at any time.

    A JSON line has ``time`` (UTC, RFC 3339), ``level``, ``event`` (its name)
    and the event's fields; a ``trace_id``, where it happened for a request; and
    ``left_out``, where so many of its kind before it were not written, by
    ``sampler``. ``observe`` never raises: a log that can not be written must
    not stop a pull.
    """

    def __init__(
        self,
        stream: TextIO,
        form: str = JSON,
        *,
        level: Level = Level.DEBUG,
        wall: WallClock = time.time,
        sampler: Sampler | None = None,
    ) -> None:
        self.level = level
        self._stream = stream
        self._wall = wall
        self._sampler = sampler
        self._console = Console() if form == CONSOLE else None

    def observe(self, event: Event) -> None:
        if _level(event) < self.level or isinstance(event, _UNLOGGED):
            return
        left_out: int | None = 0
        if self._sampler is not None and not isinstance(event, _UNSAMPLED):
            now = self._wall()
            left_out = self._sampler.admit(event.name, now)
            for name, count in self._sampler.ceased(now):
                self.observe(LeftOut(of=name, count=count))
        if left_out is not None:
            self._tell(event, left_out)

    def _tell(self, event: Event, left_out: int) -> None:
        if left_out and self._console is not None:
            self.observe(LeftOut(of=event.name, count=left_out))
        try:
            line = self._json(event, left_out) if self._console is None else self._plain(event)
        except Exception as error:
            line = json.dumps({"event": event.name, "unwritable": repr(error)})
        if line is not None:
            self._write(line)

    def _write(self, line: str) -> None:
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):  # the reader is gone, or the stream is closed
            return

    def _json(self, event: Event, left_out: int) -> str:
        record: dict[str, Any] = {
            "time": self._time().isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": _level(event).name.lower(),
            "event": event.name,
        }
        record.update(_clean(attrs.asdict(event)))
        _trace(record)
        if left_out:
            record["left_out"] = left_out
        return json.dumps(record, ensure_ascii=True, allow_nan=False)

    def _plain(self, event: Event) -> str | None:
        assert self._console is not None
        text = self._console.text(event)
        if text is None:
            return None
        mark = f"{_level(event).name.lower()}: " if _level(event) >= Level.WARNING else ""
        clock = self._time().astimezone().strftime("%H:%M:%S")
        return f"{clock} {mark}{_visible(scrub(text))}"

    def _time(self) -> datetime:
        return datetime.fromtimestamp(self._wall(), UTC)


def _trace(record: dict[str, Any]) -> None:
    """Put in what the event does not say itself, and take out what says nothing."""
    trace = CURRENT.get()
    if trace is not None and not record.get("trace_id"):
        record["trace_id"] = trace.trace_id
    for name in _TRACE:
        if record.get(name) == "":
            del record[name]


def _clean(value: Any) -> Any:
    """``value`` as JSON can hold it, without secrets."""
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, dict):
        return {str(key): _clean(each) for key, each in value.items()}
    if isinstance(value, float):
        return round(value, 6) if abs(value) < float("inf") else None
    if value is None or isinstance(value, int):
        return value
    return scrub(str(value))


def _visible(text: str) -> str:
    """``text`` without what would move a terminal's cursor or forge a line."""
    lines = text.rstrip("\n").split("\n")
    return "\n    ".join("".join(c if c.isprintable() else "?" for c in line) for line in lines)

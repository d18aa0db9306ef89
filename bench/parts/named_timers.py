"""Runs nodecache and remembers what each turn of its event loop was for.

    TURNS_FILE=FILE python -m bench.parts.named_timers serve ...

Writes at the end, as JSON, a list of turns: when (monotonic clock, seconds) and
the names of the timers, threads and descriptors that it served. A turn for
nothing has no names.
"""

from __future__ import annotations

import atexit
import json
import os
import runpy
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from twisted.internet import epollreactor

TURNS: list[tuple[float, list[str]]] = []
_NAMES: list[str] = []


def name_of(job: Any) -> str:
    """Module and name of what is called; of who asked for it where that is Twisted's own."""
    while hasattr(job, "func"):  # a partial
        job = job.func
    job = getattr(job, "__func__", job)
    if hasattr(job, "f"):  # a LoopingCall
        job = job.f
    module = getattr(job, "__module__", "") or ""
    if not module.startswith("nodecache"):
        asked = _asker()
        if asked:
            return asked
    return f"{module}:{getattr(job, '__qualname__', type(job).__qualname__)}"


def _asker() -> str:
    """The nearest function of nodecache that is under way."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001  # who calls is not told
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if module.startswith("nodecache"):
            return f"{module}:{frame.f_code.co_qualname}"
        frame = frame.f_back
    return ""


def _named(job: Callable[..., Any], kind: str) -> Callable[..., Any]:
    name = f"{kind} {name_of(job)}"

    def run(*args: Any, **kwargs: Any) -> Any:
        _NAMES.append(name)
        return job(*args, **kwargs)

    return run


def watch() -> None:
    """Put the names on timers and calls from threads, and count turns."""
    reactor: Any = epollreactor.EPollReactor
    later, thread, turn = reactor.callLater, reactor.callFromThread, reactor.doPoll
    serve = reactor._doReadOrWrite  # noqa: SLF001  # where descriptors are served

    def call_later(self: Any, delay: float, job: Any, *args: Any, **kw: Any) -> Any:
        return later(self, delay, _named(job, "timer"), *args, **kw)

    def call_from_thread(self: Any, job: Any, *args: Any, **kw: Any) -> None:
        thread(self, _named(job, "thread"), *args, **kw)

    def do_poll(self: Any, timeout: float) -> None:
        TURNS.append((time.monotonic(), list(_NAMES)))
        _NAMES.clear()
        turn(self, timeout)

    def do_read_or_write(self: Any, selectable: Any, fd: int, event: int) -> None:
        _NAMES.append(f"descriptor {type(selectable).__name__}")
        serve(self, selectable, fd, event)

    reactor.doIteration, reactor._doReadOrWrite = do_poll, do_read_or_write  # noqa: SLF001
    reactor.callLater, reactor.callFromThread = call_later, call_from_thread


def write() -> None:
    with open(os.environ["TURNS_FILE"], "w", encoding="utf-8") as file:
        json.dump(TURNS, file)


if __name__ == "__main__":
    watch()
    atexit.register(write)
    runpy.run_module("nodecache", run_name="__main__")

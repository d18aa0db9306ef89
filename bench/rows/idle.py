"""A second in which nothing is asked: how often the process wakes up, and what for."""

from __future__ import annotations

import contextlib
import json
import pathlib
import time
from collections import Counter
from collections.abc import Sequence

import attrs

from bench.core.bars import Bar
from bench.core.samples import Figures
from bench.parts.clocks import settled, used_by
from bench.parts.peers import Cache, nodecache
from bench.parts.world import World
from bench.rows.row import Row, mine
from tests.system.parts.node import Node

WAKES, TURNS, UNNAMED = "wake-ups/s, all threads", "turns of the loop/s", "turns for nothing/s"
Turn = tuple[float, Sequence[str]]


@attrs.define
class Watched(Node):
    """A node that remembers what each turn of its loop was for."""

    def argv(self) -> list[str]:
        words = super().argv()
        words[words.index("nodecache")] = "bench.parts.named_timers"
        return words


def wakes(pid: int) -> int:
    """Times that any thread of the process waited for something and woke up."""
    total = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):
            lines = (task / "status").read_text().splitlines()
            total += int(next(line for line in lines if line.startswith("voluntary")).split()[1])
    return total


def named(turns: Sequence[Turn], begin: float, end: float) -> tuple[int, Counter[str], int]:
    """Turns within, what they were for, and how many were for nothing.

    A turn is written down as the next one begins, with what it served.
    """
    within = [names for at, names in turns if begin <= at < end]
    return len(within), Counter(name for names in within for name in names), within.count([])


def plain(cache: Cache, seconds: float) -> dict[str, float]:
    pid = cache.child.pid
    used, before = used_by(cache.child), wakes(pid)
    time.sleep(seconds)
    return {
        WAKES: (wakes(pid) - before) / seconds,
        "processor, ms/s": (used_by(cache.child) - used) / seconds * 1000,
    }


def watched(folder: pathlib.Path, upstream: str) -> Cache:
    node = Watched(folder, f"docker.io={upstream}", env={"TURNS_FILE": str(folder / "turns.json")})
    return Cache("nodecache", node)


def measure(world: World) -> Figures:
    seconds = 10.0 if not world.quick else 2.0
    with world.upstream() as upstream:
        with world.empty(nodecache, upstream.url) as cache:
            settled(cache.child)
            found = plain(cache, seconds)
        with world.empty(watched, upstream.url) as cache:
            settled(cache.child)
            begin = time.monotonic()
            time.sleep(seconds)
            end = time.monotonic()
            cache.stop()
            assert isinstance(cache.part, Node)
            turns = json.loads((cache.part.folder / "turns.json").read_text())
    count, names, nothing = named(turns, begin, end)
    for name, times in names.most_common():
        world.note(f"{times / seconds:.2f} a second: {name}")
    found |= {TURNS: count / seconds, UNNAMED: nothing / seconds}
    return {"nodecache": {what: [value] for what, value in found.items()}}


ROWS = (
    Row(
        key="idle",
        title="a second of idling",
        measure=measure,
        bars=(Bar(text="turns of the loop for nothing", of=mine(UNNAMED), at_most=0.1, unit="/s"),),
    ),
)

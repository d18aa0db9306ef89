"""How soon a node is ready with many blobs on disk, and what it imports until then."""

from __future__ import annotations

import pathlib
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial

from bench.core.bars import Bar
from bench.core.samples import Figures, interleaved
from bench.parts.clocks import peak_memory
from bench.parts.peers import Cache
from bench.parts.world import MIB, World
from bench.rows.row import Row, mine
from nodecache.cli.commands import COMMANDS
from tests.system.parts.node import Node

COUNTS = (100_000, 1_000_000)
SCAN, READY = "{:,} blobs: scan, s", "{:,} blobs: from exec until ready, s"
IMPORTS, TOOK, FOREIGN = "modules imported", "imports, s", "modules of other commands and tools"
#: What only commands load: serve has no use for it (without a collector for traces).
TOOLS = frozenset({"rich", "yaml", "opentelemetry", "requests"})
_LINE = re.compile(r"^import time:\s+(\d+) \|\s+\d+ \| +(\S+)$", re.MULTILINE)


def node(
    world: World, folder: pathlib.Path, upstream: str = "http://127.0.0.1:9", **env: str
) -> Node:
    """On a data folder that is there; its cap is above all that the blobs say they are.

    It loads compiled modules, as where it was installed; those of a checkout may be older than
    their text, and none are written where that is turned off. The first start compiles.
    """
    flags = {"data-dir": str(folder), "max-size": "9000TiB"}
    here = folder.parent / f"node-{time.monotonic_ns()}"
    env |= {"PYTHONPYCACHEPREFIX": str(world.folder / "compiled"), "PYTHONDONTWRITEBYTECODE": ""}
    return Node(here, f"docker.io={upstream}", flags, env=env)


def ready(world: World, count: int) -> dict[str, float]:
    """The kernel knows the folders, as after a restart of the process."""
    folder = world.filled(count)
    at = node(world, folder)
    began = time.perf_counter()
    child = at.launch()
    try:
        while not at.is_ready():
            assert child.alive, child.tail()
            time.sleep(0.002)
        seconds = time.perf_counter() - began
        (event,) = at.events("start")
        assert event["blobs"] >= count, f"{event['blobs']} of {count} blobs in {folder}"
        return {
            SCAN.format(count): event["scan_seconds"],
            READY.format(count): seconds,
            f"{count:,} blobs: peak memory, MiB": peak_memory(child.pid) / MIB,
        }
    finally:
        at.stop()


def imports(world: World) -> dict[str, float]:
    """By the interpreter's own account of a start; its reporting slows it down."""
    compiling = node(world, world.place("empty"))
    compiling.start()
    compiling.stop()
    at = Cache("nodecache", node(world, world.place("empty"), PYTHONPROFILEIMPORTTIME="1"))
    at.start()
    at.stop()
    assert isinstance(at.part, Node)
    found = [(int(self), name) for self, name in _LINE.findall(at.part.words)]
    foreign = list(unused([name for _, name in found]))
    for name in foreign:
        world.note(f"serve has no use for {name}")
    world.note(f"imports by package: {dearest(found)}")
    return {
        IMPORTS: len(found),
        TOOK: sum(self for self, _ in found) / 1e6,
        FOREIGN: len(foreign),
    }


def dearest(found: Sequence[tuple[int, str]], count: int = 8) -> str:
    """The packages that take longest, in words; ``found`` is microseconds and module."""
    taken: Counter[str] = Counter()
    for self, name in found:
        taken[name.partition(".")[0]] += self
    return ", ".join(f"{name} {self / 1000:.0f} ms" for name, self in taken.most_common(count))


def unused(names: Sequence[str]) -> Iterator[str]:
    """Modules of other commands, and packages that only those load."""
    others = {f"nodecache.cli.{entry.module}" for entry in COMMANDS if entry.name != "serve"}
    for name in names:
        if name in others or name in TOOLS:
            yield name


def measure(world: World) -> Figures:
    found: dict[str, list[float]] = {what: [value] for what, value in imports(world).items()}
    for count in COUNTS if not world.quick else (1000,):
        world.filled(count)
        taken = interleaved(
            2 if not world.quick else 1, {"nodecache": partial(ready, world, count)}
        )
        found |= taken["nodecache"]
    return {"nodecache": found}


ROWS = (
    Row(
        key="start",
        title="start",
        measure=measure,
        bars=(
            *(
                Bar(text=words, of=mine(form.format(count)), at_most=most, unit="s")
                for count, most in zip(COUNTS, (1, 8), strict=True)
                for form, words in (
                    (SCAN, f"{count:,} blobs, scan"),
                    (READY, f"{count:,} blobs, from exec until ready"),
                )
            ),
            Bar(text="imports that serve has no use for", of=mine(FOREIGN), at_most=0),
        ),
    ),
)

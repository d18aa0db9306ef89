"""The house's one-way rule: who may import whom, read from the source.

The floors stand below, the lowest first. A room may import its own modules,
other rooms of its floor as long as no circle arises, and every room of a lower
floor. The lowest floor, the pure core, does no input or output, reads no clock
and knows no reactor.
"""

from __future__ import annotations

import ast
import graphlib
import pathlib
from collections.abc import Iterator

import attrs
import pytest

PACKAGE = pathlib.Path(__file__).parent.parent / "nodecache"

FLOORS: tuple[tuple[str, frozenset[str]], ...] = (
    (
        "pure core",
        frozenset(
            {
                "admission",
                "agents",
                "answers",
                "byteranges",
                "challenge",
                "config",
                "crc",
                "deadline",
                "events",
                "eviction",
                "failures",
                "freshness",
                "health",
                "limits",
                "membership",
                "peerwire",
                "pulls",
                "reference",
                "rendezvous",
                "rules",
                "runtimes",
                "segments",
                "sourcing",
                "watching",
                "traces",
            }
        ),
    ),
    (
        "leaves of the shell",
        frozenset(
            {
                "archives",
                "diskpool",
                "listing",
                "logs",
                "metrics",
                "results",
                "seams",
                "singleflight",
                "tracing",
            }
        ),
    ),
    ("store", frozenset({"store"})),
    ("in flight", frozenset({"inflight"})),
    ("sources and bodies", frozenset({"body", "discovery", "fill", "peers", "upstream"})),
    ("sharing", frozenset({"sharing"})),
    ("cache", frozenset({"cache"})),
    ("warming", frozenset({"warming"})),
    ("steering", frozenset({"steering"})),
    ("web", frozenset({"web"})),
    ("service", frozenset({"service"})),
    ("command line", frozenset({"__main__", "cli"})),
)
FLOOR_OF = {room: floor for floor, (_, rooms) in enumerate(FLOORS) for room in rooms}
CORE = FLOORS[0][1]

#: Modules with which a core module could do I/O, read a clock, or meet a reactor.
NOT_IN_THE_CORE = frozenset(
    {
        "asyncio",
        "fcntl",
        "http",
        "klein",
        "mmap",
        "os",
        "pathlib",
        "prometheus_client",
        "random",
        "select",
        "selectors",
        "shutil",
        "signal",
        "socket",
        "ssl",
        "subprocess",
        "tempfile",
        "threading",
        "time",
        "treq",
        "twisted",
    }
)


@attrs.frozen
class Arrow:
    """One import: ``source`` is a dotted module of the package, ``target`` what it imports."""

    source: str
    target: str
    line: int

    @property
    def room(self) -> str:
        return room_of(self.source)

    def __str__(self) -> str:
        return f"{self.source} (line {self.line}) imports {self.target}"


def room_of(dotted: str) -> str:
    """``nodecache.web.mirror`` is in the room ``web``; the package itself is ``""``."""
    parts = dotted.split(".")
    return parts[1] if len(parts) > 1 else ""


def dotted_name(path: pathlib.Path, package: pathlib.Path) -> str:
    parts = path.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def targets(node: ast.AST, package: str) -> Iterator[str]:
    """Absolute names that an import statement names, each name of a ``from`` on its own."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*above, *([node.module] if node.module else [])])
        yield from (f"{base}.{alias.name}" for alias in node.names)


def arrows_of(source: str, dotted: str, *, is_package: bool) -> list[Arrow]:
    package = dotted if is_package else dotted.rpartition(".")[0]
    return [
        Arrow(dotted, target, getattr(node, "lineno", 0))
        for node in ast.walk(ast.parse(source))
        for target in targets(node, package)
    ]


def all_arrows() -> list[Arrow]:
    return [
        arrow
        for path in sorted(PACKAGE.rglob("*.py"))
        for arrow in arrows_of(
            path.read_text(encoding="utf-8"),
            dotted_name(path, PACKAGE),
            is_package=path.name == "__init__.py",
        )
    ]


def points_up(arrow: Arrow) -> bool:
    if not arrow.target.startswith("nodecache."):
        return False
    target = room_of(arrow.target)
    if arrow.room == target or target in {"__version__", "__all__"}:
        return False
    return FLOOR_OF[target] > FLOOR_OF[arrow.room]


def leaves_the_core(arrow: Arrow) -> bool:
    return arrow.room in CORE and arrow.target.split(".")[0] in NOT_IN_THE_CORE


def opens_a_file(source: str) -> bool:
    return any(
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "open"
        for node in ast.walk(ast.parse(source))
    )


def circle(arrows: list[Arrow]) -> list[str] | None:
    """The rooms of a circle of imports, if there is one."""
    graph: dict[str, set[str]] = {room: set() for room in FLOOR_OF}
    for arrow in arrows:
        target = room_of(arrow.target)
        if arrow.target.startswith("nodecache.") and target in graph and arrow.room in graph:
            graph[arrow.room] |= {target} - {arrow.room}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return None


def test_every_room_has_a_floor() -> None:
    rooms = {
        path.stem
        for path in PACKAGE.iterdir()
        if (path.suffix == ".py" or (path.is_dir() and any(path.rglob("*.py"))))
        and path.name != "__init__.py"
    }
    assert sorted(rooms - set(FLOOR_OF)) == [], "give the new room its floor in FLOORS"


def test_no_arrow_points_up() -> None:
    assert [str(arrow) for arrow in all_arrows() if points_up(arrow)] == []


def test_no_circle_of_rooms() -> None:
    assert circle(all_arrows()) is None


def test_the_core_knows_no_reactor_no_clock_and_no_system() -> None:
    assert [str(arrow) for arrow in all_arrows() if leaves_the_core(arrow)] == []


def test_the_core_opens_no_file() -> None:
    openers = [
        str(path.relative_to(PACKAGE))
        for path in sorted(PACKAGE.rglob("*.py"))
        if room_of(dotted_name(path, PACKAGE)) in CORE
        and opens_a_file(path.read_text(encoding="utf-8"))
    ]
    assert openers == []


@pytest.mark.parametrize(
    ("source", "dotted"),
    [
        ("from nodecache.web import mirror", "nodecache.store.blobs"),
        ("from nodecache import cache", "nodecache.upstream.tokens"),
        ("from ..cli import serve", "nodecache.cache.tags"),
        ("def f():\n    import nodecache.service", "nodecache.reference"),
    ],
)
def test_an_arrow_that_points_up_is_found(source: str, dotted: str) -> None:
    assert [arrow for arrow in arrows_of(source, dotted, is_package=False) if points_up(arrow)]


@pytest.mark.parametrize(
    "source",
    ["import os", "from twisted.internet import defer", "from os import path", "import time as t"],
)
def test_an_impure_import_in_the_core_is_found(source: str) -> None:
    found = arrows_of(source, "nodecache.config.load", is_package=False)
    assert [arrow for arrow in found if leaves_the_core(arrow)]


def test_a_circle_within_a_floor_is_found() -> None:
    there = arrows_of("from nodecache.fill import drive", "nodecache.upstream", is_package=False)
    back = arrows_of("from nodecache.upstream import get", "nodecache.fill", is_package=False)
    assert circle(there) is None
    assert circle(there + back) is not None

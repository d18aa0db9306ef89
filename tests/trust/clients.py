"""Real runtimes, and every call of the disk: the tests of both in full, and a table of the first.

Both are parts of the suite (tests/system/test_faults_runtimes.py, tests/test_disk_faults.py),
which runs a slice of them each time.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

from tests.trust.report import mark

_RUNTIMES: Final = "tests/system/test_faults_runtimes.py"
_DISK: Final = "tests/test_disk_faults.py"
#: The row that is none: what a pull takes past any mirror.
_WITHOUT: Final = "no mirror"


def run(folder: pathlib.Path, seed: int) -> int:
    """Both; the figures go into ``folder``. 1 where a test failed, else 0."""
    results = folder / "clients.json"
    results.unlink(missing_ok=True)
    environ = {
        **os.environ,
        "NODECACHE_FAULTS_RESULTS": str(results),
        "NODECACHE_DISK_FAULTS_SHARE": "1",
        "NODECACHE_DISK_FAULTS_SEED": str(seed),
    }
    argv = [sys.executable, "-m", "pytest", "--timeout", "3600", "-q", _RUNTIMES, _DISK]
    return int(subprocess.run(argv, env=environ, check=False).returncode != 0)


def keep(folder: pathlib.Path, document: pathlib.Path) -> None:
    """The table, in its part of the document; nothing where it was not run."""
    results = folder / "clients.json"
    if results.exists():
        made = time.strftime("%Y-%m-%d", time.localtime(results.stat().st_mtime))
        mark(document, "clients", "\n".join(_lines(json.loads(results.read_text()), made)))


def _lines(found: Mapping[str, Mapping[str, Any]], made: str) -> Iterator[str]:
    names = list(next(iter(found.values())))
    yield "## Real clients under faults\n"
    yield (
        f"{made}: all runtimes of one machine pulled the same new image of three layers of 3 MB at"
        " once through one node, on two cores that other work shared. Seconds until the whole image"
        " was there and had been compared; *2x*: the command was given twice.\n"
    )
    yield "| what is broken | " + " | ".join(names) + " |"
    yield "|---|" + "---|" * len(names)
    rows = [name for name in (_WITHOUT, *found) if name in found]
    for name in dict.fromkeys(rows):
        label = f"*{_WITHOUT} at all*" if name == _WITHOUT else name
        yield f"| {label} | " + " | ".join(_shown(found[name][each]) for each in names) + " |"
    yield ""
    yield (
        "podman takes up no layer that broke off, and containerd none whose connection was reset:"
        " their next try succeeds, and a kubelet tries again by itself. An upstream that sends"
        " wrong bytes fails whoever has got some of them; for the next ten seconds the node says"
        " 404 for that layer, and podman looks for it nowhere else, so here it was asked every six"
        " seconds."
    )


def _shown(pulled: Mapping[str, Any]) -> str:
    again = f", {pulled['tries']}x" if pulled["tries"] > 1 else ""
    return f"{pulled['seconds']:.1f} s{again}"

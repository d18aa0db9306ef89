"""Every row of the table of bars, measured side by side with what it is compared to.

Each row starts what it needs, on folders of its own, and takes turns between
those it compares. Everything runs on one machine and shares its processors, so
that the ratios say more than the figures. A bar that is missed is named, and
is no failure; a row that cannot be measured, or that finds wrong bytes, is.

    python -m bench [--quick] [--rows warm-1,cold] [--json FILE] [--join FILE] [--list]
"""

from __future__ import annotations

import argparse
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

from bench.core.report import Outcome, Report, bars_table, figures_table, machine_line
from bench.parts.clocks import Others
from bench.parts.machine import machine
from bench.parts.world import World
from bench.rows import ROWS
from bench.rows.row import Row

_DESCRIPTORS = 65536


def about(folder: pathlib.Path) -> dict[str, str]:
    return {
        **machine(folder),
        "nginx": version("nginx", "-v"),
        "docker-registry": version("docker-registry", "--version"),
    }


def version(*argv: str) -> str:
    """The last word of what a program says of itself, or that it is not here."""
    if shutil.which(argv[0]) is None:
        return "none"
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    words = (done.stdout + done.stderr).split()
    return words[-1].rpartition("/")[2] if words else "unknown"


def measured(row: Row, world: World) -> Outcome:
    """A row that fails says so, and lets the next ones run."""
    others, began = Others(world.children), time.monotonic()
    others.begin()
    figures, failed = {}, ""
    try:
        figures = {who: dict(series) for who, series in row.measure(world).items()}
    except Exception as why:
        failed = f"{type(why).__name__}: {' '.join(str(why).split())[:300]}"
    return Outcome(
        key=row.key,
        title=row.title,
        figures=figures,
        verdicts=tuple(bar.judge(figures) for bar in row.bars),
        notes=world.take_notes(),
        seconds=time.monotonic() - began,
        others=others.share(),
        on=time.strftime("%Y-%m-%d"),
        failed=failed,
    )


def run(rows: Sequence[Row], folder: pathlib.Path, *, quick: bool) -> Report:
    world, found = World(folder, quick=quick), []
    for row in rows:
        print(f"{row.key}: {row.title} ...", flush=True)
        found.append(measured(row, world))
        one = found[-1]
        print(f"  {one.seconds:.0f} s, others took {one.others:.0%} of the machine", flush=True)
        for verdict in one.verdicts:
            print(f"  {verdict.word}: {verdict.text}: {verdict.result} ({verdict.limit})")
        if one.failed:
            print(f"  FAILED: {one.failed}", flush=True)
    return Report(machine=about(folder), outcomes=tuple(found), missing=world.missing)


def chosen(keys: str) -> list[Row]:
    known = {row.key: row for row in ROWS}
    if not keys:
        return [row for row in ROWS if row.usual]
    unknown = [key for key in keys.split(",") if key not in known]
    if unknown:
        sys.exit(f"There is no row {', '.join(unknown)}; there are {', '.join(known)}.")
    return [known[key] for key in keys.split(",")]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="see that all of it works; no figures")
    parser.add_argument("--rows", default="", help="keys, with commas")
    parser.add_argument("--json", type=pathlib.Path, help="write what was found there")
    parser.add_argument("--join", action="store_true", help="keep the other rows of that file")
    parser.add_argument("--folder", default="/var/tmp", help="where everything is made")
    parser.add_argument("--list", action="store_true", help="say which rows there are")
    return parser.parse_args()


def write(report: Report, path: pathlib.Path, *, join: bool) -> None:
    if join and path.exists():
        report = Report.read(path.read_text(encoding="utf-8")).joined(report)
    path.write_text(report.written(), encoding="utf-8")


def show(report: Report) -> None:
    below = list(report.below())
    print(f"\n{machine_line(report)}\n{figures_table(report)}\n{bars_table(report)}")
    print(
        "\n".join(["Below its bar:", *below] if below else ["Every bar that was measured is met."])
    )


def main() -> None:
    given = arguments()
    if given.list:
        print("\n".join(f"{row.key:<16} {row.title}" for row in ROWS))
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    soft = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    rows = chosen(given.rows)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="bench-", dir=given.folder))
    try:
        report = run(rows, folder, quick=given.quick)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    show(report)
    if given.json is not None:
        write(report, given.json, join=given.join)
    sys.exit(1 if any(one.failed for one in report.outcomes) else 0)


if __name__ == "__main__":
    main()

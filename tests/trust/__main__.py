"""``python -m tests.trust``: all of it, and docs/reliability.md from what came of it.

Parts may be run apart, each of them into a file of ``--folder``; only all of them together,
or ``--only-report`` over such a folder, write the document.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.internet.threads import deferToThread

from tests.trust import clients
from tests.trust.abuse_crowd import crowds
from tests.trust.abuse_run import abuse
from tests.trust.cells import Cell, sensible
from tests.trust.crash import crash_rounds
from tests.trust.fuzz import TARGETS
from tests.trust.report import write
from tests.trust.run import Outcome, run
from tests.trust.soak import soak
from tests.trust.soak_report import keep

ROOT = pathlib.Path(__file__).parent.parent.parent


def _show(outcome: Outcome) -> None:
    mark = "FAIL" if outcome.problems else "ok  "
    print(f"{mark} {outcome.seconds:5.2f} {outcome.cell.name}: {', '.join(outcome.answers)}")
    for problem in outcome.problems:
        print(f"       {problem[:400]}")
    for cause in outcome.causes if outcome.problems else ():
        print(f"         . {cause[:160]}")
    sys.stdout.flush()


async def matrix(reactor: Any, cells: Sequence[Cell], seed: int) -> list[dict[str, Any]]:
    """A cell that fails is run again, once: its times are short, and the machine may be busy."""
    found = []
    for cell in cells:
        outcomes = [await run(reactor, cell, seed)]
        _show(outcomes[0])
        if outcomes[0].problems:
            outcomes.append(await run(reactor, cell, seed))
            _show(outcomes[1])
        last = outcomes[-1]
        found.append(
            {
                "name": cell.name,
                "answers": last.answers,
                "seconds": round(last.seconds, 2),
                "attempts": len(outcomes),
                "problems": last.problems,
            }
        )
    return found


def fuzz(seconds: int, seed: int) -> list[dict[str, Any]]:
    """Each target under atheris in a process of its own; without atheris none is run."""
    found = []
    for target in TARGETS:
        argv = [sys.executable, "-m", "tests.trust.coverage", "--target", target.name]
        argv += ["--seconds", str(seconds), "--seed", str(seed)]
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
        runs = re.search(r"number_of_executed_units: (\d+)", done.stderr)
        if "No module named 'atheris'" in done.stderr:
            print("atheris is not installed (extra: trust); the fuzzing by coverage is left out")
            return []
        count = int(runs[1]) if runs else 0
        print(f"fuzz {target.name}: {count} runs, exit {done.returncode}", flush=True)
        if done.returncode:
            print(done.stderr[-3000:])
        found.append({"target": target.name, "runs": count, "exit": done.returncode})
    return found


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=20261126)
    parser.add_argument(
        "--parts", default="matrix,crash,abuse,fuzz,clients", help="which of them are run"
    )
    parser.add_argument("--cells", default="", help="of the matrix only those with this in a name")
    parser.add_argument("--share", default="0/1", help="of the matrix only the N-th of M parts")
    parser.add_argument("--rounds", type=int, default=500, help="of crashes")
    parser.add_argument("--fuzz-seconds", type=int, default=60, help="for each parser")
    parser.add_argument("--folder", type=pathlib.Path, default=ROOT / "build" / "trust")
    parser.add_argument("--only-report", action="store_true")
    parser.add_argument(
        "--soak", type=float, default=0, metavar="SECONDS", help="only this, and its figures"
    )
    parser.set_defaults(failed=0)
    return parser.parse_args()


def _soaked(asked: argparse.Namespace) -> int:
    """1 where something was wrong."""
    found = soak(asked.soak, asked.seed)
    return keep(found, asked.seed, asked.folder, ROOT / "docs" / "reliability.md")


async def _run(reactor: Any, asked: argparse.Namespace) -> None:
    def put(name: str, found: object) -> None:
        made = {"seed": asked.seed, "date": time.strftime("%Y-%m-%d"), "found": found}
        (asked.folder / f"{name}.json").write_text(json.dumps(made, indent=1))

    part, parts = map(int, asked.share.split("/"))
    # First: the kernel counts the most that this process ever took as taken by its children, too,
    # and the fuzzer ends at 2 GiB.
    if "fuzz" in asked.parts:
        put("fuzz", fuzz(asked.fuzz_seconds, asked.seed))
    if "matrix" in asked.parts:
        cells = [cell for cell in sensible() if asked.cells in cell.name][part::parts]
        put(f"matrix-{part}-of-{parts}", await matrix(reactor, cells, asked.seed))
    if "crash" in asked.parts:
        # Kept after each round, so that a run that has to end early has figures too.
        tally = await crash_rounds(
            reactor, asked.seed, asked.rounds, lambda found: put("crash", attrs.asdict(found))
        )
        print(tally)
        put("crash", attrs.asdict(tally))
    if "abuse" in asked.parts:
        found = attrs.asdict(await abuse(reactor))
        crowd = await deferToThread(crowds)
        put("abuse", {**found, "crowds": [attrs.asdict(each) for each in crowd]})
    if "clients" in asked.parts:
        asked.failed = await deferToThread(clients.run, asked.folder, asked.seed)


def main() -> None:
    asked = _arguments()
    os.makedirs(asked.folder, exist_ok=True)
    if asked.soak:
        sys.exit(_soaked(asked))
    if not asked.only_report:
        try:
            react(lambda reactor: Deferred.fromCoroutine(_run(reactor, asked)))
        except SystemExit as ended:
            if ended.code:
                raise
    everything = set(asked.parts.split(",")) >= {"matrix", "crash", "abuse", "fuzz"}
    if asked.only_report or (everything and not asked.cells and asked.share == "0/1"):
        document = ROOT / "docs" / "reliability.md"
        failed = write(asked.folder, document)
        clients.keep(asked.folder, document)
        sys.exit(failed or asked.failed)


if __name__ == "__main__":
    main()

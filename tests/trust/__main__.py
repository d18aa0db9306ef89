"""``python -m tests.trust``: all of it, and docs/reliability.md from what came of it."""

from __future__ import annotations

import argparse
import time
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from tests.trust.cells import sensible
from tests.trust.run import Outcome, run


async def matrix(reactor: Any, cells: list[Any], seed: int) -> list[Outcome]:
    found = []
    for cell in cells:
        outcome = await run(reactor, cell, seed)
        found.append(outcome)
        mark = "ok  " if not outcome.problems else "FAIL"
        print(
            f"{mark} {outcome.seconds:5.2f} {cell.name}: {', '.join(outcome.answers)}", flush=True
        )
        for problem in outcome.problems:
            print(f"       {problem[:400]}", flush=True)
        if outcome.problems:
            for cause in outcome.causes:
                print(f"         . {cause[:160]}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=20261126)
    parser.add_argument("--only", default="")
    parser.add_argument("--share", default="0/1")
    asked = parser.parse_args()
    part, parts = map(int, asked.share.split("/"))
    cells = [cell for cell in sensible() if asked.only in cell.name][part::parts]

    async def go(reactor: Any) -> None:
        began = time.time()
        found = await matrix(reactor, cells, asked.seed)
        bad = [each for each in found if each.problems]
        print(f"{len(found)} cells, {len(bad)} with problems, {time.time() - began:.0f} s")

    react(lambda reactor: Deferred.fromCoroutine(go(reactor)))


if __name__ == "__main__":
    main()

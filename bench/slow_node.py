"""What one node on a slow link costs the others, pull after pull.

Eight nodes with cables of 100 Mbit/s both ways, but for one of 25, a Hub with 200 and 50 Mbit/s for
each connection at most. All pull one new layer of 64 MiB at once, again and again; no node is
started anew in between, so that from the second pull on they know of each other's links
(nodecache/membership/link.py).

    python -m bench.slow_node [--pulls 6] [--slow 25] [--size 64]       (as root)
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
import tempfile
from collections.abc import Sequence
from functools import partial

from bench.parts.machine import machine
from tests.system.cluster.cluster import Cluster, Plan, cluster
from tests.system.cluster.member import Member
from tests.system.cluster.network import CONTROL, MBIT
from tests.system.cluster.pulls import Pulled
from tests.system.parts.processes import MissingPart, NotInTime, until

NODES, LINK, HUB, CAP = 8, 100 * MBIT, 200 * MBIT, 50 * MBIT
#: Seconds in which greetings go round twice: what each saw, and what came of it.
GREETED = 75.0
HEAD = "| pull | known | slow node, s | others: mean, s | last, s | upstream copies |"


def says_so(slow: Member, others: Sequence[Member]) -> bool:
    """It knows that its link is slow, and all others have heard of it."""
    documents = [json.loads(each.admin("/api/v1/peers").body) for each in (slow, *others)]
    busy = [{peer["id"] for peer in each["peers"] if peer["busy"]} for each in documents[1:]]
    return bool(documents[0]["behind"]) and all(slow.id in ids for ids in busy)


def is_known(slow: Member, others: Sequence[Member]) -> bool:
    """Whether it is, once that may have been told."""
    try:
        return until(partial(says_so, slow, others), "who is slow", patience=GREETED)
    except NotInTime:
        return False


def line(number: int, pulled: Sequence[Pulled], copies: float, *, known: bool) -> str:
    """``pulled`` of the slow one first."""
    began = min(each.began for each in pulled)
    slow, *others = [each.ended - began for each in pulled]
    mean, last = sum(others) / len(others), max(others)
    told = "yes" if known else "no"
    return f"| {number} | {told} | {slow:.1f} | {mean:.1f} | {last:.1f} | {copies:.2f} |"


def pulls(made: Cluster, count: int, mib: int) -> None:
    slow, *others = made.members
    for number in range(1, count + 1):
        known = number > 1 and is_known(slow, others)
        of, tab = made.image(mib), made.upstream.tab()
        pulled = made.herd(made.members, of)
        for each in pulled:
            each.check(of)
        copies = tab.bill().payload / sum(blob.size for blob in of.manifest.blobs)
        print(line(number, pulled, copies, known=known), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pulls", type=int, default=6)
    parser.add_argument("--slow", type=int, default=25, help="link of the slow node, Mbit/s")
    parser.add_argument("--size", type=int, default=64, help="of a layer, MiB")
    parser.add_argument("--folder", default="/var/tmp", help="where everything is made")
    given = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="slow-", dir=given.folder))
    about = {**machine(folder), "congestion control": CONTROL}
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    plan = Plan(nodes=NODES, link=LINK, hub_link=HUB, sharing=True)
    try:
        with cluster(folder / "cluster", plan) as made:
            made.upstream.cap(CAP)
            made.members[0].station.shape(given.slow * MBIT)
            made.up()
            print(f"\n{HEAD}\n|{'---|' * HEAD.count(' | ')}---|")
            pulls(made, given.pulls, given.size)
    except MissingPart as part:
        sys.exit(f"Cannot be had here: {part}")
    finally:
        folder.rmdir()


if __name__ == "__main__":
    main()

"""How long a herd takes: N nodes that pull one image at once, against what the links allow.

In a cluster of network namespaces (tests/system/cluster): an image of 256 MiB
in 4 layers, cables of 100 Mbit/s both ways for each node and of 200 Mbit/s for
the Hub; in a second set the Hub gives each connection 50 Mbit/s at most, and in
a third the image is a single layer on top of that (three layers at a time fill
a node's cable even so). For N = 1, 2, 4 and 8 (the third: 1 and 8):

- *direct*: all N at once from the Hub, by the same puller (three layers at a
  time, as containerd pulls), without any mirror;
- *cold*: all N at once through their mirrors; no node has anything of it;
- *warm*: one node has pulled it before, so that it has all and the owners of
  lanes have theirs; the other N-1 pull at once.

    python -m bench.herd [--quick] [--json FILE]       (as root)

Bounds are those of a fluid: rates as shaped, headers of packets not counted, no
latency. ``bound`` lets anybody ask upstream for anything; ``one copy`` lets
each byte cross the Hub's cable once.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import sys
import tempfile
from collections.abc import Iterator, Sequence

import attrs

from bench.herd_rows import HEAD, Links, Row, line, verdicts
from bench.parts.machine import machine
from tests.system.cluster.cluster import Cluster, Plan, cluster
from tests.system.cluster.load import Watch
from tests.system.cluster.member import Member
from tests.system.cluster.network import CONTROL, MBIT
from tests.system.parts.images import MIB, Image
from tests.system.parts.processes import MissingPart

Set = tuple[Links, Sequence[int]]


def processor_seconds(members: Sequence[Member]) -> float:
    """What the nodes' processes used of the cores so far."""
    ticks = 0
    for pid in (one.node.process.pid for one in members if one.alive):
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


@attrs.define
class Bench:
    made: Cluster
    links: Links
    size: int

    def fresh(self) -> Image:
        """An image that nobody has."""
        return self.made.image(*[self.size // MIB // self.links.layers] * self.links.layers)

    def empty(self, members: Sequence[Member]) -> None:
        """A cluster of these alone, with nothing on disk."""
        for one in self.made.members:
            if one.alive:
                one.stop()
            one.wipe()
        self.made.up(members)

    def rows(self, counts: Sequence[int]) -> Iterator[Row]:
        for count in counts:
            members = self.made.members[:count]
            yield self.herd("direct", members, self.fresh(), len(members))
            self.empty(members)
            yield self.herd("cold", members, self.fresh(), len(members))
            if count > 1:
                yield self.warm(members)

    def warm(self, members: Sequence[Member]) -> Row:
        self.empty(members)
        of = self.fresh()
        for pulled in self.made.herd(members[:1], of):
            pulled.check(of)
        return self.herd("warm", members[1:], of, len(members))

    def herd(self, kind: str, pulling: Sequence[Member], of: Image, nodes: int) -> Row:
        bound = {
            "direct": self.links.direct(self.size, nodes),
            "cold": self.links.cold(self.size, nodes),
            "warm": self.links.warm(self.size, nodes),
        }[kind]
        everyone = self.made.members[:nodes]
        sent = [one.station.sent().bytes for one in everyone]
        tab, watch, used = self.made.upstream.tab(), Watch(), processor_seconds(everyone)
        pulled = self.made.herd(pulling, of, direct=kind == "direct")
        busy, used = watch.busy(), processor_seconds(everyone) - used
        bill = tab.bill()
        for one in pulled:
            one.check(of, mirror_alone=False)
        sent = [one.station.sent().bytes - old for one, old in zip(everyone, sent, strict=True)]
        total = sum(blob.size for blob in of.manifest.blobs)
        began = min(one.began for one in pulled)
        ends = [one.ended - began for one in pulled]
        return Row(
            links=self.links,
            kind=kind,
            nodes=nodes,
            last=max(ends),
            mean=sum(ends) / len(ends),
            bound=bound,
            one_copy=bound if kind != "cold" else self.links.one_copy(self.size, nodes),
            one_cable=self.size * 8 / self.links.node,
            by_log=bill.blob_bytes / total,
            by_cable=bill.payload / total,
            tokens=len(bill.tokens),
            manifests=bill.asked.manifest_gets,
            fallbacks=sum(len(one.fallbacks) for one in pulled),
            busiest=max(sent) / (sum(sent) / len(sent)),
            busy=busy.total,
            nodes_busy=used / busy.seconds / (os.cpu_count() or 1),
        )


def measure(folder: pathlib.Path, sets: Sequence[Set], size: int, *, alone: bool) -> list[Row]:
    found: list[Row] = []
    for number, (links, counts) in enumerate(sets):
        print(f"\n{links}; image of {size // MIB} MiB\n\n{HEAD}")
        print(f"|{'---|' * HEAD.count(' | ')}---|", flush=True)
        plan = Plan(nodes=max(counts), link=links.node, hub_link=links.hub, sharing=not alone)
        with cluster(folder / str(number), plan) as made:
            made.upstream.cap(links.cap)
            rows: list[Row] = []
            for row in Bench(made, links, size).rows(counts):
                rows.append(row)
                direct = next(one for one in reversed(rows) if one.kind == "direct")
                print(line(row, direct), flush=True)
        found += rows
    return found


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="64 MiB and N = 1 and 4 only")
    parser.add_argument("--nodes", default="", help="N, with commas (1,2,4,8)")
    parser.add_argument("--size", type=int, default=0, help="of the image, MiB (256)")
    parser.add_argument("--link", type=int, default=100, help="of a node, Mbit/s")
    parser.add_argument("--hub-link", type=int, default=200, help="of the Hub, Mbit/s")
    parser.add_argument("--cap", type=int, default=50, help="of a connection, second set, Mbit/s")
    parser.add_argument("--sets", default="1,2,3", help="which of the three")
    parser.add_argument("--alone", action="store_true", help="nodes that do not share")
    parser.add_argument("--json", type=pathlib.Path, help="write everything here as well")
    parser.add_argument("--folder", default="/var/tmp", help="where everything is made")
    return parser.parse_args()


def chosen(given: argparse.Namespace) -> list[Set]:
    counts = [int(n) for n in (given.nodes or ("1,4" if given.quick else "1,2,4,8")).split(",")]
    free = Links(node=given.link * MBIT, hub=given.hub_link * MBIT, cap=0, layers=4)
    capped = attrs.evolve(free, cap=given.cap * MBIT)
    ends = sorted({min(counts), max(counts)})
    sets = [(free, counts), (capped, counts), (attrs.evolve(capped, layers=1), ends)]
    return [sets[int(number) - 1] for number in given.sets.split(",")]


def main() -> None:
    given = arguments()
    size = (given.size or (64 if given.quick else 256)) * MIB
    folder = pathlib.Path(tempfile.mkdtemp(prefix="herd-", dir=given.folder))
    about = {**machine(folder), "congestion control": CONTROL}
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    try:
        rows = measure(folder, chosen(given), size, alone=given.alone)
    except MissingPart as part:
        sys.exit(f"Cannot be had here: {part}")
    finally:
        folder.rmdir()
    told = list(verdicts(rows))
    print()
    for words, met in told:
        print(f"{'met' if met else 'NOT MET'}: {words}")
    if given.json is not None:
        report = {
            "machine": about,
            "size": size,
            "rows": [row.told() for row in rows],
            "targets": [{"target": words, "met": met} for words, met in told],
        }
        given.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()

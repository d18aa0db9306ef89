"""How long a herd takes: N nodes that pull one image at once, against what the links allow.

In a cluster of network namespaces (tests/system/cluster): an image of 256 MiB
in 4 layers, cables of 100 Mbit/s both ways for each node and of 200 Mbit/s for
the Hub; in a second set the Hub gives each connection 50 Mbit/s at most. For
N = 1, 2, 4 and 8:

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
import platform
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import attrs

from tests.system.cluster.cluster import Cluster, Plan, cluster
from tests.system.cluster.load import Watch
from tests.system.cluster.member import Member
from tests.system.cluster.network import CONTROL, MBIT
from tests.system.parts.images import MIB, Image
from tests.system.parts.processes import MissingPart

LAYERS = 4
COLD_TARGET, WARM_TARGET, UPSTREAM_TARGET = 1.3, 1.5, 1.05


@attrs.frozen(kw_only=True)
class Links:
    """Bits a second; ``cap`` is of each connection for a body, 0 for none."""

    node: int
    hub: int
    cap: int

    def __str__(self) -> str:
        capped = f", {self.cap // MBIT} Mbit/s for each connection" if self.cap else ""
        return f"nodes {self.node // MBIT} Mbit/s, Hub {self.hub // MBIT} Mbit/s{capped}"

    def direct(self, size: int, nodes: int) -> float:
        """Seconds at least, everyone from the Hub."""
        return max(size * 8 / self.node, nodes * size * 8 / self.hub)

    def cold(self, size: int, nodes: int) -> float:
        """Seconds at least for anybody's plan."""
        bits = size * 8
        return max(bits / self.hub, bits / self.node, nodes * bits / (self.hub + nodes * self.node))

    def one_copy(self, size: int, nodes: int) -> float:
        """Seconds at least where each byte crosses the Hub's cable once."""
        bits = size * 8
        return max(bits / self.hub, bits / self.node, (nodes - 1) / nodes * bits / self.node)

    def warm(self, size: int) -> float:
        """Seconds at least where one node has it: it sends it once, and each receives it once."""
        return size * 8 / self.node


@attrs.frozen(kw_only=True)
class Row:
    """One herd. Seconds, and bytes upstream as multiples of the image."""

    links: Links
    kind: str
    nodes: int
    last: float
    mean: float
    bound: float
    one_copy: float
    by_log: float
    by_cable: float
    tokens: int
    manifests: int
    fallbacks: int
    busiest: float  # most that a node sent, by the mean of all that pulled or sent
    busy: float  # share of the machine's cores, other programs included
    nodes_busy: float  # share of the cores that the nodes' own processes had

    @property
    def ratio(self) -> float:
        return self.last / self.bound

    def told(self) -> dict[str, Any]:
        return {**attrs.asdict(self), "links": str(self.links), "ratio": self.ratio}


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
        return self.made.image(*[self.size // MIB // LAYERS] * LAYERS)

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
            "warm": self.links.warm(self.size),
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
            by_log=bill.blob_bytes / total,
            by_cable=bill.payload / total,
            tokens=len(bill.tokens),
            manifests=bill.asked.manifest_gets,
            fallbacks=sum(len(one.fallbacks) for one in pulled),
            busiest=max(sent) / (sum(sent) / len(sent)),
            busy=busy.total,
            nodes_busy=used / busy.seconds / (os.cpu_count() or 1),
        )


HEAD = (
    "| herd | N | last node | mean | bound | ratio | ratio, one copy | against direct |"
    " upstream by log | by cable | tokens | manifest GETs | fall-backs | busiest sender |"
    " cores busy | by nodes |"
)


def line(row: Row, direct: Row) -> str:
    cells = [
        row.kind,
        str(row.nodes),
        f"{row.last:.1f} s",
        f"{row.mean:.1f} s",
        f"{row.bound:.1f} s",
        f"{row.ratio:.2f}",
        f"{row.last / row.one_copy:.2f}",
        f"{row.last / direct.last:.2f}",
        f"{row.by_log:.2f}",
        f"{row.by_cable:.2f}",
        str(row.tokens),
        str(row.manifests),
        str(row.fallbacks),
        f"{row.busiest:.1f} x mean" if row.kind != "direct" else "",
        f"{row.busy:.0%}",
        f"{row.nodes_busy:.0%}",
    ]
    return f"| {' | '.join(cells)} |"


def verdicts(rows: Sequence[Row]) -> Iterator[tuple[str, bool]]:
    """What was to be reached, and whether it was."""
    for links in dict.fromkeys(row.links for row in rows):
        for row in (row for row in rows if row.links == links and row.kind != "direct"):
            herd = f"{row.kind} herd of {row.nodes} ({links})"
            target = COLD_TARGET if row.kind == "cold" else WARM_TARGET
            yield f"{herd}: {row.ratio:.2f} of the bound, at most {target}", row.ratio <= target
            copies = max(row.by_log, row.by_cable)
            most = UPSTREAM_TARGET
            yield f"{herd}: {copies:.3f} images over upstream, at most {most}", copies <= most
        yield from _capped([row for row in rows if row.links == links])


def _capped(rows: Sequence[Row]) -> Iterator[tuple[str, bool]]:
    """Where one connection is slower than a cable, many nodes are to beat one alone."""
    alone = next((row for row in rows if (row.kind, row.nodes) == ("direct", 1)), None)
    if alone is None or not alone.links.cap:
        return
    for row in (row for row in rows if row.kind == "cold" and row.nodes > 1):
        words = f"cold herd of {row.nodes}: {row.last:.1f} s, one node alone: {alone.last:.1f} s"
        yield f"{words} ({row.links})", row.last < alone.last


def machine(folder: pathlib.Path) -> dict[str, str]:
    info = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in info if line.startswith("model name")]
    return {
        "processor": models[0] if models else platform.machine(),
        "cores": str(os.cpu_count()),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "congestion control": CONTROL,
        "folder": str(folder.parent),
    }


def measure(
    folder: pathlib.Path,
    all_links: Sequence[Links],
    counts: Sequence[int],
    size: int,
    *,
    alone: bool,
) -> list[Row]:
    found: list[Row] = []
    for number, links in enumerate(all_links):
        print(f"\n{links}; image of {size // MIB} MiB in {LAYERS} layers\n\n{HEAD}")
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="64 MiB and N = 1 and 4 only")
    parser.add_argument("--nodes", default="", help="N, with commas (1,2,4,8)")
    parser.add_argument("--size", type=int, default=0, help="of the image, MiB (256)")
    parser.add_argument("--link", type=int, default=100, help="of a node, Mbit/s")
    parser.add_argument("--hub-link", type=int, default=200, help="of the Hub, Mbit/s")
    parser.add_argument("--cap", default="0,50", help="of a connection to the Hub, Mbit/s; sets")
    parser.add_argument("--alone", action="store_true", help="nodes that do not share")
    parser.add_argument("--json", type=pathlib.Path, help="write everything here as well")
    parser.add_argument("--folder", default="/var/tmp", help="where everything is made")
    given = parser.parse_args()
    counts = [
        int(word) for word in (given.nodes or ("1,4" if given.quick else "1,2,4,8")).split(",")
    ]
    size = (given.size or (64 if given.quick else 256)) * MIB
    all_links = [
        Links(node=given.link * MBIT, hub=given.hub_link * MBIT, cap=int(cap) * MBIT)
        for cap in given.cap.split(",")
    ]
    folder = pathlib.Path(tempfile.mkdtemp(prefix="herd-", dir=given.folder))
    about = machine(folder)
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    try:
        rows = measure(folder, all_links, counts, size, alone=given.alone)
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

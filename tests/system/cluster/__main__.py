"""A cluster to look at: eight nodes, a Hub and DNS on this machine, until Ctrl-C.

    make cluster          (or python -m tests.system.cluster, as root)

Prints how to pull in any node, and then, each second in which something moved,
what each node took from upstream and from its peers and what it served.
"""

from __future__ import annotations

import argparse
import contextlib
import pathlib
import signal
import sys
import tempfile
import time
from collections.abc import Sequence

import attrs

from tests.system.cluster.cluster import Cluster, Plan, cluster
from tests.system.cluster.containers import containerd_in
from tests.system.cluster.member import MIRROR
from tests.system.cluster.meter import Meter
from tests.system.cluster.network import MBIT
from tests.system.parts.images import MIB, Image
from tests.system.parts.processes import MissingPart
from tests.system.parts.runtimes import Containerd

#: Bytes a second that are greetings and no pull.
QUIET = 100_000


def guide(made: Cluster, of: Image, runtimes: Sequence[Containerd]) -> str:
    """What to type in another terminal."""
    inside = [f"  {one.id}: ip netns exec {one.station.namespace.name} ..." for one in made.members]
    enter = f"  ip netns exec {made.members[-1].station.namespace.name}"
    blob = max(of.manifest.blobs, key=lambda one: one.size)
    size = sum(one.size for one in of.manifest.blobs) // MIB
    pulls = [" ".join(["  ", *runtime.pull_words(of)]) for runtime in runtimes]
    copy = f"skopeo copy --src-tls-verify=false docker://127.0.0.1:5000/{of.name}:{of.tag}"
    lines = [
        f"The Hub holds {of.reference} ({size} MiB).",
        "Each node is a namespace; its mirror is at the same address in each. Run anything inside:",
        *inside,
        "For example:",
        f"{enter} curl -o /dev/null {MIRROR}/v2/{of.name}/blobs/{blob.digest}",
        f"{enter} {copy} dir:$(mktemp -d)",
        f"{enter} curl -s http://127.0.0.1:5002/metrics",
        "Where a containerd runs:" if pulls else "",
        *pulls,
        f"Logs and data: {made.folder}/node*/",
        "Stop with Ctrl-C.",
    ]
    return "\n".join(line for line in lines if line)


def watch(made: Cluster) -> None:
    """Until interrupted: a line for each second in which something moved."""
    meters = [Meter.install(one.station) for one in made.members]
    print("MiB/s     " + "".join(f"{one.id:^20}" for one in made.members))
    print("          " + " upstr  peers served" * len(made.members), flush=True)
    then, before = time.monotonic(), [meter.read() for meter in meters]
    while True:
        time.sleep(1)
        moment, now = time.monotonic(), [meter.read() for meter in meters]
        flows = [new - old for new, old in zip(now, before, strict=True)]
        seconds, then, before = moment - then, moment, now
        if any(sum(attrs.astuple(flow)) > QUIET for flow in flows):
            cells = "".join(
                f"{rate / MIB / seconds:6.1f} " for flow in flows for rate in attrs.astuple(flow)
            )
            print(f"{time.strftime('%H:%M:%S')} {cells}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=8)
    parser.add_argument("--link", type=int, default=100, help="of each node, Mbit/s")
    parser.add_argument("--hub-link", type=int, default=200, help="of the Hub, Mbit/s")
    parser.add_argument("--alone", action="store_true", help="nodes that share nothing")
    given = parser.parse_args()
    plan = Plan(
        nodes=given.nodes,
        link=given.link * MBIT,
        hub_link=given.hub_link * MBIT,
        sharing=not given.alone,
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    folder = pathlib.Path(tempfile.mkdtemp(prefix="cluster-", dir="/var/tmp"))
    with contextlib.suppress(KeyboardInterrupt), contextlib.ExitStack() as stack:
        made = stack.enter_context(cluster(folder, plan))
        print("Starting ...", flush=True)
        made.up()
        of = made.image(64, 64, 64, 64)
        runtimes = [stack.enter_context(containerd_in(one)) for one in made.members[:2]]
        print(guide(made, of, runtimes))
        watch(made)
    print("Stopped.")


if __name__ == "__main__":
    try:
        main()
    except MissingPart as part:
        sys.exit(f"Cannot be had here: {part}")

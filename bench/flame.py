"""Where a node's processor time goes, as a flame graph of what py-spy sees.

    python -m bench.flame warm-1|warm-8|cold|manifests [--out FILE.svg] [--size MIB]

Starts upstream and node as the rows do, records the node while the work is done
again and again, and writes an SVG. ``cold`` begins each time with a blob that
the node lacks. Threads that wait are left out.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

from bench.core.flame import read, svg
from bench.parts.asking import ask
from bench.parts.load import pull
from bench.parts.origin import Origin
from bench.parts.peers import Cache, nodecache
from bench.parts.world import MIB, World, blob_url, url_of, warm_up
from tests.system.parts.images import OCI, huge_layer

Work = Callable[[], object]


def works(world: World, cache: Cache, upstream: Origin, mib: int) -> dict[str, Work]:
    """What is done while the node is watched, by name."""
    of, seeds = world.image(mib), itertools.count()
    manifest = f"{cache.url}/v2/{of.name}/manifests/{of.digest}"

    def cold() -> None:
        blob = huge_layer(mib * MIB, ("flame", next(seeds))).blob
        world.shelf.put(blob)
        mark = upstream.mark()
        pull([url_of(cache, blob)])
        assert upstream.sent(mark) == blob.size

    return {
        "warm-1": lambda: pull([blob_url(cache, of)]),
        "warm-8": lambda: pull([blob_url(cache, of)] * 8),
        "cold": cold,
        "manifests": lambda: ask(manifest, 8, 1.0, {"Accept": OCI}),
    }


@contextlib.contextmanager
def recorded(pid: int, raw: pathlib.Path) -> Iterator[None]:
    """py-spy watches the process until the block ends."""
    beside = pathlib.Path(sys.executable).parent / "py-spy"
    program = shutil.which("py-spy") or str(beside)
    argv = [program, "record", "--format", "raw", "--rate", "200", "--duration", "600"]
    with subprocess.Popen([*argv, "--output", str(raw), "--pid", str(pid)]) as spy:
        time.sleep(1)
        try:
            yield
        finally:
            spy.send_signal(2)  # it writes what it has
            spy.wait(60)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("work", choices=("warm-1", "warm-8", "cold", "manifests"))
    parser.add_argument("--out", type=pathlib.Path, help="where the SVG goes (flame-WORK.svg)")
    parser.add_argument("--size", type=int, default=256, help="of a blob, MiB")
    parser.add_argument("--seconds", type=float, default=10.0, help="at least")
    parser.add_argument("--folder", default="/var/tmp", help="where everything is made")
    given = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="flame-", dir=given.folder))
    out = given.out or pathlib.Path(f"flame-{given.work}.svg")
    world = World(folder)
    try:
        of = world.image(given.size)
        with world.upstream() as upstream, world.empty(nodecache, upstream.url) as cache:
            warm_up(cache, of)
            work = works(world, cache, upstream, given.size)[given.work]
            with recorded(cache.child.pid, folder / "raw"):
                end = time.monotonic() + given.seconds
                while time.monotonic() < end:
                    work()
        out.write_text(svg(given.work, read((folder / "raw").read_text())), encoding="utf-8")
    finally:
        shutil.rmtree(folder)
    print(out)


if __name__ == "__main__":
    main()

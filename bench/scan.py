"""How long a start takes with many blobs on disk.

Makes sparse files with the names of blobs, opens a store on them, and prints
the time until it would serve. ``python bench/scan.py [COUNT ...] [--folder DIR]``
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from twisted.internet import defer, task
from twisted.internet.defer import Deferred

from nodecache.events import Event
from nodecache.limits import GIB
from nodecache.seams import DiskPool
from nodecache.store import Store

T = TypeVar("T")


class Inline(DiskPool):
    def run(self, job: Callable[[], T]) -> Deferred[T]:
        done: Deferred[T] = defer.execute(job)
        return done


def make(folder: str, count: int) -> None:
    """``count`` sparse blobs of odd sizes, and the folders of a store around them."""
    home = os.path.join(folder, "v1")
    for name in ("tmp", "blobs/sha256", "manifests/sha256", "tags", "segments"):
        os.makedirs(os.path.join(home, name))
    shards = os.path.join(home, "blobs", "sha256")
    for shard in range(256):
        os.mkdir(os.path.join(shards, f"{shard:02x}"))
    for name, size in names(count):
        fd = os.open(os.path.join(shards, name[:2], name), os.O_WRONLY | os.O_CREAT)
        os.ftruncate(fd, size)
        os.close(fd)


def names(count: int) -> Iterator[tuple[str, int]]:
    for number in range(count):
        digest = hashlib.sha256(str(number).encode())
        yield digest.hexdigest(), 1 + int.from_bytes(digest.digest()[:3], "big")


def drop_caches() -> bool:
    """Forget what the kernel knows of the folders, where we may."""
    os.sync()
    try:
        with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as control:
            control.write("3")
    except OSError:
        return False
    return True


def opened(folder: str) -> tuple[Store, float]:
    events: list[Event] = []
    start = time.perf_counter()
    opening = Deferred.fromCoroutine(
        Store.open(folder, Inline(), task.Clock(), time.time, events.append, cap=1 << 62, floor=0)
    )
    results: list[Store] = []
    opening.addCallback(results.append)
    return results[0], time.perf_counter() - start


def measure(parent: str, count: int) -> None:
    folder = tempfile.mkdtemp(prefix="scan-", dir=parent)
    try:
        start = time.perf_counter()
        make(folder, count)
        print(f"{count:>9} blobs made in {time.perf_counter() - start:.1f} s")
        for label in ("caches dropped" if drop_caches() else "as it is", "warm"):
            store, seconds = opened(folder)
            usage = store.usage()
            assert usage.blobs == count
            Deferred.fromCoroutine(store.close())
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(
                f"{count:>9} blobs, {label}: ready in {seconds:.2f} s, "
                f"{usage.bytes / GIB:.0f} GiB by name, peak memory {peak:.0f} MiB"
            )
    finally:
        shutil.rmtree(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("counts", type=int, nargs="*", default=[100_000, 1_000_000])
    parser.add_argument("--folder", default=None, help="where to make the blobs")
    arguments = parser.parse_args()
    for count in arguments.counts:
        measure(arguments.folder, count)


if __name__ == "__main__":
    main()

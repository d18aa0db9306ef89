"""How long a start takes with many blobs on disk.

Makes sparse files with the names of blobs, opens a store on them as the
program does, and prints the time until it would serve.

    python bench/scan.py [COUNT ...] [--folder DIR]
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any

from twisted.internet import task
from twisted.internet.defer import Deferred

from nodecache.diskpool import ThreadDiskPool
from nodecache.limits import GIB, Limits
from nodecache.store import Store


def make(folder: str, count: int) -> None:
    """``count`` sparse blobs of odd sizes, and the folders of a store around them.

    The folders are a minute old, as at most restarts: a start looks again at those that were
    changed in the last two seconds.
    """
    shards = os.path.join(folder, "v1", "blobs", "sha256")
    for shard in range(256):
        os.makedirs(os.path.join(shards, f"{shard:02x}"))
    for name, size in names(count):
        fd = os.open(os.path.join(shards, name[:2], name), os.O_WRONLY | os.O_CREAT)
        os.ftruncate(fd, size)
        os.close(fd)
    old = time.time() - 60
    for entry in os.scandir(shards):
        os.utime(entry, (old, old))


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


def processor_time() -> float:
    """Of this process, and of those that listed for it and have ended; in seconds."""
    return sum(os.times()[:4])


async def measure(reactor: Any, pool: ThreadDiskPool, folder: str, count: int) -> None:
    for label in ("caches dropped" if drop_caches() else "as it is", "warm"):
        start, cpu = time.perf_counter(), processor_time()
        store = await Store.open(
            folder, pool, reactor, time.time, lambda _: None, cap=1 << 62, floor=0
        )
        seconds, cpu = time.perf_counter() - start, processor_time() - cpu
        usage = store.usage()
        assert usage.blobs == count
        await store.close()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"{count:>9} blobs, {label}: ready in {seconds:.2f} s ({cpu:.2f} CPU-s), "
            f"{usage.bytes / GIB:.0f} GiB by name, peak memory {peak:.0f} MiB"
        )


async def run(reactor: Any, counts: Sequence[int], parent: str | None) -> None:
    pool = ThreadDiskPool(reactor, Limits().disk_threads)
    pool.start()
    for count in counts:
        folder = tempfile.mkdtemp(prefix="scan-", dir=parent)
        try:
            start = time.perf_counter()
            make(folder, count)
            print(f"{count:>9} blobs made in {time.perf_counter() - start:.1f} s")
            await measure(reactor, pool, folder, count)
        finally:
            shutil.rmtree(folder)
    await pool.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("counts", type=int, nargs="*", default=[100_000, 1_000_000])
    parser.add_argument("--folder", default=None, help="where to make the blobs")
    arguments = parser.parse_args()
    task.react(
        lambda reactor: Deferred.fromCoroutine(run(reactor, arguments.counts, arguments.folder))
    )


if __name__ == "__main__":
    main()

"""How long the ledger takes for a million entries, and how much memory.

Run from the checkout: ``python bench/ledger.py [ENTRIES]``. Memory is what
the process grew by, the keys (here 64 hex digits each) not counted.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Callable

from nodecache.eviction import BLOCK, Ledger

PLENTY = 1 << 60


def resident() -> int:
    """Bytes of this process in memory."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def timed(job: Callable[[], object]) -> float:
    began = time.perf_counter()
    job()
    return time.perf_counter() - began


def touch_all(ledger: Ledger[str], keys: list[str]) -> None:
    for key in keys:
        ledger.touch(key, 1.9e9)


def steady_state(ledger: Ledger[str], times: int) -> tuple[float, float]:
    """A full cache that takes in one small blob after another: mean and worst seconds."""
    ledger.cap = ledger.used
    taken = []
    for number in range(times):
        began = time.perf_counter()
        for victim in ledger.plan(BLOCK, PLENTY, 0).victims:
            ledger.remove(victim)
        ledger.reserve(BLOCK)
        ledger.convert(BLOCK, f"new-{number}", BLOCK, 2e9)
        taken.append(time.perf_counter() - began)
    return sum(taken) / times, max(taken)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    entries = [
        (os.urandom(32).hex(), random.randrange(1, 1 << 24), random.uniform(1.7e9, 1.8e9))
        for _ in range(count)
    ]
    before = resident()
    ledger: Ledger[str] = Ledger(PLENTY)
    print(f"load {count} entries: {timed(lambda: ledger.load(entries)):.2f} s")
    print(f"memory: {(resident() - before) / count:.0f} bytes an entry")
    some = [key for key, _, _ in entries[: count // 10]]
    touched = timed(lambda: touch_all(ledger, some))
    print(f"touch: {touched / len(some) * 1e6:.1f} us")
    mean, worst = steady_state(ledger, count // 10)
    print(f"evict one, add one: {mean * 1e6:.1f} us, at worst {worst * 1e3:.1f} ms")


if __name__ == "__main__":
    main()

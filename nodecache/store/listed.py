"""What processes of their own list of the blobs, taken over into the columns of the scan.

They list what is in order. All else is left to the scan, which judges: what they do not bring,
and folders that were changed since they looked.
"""

from __future__ import annotations

import os
from array import array
from functools import partial
from typing import Final

from nodecache.listing import Crew, Listed, begin
from nodecache.store.disk import Disk
from nodecache.store.ground import Ground
from nodecache.store.keys import Entries

#: A folder that was changed this shortly before it was looked at may have been changed again
#: within a tick of the file system's clock, and show the same time. In ns.
SETTLED: Final = 2_000_000_000


async def by_processes(
    ground: Ground, blobs: Entries, hindered: list[str], now: float
) -> frozenset[str]:
    """Add to ``blobs``; returns the folders that are done. ``hindered`` gets what went wrong.

    None of them where there are few blobs, or where the disk is not the real one.
    """
    run = ground.pool.run
    if type(ground.disk) is not Disk:
        return frozenset()
    crew = ground.listing or await run(lambda: begin(ground.layout.blobs))
    done: set[str] = set()
    if crew is not None:
        with crew:
            crew.complete()
            done = await run(partial(_taken_over, ground, crew, blobs, now))
        hindered.extend(crew.troubles)
    return frozenset(done)


def _taken_over(ground: Ground, crew: Crew, blobs: Entries, now: float) -> set[str]:
    """Blocks. All that they list, in one job: a job for each folder would take longer."""
    done: set[str] = set()
    early = crew is ground.listing
    while (found := crew.next()) is not None:
        if not early or _as_it_was(ground, crew, found):
            _add(blobs, found, now)
            done.add(found.shard)
    return done


def _as_it_was(ground: Ground, crew: Crew, found: Listed) -> bool:
    """Blocks. Whether a folder that was listed before it was locked is as it was then."""
    try:
        info = ground.disk.stat(os.path.join(ground.layout.blobs, found.shard))
    except OSError:
        return False
    return info.st_mtime_ns == found.changed < crew.begun - SETTLED


def _add(blobs: Entries, found: Listed, now: float) -> None:
    times = found.times
    if times and max(times) > now:
        times = array("d", [min(now, used_at) for used_at in times])
    blobs.keys += found.keys
    blobs.sizes += found.sizes
    blobs.times += times

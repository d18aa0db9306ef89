"""Folders of other formats beside ours: removed once no release has used them for long."""

from __future__ import annotations

import os
import re
import shutil

from nodecache.events import DiskFailed
from nodecache.failures import StoreFailure
from nodecache.store.disk import translated
from nodecache.store.ground import Ground
from nodecache.store.layout import FORMAT, Layout

_FORMAT = re.compile(r"v[0-9]{1,4}")


async def forget_old_formats(ground: Ground) -> None:
    """Remove what no release has used for ``format_life``. A failure is told, not raised."""
    before = ground.wall() - ground.timeouts.format_life

    def remove() -> None:
        with translated("look for old formats"):
            remove_old_formats(ground.layout, before)

    try:
        await ground.pool.run(remove)
    except StoreFailure as failure:
        ground.observe(DiskFailed(operation="scan", reason=str(failure)))


def remove_old_formats(layout: Layout, before: float) -> list[str]:
    """Blocks. Remove those whose last sign of life is older than ``before``; returns their names.

    The sign of life is the running marker, which every format has, or else the folder's own time.
    """
    removed = []
    for name in os.listdir(layout.root):
        path = os.path.join(layout.root, name)
        if not _FORMAT.fullmatch(name) or name == FORMAT or os.path.islink(path):
            continue
        if _last_used(path) < before:
            shutil.rmtree(path, ignore_errors=True)
            removed.append(name)
    return removed


def _last_used(path: str) -> float:
    times = []
    for each in (os.path.join(path, "running"), path):
        try:
            times.append(os.stat(each, follow_symlinks=False).st_mtime)
        except OSError:
            continue
    return max(times, default=float("inf"))

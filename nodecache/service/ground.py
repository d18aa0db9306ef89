"""The data folder of a node, opened by its settings and closed again."""

from __future__ import annotations

import os

from nodecache.config import Settings
from nodecache.diskpool import ThreadDiskPool
from nodecache.failures import DataFolderError
from nodecache.service.surroundings import Surroundings
from nodecache.store import Store


async def open_store(around: Surroundings, settings: Settings, pool: ThreadDiskPool) -> Store:
    """Locked and scanned. Raises DataFolderError."""
    cap, floor = room_of(settings)
    return await Store.open(
        settings.data_dir,
        pool,
        around.reactor,
        around.wall,
        around.observe,
        cap=cap,
        floor=floor,
        timeouts=settings.timeouts,
        limits=settings.limits,
        listing=around.listing,
    )


async def close_store(store: Store | None, pool: ThreadDiskPool) -> None:
    """Give the folder back, and end the threads."""
    if store is not None:
        await store.close()
    await pool.stop()


def room_of(settings: Settings) -> tuple[int, int]:
    """Cap and floor in bytes, by the size of the disk that holds (or will hold) the folder."""
    folder = os.path.abspath(settings.data_dir)
    while not os.path.exists(folder) and folder != os.path.dirname(folder):
        folder = os.path.dirname(folder)
    try:
        found = os.statvfs(folder)
    except OSError as error:
        raise DataFolderError(f"data folder {folder}: {error.strerror}") from error
    total = found.f_blocks * found.f_frsize
    return settings.cap(total), settings.floor(total)

"""Taking possession of a data folder, and leaving it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import attrs

from nodecache.events import CorruptionFound, DiskFailed, ListingFailed
from nodecache.failures import DataFolderError
from nodecache.seams import DiskPool
from nodecache.store.accounts import Accounts
from nodecache.store.disk import FULL, Disk
from nodecache.store.ground import Ground
from nodecache.store.layout import Layout
from nodecache.store.lock import FolderLock
from nodecache.store.marker import Marker, read_marker
from nodecache.store.records import ensure_folder
from nodecache.store.scan import Found, scan


@attrs.frozen
class Opened:
    """A folder that is locked and marked as in use.

    What changed later than ``suspect_after`` is not trusted; None after a
    clean stop.
    """

    layout: Layout
    lock: FolderLock
    marker: Marker
    suspect_after: float | None


async def open_folder(ground: Ground) -> tuple[Opened, Found]:
    """Lock, scan, mark. Raises DataFolderError."""
    return await ground.owned.shielded(_opened(ground), _abandon)


async def _opened(ground: Ground) -> tuple[Opened, Found]:
    layout, disk, run, now = ground.layout, ground.disk, ground.pool.run, ground.wall()
    with _in_one_line(layout.root):
        lock = await run(lambda: _locked(layout))
        try:
            suspect_after = await run(lambda: _prepared(layout, disk))
            found = await scan(ground, now)
            # The old marker stands until here: a crash in the scan changes nothing.
            at = now if suspect_after is None else suspect_after
            marker = await run(lambda: Marker(disk, layout.marker, at))
        except BaseException:
            lock.release()
            raise
    return Opened(layout, lock, marker, suspect_after), found


@contextmanager
def _in_one_line(root: str) -> Iterator[None]:
    """Say what is wrong, and where, for the person who starts the program."""
    try:
        yield
    except DataFolderError as error:
        raise DataFolderError(f"data folder {root}: {error}") from error
    except (FileExistsError, NotADirectoryError) as error:
        raise DataFolderError(f"data folder {root}: {error.filename} is not a folder") from error
    except OSError as error:
        where = error.filename or root
        raise DataFolderError(f"data folder {root}: {where}: {error.strerror}") from error


def _locked(layout: Layout) -> FolderLock:
    """Blocks."""
    os.makedirs(layout.root, mode=0o700, exist_ok=True)
    return FolderLock(layout.lock)


def _prepared(layout: Layout, disk: Disk) -> float | None:
    """Blocks. Make the folders; returns what the marker says."""
    make_folders(layout, disk)
    for folder in layout.folders:
        there = os.path.isdir(folder)
        if there and not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            raise DataFolderError(f"{folder} can not be read and written")
    return read_marker(disk, layout.marker)


def make_folders(layout: Layout, disk: Disk) -> None:
    """Blocks. Make the folders that are not there, as far as the disk has room for them.

    Raises OSError; DataFolderError for one that leads elsewhere.
    """
    for folder in layout.folders:
        if os.path.islink(folder):
            # The scan removes what is left over: it must not be led astray.
            raise DataFolderError(f"{folder} is a symbolic link")
        try:
            ensure_folder(disk, folder)
        except OSError as error:
            if error.errno not in FULL:
                raise


def _abandon(result: tuple[Opened, Found]) -> None:
    """It was opened for nobody; the marker stays as it was."""
    opened, _ = result
    opened.marker.close()
    opened.lock.release()


async def close_folder(pool: DiskPool, opened: Opened, *, clean: bool) -> None:
    """``clean``: the next start may trust all that is here."""

    def close() -> None:
        if clean:
            opened.marker.remove()
        opened.marker.close()
        opened.lock.release()

    await pool.run(close)


def believe(ground: Ground, accounts: Accounts, opened: Opened, found: Found) -> None:
    """Book what the scan found, and tell what was wrong with it."""
    after = opened.suspect_after
    if after is not None:  # first, since what is no blob ends up among them
        accounts.suspects.update(key for key, _, used_at in found.blobs if used_at >= after)
    accounts.load(found.blobs, found.others, found.partials)
    for name in found.empty:
        ground.observe(CorruptionFound(kind="blob", digest=f"sha256:{name}", found_by="scan"))
    for reason in found.hindered:
        ground.observe(ListingFailed(reason=reason))
    for problem in found.problems:
        ground.observe(DiskFailed(operation="scan", reason=problem))
    accounts.tell()

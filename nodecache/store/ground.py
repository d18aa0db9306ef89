"""What every room of the store stands on."""

from __future__ import annotations

import attrs
from twisted.internet.interfaces import IReactorTime

from nodecache.limits import Limits, Timeouts
from nodecache.listing import Crew
from nodecache.seams import DiskPool, Observe, WallClock
from nodecache.store.disk import Disk
from nodecache.store.layout import Layout
from nodecache.store.owned import Owned
from nodecache.store.records import Drafts


@attrs.frozen
class Ground:
    """``clock`` is monotonic and for timers, ``wall`` is for times kept on disk.

    ``listing`` lists the blobs since before the folder was locked.
    """

    layout: Layout
    disk: Disk
    pool: DiskPool
    clock: IReactorTime
    wall: WallClock
    observe: Observe
    owned: Owned
    drafts: Drafts
    timeouts: Timeouts
    limits: Limits
    listing: Crew | None = None

"""What a node says once it listens."""

from __future__ import annotations

import os
from collections.abc import Mapping

from nodecache import __version__
from nodecache.config import Settings
from nodecache.events import Started
from nodecache.service.listeners import Listener
from nodecache.store import Store


def started(
    settings: Settings,
    listeners: Mapping[str, Listener],
    store: Store,
    me: str,
    scan_seconds: float,
) -> Started:
    """``listeners`` by setting; ``me`` is this node's id among peers, empty without any."""
    usage = store.usage()
    return Started(
        version=__version__,
        listen=listeners["listen"].describe(),
        admin=listeners["admin_listen"].describe(),
        peers=f"{me} of {settings.peers}" if me else "",
        data_dir=os.path.abspath(settings.data_dir),
        upstreams=", ".join(f"{one.namespace}={one.url}" for one in settings.upstreams),
        blobs=usage.blobs,
        bytes=usage.bytes,
        scan_seconds=scan_seconds,
        unclean=store.unclean,
    )

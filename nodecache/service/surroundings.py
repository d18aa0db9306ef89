"""What a node is given by its process; a test gives it what it likes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from nodecache.listing import Crew
from nodecache.logs import LogSwitch
from nodecache.metrics import Metrics
from nodecache.seams import Observe, WallClock


@attrs.frozen
class Surroundings:
    """``environ`` is where the proxy variables are read from.

    ``listing`` lists the blobs of the data folder already.
    """

    reactor: Any
    wall: WallClock
    observe: Observe
    metrics: Metrics
    environ: Mapping[str, str]
    log: LogSwitch | None = None
    listing: Crew | None = None

"""What a node is given by its process; a test gives it what it likes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from nodecache.logs import LogSwitch
from nodecache.metrics import Metrics
from nodecache.seams import Observe, WallClock


@attrs.frozen
class Surroundings:
    """``environ`` is where the proxy variables are read from."""

    reactor: Any
    wall: WallClock
    observe: Observe
    metrics: Metrics
    environ: Mapping[str, str]
    log: LogSwitch | None = None

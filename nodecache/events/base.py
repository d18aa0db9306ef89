"""What an event is."""

from __future__ import annotations

import enum
from typing import ClassVar

import attrs


class Level(enum.IntEnum):
    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40


class Source(enum.Enum):
    """Where a body came from; the value of ``Nodecache-Source``."""

    DISK = "disk"
    FLIGHT = "flight"
    FILL = "fill"
    STALE = "stale"


@attrs.frozen
class Event:
    name: ClassVar[str] = "event"
    level: ClassVar[Level] = Level.INFO

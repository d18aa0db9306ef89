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


@attrs.frozen(eq=False, repr=False)
class Event:
    """Compared and shown by its fields, as any value.

    How stands here for all kinds of them: attrs would write and compile it again for each, which
    is half of what loading them takes.
    """

    name: ClassVar[str] = "event"
    level: ClassVar[Level] = Level.INFO

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return attrs.astuple(self, recurse=False) == attrs.astuple(other, recurse=False)

    def __hash__(self) -> int:
        return hash((type(self), *attrs.astuple(self, recurse=False)))

    def __repr__(self) -> str:
        fields = attrs.asdict(self, recurse=False).items()
        told = ", ".join(f"{name}={value!r}" for name, value in fields)
        return f"{type(self).__qualname__}({told})"

"""How much one read of a connection may bring.

A read costs the same turns of the reactor and hand-overs between threads however much it brings, so
that a source which fills its reads is asked for bigger ones (docs/profiling.md, "Cold blobs"). Each
takes its bytes of memory, and of those that have more to say than is taken there may be many, so
few read as much at a time.
"""

from __future__ import annotations

from typing import Any, Final

from nodecache.limits import KIB, MIB

#: Bytes of a read at most (Twisted's own 64 KiB costs eight times the turns).
READ_SIZE: Final = 512 * KIB
#: The same, of a connection that brings more than that at a time.
WIDE: Final = 2 * MIB
#: So many of these; one more takes the place of who was it the longest.
MOST_WIDE: Final = 4
#: A read that brought this part was full: of a record over TLS a few bytes are no body.
_FULL: Final = 0.9


class Reads:
    """Of all connections of a pool, which have READ_SIZE as their ``bufferSize`` at first."""

    def __init__(self) -> None:
        self._wide: dict[Any, None] = {}

    def came(self, transport: Any, size: int) -> None:
        """A read of ``transport`` brought so many bytes."""
        if size < READ_SIZE * _FULL:
            self.forget(transport)
        elif transport not in self._wide:
            self._widen(transport)

    def forget(self, transport: Any) -> None:
        """It brings no more than others, or is lost; idempotent."""
        if transport in self._wide:
            del self._wide[transport]
            transport.bufferSize = READ_SIZE

    def _widen(self, transport: Any) -> None:
        if len(self._wide) >= MOST_WIDE:
            self.forget(next(iter(self._wide)))
        self._wide[transport] = None
        transport.bufferSize = WIDE

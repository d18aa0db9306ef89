"""A client's connection to the mirror port: requests that were heard before are not parsed again.

Runtimes ask for the same manifests in the same words. Reading a request costs
twice what it takes to answer one from memory, and is a function of its bytes
alone; so the bytes of a request that was answered at once are remembered with
what they mean. They count only where a request begins, and only as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from twisted.protocols.policies import TimeoutMixin
from twisted.python.failure import Failure as Reason

from nodecache.events import Unexpected
from nodecache.limits import KIB
from nodecache.web.channel import GuardedChannel
from nodecache.web.direct import is_idle, write_now
from nodecache.web.exchange import client_name
from nodecache.web.ready import Given, Plain

if TYPE_CHECKING:
    from nodecache.web.mirror_site import MirrorSite

_END: Final = b"\r\n\r\n"
#: Requests that are remembered, and the longest of them in bytes.
REMEMBERED: Final = 512
LONGEST: Final = 1 * KIB
#: Bytes of a body that the socket's own buffer surely takes, or soon does.
SMALL: Final = 32 * KIB


class Heard:
    """What the bytes of a request mean, for all connections of a port."""

    def __init__(self) -> None:
        self._plain: dict[bytes, Plain] = {}

    def get(self, data: bytes) -> Plain | None:
        return self._plain.get(data)

    def remember(self, data: bytes, plain: Plain) -> None:
        if len(self._plain) >= REMEMBERED:
            del self._plain[next(iter(self._plain))]
        self._plain[data] = plain

    def forget(self, data: bytes) -> None:
        self._plain.pop(data, None)


class MirrorChannel(GuardedChannel):
    """Made by a ``MirrorSite``."""

    site: MirrorSite
    _hearing: bytes | None = None

    def dataReceived(self, data: bytes) -> None:
        if not self._begins_here():
            super().dataReceived(data)
            return
        plain = self.site.heard.get(data)
        given = None if plain is None else self._given(plain, data)
        if given is None:
            with self._listening(data):
                super().dataReceived(data)
        else:
            self._send(given)

    def understood(self, plain: Plain) -> None:
        """What is being received was a request, whole, that could be answered at once."""
        if self._hearing is not None and plain.traceparent is None:
            self.site.heard.remember(self._hearing, plain)

    @contextmanager
    def _listening(self, data: bytes) -> Iterator[None]:
        whole = len(data) <= LONGEST and data.find(_END) == len(data) - len(_END)
        self._hearing = data if whole else None
        try:
            yield
        finally:
            self._hearing = None

    def _begins_here(self) -> bool:
        """Whether the next byte begins a request, and its answer would be the next to be sent."""
        return not (
            self.requests
            or self._buffer  # of a line that is not whole yet
            or self._receiving
            or self._half_closed
            or self.refused
            or not self.persistent
            or not is_idle(self.transport)
        )

    def _given(self, plain: Plain, data: bytes) -> Given | None:
        now = self.site.clock.seconds()
        try:
            return self.site.ready.give(plain, client_name(self.host), now, SMALL)
        except Exception:  # a defect, with which the long way may have to do as well
            reason = Reason()
            self.site.heard.forget(data)
            error, trace = repr(reason.value), reason.getTraceback()
            self.site.observe(Unexpected(where="an answer at once", error=error, trace=trace))
            return None

    def _send(self, given: Given) -> None:
        self._spoken = True
        write_now(self.transport, given.data)
        # The idle time of the connection begins anew.
        TimeoutMixin.resetTimeout(self)
        now = self.site.clock.seconds()
        self.site.told(given.exchange, given.exchange.finished(200, given.size, now, now))

"""What a port is: its connections, their limits, and how it is closed.

Closing has two steps, and nobody is cut off in the first: ``drain`` closes idle
connections, lets every answer that was begun go on, and returns when the last
one is over or the deadline has come; ``abort_all`` breaks off what is left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.web.http import Request as HTTPRequest
from twisted.web.resource import IResource
from twisted.web.server import Site

from nodecache.answers import Answer
from nodecache.body import Tools
from nodecache.deadline import Deadline
from nodecache.events import TurnedAway
from nodecache.limits import Limits, Timeouts
from nodecache.seams import Observe, WallClock
from nodecache.web.channel import GuardedChannel
from nodecache.web.exchange import client_name
from nodecache.web.request import GuardedRequest
from nodecache.web.turned_away import TURNED_AWAY, TurnedAwayChannel

#: For ``listen``: connections that the kernel holds until they are accepted.
#: The pods of a node start together.
LISTEN_BACKLOG = 2048


class GuardedSite(Site):
    """``tools`` carry the reactor and its clock; ``channels`` are the open connections."""

    # Not within the proxy that Twisted puts around it for the sake of HTTP/2.
    protocol = GuardedChannel  # type: ignore[assignment]
    #: Of the port, in logs and metrics.
    name: ClassVar[str] = "other"
    #: Whether those who are turned away have nowhere else to ask.
    sole_registry = False

    def __init__(
        self,
        resource: IResource,
        request_class: type[GuardedRequest],
        tools: Tools,
        wall: WallClock,
        timeouts: Timeouts,
        limits: Limits,
    ) -> None:
        idle = timeouts.client_idle or None
        super().__init__(resource, requestFactory=request_class, timeout=idle, reactor=tools.clock)
        self.tools = tools
        self.wall = wall
        self.channels: set[GuardedChannel] = set()
        self.turned_away: set[TurnedAwayChannel] = set()
        self._from: Counter[str] = Counter()
        #: Open connections of one address.
        self.most_per_address = limits.client_connections_per_address
        self.active: set[GuardedRequest] = set()
        self._limits = limits
        self.stall = timeouts.client_stall
        self._over: list[Deferred[None]] = []

    @property
    def clock(self) -> IReactorTime:
        return self.tools.clock

    @property
    def observe(self) -> Observe:
        return self.tools.observe

    # What Twisted calls.

    def buildProtocol(self, addr: IAddress | None) -> Any:
        host = getattr(addr, "host", "")
        if limit := self._limit_met(host):
            return self._turn_away(limit, host)
        channel = super().buildProtocol(addr)
        channel.host = host
        # Of one that is idle, and takes not even what was written to it before.
        channel.abortTimeout = min(channel.abortTimeout, self.stall)
        channel.maxHeaders = self._limits.header_lines
        channel.totalHeadersSize = self._limits.header_bytes
        return channel

    def _limit_met(self, host: str) -> str:
        """The limit that one more connection from ``host`` would break; empty for none."""
        if len(self.channels) >= self._limits.client_connections:
            return "all"
        return "address" if self._from[host] >= self.most_per_address else ""

    def _turn_away(self, limit: str, host: str) -> TurnedAwayChannel | None:
        whose = f"from {client_name(host)}" if limit == "address" else "in all"
        reason = f"the {self.name} port has as many connections {whose} as it may have"
        heard = len(self.turned_away) < TURNED_AWAY
        # None is closed at once: so many of them can only be an attack.
        self.tell_turned_away(limit, host, 503 if heard else 0, reason)
        return TurnedAwayChannel(self, reason) if heard else None

    def tell_turned_away(self, limit: str, host: str, status: int, reason: str) -> None:
        client = client_name(host)
        self.observe(
            TurnedAway(port=self.name, limit=limit, client=client, status=status, reason=reason)
        )

    def acceptableProtocols(self) -> Sequence[bytes]:
        return [b"http/1.1"]

    def startFactory(self) -> None:
        """No access log: events tell of requests."""

    def stopFactory(self) -> None:
        """See ``startFactory``."""

    def log(self, request: HTTPRequest) -> None:
        """See ``startFactory``."""

    # What channels and requests tell.

    def refused(self, channel: GuardedChannel, refusal: Answer) -> None:
        """``channel`` was answered before a request was read."""
        self.tell_turned_away("head", channel.host, refusal.status, refusal.message)

    def too_slow(self, channel: GuardedChannel) -> None:
        """``channel`` began a request, and is closed before that became whole."""
        self.tell_turned_away("slow", channel.host, 0, "the request did not come whole in time")

    def request_over(self, request: GuardedRequest) -> None:
        self.active.discard(request)

    def channel_made(self, channel: GuardedChannel) -> None:
        self.channels.add(channel)
        self._from[channel.host] += 1

    def channel_gone(self, channel: GuardedChannel) -> None:
        """``channel`` is closed: the kernel has all that was written to it."""
        self.channels.discard(channel)
        self._from[channel.host] -= 1
        if self._from[channel.host] <= 0:
            del self._from[channel.host]
        if not self.channels:
            over, self._over = self._over, []
            for waiter in over:
                waiter.callback(None)

    # Closing.

    async def drain(self, deadline: Deadline) -> int:
        """Let answers finish until ``deadline``; how many did not.

        Nothing is answered any more on connections that are idle; those that
        are not are closed behind their answer. An answer is finished when its
        connection is closed, not when its last byte was written: a reset in
        between would take away what the client has not read yet.
        """
        for channel in list(self.channels):
            channel.close_when_idle()
        if self.channels:
            await self._until_over(deadline)
        return len(self.active)

    def _until_over(self, deadline: Deadline) -> Deferred[None]:
        waiter: Deferred[None] = Deferred(self._over.remove)
        self._over.append(waiter)
        left = deadline.remaining(self.clock.seconds())
        return waiter.addTimeout(left, self.clock, lambda _result, _seconds: None)

    def abort_all(self) -> int:
        """Break every answer off, and reset all else; how many had an answer under way."""
        cut = len(self.active)
        for request in list(self.active):
            request.cut("the node is stopping")
        for channel in list(self.channels):
            if not channel.broken_off:
                channel.abort()
        for turned in list(self.turned_away):
            turned.abort()
        return cut

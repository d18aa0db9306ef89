"""The peer port as the composition root sees it.

The way of a question, from the outside in: ``peer_request`` reads it and knows
who asks; ``peer_desk`` knows what each path answers; ``peer_lending`` gets
bytes of a blob, by way of ``peer_line`` (who may be sent something now) and
``peer_searches`` (what is looked for longer than one question lasts);
``FramedSender`` sends them. ``peer_exchange`` is what is told of it all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import Resource

from nodecache.admission import Admission
from nodecache.answers import Answer
from nodecache.body import PEER_STALL, FileTools, FramedSender, Sender, Uplink
from nodecache.deadline import Deadline
from nodecache.failures import RequestProblem
from nodecache.limits import MIB, Limits, Timeouts
from nodecache.peerwire.codec import HELLO, SUSPECT, WARM
from nodecache.peerwire.documents import MOST_SMALL, MOST_SUSPECT
from nodecache.peerwire.signing import Asked, Verdict, Verifier
from nodecache.results import PeerRegistry
from nodecache.seams import DiskPool, Observe, WallClock
from nodecache.web.channel import GuardedChannel
from nodecache.web.exchange import client_name
from nodecache.web.peer_desk import Desk
from nodecache.web.peer_exchange import PeerExchange
from nodecache.web.peer_lending import Lending
from nodecache.web.peer_ports import Lent, Members, Secrets, Status
from nodecache.web.peer_request import PeerRequest
from nodecache.web.peer_warm import Warm
from nodecache.web.site import GuardedSite

#: Bytes of bodies that are held before it is known who sent them: of all requests
#: together, and of those from one address.
UNSIGNED_BYTES = 32 * MIB
UNSIGNED_BYTES_OF_ONE = 4 * MIB


class PeerChannel(GuardedChannel):
    def refuse_body(self) -> None:
        self.refuse(RequestProblem.BODY, "the request has more of a body than is read")


class PeerSite(GuardedSite):
    """A factory to listen with; its requests are answered by ``desk``.

    ``me`` is this node's id, ``secrets`` gives all that are accepted as of now.
    ``active_bodies`` are the bodies being sent. ``clock`` (the reactor, if it
    is not given) is for times and timers only.
    """

    protocol = PeerChannel
    name = "peer"

    def __init__(
        self,
        registry: PeerRegistry,
        admission: Admission,
        members: Members,
        *,
        me: str,
        secrets: Secrets,
        clock: IReactorTime,
        pool: DiskPool,
        observe: Observe,
        wall: WallClock,
        timeouts: Timeouts,
        limits: Limits,
        status: Status,
        warm: Warm | None = None,
    ) -> None:
        self._tools = FileTools(clock=clock, observe=observe, stall=PEER_STALL, pool=pool)
        own = attrs.evolve(
            limits,
            client_connections=limits.peer_clients,
            client_connections_per_address=limits.peer_clients_per_address,
        )
        super().__init__(Resource(), PeerRequest, self._tools, wall, timeouts, own)
        self.me = me
        self.secrets = secrets
        self.active_bodies: set[Sender] = set()
        self._verifier = Verifier(me, timeouts.peer_window)
        self._admission = admission
        self._members = members
        self._alive = timeouts.peer_alive
        self._uplink = Uplink(limits.peer_rate)
        self._most = {
            (b"POST", HELLO.encode()): limits.peer_hello_bytes,
            (b"POST", SUSPECT.encode()): MOST_SUSPECT,
            (b"POST", WARM.encode()): MOST_SMALL,
        }
        self._unsigned: Counter[str] = Counter()
        self._lending = Lending(registry, admission, members, clock, observe, timeouts)
        self.desk = Desk(registry, self._lending, members, status, warm, clock, observe, timeouts)

    # What requests ask.

    def wall_ms(self) -> int:
        return int(self.wall() * 1000)

    def verdict(self, asked: Asked, header: str | None, secrets: Sequence[bytes]) -> Verdict:
        return self._verifier.check(asked, header, secrets, self.wall_ms())

    def most_of_a_body(self, method: bytes, path: bytes) -> int:
        """Bytes that are read of the body of such a request."""
        return self._most.get((method, path), 0)

    def take_in(self, size: int, host: str) -> bool:
        """Whether so many bytes more may be held for ``host`` before it is known who that is."""
        of_one = self._unsigned[host] + size
        if of_one > UNSIGNED_BYTES_OF_ONE or self._unsigned.total() + size > UNSIGNED_BYTES:
            return False
        self._unsigned[host] = of_one
        return True

    def let_go(self, size: int, host: str) -> None:
        self._unsigned[host] -= size
        if not self._unsigned[host]:
            del self._unsigned[host]

    def held(self) -> tuple[int, int, int]:
        """Bytes of unsigned bodies, places in the line, and searches that go on."""
        return self._unsigned.total(), self._lending.waiting, self.desk.searching

    def sender(self, request: PeerRequest, lent: Lent) -> FramedSender:
        return FramedSender(
            request,
            lent.loan,
            lent.span,
            self._tools,
            self._uplink,
            self._alive,
            lent.leave,
            request.body_ended,
        )

    def refused(self, channel: GuardedChannel, refusal: Answer) -> None:
        now = self.clock.seconds()
        exchange = PeerExchange(client_name(getattr(channel.getPeer(), "host", "")), now)
        exchange.failed("unsigned", refusal.message)
        self.observe(exchange.answered(refusal.status, len(refusal.body()), now))

    # Closing.

    def leave(self) -> None:
        """From now on those who ask are told where else to ask; idempotent."""
        self._lending.leaving = self._admission.leaving = self._members.leaving = True

    async def drain(self, deadline: Deadline) -> int:
        self.leave()
        left = await super().drain(deadline)
        if not left:
            self.desk.stop()
        return left

    def abort_all(self) -> int:
        cut = super().abort_all()
        self.desk.stop()
        return cut

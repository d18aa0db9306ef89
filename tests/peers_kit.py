"""What the tests of the peers' client share: peers on the loopback, and who asks them."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any, TypeVar, cast

import attrs
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from nodecache.byteranges import Span
from nodecache.events import Event
from nodecache.failures import PeerFailure
from nodecache.limits import MIB, SEGMENT, Limits, Timeouts
from nodecache.membership import Address, Peer
from nodecache.membership.membership import Membership
from nodecache.peers import PeerBody, Peers
from nodecache.peerwire.hello import Hello
from nodecache.peerwire.questions import BlobQuestion, Mode
from nodecache.reference import Repository
from tests.fakes_client import until as _until
from tests.fakes_peer import SECRET, LyingPeer, digest_of

reactor = cast(Any, _reactor)
E = TypeVar("E", bound=Event)

ALPINE = Repository("docker.io", "library/alpine")
BLOB = random.Random(7).randbytes(2 * MIB + 12_345)
DIGEST = digest_of(BLOB)
WHOLE = Span(0, SEGMENT)
ME = "asker"


async def until(happened: Callable[[], object]) -> None:
    """Turn the reactor until it happened."""
    await _until(reactor, happened)


class Listed:
    """Secrets that a test lists; the first signs."""

    def __init__(self, *secrets: bytes) -> None:
        self.accepted = secrets

    @property
    def signs(self) -> bytes:
        return self.accepted[0]


def question(span: Span = WHOLE, **more: Any) -> BlobQuestion:
    asked: dict[str, Any] = {"mode": Mode.MAY_FETCH, "seconds": 5.0, **more}
    return BlobQuestion(ALPINE, DIGEST, span, **asked)


class PeersCase(TestCase):
    """``self.peers`` asks; ``self.liar`` is a peer that has ``BLOB``, as ``self.peer``."""

    timeout = 20  # trial ends a test that hangs
    timeouts = Timeouts()
    limits = Limits()

    def setUp(self) -> None:
        self.events: list[Event] = []
        self.secrets = Listed(SECRET)
        self.clock_off = 0.0
        self.liar = self.start_liar("liar")
        self.peer = Peer("liar", (self.liar.address,))
        self.peers = self.start_peers()
        self.meet(self.peer)

    def start_liar(self, node: str, interface: str = "127.0.0.1", **more: Any) -> LyingPeer:
        liar = LyingPeer(node, blobs={DIGEST: BLOB}, **more)
        liar.listen(reactor, interface=interface)
        self.addCleanup(lambda: Deferred.fromCoroutine(liar.stop()))
        return liar

    def start_peers(self, clock: Any = reactor, **changed: Any) -> Peers:
        timeouts = attrs.evolve(self.timeouts, **changed)
        here = Peer(ME, (Address("127.0.0.1", 1),))
        self.membership = Membership(here, timeouts, "0.0")
        peers = Peers(
            ME,
            clock,
            self.membership,
            self.secrets,
            self.wall,
            self.events.append,
            timeouts,
            self.limits,
        )
        self.addCleanup(lambda: Deferred.fromCoroutine(peers.close()))
        return peers

    def wall(self) -> float:
        return time.time() + self.clock_off

    def meet(self, *peers: Peer) -> None:
        """The membership knows them."""
        now = reactor.seconds()
        for peer in peers:
            hello = Hello(peer.id, "1", "0.0", "", peer.addresses)
            self.membership.greeted(peer.addresses[0], hello, now, answered=True)
        self.peers.view()

    def told(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    def asked_ids(self) -> list[str]:
        """Who may be asked now."""
        return [peer.id for peer in self.peers.view().peers]

    async def body(self, asked: BlobQuestion | None = None) -> PeerBody:
        body = await self.peers.blob(self.peer, asked or question())
        assert isinstance(body, PeerBody), body
        return body

    async def read(self, asked: BlobQuestion | None = None) -> bytes:
        """The bytes of a blob, once they are whole."""
        parts: list[bytes] = []
        await (await self.body(asked)).deliver(parts.append)
        return b"".join(parts)

    async def failure(self, asked: BlobQuestion | None = None) -> PeerFailure:
        """How it fails."""
        try:
            await self.read(asked)
        except PeerFailure as failure:
            return failure
        raise AssertionError("it did not fail")

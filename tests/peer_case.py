"""The peer port on the loopback, and a peer that signs what it asks."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import attrs

from nodecache.byteranges import Span
from nodecache.events import PeerAnswered
from nodecache.limits import Timeouts
from nodecache.membership import Address, Peer
from nodecache.peerwire.answers import Bytes
from nodecache.peerwire.codec import (
    decode_blob_answer,
    encode_blob,
    encode_manifest,
    fields_of,
)
from nodecache.peerwire.frames import Broken, Checked, Decoder, Ended, FrameEvent
from nodecache.peerwire.hello import Hello
from nodecache.peerwire.questions import BlobQuestion, ManifestQuestion, Mode
from nodecache.peerwire.signing import Asked, proven, sign, signature_of
from nodecache.peerwire.wishes import Fulfilment, Stage, Wish
from nodecache.reference import Digest, Repository
from nodecache.web import PeerSite
from tests.fakes_admission import FakeAdmission
from tests.fakes_disk import InlinePool
from tests.fakes_peer_registry import FakePeerRegistry
from tests.loopback import WALL, Client, LoopbackCase, Reply, request, until

ME = "node-1"
ASKER = "node-2"
SECRET = b"the secret of the cluster"
ALPINE = Repository("docker.io", "library/alpine")

_nonces = itertools.count(1)


class FakeMembers:
    """Knows the peers that a test names, and writes down who greeted it."""

    def __init__(self) -> None:
        self.leaving = False
        self.peers: dict[str, Peer] = {}
        self.greetings: list[tuple[Address, Hello, float]] = []
        #: Ids as they rank, for every key; and the keys that were asked for.
        self.ranks: list[str] = []
        self.keys: list[str] = []

    @property
    def me(self) -> Peer:
        return Peer(ME, (Address("10.0.0.1", 5001),))

    def rank(self, key: str, most: int) -> tuple[Peer, ...]:
        self.keys.append(key)
        return tuple(Peer(name, ()) for name in self.ranks[:most])

    def know(self, name: str, zone: str = "") -> Address:
        address = Address("10.0.0.9", 5001 + len(self.peers))
        self.peers[name] = Peer(name, (address,), zone)
        return address

    def view(self, now: float) -> FakeMembers:
        return self

    def get(self, peer_id: str) -> Peer | None:
        return self.peers.get(peer_id)

    def greeted(self, address: Address, hello: Hello, now: float) -> None:
        self.greetings.append((address, hello, now))

    def hello(self, now: float) -> Hello:
        here = (Address("10.0.0.1", 5001),)
        return Hello(ME, "1", "1.0", "a", here, leaving=self.leaving)


@attrs.frozen
class Sent:
    """A signed request; ``raw`` are its bytes."""

    raw: bytes
    signature: str
    secret: bytes


def question(
    digest: Digest,
    span: Span,
    mode: Mode = Mode.ONLY_IF_HAVE,
    seconds: float = 6.0,
    **fields: Any,
) -> BlobQuestion:
    return BlobQuestion(ALPINE, digest, span, mode, seconds, **fields)


class PeerCase(LoopbackCase):
    """``self.peers`` is what this node does for its peers."""

    # Longer than a wait in line, so that each of the two has its own end.
    timeouts = Timeouts(peer_patience=1.0)

    def setUp(self) -> None:
        self.peers = FakePeerRegistry()
        self.members = FakeMembers()
        self.secrets = [SECRET]
        self.warmed: list[tuple[Wish, str]] = []
        self.fulfilment = Fulfilment(Stage.FETCHING)
        self.admission = FakeAdmission()
        self.pool: Any = InlinePool()
        self.wall = WALL
        super().setUp()

    def make_site(self) -> Any:
        return PeerSite(
            self.peers,
            self.admission,
            self.members,
            me=ME,
            secrets=lambda: tuple(self.secrets),
            clock=self.clock,
            pool=self.pool,
            observe=self.events.append,
            wall=lambda: self.wall,
            timeouts=self.timeouts,
            limits=self.limits,
            status=self.status,
            warm=self.warm,
        )

    def warm(self, wish: Wish, asker: str) -> Fulfilment:
        self.warmed.append((wish, asker))
        return self.fulfilment

    def status(self) -> dict[str, Any]:
        return {"blobs": 3}

    def check_for_leaks(self) -> None:
        """Each loan was closed once, nobody stands in line, and no place is taken."""
        super().check_for_leaks()
        self.assertEqual([loan.closed for loan in self.peers.loans], [1] * len(self.peers.loans))
        self.assertEqual(self.site.held(), (0, 0, 0))
        self.assertEqual((self.admission.taken, self.admission.waiting), ([], []))
        self.assertEqual([call for call in self.clock.getDelayedCalls() if call.active()], [])

    # Asking.

    def signed(
        self,
        target: str,
        method: str = "GET",
        body: bytes = b"",
        *,
        span: str = "",
        node: str = ASKER,
        to: str = ME,
        secret: bytes = SECRET,
        at: float | None = None,
        nonce: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> Sent:
        asked = Asked(method, target, node, to, span, body)
        nonce = nonce or f"{next(_nonces):032x}"
        header = sign(asked, secret, int((self.wall if at is None else at) * 1000), nonce)
        named = {
            "Nodecache-Peer": node,
            "Nodecache-To": to,
            "Nodecache-Wire": "1",
            "Nodecache-Signature": header,
        }
        if span:
            named["Range"] = span
        if body:
            named["Content-Length"] = str(len(body))
        named.update(headers or {})
        signature = signature_of(header)
        assert signature is not None
        return Sent(request(target, method, named, body=body), signature, secret)

    def asking(self, asked: BlobQuestion, method: str = "GET", **options: Any) -> Sent:
        target, headers = encode_blob(asked)
        return self.signed(target, method, span=headers["Range"], **options)

    def asking_manifest(self, asked: ManifestQuestion, **options: Any) -> Sent:
        method, target = encode_manifest(asked)
        return self.signed(target, method, **options)

    async def begin_asking(self, sent: Sent) -> Client:
        client = await self.connect()
        client.send(sent.raw)
        return client

    async def answer(self, sent: Sent, *, head: bool = False) -> Reply:
        """The answer to one request on a connection of its own, whose proof is right."""
        client = await self.begin_asking(sent)
        await until(lambda: client.replies(head=head) and client.replies(head=head)[0].whole)
        (reply,) = client.replies(head=head)
        self.assert_proven(reply, sent, b"" if head else reply.body)
        client.leave()
        return reply

    def assert_proven(self, reply: Reply, sent: Sent, body: bytes | None) -> None:
        """``body`` is None where frames come."""
        right = proven(
            reply.header("Nodecache-Proof") or "",
            sent.secret,
            sent.signature,
            reply.status,
            fields_of(reply.headers),
            body,
        )
        self.assertTrue(right, reply)
        self.assertEqual(reply.header("Nodecache-Peer"), ME)
        self.assertEqual(reply.header("Nodecache-Wire"), "1")

    async def refusal(self, sent: Sent) -> Any:
        """What is answered where no bytes are."""
        reply = await self.answer(sent)
        return decode_blob_answer(reply.status, fields_of(reply.headers))

    async def received(self, client: Client, size: int) -> None:
        """Until ``client`` has so many bytes in all."""
        await until(lambda: len(client.received) >= size)

    # Understanding.

    def frames(self, client: Client, span: Span) -> list[FrameEvent]:
        """What came of the one answer's body so far."""
        (reply,) = client.replies()
        return Decoder(span).feed(reply.body)

    async def bytes_of(self, sent: Sent, span: Span) -> tuple[Bytes, bytes]:
        """All bytes of ``span``, each MiB of them checked."""
        client = await self.begin_asking(sent)
        # The last chunk; reading all that came at each turn would take longer than sending it.
        await until(lambda: client.received.endswith(b"\r\n0\r\n\r\n"))
        reply = client.reply
        self.assert_proven(reply, sent, None)
        answer = decode_blob_answer(reply.status, fields_of(reply.headers))
        assert isinstance(answer, Bytes)
        clipped = Span(min(span.start, answer.total), min(span.stop, answer.total))
        events = self.frames(client, clipped)
        self.assertIsInstance(events[-1], Ended)
        client.leave()
        return answer, payload(events)

    def assert_same(self, found: bytes, right: bytes) -> None:
        """Without a page of bytes where they differ."""
        self.assertEqual(len(found), len(right))
        self.assertTrue(found == right, "other bytes")

    async def answered(self, count: int = 1) -> list[PeerAnswered]:
        """The events of the first ``count`` requests, once they have ended."""
        await until(lambda: len(self.told(PeerAnswered)) >= count)
        return self.told(PeerAnswered)


def payload(events: list[FrameEvent]) -> bytes:
    checked = (event.pieces for event in events if isinstance(event, Checked))
    return b"".join(itertools.chain.from_iterable(checked))


def broken(events: list[FrameEvent]) -> Broken:
    (found,) = [event for event in events if isinstance(event, Broken)]
    return found

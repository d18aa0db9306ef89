"""The other nodes of the cluster, as those who ask them see them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
from twisted.internet.defer import DeferredSemaphore

from nodecache.byteranges import Span
from nodecache.failures import PeerFailure, PeerKind
from nodecache.limits import Limits, Timeouts
from nodecache.membership import Address, Peer
from nodecache.membership.view import View
from nodecache.peers.body import PeerBody, Pulse
from nodecache.peers.books import Books, Roll, outcome_of
from nodecache.peers.checks import check_total, is_it, its_hello
from nodecache.peers.courier import Answered, Courier, Letter, Signing
from nodecache.peers.readiness import Readiness
from nodecache.peerwire import codec
from nodecache.peerwire.answers import Bytes, Manifest, ManifestAnswer, Refusal
from nodecache.peerwire.codec import WireFault
from nodecache.peerwire.documents import MOST_SMALL
from nodecache.peerwire.hello import Hello
from nodecache.peerwire.questions import BlobQuestion, ManifestQuestion
from nodecache.peerwire.wishes import Fulfilment, Wish, decode_fulfilment, encode_wish
from nodecache.reference import Digest
from nodecache.seams import Observe, WallClock


class Peers:
    """Asks peers, and keeps the membership's books of how they do.

    ``reactor`` connects and times, ``wall`` is what requests are signed by.
    Every question raises PeerFailure and nothing else, and can be cancelled.
    """

    def __init__(
        self,
        me: str,
        reactor: Any,
        roll: Roll,
        secrets: Signing,
        wall: WallClock,
        observe: Observe,
        timeouts: Timeouts,
        limits: Limits,
    ) -> None:
        self._reactor = reactor
        self._timeouts = timeouts
        self._limits = limits
        self._books = Books(roll, reactor, observe)
        self._courier = Courier(me, reactor, self._books, secrets, wall, timeouts)
        self._bodies = DeferredSemaphore(limits.peer_connections_per_node)
        self._living: set[PeerBody] = set()
        self._readiness = Readiness(reactor, timeouts.peer_first)

    # Who there is

    def view(self) -> View:
        """Who may be asked now."""
        return self._books.look()

    def first_greeted(self) -> None:
        """The first greetings are in, or there is nobody to greet; idempotent."""
        self._readiness.reach()

    async def ready(self) -> None:
        """Returns once the first greetings are in, soon after the start at the latest."""
        await self._readiness.wait()

    # Blobs

    async def blob(
        self, peer: Peer, question: BlobQuestion, silence: float | None = None
    ) -> PeerBody | Refusal:
        """Bytes of a span, or why not. The body is to be delivered or stopped.

        Waits in line while ``Limits.peer_connections_per_node`` bodies come in.
        ``silence``: seconds until the head of an answer, ``Timeouts.peer_silence`` at most.
        """
        came = self._books.now()
        await self._bodies.acquire()
        try:
            waited = self._books.now() - came
            left = attrs.evolve(question, seconds=max(0.0, question.seconds - waited))
            answer = await self._blob(peer, left, silence)
        except BaseException:
            self._bodies.release()
            raise
        if isinstance(answer, PeerBody):
            self._living.add(answer)
        else:
            self._bodies.release()
        return answer

    async def _blob(
        self, peer: Peer, question: BlobQuestion, silence: float | None
    ) -> PeerBody | Refusal:
        began = self._books.now()
        answered = await self._ask_blob(peer, question, "GET", silence)
        answer = self._decoded(peer, question, began, answered)
        if not isinstance(answer, Bytes):
            return answer
        span = Span(question.span.start, min(question.span.stop, answer.total))
        return self._body(peer, question, answered, span, answer)

    async def has_blob(self, peer: Peer, question: BlobQuestion) -> Bytes | Refusal:
        """Whether it has bytes of the span; nothing is begun there."""
        began = self._books.now()
        answered = await self._ask_blob(peer, question, "HEAD", None)
        return self._decoded(peer, question, began, answered)

    async def _ask_blob(
        self, peer: Peer, question: BlobQuestion, method: str, silence: float | None
    ) -> Answered:
        target, headers = codec.encode_blob(question)
        letter = Letter(
            what="blob",
            method=method,
            target=target,
            silence=self._silence(silence),
            mode=question.mode.value,
            range=headers["Range"],
            streams=method == "GET",
        )
        return await self._courier.send(peer, letter)

    def _silence(self, silence: float | None) -> float:
        most = self._timeouts.peer_silence
        return most if silence is None else min(silence, most)

    def _decoded(
        self, peer: Peer, question: BlobQuestion, began: float, answered: Answered
    ) -> Bytes | Refusal:
        mode = question.mode.value
        try:
            answer = codec.decode_blob_answer(answered.status, answered.fields)
            if isinstance(answer, Bytes):
                check_total(question, answer)
        except WireFault as fault:
            answered.reply.abort()
            raise self._wrong(peer, "blob", mode, began, str(fault)) from None
        self._books.asked(peer.id, "blob", mode, began, outcome_of(answer))
        self._books.answered(peer.id, answer)
        return answer

    def _wrong(
        self,
        peer: Peer,
        what: str,
        mode: str,
        began: float,
        words: str,
        kind: PeerKind = PeerKind.WRONG,
    ) -> PeerFailure:
        self._books.asked(peer.id, what, mode, began, kind.value)
        return self._books.failed(peer.id, what, kind, words)

    def _body(
        self, peer: Peer, question: BlobQuestion, answered: Answered, span: Span, answer: Bytes
    ) -> PeerBody:
        def fail(kind: PeerKind, words: str, blame: bool) -> PeerFailure:  # noqa: FBT001
            tell = self._books.failed if blame else self._books.told
            return tell(peer.id, "blob", kind, words)

        def over(given: int) -> None:
            self._living.discard(body)
            self._bodies.release()
            self._books.received(peer.id, question.mode.value, given)

        body = PeerBody(
            self._reactor,
            answered.reply,
            peer.id,
            span,
            answer,
            self._timeouts,
            fail,
            over,
            self._pulse(peer.id),
        )
        return body

    def _pulse(self, peer: str) -> Pulse:
        books, silence = self._books, self._timeouts.peer_silence
        return Pulse(lambda size: books.heard(peer, size), lambda: books.lives(peer, silence))

    # Manifests

    async def manifest(
        self, peer: Peer, question: ManifestQuestion, silence: float | None = None
    ) -> ManifestAnswer:
        """A manifest whose bytes match its digest, or why not. ``silence`` as for ``blob``."""
        began = self._books.now()
        method, target = codec.encode_manifest(question)
        what = "manifest" if isinstance(question.reference, Digest) else "tag"
        mode = question.mode.value
        most = max(self._limits.manifest_bytes, MOST_SMALL)
        letter = Letter(what, method, target, self._silence(silence), most, mode)
        answered = await self._courier.send(peer, letter)
        body = None if question.head else answered.body
        try:
            answer = codec.decode_manifest_answer(answered.status, answered.fields, body)
        except WireFault as fault:
            raise self._wrong(peer, what, mode, began, str(fault)) from None
        if isinstance(answer, Manifest) and not is_it(answer, question):
            words = "the manifest is not that of its digest"
            raise self._wrong(peer, what, mode, began, words, PeerKind.CORRUPT)
        self._books.asked(peer.id, what, mode, began, outcome_of(answer), head=question.head)
        self._books.answered(peer.id, answer)
        return answer

    # Documents

    async def hello(self, address: Address) -> Hello:
        """Greet whoever is at ``address``; how that ends, the caller tells the membership."""
        stranger = Peer(str(address), (address,))
        body = codec.encode_hello(self._books.roll.hello(self._books.now()))
        most = self._limits.peer_hello_bytes
        letter = self._post("hello", codec.HELLO, body, most, keep=False, blame=False)
        began = self._books.now()
        answered = await self._courier.send(stranger, letter)
        try:
            hello = its_hello(answered)
        except WireFault as fault:
            self._books.asked(stranger.id, "hello", "", began, PeerKind.WRONG.value)
            raise self._books.told(stranger.id, "hello", PeerKind.WRONG, str(fault)) from None
        self._books.asked(hello.id, "hello", "", began, "hit")
        return hello

    async def suspect(
        self, peer: Peer, digest: Digest, sums: Mapping[int, tuple[int, ...]]
    ) -> None:
        """Tell ``peer`` the CRC-32 of the blocks, by segment, of a blob in which it was wrong."""
        body = codec.encode_suspect(digest, sums)
        await self._document(peer, self._post("suspect", codec.SUSPECT, body, MOST_SMALL))

    async def warm(self, peer: Peer, wish: Wish) -> Fulfilment:
        """Wish that ``peer`` fetches an image, or ask how far it is with that."""
        began = self._books.now()
        letter = self._post("warm", codec.WARM, encode_wish(wish), MOST_SMALL, blame=False)
        try:
            return decode_fulfilment(await self._document(peer, letter))
        except WireFault as fault:
            # It may well be of another release, and good for everything else.
            self._books.asked(peer.id, "warm", "", began, PeerKind.WRONG.value)
            raise self._books.told(peer.id, "warm", PeerKind.WRONG, str(fault)) from None

    async def status(self, peer: Peer) -> dict[str, Any]:
        """What ``peer`` says of itself."""
        silence = self._timeouts.peer_silence
        return await self._document(
            peer, Letter("status", "GET", codec.STATUS, silence, MOST_SMALL)
        )

    def _post(
        self,
        what: str,
        target: str,
        body: bytes,
        most: int,
        *,
        keep: bool = True,
        blame: bool = True,
    ) -> Letter:
        silence = self._silence(None)
        return Letter(what, "POST", target, silence, most, body=body, keep=keep, blame=blame)

    async def _document(self, peer: Peer, letter: Letter) -> dict[str, Any]:
        began = self._books.now()
        answered = await self._courier.send(peer, letter)
        if answered.status != 200:
            words = f"it does not take it now ({answered.status})"
            self._books.asked(peer.id, letter.what, "", began, PeerKind.ERROR.value)
            raise self._books.told(peer.id, letter.what, PeerKind.ERROR, words)
        try:
            document = codec.decode_object(answered.body or b"")
        except WireFault as fault:
            raise self._wrong(peer, letter.what, "", began, str(fault)) from None
        self._books.asked(peer.id, letter.what, "", began, "hit")
        return document

    async def close(self) -> None:
        """End all that is under way."""
        self._readiness.reach()
        for body in tuple(self._living):
            body.stop()
        await self._courier.close()

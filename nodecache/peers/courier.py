"""Takes one question to a peer and brings a proven answer back.

Whose fault it is when that fails: a timer of ours that came late tells that
this process stood still, so the question is sent once more and nobody is
blamed. A kept connection may be dead: the question is signed anew for another
one. A peer whose clock differs from ours says so once; from then on its
questions are signed by its time.
"""

from __future__ import annotations

from collections.abc import Mapping
from secrets import token_hex
from typing import Any, Final, Protocol

import attrs
from twisted.internet.defer import CancelledError

from nodecache.failures import PeerFailure, PeerKind, UpstreamFailure, UpstreamKind
from nodecache.limits import WIRE_VERSION, Timeouts
from nodecache.membership import Peer
from nodecache.peers.books import Books
from nodecache.peers.line import Line, LineFault, Sent
from nodecache.peerwire import fields as f
from nodecache.peerwire import signing
from nodecache.peerwire.answering import REFUSALS
from nodecache.peerwire.fields import WireFault
from nodecache.seams import WallClock
from nodecache.traces import CURRENT
from nodecache.upstream.body import BodyStream, least_in, read_whole
from nodecache.upstream.waits import NEAR_TURNS, TimedOut
from nodecache.upstream.wire import Reply

#: Milliseconds; a clock that is nearer than this is not the reason for a refusal.
_NEAR: Final = 1000
#: Peers whose clocks are remembered.
_MOST_CLOCKS: Final = 10_000

_KINDS: Final = {UpstreamKind.TIMEOUT: PeerKind.TIMEOUT, UpstreamKind.CUT: PeerKind.CUT}


class Signing(Protocol):
    """The secrets, of which the first signs."""

    @property
    def signs(self) -> bytes: ...


@attrs.frozen
class Letter:
    """``most`` bytes of an answer are read; ``silence`` in seconds, until its head is in.

    ``streams``: bytes of a blob are left to the caller. ``keep``: the
    connection is kept. ``blame``: a failure is held against the peer.
    """

    what: str
    method: str
    target: str
    silence: float
    most: int = 0
    mode: str = ""
    range: str = ""
    body: bytes = b""
    streams: bool = False
    keep: bool = True
    blame: bool = True


@attrs.frozen
class Answered:
    """A proven answer; ``body`` is None where it streams, ``node`` who gave it."""

    node: str
    status: int
    fields: Mapping[str, str]
    body: bytes | None
    reply: Reply


class _Unproven(Exception):
    """What came back is not to be taken for the peer's answer."""

    def __init__(self, kind: PeerKind, words: str) -> None:
        super().__init__(words)
        self.kind = kind
        self.words = words


class _OtherTime(Exception):
    """The peer's clock shows ``now`` (milliseconds)."""

    def __init__(self, now: int) -> None:
        super().__init__()
        self.now = now


class Courier:
    """``me`` is this node's id; ``reactor`` connects and times."""

    def __init__(
        self,
        me: str,
        reactor: Any,
        books: Books,
        secrets: Signing,
        wall: WallClock,
        timeouts: Timeouts,
    ) -> None:
        self._me = me
        self._reactor = reactor
        self._books = books
        self._secrets = secrets
        self._wall = wall
        self._timeouts = timeouts
        self._line = Line(reactor, timeouts)
        self._clocks: dict[str, int] = {}

    async def send(self, peer: Peer, letter: Letter) -> Answered:
        """Raises PeerFailure, told of and held against the peer already."""
        began = self._books.now()
        try:
            return await self._persistently(peer, letter)
        except CancelledError:
            raise
        except TimedOut as timed_out:
            silent = f"no answer within {letter.silence:g} s"
            words = "this process stood still" if timed_out.late else silent
            blame = not timed_out.late
            raise self._failure(peer, letter, began, PeerKind.TIMEOUT, words, blame=blame) from None
        except (LineFault, _Unproven) as fault:
            raise self._failure(peer, letter, began, fault.kind, fault.words) from fault

    def _failure(
        self,
        peer: Peer,
        letter: Letter,
        began: float,
        kind: PeerKind,
        words: str,
        *,
        blame: bool = True,
    ) -> PeerFailure:
        self._books.asked(peer.id, letter.what, letter.mode, began, kind.value)
        tell = self._books.failed if blame and letter.blame else self._books.told
        return tell(peer.id, letter.what, kind, words)

    async def _persistently(self, peer: Peer, letter: Letter) -> Answered:
        frozen = retimed = False
        until = self._books.now() + letter.silence
        while True:
            now = self._clock(peer)
            try:
                return await self._once(peer, letter, now, max(0.0, until - self._books.now()))
            except LineFault as fault:
                if not fault.stale:
                    raise
            except TimedOut as timed_out:
                if not timed_out.late or frozen:
                    raise
                frozen = True
                until = self._books.now() + letter.silence
            except _OtherTime as other:
                if retimed or abs(other.now - now) < _NEAR:
                    words = "it knows none of our secrets"
                    raise _Unproven(PeerKind.STRANGER, words) from None
                retimed = True
                self._set_clock(peer, other.now)

    def _clock(self, peer: Peer) -> int:
        """The peer's time in milliseconds, as far as we know."""
        return int(self._wall() * 1000) + self._clocks.get(peer.id, 0)

    def _set_clock(self, peer: Peer, now: int) -> None:
        if len(self._clocks) >= _MOST_CLOCKS:
            self._clocks.clear()
        self._clocks[peer.id] = now - int(self._wall() * 1000)

    async def _once(self, peer: Peer, letter: Letter, now: int, seconds: float) -> Answered:
        secret = self._secrets.signs
        asked = signing.Asked(
            letter.method, letter.target, self._me, peer.id, letter.range, letter.body
        )
        signature = signing.sign(asked, secret, now, token_hex(signing.NONCE_BYTES))
        headers = {
            "Nodecache-Peer": self._me,
            "Nodecache-To": peer.id,
            "Nodecache-Wire": WIRE_VERSION,
            "Nodecache-Signature": signature,
        }
        if letter.range:
            headers["Range"] = letter.range
        if (trace := CURRENT.get()) is not None:
            headers["traceparent"] = trace.traceparent
        sent = Sent(letter.method, letter.target, headers, letter.body, letter.keep)
        silence = self._timeouts.peer_silence
        reply = await self._line.send(
            peer.addresses, sent, seconds, lambda: self._books.lives(peer.id, silence)
        )
        try:
            answered = await self._read(peer, letter, reply)
            self._prove(answered, secret, signing.signature_of(signature) or "")
            _check_identity(peer, answered)
        except BaseException:
            reply.abort()
            raise
        return answered

    async def _read(self, peer: Peer, letter: Letter, reply: Reply) -> Answered:
        fields = _fields(reply)
        streams = letter.streams and reply.status == 206 and fields.get(f.ANSWER) == "bytes"
        body = None if streams else await self._body(reply, letter.most)
        return Answered(fields.get(f.PEER, peer.id), reply.status, fields, body, reply)

    async def _body(self, reply: Reply, most: int) -> bytes:
        if reply.method != "HEAD" and (reply.length or 0) > most:
            raise _Unproven(PeerKind.WRONG, f"its answer has more than {most} bytes")
        silence = self._timeouts.peer_silence
        # They are small; one that drips would take all of a client's time.
        stream = BodyStream(
            self._reactor, reply, silence, _untold, NEAR_TURNS, least=least_in(silence)
        )
        try:
            return await read_whole(self._reactor, stream, None, most, self._timeouts.answer)
        except UpstreamFailure as failure:
            kind = _KINDS.get(failure.kind, PeerKind.WRONG)
            raise _Unproven(kind, failure.message) from None

    def _prove(self, answered: Answered, secret: bytes, signature: str) -> None:
        proof = answered.fields.get(f.PROOF)
        if proof is None and answered.status >= 500:
            raise _Unproven(PeerKind.ERROR, f"it answers {answered.status}")
        if proof is None or not signing.proven(
            proof, secret, signature, answered.status, answered.fields, answered.body
        ):
            raise _Unproven(PeerKind.STRANGER, "its answer is not signed with our secret")

    async def close(self) -> None:
        """End all connections."""
        await self._line.close()


def _untold(_received: int) -> None:
    """Bytes of small answers are not counted."""


def _fields(reply: Reply) -> Mapping[str, str]:
    """The wire's headers; raises for what is not of our wire at all."""
    raw = (
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, values in reply.response.headers.getAllRawHeaders()
        for value in values
    )
    try:
        fields = f.fields_of(raw)
    except WireFault as fault:
        raise _Unproven(PeerKind.WRONG, str(fault)) from None
    wire = fields.get(f.WIRE)
    if wire is None:
        kind = PeerKind.ERROR if reply.status >= 500 else PeerKind.WRONG
        raise _Unproven(kind, f"it answers {reply.status}, and not as a peer does")
    if reply.status == 426 or wire != WIRE_VERSION:
        raise _Unproven(PeerKind.VERSION, f"it speaks version {wire[:16]} of the wire")
    if reply.status == 401:
        raise _other_time(fields.get(f.TIME, ""))
    return fields


def _other_time(text: str) -> _OtherTime | _Unproven:
    try:
        return _OtherTime(f.number(text, "time"))
    except WireFault:
        return _Unproven(PeerKind.STRANGER, "it knows none of our secrets")


def _check_identity(peer: Peer, answered: Answered) -> None:
    """The peer's id, unless only its address is known; and that it took the question."""
    if ":" not in peer.id and answered.node != peer.id:
        raise _Unproven(PeerKind.WRONG, f"another node answers there: {answered.node[:64]}")
    if answered.status < 400 or answered.fields.get(f.ANSWER) in REFUSALS:
        return
    kind = PeerKind.ERROR if answered.status >= 500 else PeerKind.WRONG
    said = answered.fields.get("nodecache-message", "")
    raise _Unproven(kind, f"it did not take the question ({answered.status}): {said}")

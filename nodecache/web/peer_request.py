"""A request on the peer port: who asks, and how it is answered.

Nothing of a request is read before its signature was found right: not its
query, and its body only into memory, up to a bound for each request and one for
all. What a stranger can make this node do is to reckon a few hashes.
"""

from __future__ import annotations

import io
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure as Reason

from nodecache.answers import Answer
from nodecache.body import FramedSender, Outcome
from nodecache.events import PeerBytes
from nodecache.limits import WIRE_VERSION
from nodecache.peerwire import fields as f
from nodecache.peerwire import signing
from nodecache.peerwire.answers import Elsewhere
from nodecache.peerwire.codec import Encoded, WireFault, encode_answer, fields_of
from nodecache.traces import CURRENT, Trace, parse_traceparent
from nodecache.web.exchange import client_name
from nodecache.web.peer_desk import LATER, complaint, named
from nodecache.web.peer_exchange import PeerExchange
from nodecache.web.peer_ports import Lent, Question
from nodecache.web.request import GuardedRequest

if TYPE_CHECKING:
    from nodecache.web.peer_site import PeerSite

_ENDINGS: Final = {
    Outcome.COMPLETE: "error",  # it was told of one, in a frame
    Outcome.ABORTED: "error",
    Outcome.LEFT: "cut",
    Outcome.STALLED: "timeout",
}


class PeerRequest(GuardedRequest):
    """``exchange`` is what will be told of it."""

    site: PeerSite

    def __init__(self, channel: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(channel, *args, **kwargs)
        self._host = client_name(getattr(self.client, "host", ""))
        self.exchange = PeerExchange(self._host, self.started_at)
        self._most = 0
        self._signed: tuple[bytes, str] | None = None
        self._work: Deferred[None] | None = None
        self._lent: Lent | None = None
        self._sender: FramedSender | None = None
        self._whole = False

    # Reading it, without looking at it.

    def parseCookies(self) -> None:
        """There are none."""

    def gotLength(self, length: int | None) -> None:
        self.content = io.BytesIO()
        if self.channel is not None:
            channel: Any = self.channel  # between its headers and its end it knows what is asked
            path = channel._path.partition(b"?")[0]  # noqa: SLF001 -- Twisted tells it nowhere else
            self._most = self.site.most_of_a_body(channel._command, path)  # noqa: SLF001
            if length is not None and length > self._most:
                self.channel.refuse_body()

    def handleContentChunk(self, data: bytes) -> None:
        channel = self.channel
        if channel is None or channel.refused:
            return
        size = len(data)
        if self._body_bytes + size > self._most or not self.site.take_in(size, self._host):
            channel.refuse_body()
            return
        self._body_bytes += size
        assert self.content is not None
        self.content.write(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        # Twisted's own would take the query and the body apart.
        self.method, self.uri, self.clientproto = command, path, version
        self.path, self.args = path.partition(b"?")[0], {}
        self.process()

    def _take_body(self) -> bytes:
        content, self.content = self.content, io.BytesIO()
        self._forget_body()
        return content.getvalue() if isinstance(content, io.BytesIO) else b""

    def _forget_body(self) -> None:
        self.site.let_go(self._body_bytes, self._host)
        self._body_bytes = 0

    # Who asks.

    def respond(self) -> None:
        self.exchange.what = named(self.path.decode("latin-1"))
        body = self._take_body()
        try:
            fields = fields_of(
                (name.decode("latin-1"), value.decode("latin-1"))
                for name, values in self.requestHeaders.getAllRawHeaders()
                for value in values
            )
        except WireFault as fault:
            self._turn_away("unsigned", str(fault))
            return
        wire = fields.get(f.WIRE)
        if wire is not None and wire != WIRE_VERSION:
            self.exchange.failed("version", f"it speaks version {wire[:16]!r} of the wire")
            self._refuse(426, {})
            return
        ranges = self.requestHeaders.getRawHeaders(b"Range", [])
        asked = signing.Asked(
            method=self.method.decode("latin-1"),
            target=self.uri.decode("latin-1"),
            node=fields.get(f.PEER, ""),
            to=fields.get(f.TO, ""),
            range=ranges[0].decode("latin-1") if len(ranges) == 1 else "",
            body=body,
        )
        self._judged(asked, fields.get(f.SIGNATURE))

    def _judged(self, asked: signing.Asked, header: str | None) -> None:
        secrets = self.site.secrets()
        verdict = self.site.verdict(asked, header, secrets)
        match verdict:
            case signing.BadSignature():
                self._turn_away("unsigned" if header is None else "stranger", "")
            case signing.Expired(now=now):
                self._turn_away("stranger", f"signed for another time than {now}", now)
            case signing.Replayed():
                self._turn_away("replayed", "")
            case signing.Misdirected(number, signature):
                self._signed = secrets[number], signature
                self.exchange.failed("wrong", f"it is for {asked.to[:64]!r}")
                self._say(complaint(421, "misdirected", "this is another node"))
            case signing.Crowded(number, signature):
                self._signed = secrets[number], signature
                self.exchange.answers(Elsewhere(LATER))
                self._say(encode_answer(Elsewhere(LATER)))
            case signing.Accepted(number, signature):
                self._signed = secrets[number], signature
                self._accepted(asked)

    def _turn_away(self, outcome: str, reason: str, now: int | None = None) -> None:
        """A stranger learns our time, and nothing else."""
        self.exchange.failed(outcome, reason)
        shown = self.site.wall_ms() if now is None else now
        self._refuse(401, {"Nodecache-Time": str(shown)})

    def _refuse(self, status: int, headers: dict[str, str]) -> None:
        if self.channel is not None:
            self.channel.persistent = False
        self._say(Encoded(status, headers))

    # The answer.

    def _accepted(self, asked: signing.Asked) -> None:
        if not f.is_node_id(asked.node):
            self.exchange.failed("wrong", "not a node id")
            self._say(complaint(400, "unclear", "not a node id"))
            return
        self.exchange.peer = asked.node
        self.exchange.trace = self._trace()
        question = Question(
            asked.method, asked.target, asked.range or None, asked.body, asked.node, self._host
        )
        self._work = Deferred.fromCoroutine(self._answer(question))
        self._work.addErrback(self._failed)

    def _trace(self) -> Trace | None:
        """That of the request for which the peer asks, if it is for one."""
        values = self.requestHeaders.getRawHeaders(b"traceparent", [])
        text = values[0].decode("latin-1") if len(values) == 1 else None
        return parse_traceparent(text, token_hex(8))

    async def _answer(self, question: Question) -> None:
        CURRENT.set(self.exchange.trace)
        answer = await self.site.desk.answer(question, self.exchange)
        if isinstance(answer, Lent):
            self._send(answer)
        else:
            self._say(answer)

    def _failed(self, reason: Reason) -> None:
        if not (self.gone and reason.check(CancelledError)):
            self.processingFailed(reason)

    def reply_error(self, refusal: Answer) -> bytes:  # noqa: ARG002 -- nothing is told of a defect
        self.exchange.failed("error", "a defect of nodecache")
        for name, _values in list(self.responseHeaders.getAllRawHeaders()):
            if name.lower().startswith(f.PREFIX.encode()):
                self.responseHeaders.removeHeader(name)
        return self._head(complaint(500, "defect", "a defect of nodecache"))

    def _say(self, encoded: Encoded) -> None:
        self.respond_with(self._head(encoded))

    def _head(self, encoded: Encoded) -> bytes:
        named = {
            **encoded.headers,
            "Nodecache-Peer": self.site.me,
            "Nodecache-Wire": WIRE_VERSION,
        }
        if self._signed is not None:
            named["Nodecache-Proof"] = signing.prove(
                *self._signed, encoded.status, named, encoded.body
            )
        self.setResponseCode(encoded.status)
        for name, value in named.items():
            self.setHeader(name, value)
        if encoded.body is None:
            return b""
        self.setHeader("Content-Length", str(len(encoded.body)))
        return encoded.body

    def _send(self, lent: Lent) -> None:
        self._lent = lent
        try:
            self._head(encode_answer(lent.answer))
            self._sender = self.site.sender(self, lent)
        except BaseException:
            lent.loan.close()
            raise
        self.site.active_bodies.add(self._sender)
        self._sender.start()

    def write_parts(self, parts: list[bytes]) -> None:
        # Chunked by hand: Twisted's own would copy the bytes once more.
        if self.chunked and self.channel is not None:
            size = sum(map(len, parts))
            self.sentLength += size
            self.channel.write(b"".join((b"%x\r\n" % size, *parts, b"\r\n")))
        else:
            self.write(b"".join(parts))

    # The end.

    def body_ended(self, outcome: Outcome, reason: str) -> None:
        sender = self._sender
        if sender is None:
            return
        self.site.active_bodies.discard(sender)
        self._whole = outcome is Outcome.COMPLETE and not sender.failure
        if not self._whole:
            self.exchange.failed(_ENDINGS[outcome], reason)

    def cut(self, reason: str) -> None:
        if self._sender in self.site.active_bodies:
            assert self._sender is not None
            self._sender.abort(reason)
        else:
            super().cut(reason)

    def connectionLost(self, reason: Any) -> None:
        self._forget_body()
        super().connectionLost(reason)

    def over(self, *, complete: bool) -> None:
        if not complete and self._work is not None:
            self._work.cancel()
        if self._lent is not None:
            self._lent.leave.finish(complete=complete and self._whole)
        if self._sender is not None and self._sender.sent:
            self._tell_bytes(self._sender.sent)
        now = self.site.clock.seconds()
        self.site.observe(self.exchange.answered(self.code, self.sentLength, now))

    def _tell_bytes(self, sent: int) -> None:
        role = "owner" if self.exchange.mode == "may-fetch" else "holder"
        peer = self.exchange.peer
        self.site.observe(PeerBytes(peer=peer, direction="out", role=role, bytes=sent))

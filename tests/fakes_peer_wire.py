"""A connection to a lying peer: just as much of HTTP as the project's own client sends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from typing import Protocol as Shape

from twisted.internet.protocol import Protocol

from nodecache.peerwire import signing
from nodecache.peerwire.frames import Kind, head
from tests.fakes_peer_lies import Plan, frames_of


class Answerer(Shape):
    """Who the connection belongs to."""

    reactor: Any
    connections: set[Connection]

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Plan: ...

    def said(self, raw: bytes) -> None: ...


class Connection(Protocol):
    """One request after the other."""

    def __init__(self, peer: Answerer) -> None:
        self._peer = peer
        self._buffer = bytearray()
        self._busy = False
        self._calls: list[Any] = []

    @property
    def _wire(self) -> Any:
        return self.transport

    def connectionMade(self) -> None:
        self._peer.connections.add(self)

    def connectionLost(self, reason: object = None) -> None:
        self._peer.connections.discard(self)
        for call in self._calls:
            if call.active():
                call.cancel()

    def abort(self) -> None:
        self._wire.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        self._buffer += data
        self._next()

    def _next(self) -> None:
        top, blank, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        if self._busy or not blank:
            return
        lines = top.decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines[1:])
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        size = int(headers.get("content-length", 0))
        if len(rest) < size:
            return
        self._buffer[:] = rest[size:]
        self._busy = True
        method, target, _ = lines[0].split(" ")
        plan = self._peer.answer(method, target, headers, rest[:size])
        signature = signing.signature_of(headers.get("nodecache-signature", "")) or ""
        self._close = headers.get("connection", "").lower() == "close"
        if plan.hold is not None:
            plan.hold.wait().addCallback(lambda _: self._send(plan, signature, method))
        else:
            self._send(plan, signature, method)

    def _send(self, plan: Plan, signature: str, method: str) -> None:
        if plan.silent:
            return
        if plan.headers_for_ever:
            self._wire.write(b"HTTP/1.1 200 OK\r\n")
            self._for_ever(b"X-Padding: " + b"x" * 8000 + b"\r\n", 0.001)
            return
        if plan.raw is not None:
            self._write(plan.raw)
            self._wire.loseConnection()
            return
        raw = self._head(plan, signature) + (b"" if method == "HEAD" else _body_of(plan))
        self._peer.said(raw)
        self._send_raw(plan, raw)

    def _head(self, plan: Plan, signature: str) -> bytes:
        named = {**plan.headers, "Nodecache-Peer": plan.node, "Nodecache-Wire": plan.wire}
        if plan.proof:
            named["Nodecache-Proof"] = signing.prove(
                plan.secret, signature, plan.status, named, plan.body
            )
        if plan.body is None:
            named["Transfer-Encoding"] = "chunked"
        else:
            named["Content-Length"] = str(len(plan.body))
        lines = [f"HTTP/1.1 {plan.status} As-It-Is"]
        lines += [f"{name}: {value}" for name, value in named.items()]
        return "\r\n".join(lines).encode() + b"\r\n\r\n"

    def _send_raw(self, plan: Plan, raw: bytes) -> None:
        if plan.cut_at is not None:
            self._write(raw[: plan.cut_at])
            self._wire.loseConnection()
        elif plan.stall_at is not None:
            self._write(raw[: plan.stall_at])
        elif plan.alive:
            self._for_ever(_chunk(head(Kind.ALIVE, 0)), 0.02)
            self._write(raw.partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
        elif plan.drip is not None:
            self._drip(raw, plan.drip)
        else:
            self._write(raw)
            self._done()

    def _drip(self, raw: bytes, seconds: float) -> None:
        self._write(raw[:65536])
        if len(raw) > 65536:
            self._later(seconds, lambda: self._drip(raw[65536:], seconds))
        else:
            self._done()

    def _done(self) -> None:
        self._busy = False
        if self._close:
            self._wire.loseConnection()
        else:
            self._next()

    def _for_ever(self, piece: bytes, seconds: float) -> None:
        def again() -> None:
            self._write(piece)
            self._later(seconds, again)

        self._later(seconds, again)

    def _later(self, seconds: float, call: Callable[[], object]) -> None:
        self._calls = [each for each in self._calls if each.active()]
        self._calls.append(self._peer.reactor.callLater(seconds, call))

    def _write(self, raw: bytes) -> None:
        if raw:
            self._wire.write(raw)


def _chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def _body_of(plan: Plan) -> bytes:
    if plan.body is not None:
        return plan.body
    return b"".join(map(_chunk, frames_of(plan))) + b"0\r\n\r\n"

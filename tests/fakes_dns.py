"""A small name server for tests, over UDP and TCP, that does as it is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import attrs
from twisted.internet.defer import DeferredList, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import DatagramProtocol, Factory
from twisted.names import dns
from twisted.protocols.basic import Int16StringReceiver

KINDS = {dns.A: "A", dns.AAAA: "AAAA"}
#: Records of a kind are looked for under both; what none is set for is NXDOMAIN.
CODES = {"FORMERR": 1, "SERVFAIL": 2, "NXDOMAIN": 3, "REFUSED": 5}


@attrs.frozen
class Says:
    """``code`` with ``addresses``; over UDP cut off where they do not fit, or if ``cut``.

    ``how``: silent, garbage, another-number, another-name, short, or after ``delay`` seconds.
    """

    addresses: tuple[str, ...] = ()
    code: str = "NOERROR"
    how: str = ""
    cut: bool = False
    delay: float = 0.0


SILENT = Says(how="silent")
NXDOMAIN = Says(code="NXDOMAIN")
SERVFAIL = Says(code="SERVFAIL")
EMPTY = Says()


def has(*addresses: str, **how: Any) -> Says:
    return Says(addresses, **how)


class FakeDns:
    """``zone`` maps (name, A or AAAA) to what is said; ``asked`` is what was, with the transport.

    ``tcp``: whether it listens there as well; ``over_tcp`` is what is said there instead.
    """

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor
        self.zone: dict[tuple[str, str], Says] = {}
        self.over_tcp: dict[tuple[str, str], Says] = {}
        self.asked: list[tuple[str, str, str]] = []
        self._ports: list[Any] = []
        self._timers: list[Any] = []

    def start(self, *, host: str = "127.0.0.1", port: int = 0, tcp: bool = True) -> int:
        """The port, the same for both. Another one is tried where one is taken."""
        while True:
            udp = self.reactor.listenUDP(port, _Datagrams(self), interface=host)
            number: int = udp.getHost().port
            self._ports.append(udp)
            if not tcp:
                return number
            factory: Any = Factory.forProtocol(_Stream)
            factory.server = self
            try:
                self._ports.append(self.reactor.listenTCP(number, factory, interface=host))
            except CannotListenError:
                continue
            return number

    def stop(self) -> Any:
        for timer in self._timers:
            if timer.active():
                timer.cancel()
        return DeferredList([maybeDeferred(port.stopListening) for port in self._ports])

    def peers(self, name: str, a: Sequence[str] = (), aaaa: Sequence[str] = ()) -> None:
        self.zone[name, "A"] = has(*a)
        self.zone[name, "AAAA"] = has(*aaaa)

    def names(self, kind: str = "A") -> list[str]:
        """Names that were asked over UDP for ``kind``."""
        return [name for name, asked, over in self.asked if asked == kind and over == "udp"]

    def answer(self, raw: bytes, over: str, send: Callable[[bytes], None]) -> None:
        query = dns.Message()
        query.fromStr(raw)
        name = query.queries[0].name.name.decode()
        kind = KINDS[query.queries[0].type]
        self.asked.append((name, kind, over))
        says = self.zone.get((name, kind), NXDOMAIN)
        if over == "tcp":
            says = self.over_tcp.get((name, kind), attrs.evolve(says, cut=False))
        if says.how == "silent":
            return
        reply = encode(query, says, over)
        if says.delay:
            self._timers.append(self.reactor.callLater(says.delay, send, reply))
        else:
            send(reply)


def encode(query: Any, says: Says, over: str) -> bytes:
    if says.how == "garbage":
        return b"\xff\x00 no DNS at all " * 3
    number = query.id ^ 1 if says.how == "another-number" else query.id
    most = 512 if over == "udp" else 0
    reply = dns.Message(number, answer=1, maxSize=most, rCode=CODES.get(says.code, 0))
    reply.queries = query.queries
    if says.how == "another-name":
        reply.queries = [dns.Query("elsewhere.example", query.queries[0].type)]
    name = query.queries[0].name.name
    for address in says.addresses:
        record = dns.Record_AAAA(address) if ":" in address else dns.Record_A(address)
        reply.answers.append(dns.RRHeader(name, record.TYPE, dns.IN, 5, record))
    raw: bytes = reply.toStr()
    if says.cut:
        raw = raw[:2] + bytes([raw[2] | 2]) + raw[3:]
    return raw[:-3] if says.how == "short" else raw


class _Datagrams(DatagramProtocol):
    def __init__(self, server: FakeDns) -> None:
        self.server = server

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        def send(reply: bytes) -> None:
            if self.transport is not None:
                self.transport.write(reply, addr)

        self.server.answer(datagram, "udp", send)


class _Stream(Int16StringReceiver):
    def stringReceived(self, string: bytes) -> None:
        server = cast(Any, self.factory).server
        server.answer(string, "tcp", self.sendString)

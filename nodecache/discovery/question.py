"""One question to one name server: over UDP, and over TCP when the answer was cut off.

Twisted's own client for DNS is not used: its questions can not be cancelled,
one over TCP waits for ever when the connection is lost, and it refuses
answers with more than 1,000 compressed names, which a headless service of more
than 1,000 nodes has. Its messages are used, with that limit raised.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Coroutine
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import CannotListenError, ConnectError
from twisted.internet.protocol import DatagramProtocol, Factory, connectionDone
from twisted.names import dns
from twisted.protocols.basic import Int16StringReceiver
from twisted.python.failure import Failure as Reason

from nodecache.upstream.waits import TimedOut, bounded

#: The types of record that name addresses.
TYPES: Final = {"A": dns.A, "AAAA": dns.AAAA}
_MOST_UDP: Final = 65_535
_CODES: Final = {1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}


class NoAnswer(Exception):
    """The name server did not answer, or said that it can not. ``reason`` is a few words."""

    def __init__(self, reason: str, *, silent: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.silent = silent


@attrs.frozen
class Answer:
    """``addresses`` as text; none where there is no such name, or none of the type.

    ``exists``: there is such a name. ``partial``: the answer was cut off, and
    the rest was not to be had.
    """

    addresses: tuple[str, ...] = ()
    exists: bool = True
    partial: bool = False


@attrs.frozen
class Question:
    """``kind`` is A or AAAA; ``number`` is random, and unique among those under way."""

    name: str
    kind: str
    number: int

    def encode(self) -> bytes:
        message = dns.Message(self.number, recDes=1)
        message.addQuery(self.name, TYPES[self.kind])
        return message.toStr()

    def decode(self, raw: bytes) -> _Message | None:
        """None where ``raw`` is no answer to this question."""
        message = _Message()
        try:
            message.fromStr(raw)
            asked = [(query.name.name.lower(), query.type) for query in message.queries]
        except Exception:  # whatever a parser may raise of bytes from anywhere
            return None
        mine = (self.name.lower().encode(), TYPES[self.kind])
        if message.id != self.number or not message.answer or asked != [mine]:
            return None
        if not message.trunc and len(message.answers) != int.from_bytes(raw[6:8], "big"):
            return None  # it ends before its end
        return message


class _Message(dns.Message):
    #: As many as fit into 64 KiB: each is two bytes of the message.
    maxCompressionPointers = 32 * 1024


async def ask(
    reactor: Any, server: tuple[str, int], question: Question, patience: float, deadline: float
) -> Answer:
    """Raises NoAnswer. Cancelling it leaves nothing open.

    ``patience`` is seconds for an answer over UDP, ``deadline`` the time on the
    reactor's clock by which one over TCP must be in.
    """
    message = await _within(reactor, _over_udp(reactor, server, question), patience)
    if not message.trunc:
        return _read(message, question)
    left = deadline - reactor.seconds()
    try:
        whole = await _within(reactor, _over_tcp(reactor, server, question), left)
    except NoAnswer:
        cut_off = _read(message, question)
        if cut_off.addresses:
            return attrs.evolve(cut_off, partial=True)
        raise
    return attrs.evolve(_read(whole, question), partial=bool(whole.trunc))


def _read(message: _Message, question: Question) -> Answer:
    if message.rCode == dns.ENAME:
        return Answer(exists=False)
    if message.rCode != dns.OK:
        raise NoAnswer(_CODES.get(message.rCode, f"code {message.rCode}"))
    wanted = TYPES[question.kind]
    payloads: list[Any] = [
        r.payload for r in message.answers if (r.type, r.cls) == (wanted, dns.IN)
    ]
    found = (ipaddress.ip_address(payload.address) for payload in payloads)
    usable = (each for each in found if not each.is_unspecified and not each.is_multicast)
    return Answer(tuple(dict.fromkeys(map(str, usable))))


async def _within(reactor: Any, asking: Coroutine[Any, Any, _Message], seconds: float) -> _Message:
    try:
        return await bounded(reactor, Deferred.fromCoroutine(asking), seconds)
    except TimedOut:
        raise NoAnswer("no answer in time", silent=True) from None


async def _over_udp(reactor: Any, server: tuple[str, int], question: Question) -> _Message:
    datagram = _Datagram(server, question)
    family = "::" if ":" in server[0] else ""
    try:
        port = reactor.listenUDP(0, datagram, interface=family, maxPacketSize=_MOST_UDP)
    except CannotListenError as error:
        raise NoAnswer(f"no socket: {error.socketError}") from None
    try:
        return await datagram.outcome
    finally:
        port.stopListening()


async def _over_tcp(reactor: Any, server: tuple[str, int], question: Question) -> _Message:
    make = TCP6ClientEndpoint if ":" in server[0] else TCP4ClientEndpoint
    try:
        stream: Any = await make(reactor, *server).connect(Factory.forProtocol(_Stream))
    except ConnectError as error:
        raise NoAnswer(f"no connection: {error}") from None
    try:
        message: _Message = await stream.ask(question)
    finally:
        stream.transport.abortConnection()
    return message


class _Datagram(DatagramProtocol):
    """Sends one question from a port of its own, and takes the first answer to it."""

    noisy = False

    def __init__(self, server: tuple[str, int], question: Question) -> None:
        self._server = server
        self._question = question
        self.outcome: Deferred[_Message] = Deferred()

    def startProtocol(self) -> None:
        transport: Any = self.transport
        try:
            # Connected, so that a refusal is told, and nobody else can answer.
            transport.connect(*self._server)
            transport.write(self._question.encode())
        except OSError as error:
            self._failed(f"out of reach: {error.strerror}")

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        del addr  # the socket is connected
        message = self._question.decode(datagram)
        if message is not None and not self.outcome.called:
            self.outcome.callback(message)

    def connectionRefused(self) -> None:
        self._failed("refused")

    def stopProtocol(self) -> None:
        # The reactor closes the socket itself where it is told of a refusal as of an error.
        self._failed("refused")

    def _failed(self, reason: str) -> None:
        if not self.outcome.called:
            self.outcome.errback(NoAnswer(reason))


class _Stream(Int16StringReceiver):
    """The same over a connection."""

    def ask(self, question: Question) -> Deferred[_Message]:
        self._question = question
        self._outcome: Deferred[_Message] = Deferred()
        self.sendString(question.encode())  # type: ignore[no-untyped-call]  # Twisted's has none
        return self._outcome

    def stringReceived(self, string: bytes) -> None:
        message = self._question.decode(string)
        if message is not None and not self._outcome.called:
            self._outcome.callback(message)

    def connectionLost(self, reason: Reason = connectionDone) -> None:
        del reason
        if not self._outcome.called:
            self._outcome.errback(NoAnswer("connection lost"))

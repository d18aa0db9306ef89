"""What is answered on each path of the peer port."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import attrs
from twisted.internet.interfaces import IReactorTime

from nodecache.limits import Timeouts
from nodecache.membership import Address
from nodecache.peerwire.answers import Absent, Elsewhere, Fetching, ManifestAnswer
from nodecache.peerwire.codec import (
    BLOB,
    HELLO,
    MANIFEST,
    STATUS,
    SUSPECT,
    WARM,
    Encoded,
    WireFault,
    decode_blob,
    decode_hello,
    decode_manifest,
    decode_suspect,
    encode_answer,
    encode_document,
    encode_hello,
    encode_object,
)
from nodecache.peerwire.fields import words
from nodecache.peerwire.hello import Hello
from nodecache.peerwire.questions import ManifestQuestion, Mode
from nodecache.reference import Tag
from nodecache.results import PeerRegistry
from nodecache.seams import Observe
from nodecache.web.peer_exchange import PeerExchange
from nodecache.web.peer_lending import SOON, Lending
from nodecache.web.peer_ports import Lent, Members, Question, Status
from nodecache.web.peer_searches import Searches
from nodecache.web.peer_warm import Warm, answer_wish

#: Seconds. When to look again at a node that is stopping.
LATER: Final = 1.0

_READING: Final = frozenset({"GET", "HEAD"})
_ALLOWED: Final = {
    BLOB: _READING,
    MANIFEST: _READING,
    STATUS: frozenset({"GET"}),
    HELLO: frozenset({"POST"}),
    SUSPECT: frozenset({"POST"}),
    WARM: frozenset({"POST"}),
}


def named(path: str) -> str:
    """The name of a path in events."""
    return path.rpartition("/")[2] if path in _ALLOWED else "other"


def complaint(status: int, word: str, text: str) -> Encoded:
    """What is said of a request that is no question."""
    return Encoded(status, {"Nodecache-Answer": word, "Nodecache-Message": words(text)})


class Desk:
    """``answer`` is the whole of it."""

    def __init__(
        self,
        registry: PeerRegistry,
        lending: Lending,
        members: Members,
        status: Status,
        warm: Warm | None,
        clock: IReactorTime,
        observe: Observe,
        timeouts: Timeouts,
    ) -> None:
        self._registry = registry
        self._lending = lending
        self._members = members
        self._status = status
        self._warm = warm
        self._clock = clock
        self._patience = timeouts.peer_patience
        self._manifests = Searches[ManifestAnswer](
            clock, observe, timeouts.peer_silence, lambda _answer: None
        )
        self._routes: dict[str, Callable[[Question, PeerExchange], Awaitable[Encoded | Lent]]] = {
            BLOB: self._blob,
            MANIFEST: self._manifest,
            HELLO: self._hello,
            SUSPECT: self._suspect,
            STATUS: self._tell_status,
            WARM: self._fetch_image,
        }

    @property
    def searching(self) -> int:
        """Searches that go on, or whose finds nobody has come for yet."""
        return len(self._manifests) + self._lending.searching

    async def answer(self, question: Question, exchange: PeerExchange) -> Encoded | Lent:
        """What to say, or what to send. Raises nothing that a peer could cause."""
        route = self._routes.get(question.path)
        if route is None:
            exchange.failed("wrong", "nothing is at this path")
            return complaint(404, "nothing", "nothing is here")
        if question.method not in _ALLOWED[question.path]:
            exchange.failed("wrong", "another method belongs to this path")
            return complaint(405, "method", "this path wants another method")
        try:
            return await route(question, exchange)
        except WireFault as fault:
            exchange.failed("wrong", str(fault))
            return complaint(400, "unclear", str(fault))

    def stop(self) -> None:
        self._manifests.stop()
        self._lending.stop()

    # Questions.

    async def _blob(self, question: Question, exchange: PeerExchange) -> Encoded | Lent:
        asked = decode_blob(question.target, question.range)
        exchange.mode = asked.mode.value
        if question.method == "HEAD":
            has = await self._lending.has(asked)
            exchange.answers(has)
            return attrs.evolve(encode_answer(has), body=b"")
        found = await self._lending.lend(asked, question.asker)
        exchange.answers(found.answer if isinstance(found, Lent) else found)
        return found if isinstance(found, Lent) else encode_answer(found)

    async def _manifest(self, question: Question, exchange: PeerExchange) -> Encoded:
        asked = decode_manifest(question.method, question.target)
        exchange.mode = asked.mode.value
        exchange.what = "tag" if isinstance(asked.reference, Tag) else "manifest"
        if self._lending.leaving and asked.mode is Mode.MAY_FETCH:
            answer: ManifestAnswer = Elsewhere(LATER, leaving=True)
        else:
            answer = await self._find_manifest(asked, question.asker)
        if isinstance(answer, Absent) and _may_introduce(asked):
            answer = self._lending.introduced(f"manifest/{asked.key}", asked.key, question.asker)
        exchange.answers(answer)
        return encode_answer(answer)

    async def _find_manifest(self, asked: ManifestQuestion, asker: str) -> ManifestAnswer:
        found = await self._manifests.find(
            (asker, attrs.evolve(asked, seconds=0.0)),
            lambda: self._registry.peer_manifest(asked, asker),
            min(self._patience, asked.seconds),
        )
        if found is None and asked.mode is Mode.MAY_FETCH:
            return Fetching(SOON)
        return Elsewhere(SOON) if found is None else found

    async def _hello(self, question: Question, exchange: PeerExchange) -> Encoded:
        hello = decode_hello(question.body)
        if hello.id != question.asker:
            raise WireFault("a hello of another node than signed it")
        now = self._clock.seconds()
        address = _where(hello, question.host)
        if address is not None:
            self._members.greeted(address, hello, now)
        exchange.outcome = "hit"
        return encode_document("hello", encode_hello(self._members.hello(now)))

    async def _suspect(self, question: Question, exchange: PeerExchange) -> Encoded:
        digest, sums = decode_suspect(question.body)
        await self._registry.peer_suspect(digest, sums, question.asker)
        exchange.outcome = "hit"
        return encode_document("suspect")

    async def _tell_status(self, _: Question, exchange: PeerExchange) -> Encoded:
        exchange.outcome = "hit"
        return encode_document("status", encode_object(self._status()))

    async def _fetch_image(self, question: Question, exchange: PeerExchange) -> Encoded:
        if self._warm is None:
            exchange.failed("denied", "this node fetches nothing on a wish")
            return complaint(404, "nothing", "this node fetches nothing on a wish")
        answer = answer_wish(self._warm, question.body, question.asker)
        exchange.outcome = "hit"
        return answer


def _may_introduce(asked: ManifestQuestion) -> bool:
    """Whether it is one of a herd's, and not of one who looks for what is left anywhere."""
    herd = asked.youth is not None or not isinstance(asked.reference, Tag)
    return asked.mode is Mode.ONLY_IF_HAVE and herd and not asked.as_owner


def _where(hello: Hello, host: str) -> Address | None:
    """The sender's address, as it says: of several, the one it came from."""
    same = (address for address in hello.addresses if address.host == host)
    return next(same, next(iter(hello.addresses), None))

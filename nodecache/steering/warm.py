"""``warm``: images fetched before anybody asks for them, on this node and on all others."""

from __future__ import annotations

import functools
import secrets
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, Protocol

import attrs
from twisted.internet.defer import Deferred, DeferredSemaphore, FirstError, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from nodecache.failures import (
    BadRequest,
    Failure,
    PeerFailure,
)
from nodecache.limits import Limits
from nodecache.membership import Peer
from nodecache.peerwire.wishes import MOST_PLATFORMS, Fulfilment, Stage, Wish
from nodecache.reference import Repository
from nodecache.reference.images import Image, parse_image
from nodecache.steering.telling import Telling
from nodecache.steering.verbs import Document, Refused, Tell, Verb
from nodecache.warming import (
    Asked,
    Plan,
    TooBig,
    Warming,
    check_platform,
    refuse_too_big,
)

#: Seconds between two questions to a peer, and how many of them may fail in a row.
_POLL: Final = 1.0
_PATIENCE: Final = 5

_PLATFORMS: Final = "'nodecache show IMAGE' shows which ones an image has."

Permit = Callable[[str, str], Repository]


class Wishing(Protocol):
    """The other nodes, as far as they are wished something."""

    async def warm(self, peer: Peer, wish: Wish) -> Fulfilment:
        """Raises PeerFailure."""
        ...


@attrs.frozen
class WarmPorts:
    """What warming by order works with. ``cap`` is in bytes; ``peers`` None: there are none.

    ``away`` are ids of nodes that are not asked now, and why, in words.
    """

    warming: Warming
    clock: IReactorTime
    limits: Limits
    known: Callable[[], Sequence[str]]
    permit: Permit
    platform: Callable[[], str]
    cap: Callable[[], int]
    peers: Wishing | None
    live: Callable[[], tuple[Peer, ...]]
    away: Callable[[], Sequence[tuple[str, str]]] = tuple


@attrs.frozen
class Chosen:
    """Platforms, as an order names them; none means those of the node itself."""

    platforms: tuple[str, ...]
    every: bool

    @classmethod
    def of(cls, document: Document) -> Chosen:
        """Raises Refused."""
        platforms = document.texts("platforms")
        if len(platforms) > MOST_PLATFORMS:
            raise Refused(f"at most {MOST_PLATFORMS} platforms can be named")
        try:
            for each in platforms:
                check_platform(each)
        except ValueError as error:
            raise Refused(f"--platform: {error}", _PLATFORMS) from None
        return cls(platforms, document.flag("every"))

    def asked(self, image: Image, own: str) -> Asked:
        return Asked(image.repository, image.reference, self.platforms or (own,), self.every)


class WarmingByOrder:
    """The verb ``warm``: ``images`` by name, ``platforms`` or ``every`` one, ``all_nodes``.

    Told are ``image`` (its ``state`` is planned, done or failed), ``progress`` of
    a blob, and ``node`` for what another node does.
    """

    def __init__(self, ports: WarmPorts) -> None:
        self._ports = ports
        self._own = DeferredSemaphore(ports.limits.warm_images)
        self._others = DeferredSemaphore(ports.limits.warm_peers)

    def verb(self) -> Verb:
        return Verb("warm", self.run)

    async def run(self, given: dict[str, Any], tell: Tell) -> dict[str, Any]:
        """Raises Refused before anything is fetched; failures of images are told of."""
        document = Document(given)
        chosen = Chosen.of(document)
        names = list(dict.fromkeys(document.texts("images")))
        if not names:
            raise Refused("no image is named")
        job = Telling(self._ports.clock, tell)
        own = [(name, self._image(name, job)) for name in names]
        plans = await self._planned([(n, i) for n, i in own if i is not None], chosen, job)
        self._refuse_too_big([plan for _, plan in plans])
        await _all(
            [functools.partial(self._own.run, self._fetch_one, job, *each) for each in plans]
            + (self._everywhere(own, chosen, job) if document.flag("all_nodes") else [])
        )
        return job.summary([plan for _, plan in plans])

    def _image(self, name: str, job: Telling) -> Image | None:
        try:
            image = parse_image(name, self._ports.known())
            self._ports.permit(image.repository.name, image.repository.namespace)
        except (BadRequest, Failure) as failure:
            job.failed(name, failure)
            return None
        return image

    async def _planned(
        self, images: Sequence[tuple[str, Image]], chosen: Chosen, job: Telling
    ) -> list[tuple[str, Plan]]:
        plans: dict[str, Plan] = {}

        async def plan(name: str, image: Image) -> None:
            try:
                plans[name] = await self._ports.warming.plan(
                    chosen.asked(image, self._ports.platform())
                )
            except Failure as failure:
                job.failed(name, failure)

        await _all([functools.partial(self._own.run, _begun, plan, *each) for each in images])
        found = [(name, plans[name]) for name, _ in images if name in plans]
        for name, each in found:
            job.planned(name, each, self._ports.warming.missing(each))
        return found

    def _refuse_too_big(self, plans: Sequence[Plan]) -> None:
        try:
            refuse_too_big(plans, self._ports.cap())
        except TooBig as too_big:
            raise Refused(
                str(too_big), "Nothing was fetched. Raise max_size, or pull fewer images."
            ) from None

    def _fetch_one(self, job: Telling, name: str, plan: Plan) -> Deferred[None]:
        return Deferred.fromCoroutine(self._fetch(job, name, plan))

    async def _fetch(self, job: Telling, name: str, plan: Plan) -> None:
        try:
            fetched = await self._ports.warming.fetch(plan, job.progress(name))
        except Failure as failure:
            job.failed(name, failure)
        else:
            job.done(name, plan, fetched)

    # The other nodes.

    def _everywhere(
        self, images: Sequence[tuple[str, Image | None]], chosen: Chosen, job: Telling
    ) -> list[Callable[[], Deferred[None]]]:
        peers = self._ports.live()
        job.nodes = len(peers)
        wanted = [(name, image) for name, image in images if image is not None]
        for peer_id, why in self._ports.away():
            for name, _ in wanted:
                job.of_node(peer_id, name, Fulfilment(Stage.FAILED, words=f"not told: {why}"))
        return [
            functools.partial(self._others.run, _begun, self._tell_peer, peer, wanted, chosen, job)
            for peer in peers
        ]

    async def _tell_peer(
        self, peer: Peer, images: Sequence[tuple[str, Image]], chosen: Chosen, job: Telling
    ) -> None:
        for name, image in images:
            wish = Wish(
                image.repository,
                image.reference,
                chosen.platforms,
                chosen.every,
                secrets.token_hex(8),
            )
            job.of_node(peer.id, name, await self._fulfilled(peer, name, wish, job))

    async def _fulfilled(self, peer: Peer, name: str, wish: Wish, job: Telling) -> Fulfilment:
        """Ask until it is over; a peer that is not reached several times in a row has failed."""
        assert self._ports.peers is not None
        failures = 0
        while True:
            try:
                fulfilment = await self._ports.peers.warm(peer, wish)
            except PeerFailure as failure:
                failures += 1
                if failures == _PATIENCE:
                    return Fulfilment(Stage.FAILED, words=str(failure))
            else:
                failures = 0
                if fulfilment.over:
                    return fulfilment
                job.of_node(peer.id, name, fulfilment)
            await deferLater(self._ports.clock, _POLL)


def _begun(work: Callable[..., Coroutine[Any, Any, None]], *given: Any) -> Deferred[None]:
    return Deferred.fromCoroutine(work(*given))


async def _all(work: Sequence[Callable[[], Deferred[None]]]) -> None:
    """All at a time, as far as they let each other; cancelled together."""
    running = [each() for each in work]
    # The last first, when it is cancelled: else one that ends would let the next begin.
    try:
        await gatherResults(running[::-1], consumeErrors=True)
    except FirstError as first:
        first.subFailure.raiseException()

"""What peers wish this node to fetch: taken up within bounds, and told of when asked again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, TypeAlias

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure as Raised

from nodecache.events import WishFinished
from nodecache.failures import Failure, NameDenied, UnknownNamespace
from nodecache.peerwire.wishes import Fulfilment, Stage, Wish
from nodecache.reference import Digest, Repository
from nodecache.seams import Observe
from nodecache.warming.plan import NothingFits, TooBig, refuse_too_big
from nodecache.warming.warming import Asked, Warming

#: Wishes whose outcome is remembered; the oldest go first.
_MOST: Final = 256

#: Who wishes, and what.
_Key: TypeAlias = tuple[str, Wish]

_REFUSALS: Final = (NameDenied, UnknownNamespace, NothingFits, TooBig)


class Wishes:
    """At most ``most`` at a time; ``stop`` is owed.

    ``permit`` raises NameDenied or UnknownNamespace by this node's rules; ``platform`` and
    ``cap`` (bytes) are this node's own, ``offline`` whether it is.
    """

    def __init__(
        self,
        warming: Warming,
        most: int,
        *,
        permit: Callable[[Repository], object],
        platform: Callable[[], str],
        cap: Callable[[], int],
        offline: Callable[[], bool],
        clock: IReactorTime,
        observe: Observe,
    ) -> None:
        self._warming = warming
        self._most = most
        self._permit = permit
        self._platform = platform
        self._cap = cap
        self._offline = offline
        self._clock = clock
        self._observe = observe
        self._known: OrderedDict[_Key, Fulfilment] = OrderedDict()
        self._running: dict[_Key, Deferred[None]] = {}
        self._stopping = False

    def wish(self, wish: Wish, asker: str) -> Fulfilment:
        """Begin it, unless it is under way or over; how far it is. Raises nothing."""
        key = asker, wish
        known = self._known.get(key)
        if known is not None:
            return known
        refusal = self._refusal(wish)
        if refusal:
            refused = Fulfilment(Stage.REFUSED, words=refusal)
            self._tell(key, refused, self._clock.seconds())
            return refused
        if len(self._running) >= self._most or self._stopping:
            return Fulfilment(Stage.BUSY)
        self._note(key, Fulfilment(Stage.FETCHING))
        running = self._running[key] = Deferred.fromCoroutine(self._fetch(key))
        running.addBoth(self._ended, key, self._clock.seconds())
        return self._known[key]

    def _refusal(self, wish: Wish) -> str:
        if self._offline():
            return "this node is offline"
        try:
            self._permit(wish.repository)
        except Failure as failure:
            return str(failure)
        return ""

    async def _fetch(self, key: _Key) -> None:
        wish = key[1]
        platforms = wish.platforms or (self._platform(),)
        plan = await self._warming.plan(
            Asked(wish.repository, wish.reference, platforms, wish.every)
        )
        refuse_too_big([plan], self._cap())
        total = plan.bytes
        present = dict.fromkeys(self._warming.missing(plan), 0)
        there = total - sum(plan.blobs[digest] for digest in present)

        def progress(digest: Digest, offset: int, _total: int) -> None:
            present[digest] = offset
            self._note(key, Fulfilment(Stage.FETCHING, there + sum(present.values()), total))

        self._note(key, Fulfilment(Stage.FETCHING, there, total))
        await self._warming.fetch(plan, progress)
        self._note(key, Fulfilment(Stage.DONE, total, total))

    def _ended(self, result: object, key: _Key, began: float) -> None:
        self._running.pop(key, None)
        if isinstance(result, Raised):
            known = self._known.get(key, Fulfilment(Stage.FETCHING))
            raised = result.value
            stage = Stage.REFUSED if isinstance(raised, _REFUSALS) else Stage.FAILED
            words = "this node is stopping" if result.check(CancelledError) else str(raised)
            self._note(key, attrs.evolve(known, stage=stage, words=words))
        self._tell(key, self._known[key], began)

    def _tell(self, key: _Key, fulfilment: Fulfilment, began: float) -> None:
        asker, wish = key
        mark = "@" if isinstance(wish.reference, Digest) else ":"
        self._observe(
            WishFinished(
                peer=asker,
                image=f"{wish.repository}{mark}{wish.reference}",
                outcome=fulfilment.stage.value,
                bytes=fulfilment.total,
                seconds=self._clock.seconds() - began,
                reason=fulfilment.words,
            )
        )

    def _note(self, key: _Key, fulfilment: Fulfilment) -> None:
        self._known[key] = fulfilment
        self._known.move_to_end(key)
        if len(self._known) > _MOST:
            over = (each for each in self._known if each not in self._running)
            del self._known[next(over)]

    def stop(self) -> None:
        """End the waiting; fills that were begun end with the node."""
        self._stopping = True
        for running in list(self._running.values()):
            running.cancel()

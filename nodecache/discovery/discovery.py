"""Keeps the membership fed: resolves the name of the peers, and greets them.

Theory of operation. Two loops that know nothing of each other::

    resolve   every Timeouts.peer_resolve, with jitter; sooner while nothing was found yet
    greet     twice a second, and when poked: whoever the membership says is due

What both learn goes into the membership, and what comes of it (``PeersSeen``)
is told when it has changed. A bad answer of DNS changes nothing, and is told
once, until its reason changes or a good one comes.

Both run on timers. One that comes late tells of a process that stood still,
and the membership is told, so that nobody is blamed for what was missed.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure as Reason

from nodecache.discovery.greetings import Greet, Greetings
from nodecache.discovery.lookup import Found, Lookup, NotResolved, Resolver
from nodecache.discovery.resolvconf import ResolvConfFile
from nodecache.events import DiscoveryFailed, DiscoveryWorks, PeersChanged, PeersSeen
from nodecache.limits import Timeouts
from nodecache.membership import Address, Membership, PeerTarget, View
from nodecache.seams import Observe
from nodecache.upstream.waits import LATE, TimedOut, bounded

#: Seconds between two looks at who is due.
TICK: Final = 0.5
#: Part of an interval by which it is shorter or longer, so that nodes do not ask together.
JITTER: Final = 0.2
#: Where the resolver's settings are in every container.
RESOLV_CONF: Final = "/etc/resolv.conf"
#: Seconds after a lookup's own time at which it is given up.
_GRACE: Final = 1.0

ResolverFactory = Callable[[Any, Timeouts, random.Random], Resolver]


def by_resolv_conf(reactor: Any, timeouts: Timeouts, rng: random.Random) -> Resolver:
    """The resolver of the pod."""
    return Lookup(reactor, ResolvConfFile(RESOLV_CONF), timeouts.peer_lookup, rng)


class Discovery:
    """Runs from ``start`` to ``stop``. ``first`` fires once, see ``ready``.

    ``greet`` raises PeerFailure. ``rng`` is for jitter and for the numbers of
    questions.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        target: PeerTarget,
        membership: Membership,
        greet: Greet,
        observe: Observe,
        timeouts: Timeouts,
        rng: random.Random,
        resolver_factory: ResolverFactory = by_resolv_conf,
    ) -> None:
        self._reactor = reactor
        self._target = target
        self._membership = membership
        self._observe = observe
        self._timeouts = timeouts
        self._rng = rng
        self._resolver = resolver_factory(reactor, timeouts, rng)
        bound = timeouts.peer_silence + 2 * timeouts.peer_connect
        self._greetings = Greetings(reactor, membership, greet, bound, self._look)
        self.first: Deferred[None] = Deferred()
        self._waiting: list[Deferred[None]] = []
        self._timers: dict[str, Any] = {}
        self._running: list[Deferred[Any]] = []
        self._failing: str | None = None
        self._misses = 0
        self._seen: View | None = None
        self._counts = (0, 0)

    def start(self) -> None:
        self._after("first", self._timeouts.peer_first, self._begun)
        self._begin(self._first())
        self._tick()

    def stop(self) -> None:
        """End all that is under way; whoever waits for the beginning waits no more."""
        for timer in self._timers.values():
            if timer.active():
                timer.cancel()
        self._timers.clear()
        self._greetings.stop()
        for running in tuple(self._running):
            running.cancel()
        self._begun()

    def poke(self) -> None:
        """Something has failed: look now who is to be greeted."""
        self._greetings.send()

    # The beginning

    async def ready(self) -> None:
        """Returns when the first answers of DNS and the first greetings are in.

        At the latest after ``Timeouts.peer_first``.
        """
        if not self.first.called:
            waiter: Deferred[None] = Deferred(self._waiting.remove)
            self._waiting.append(waiter)
            await waiter

    async def _first(self) -> None:
        await self._resolve()
        await self._greetings.idle()
        self._begun()

    def _begun(self) -> None:
        if not self.first.called:
            self.first.callback(None)
            waiting, self._waiting = self._waiting, []
            for each in waiting:
                each.callback(None)

    # DNS

    async def _resolve(self) -> None:
        name = self._target.name
        if name is None:
            self._membership.resolved(self._target.addresses, self._reactor.seconds())
            self._greet_and_look()
            return
        try:
            found = await self._lookup(name)
        except NotResolved as problem:
            self._unresolved(str(problem))
        else:
            self._resolved(found)
        self._again()

    async def _lookup(self, name: str) -> Found:
        looking = Deferred.fromCoroutine(self._resolver.lookup(name))
        try:
            return await bounded(self._reactor, looking, self._timeouts.peer_lookup + _GRACE)
        except TimedOut:
            raise NotResolved("no answer in time") from None
        except (CancelledError, NotResolved):
            raise
        except Exception as error:
            self.log.failure("a lookup failed in a way that nothing foresaw")
            raise NotResolved(f"unforeseen: {type(error).__name__}") from None

    def _resolved(self, found: Found) -> None:
        if self._failing is not None:
            self._failing = None
            self._observe(DiscoveryWorks(target=str(self._target)))
        self._misses = 0
        places = [Address(host, self._target.port) for host in found.hosts]
        self._membership.resolved(places, self._reactor.seconds(), partial=found.partial)
        self._greet_and_look()
        self._tell()

    def _unresolved(self, reason: str) -> None:
        self._misses += 1
        self._membership.unresolved(self._reactor.seconds())
        self._tell()  # the view is older now
        if reason != self._failing:
            self._failing = reason
            self._observe(DiscoveryFailed(target=str(self._target), reason=reason))

    def _again(self) -> None:
        interval = self._timeouts.peer_resolve
        if self._misses and self._membership.census(self._reactor.seconds()).known == 0:
            interval = min(interval, 2.0 ** min(self._misses - 1, 10))
        self._after("resolve", self._jittered(interval), lambda: self._begin(self._resolve()))

    # Greetings

    def _tick(self) -> None:
        self._greet_and_look()
        self._after("tick", self._jittered(TICK), self._tick)

    def _greet_and_look(self) -> None:
        self._greetings.send()
        self._look()

    def _look(self) -> None:
        """Tell of the view if it is another one."""
        view = self._membership.view(self._reactor.seconds())
        if view is not self._seen:
            changed = view != self._seen
            self._seen = view
            if changed:
                self._tell()

    def _tell(self) -> None:
        census = self._membership.census(self._reactor.seconds())
        if (census.known, census.live) != self._counts:
            self._counts = (census.known, census.live)
            self._observe(PeersChanged(known=census.known, live=census.live))
        self._observe(
            PeersSeen(
                known=census.known,
                live=census.live,
                addresses=census.addresses,
                age_seconds=round(census.resolved_age, 3),
            )
        )

    # Timers, and what runs

    def _jittered(self, seconds: float) -> float:
        return seconds * self._rng.uniform(1 - JITTER, 1 + JITTER)

    def _after(self, name: str, seconds: float, then: Callable[[], None]) -> None:
        due = self._reactor.seconds() + seconds

        def fire() -> None:
            now = self._reactor.seconds()
            if now - due > LATE:
                self._membership.thawed(now, now - due)
            then()

        self._timers[name] = self._reactor.callLater(seconds, fire)

    def _begin(self, work: Any) -> None:
        running = Deferred.fromCoroutine(work)
        self._running.append(running)
        running.addErrback(self._unforeseen)
        running.addBoth(lambda _: self._running.remove(running))

    def _unforeseen(self, reason: Reason) -> None:
        if not reason.check(CancelledError):
            self.log.failure("discovery failed in a way that nothing foresaw", reason)

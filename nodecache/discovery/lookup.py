"""From a name to all addresses behind it, as A and AAAA, by the pod's resolver settings."""

from __future__ import annotations

import random
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, Final, Protocol, TypeVar

import attrs
from twisted.internet.defer import Deferred

from nodecache.discovery.question import TYPES, Answer, NoAnswer, Question, ask
from nodecache.discovery.resolvconf import ResolvConf

T = TypeVar("T")

#: Seconds until a question that was not answered is sent to the next name server.
TRY: Final = 1.0
DNS_PORT: Final = 53


class NotResolved(Exception):
    """Nothing was found; the message says why, the same for the same trouble."""


@attrs.frozen
class Found:
    """``hosts`` are IP addresses. ``partial``: there may be more, which were not to be had."""

    hosts: tuple[str, ...]
    partial: bool = False


class Resolver(Protocol):
    async def lookup(self, name: str) -> Found:
        """Raises NotResolved. Can be cancelled."""
        ...


class Settings(Protocol):
    def settings(self) -> ResolvConf: ...


@attrs.frozen
class _Outcome:
    """What became of one name: the answers of both families, or why there is none."""

    name: str
    answers: tuple[Answer | NoAnswer, ...]

    @property
    def hosts(self) -> tuple[str, ...]:
        given = (each for each in self.answers if isinstance(each, Answer))
        return tuple(host for answer in given for host in answer.addresses)

    @property
    def trouble(self) -> tuple[str, ...]:
        return tuple(each.reason for each in self.answers if isinstance(each, NoAnswer))

    @property
    def absent(self) -> bool:
        """There is no address of that name, for sure."""
        return not self.hosts and not self.trouble

    def found(self) -> Found:
        cut = any(isinstance(each, Answer) and each.partial for each in self.answers)
        return Found(self.hosts, partial=cut or bool(self.trouble))

    def why_not(self) -> str:
        if self.trouble:
            return f"{self.name}: {', '.join(sorted(set(self.trouble)))}"
        exists = any(isinstance(each, Answer) and each.exists for each in self.answers)
        return f"{self.name}: {'no address' if exists else 'NXDOMAIN'}"


class Lookup:
    """Asks for each name that the search list makes of one; the first that has addresses counts.

    They are asked together, so that a name server that is slow or silent about
    one does not take the time of the others. The name that was found is asked
    alone from then on, for as long as it exists.
    """

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        seconds: float,
        rng: random.Random,
        port: int = DNS_PORT,
    ) -> None:
        self._reactor = reactor
        self._settings = settings
        self._seconds = seconds
        self._rng = rng
        self._port = port
        self._proven: str | None = None

    async def lookup(self, name: str) -> Found:
        settings = self._settings.settings()
        names = settings.candidates(name)
        deadline: float = self._reactor.seconds() + self._seconds
        known: dict[str, _Outcome] = {}
        if self._proven in names:
            outcome = known[self._proven] = await self._both(self._proven, settings, deadline)
            if not outcome.absent:
                return self._judged([outcome])
        rest = [each for each in names if each not in known]
        asked = await _together(self._both(each, settings, deadline) for each in rest)
        known.update(zip(rest, asked, strict=True))
        return self._judged([known[each] for each in names])

    def _judged(self, outcomes: Sequence[_Outcome]) -> Found:
        unsure = False
        for outcome in outcomes:
            if outcome.hosts:
                if not unsure:
                    self._proven = outcome.name
                return outcome.found()
            unsure = unsure or bool(outcome.trouble)
        raise NotResolved("; ".join(outcome.why_not() for outcome in outcomes))

    async def _both(self, name: str, settings: ResolvConf, deadline: float) -> _Outcome:
        asking = (self._one(name, kind, settings.servers, deadline) for kind in TYPES)
        return _Outcome(name, tuple(await _together(asking)))

    async def _one(
        self, name: str, kind: str, servers: Sequence[str], deadline: float
    ) -> Answer | NoAnswer:
        """Each server in turn; those that were silent are given the rest of the time."""
        waiting = list(servers)
        problem = NoAnswer("no answer in time", silent=True)
        for first in (True, False):
            silent = []
            for position, server in enumerate(waiting):
                left = deadline - self._reactor.seconds()
                patience = min(TRY, left) if first else left / (len(waiting) - position)
                question = Question(name, kind, self._rng.randrange(1 << 16))
                try:
                    return await ask(
                        self._reactor, (server, self._port), question, patience, deadline
                    )
                except NoAnswer as error:
                    problem = error
                    silent += [server] if error.silent else []
            waiting = silent
        return problem


async def _together(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """All results, in order. Whichever way it ends, none of it goes on."""
    running = [Deferred.fromCoroutine(each) for each in work]
    try:
        return [await each for each in running]
    finally:
        for each in running:
            each.cancel()
            each.addErrback(lambda _: None)

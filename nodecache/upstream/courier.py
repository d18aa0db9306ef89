"""Sends one request of an operation, and keeps the books: health, events, whom to blame.

An operation (a manifest, say) tries the origins of an upstream in order; an
``Attempt`` is one origin's turn, with its share of the operation's deadline.
Its requests may lead to other hosts: a token server, a CDN. Each of them is an
origin to ``Health`` of its own, so that a CDN that is down is found out once
as well, and does not keep manifests from being asked for.

Whom a timeout is blamed on: the host that was being asked, if it was silent
for half of the attempt's time or more; else the attempt's own origin, which
must have taken the rest. Nobody, if the operation began with little time, or
if this process was frozen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import attrs
from twisted.internet.defer import CancelledError

from nodecache.deadline import Deadline
from nodecache.events import Event, UpstreamAnswered, UpstreamBytes, UpstreamFailed, UpstreamHealth
from nodecache.failures import UpstreamFailure, UpstreamKind
from nodecache.health import Down, Health
from nodecache.limits import Timeouts
from nodecache.seams import Observe, WallClock
from nodecache.upstream.body import BodyStream, discard, least_in
from nodecache.upstream.guard import Guard
from nodecache.upstream.urls import host_of, origin_of
from nodecache.upstream.waits import TimedOut
from nodecache.upstream.wire import Reply, Wire


@attrs.frozen
class Attempt:
    """One origin's turn. Times are on the reactor's clock.

    ``lenient``: ask even an origin that is known to be down (a body in the
    middle of which it went away is taken up again under its own rules).
    ``fair``: there was enough time to blame somebody.
    """

    origin: str
    guard: Guard
    began: float
    deadline: Deadline
    lenient: bool = False
    fair: bool = True


@attrs.frozen
class Letter:
    """``leg`` is a name of ``UpstreamAnswered``; ``trusted`` as in ``Dial.route``."""

    leg: str
    method: str
    url: str
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    trusted: bool = True


class Courier:
    """``probes`` says where an origin that is down is to be probed, and for whom.

    ``clock`` is an IReactorTime; ``went_down`` is called when an origin did.
    """

    def __init__(
        self,
        namespace: str,
        wire: Wire,
        health: Health,
        clock: Any,
        wall: WallClock,
        observe: Observe,
        timeouts: Timeouts,
    ) -> None:
        self.namespace = namespace
        self.clock = clock
        self.wall = wall
        self.observe = observe
        self.health = health
        self.timeouts = timeouts
        self.probes: dict[str, tuple[Letter, Guard]] = {}
        self.closed: str | None = None
        self.went_down: Callable[[], None] = lambda: None
        self._wire = wire

    def now(self) -> float:
        return float(self.clock.seconds())

    def down(self, origin: str) -> UpstreamFailure | None:
        """What a request to ``origin`` would fail with now, unasked."""
        if self.closed is not None:
            return UpstreamFailure(UpstreamKind.DOWN, self.closed)
        state = self.health.state(origin, self.now())
        if not isinstance(state, Down):
            return None
        return UpstreamFailure(
            UpstreamKind.DOWN,
            f"{host_of(origin)} is down ({state.reason})",
            retry_after=state.probe_in(self.now()),
        )

    async def send(self, letter: Letter, attempt: Attempt) -> Reply:
        """The answer, whatever its status. Raises UpstreamFailure."""
        if (down := self.down(origin_of(letter.url))) is not None and (
            self.closed is not None or not attempt.lenient
        ):
            raise down
        began = self.now()
        try:
            reply = await self._wire.send(
                letter.method,
                letter.url,
                letter.headers,
                attempt.guard,
                trusted=letter.trusted,
                seconds=attempt.deadline.remaining(began),
            )
        except CancelledError:
            raise
        except TimedOut as timed_out:
            raise self.timed_out(letter, attempt, began, timed_out) from None
        except UpstreamFailure as failure:
            target = origin_of(letter.url)
            self._note(target, failure.kind, failure.message, began, letter, attempt)
            raise self.failed(letter, failure.kind, failure.message, began) from failure
        self._answered(letter, attempt, reply, began)
        return reply

    def _answered(self, letter: Letter, attempt: Attempt, reply: Reply, began: float) -> None:
        now, origin = self.now(), origin_of(letter.url)
        self.tell(
            UpstreamAnswered(
                namespace=self.namespace,
                leg=letter.leg,
                method=letter.method,
                host=host_of(letter.url),
                status=reply.status,
                seconds=now - began,
            )
        )
        if reply.status >= 500:
            words = f"answers {reply.status}"
            self._note(origin, UpstreamKind.ERROR, words, began, letter, attempt)
        elif self.health.succeeded(origin, now):
            self.came_back(origin, "it answers again")

    def timed_out(
        self,
        letter: Letter,
        attempt: Attempt,
        began: float,
        timed_out: TimedOut,
        words: str = "no answer in time",
    ) -> UpstreamFailure:
        """Blame somebody for a request that ``began`` and did not end, and tell of it."""
        now, target = self.now(), origin_of(letter.url)
        if attempt.fair and not timed_out.late:
            share = attempt.deadline.at - attempt.began
            guilty, since = (target, began) if now - began >= share / 2 else (attempt.origin, now)
            self._note(guilty, UpstreamKind.TIMEOUT, words, since, letter, attempt)
        return self.failed(letter, UpstreamKind.TIMEOUT, words, began)

    def _note(  # the origin, what it did, and the request that it did it to
        self,
        origin: str,
        kind: UpstreamKind,
        reason: str,
        began: float,
        letter: Letter,
        attempt: Attempt,
    ) -> None:
        if self.closed is not None:
            return
        if self.health.failed(origin, self.now(), kind, reason, began=began):
            if origin_of(letter.url) == origin:
                self.probes.setdefault(origin, (_probe(letter), attempt.guard))
            self.tell(UpstreamHealth(origin=origin, up=False, reason=reason))
            self.went_down()

    def came_back(self, origin: str, reason: str) -> None:
        self.tell(UpstreamHealth(origin=origin, up=True, reason=reason))

    def failed(
        self, letter: Letter, kind: UpstreamKind, words: str, began: float | None = None
    ) -> UpstreamFailure:
        """Tell of a request that failed, and make the failure of it."""
        now = self.now()
        host = host_of(letter.url)
        self.tell(
            UpstreamFailed(
                namespace=self.namespace,
                leg=letter.leg,
                method=letter.method,
                host=host,
                kind=kind.value,
                reason=words,
                seconds=0.0 if began is None else now - began,
            )
        )
        return UpstreamFailure(kind, f"{host}: {words}")

    def tell(self, event: Event) -> None:
        self.observe(event)

    def stream(self, leg: str, reply: Reply) -> BodyStream:
        """The body of ``reply``; its bytes are told of when it ends."""

        def ended(received: int) -> None:
            self.tell(UpstreamBytes(namespace=self.namespace, leg=leg, bytes=received))

        silence = self.timeouts.silence
        return BodyStream(self.clock, reply, silence, ended, least=least_in(silence))

    def discard(self, reply: Reply) -> None:
        discard(self.clock, reply)

    async def close(self, why: str) -> None:
        """All that is under way fails, and nothing more is sent."""
        self.closed = why
        await self._wire.close()


def _probe(letter: Letter) -> Letter:
    """Any answer will do. A link's signature is left out; a realm's path is asked as it is."""
    parts = urlsplit(letter.url)
    path = parts.path if letter.leg == "token" else "/"
    url = f"{parts.scheme}://{parts.netloc}{path}"
    return Letter("probe", "GET", url, trusted=letter.trusted)

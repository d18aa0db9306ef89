"""An operation on an upstream: its origins in turn, its deadline, and who is limited.

Mirrors come first, in their order, and each gets an equal share of the time
that is left; one that is known to be down is passed over. The upstream's own
URL is last and has the last word: a mirror's 404 says only that the mirror
lacks it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import attrs

from nodecache.deadline import Deadline
from nodecache.events import RateLimitSeen
from nodecache.failures import UpstreamFailure, UpstreamKind
from nodecache.upstream.courier import Attempt, Courier
from nodecache.upstream.origin import Ask, Origin
from nodecache.upstream.rates import parse_rates
from nodecache.upstream.statuses import refusal
from nodecache.upstream.wire import Reply

T = TypeVar("T")

Turn = Callable[[Origin, Attempt], Awaitable[T]]


class Turns:
    """``origins`` in the order in which they are asked; the last is the upstream itself."""

    def __init__(self, courier: Courier, origins: Sequence[Origin]) -> None:
        self.courier = courier
        self.origins = tuple(origins)

    def down(self) -> UpstreamFailure | None:
        """Why no origin may be asked now; None when one of them may."""
        failure = None
        for origin in self.origins:
            failure = self.courier.down(origin.key)
            if failure is None:
                return None
        return failure

    async def take(
        self,
        turn: Turn[T],
        deadline: Deadline | None = None,
        *,
        first: Origin | None = None,
        lenient: bool = False,
    ) -> T:
        """The first success of ``turn``. Raises UpstreamFailure, that of the last origin.

        ``deadline`` is ``Timeouts.upstream_answer`` from now where none is given;
        ``first`` is asked before the others; ``lenient`` as in Attempt.
        """
        courier, now = self.courier, self.courier.now()
        deadline = deadline or Deadline(now + courier.timeouts.upstream_answer)
        fair = deadline.remaining(now) >= courier.timeouts.answer / 4
        failures: dict[Origin, UpstreamFailure] = {}
        left = [*([first] if first else []), *(one for one in self.origins if one is not first)]
        while left:
            left = [one for one in left if not self._is_out(one, failures, lenient=lenient)]
            if not left:
                break
            origin, now = left.pop(0), courier.now()
            share = deadline.share(now, len(left) + 1)
            attempt = Attempt(origin.key, origin.guard, now, share, lenient, fair)
            try:
                return await turn(origin, attempt)
            except UpstreamFailure as failure:
                failures[origin] = failure
        raise failures[self.origins[-1]]

    def _is_out(
        self, origin: Origin, failures: dict[Origin, UpstreamFailure], *, lenient: bool
    ) -> bool:
        down = self.courier.down(origin.key)
        if down is None or (lenient and self.courier.closed is None):
            return False
        failures[origin] = down
        return True

    async def ask(self, origin: Origin, ask: Ask, attempt: Attempt) -> Reply:
        """The answer, of any status; refused unasked while a 429 holds. Raises UpstreamFailure."""
        self._check_limit(origin, ask)
        reply = await origin.ask(ask, attempt)
        self._note_rates(origin, ask, reply)
        if reply.status < 400:
            self.courier.health.unlimited(_limit_key(origin, ask))
        return reply

    def refused(self, origin: Origin, ask: Ask, reply: Reply, what: str) -> UpstreamFailure:
        """The failure that an answer's status is; its body is dropped."""
        self.courier.discard(reply)
        failure = refusal(reply, what, self.courier.wall())
        if failure.kind is UpstreamKind.LIMITED:
            now = self.courier.now()
            key = _limit_key(origin, ask)
            until = self.courier.health.limited(key, now, retry_after=failure.retry_after)
            failure.retry_after = until - now
        return failure

    def _check_limit(self, origin: Origin, ask: Ask) -> None:
        now = self.courier.now()
        until = self.courier.health.limited_until(_limit_key(origin, ask), now)
        if until is not None:
            words = f"{origin.key}: its rate limit holds for {until - now:.0f} s more"
            raise UpstreamFailure(UpstreamKind.LIMITED, words, retry_after=until - now)

    def _note_rates(self, origin: Origin, ask: Ask, reply: Reply) -> None:
        """Of the upstream itself: a mirror's limits are another matter."""
        if ask.leg != "manifest" or origin is not self.origins[-1]:
            return
        rates = parse_rates(reply.header, self.courier.wall())
        if rates is not None:
            namespace = self.courier.namespace
            self.courier.tell(RateLimitSeen(namespace=namespace, **attrs.asdict(rates)))


def _limit_key(origin: Origin, ask: Ask) -> tuple[str, str, str, str]:
    """A 429 of a manifest's GET says nothing of a HEAD, and nothing of blobs."""
    return origin.key, origin.account_of(ask.name), ask.leg, ask.method

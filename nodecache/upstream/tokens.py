"""Bearer tokens: one for each realm, service, scope and account, shared by all who need it.

Concurrent requests of a repository wait for one token request, each on its
own Deferred; one that leaves does not end it for the others. A token counts as
good until ``Timeouts.token_margin`` before it expires (half its life, for
short ones), and is renewed by whoever asks next; while its renewal fails it
serves until it does expire.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from nodecache.challenge import Token
from nodecache.events import Coalesced
from nodecache.failures import UpstreamFailure, UpstreamKind
from nodecache.seams import Observe
from nodecache.upstream.account import Credentials

#: Tokens that are kept; those unused longest go first.
MOST = 1024


@attrs.frozen
class TokenKey:
    """``account`` is the label of its credentials; empty for none."""

    realm: str
    service: str | None
    scope: str
    account: str


@attrs.frozen
class Want:
    """A token that is wanted, and with what to ask for it."""

    key: TokenKey
    credentials: Credentials | None


@attrs.define
class _Kept:
    token: Token  # expires_at on the reactor's clock
    renew_at: float


#: Asks the token server; its token expires on the reactor's clock. Raises UpstreamFailure.
Fetch = Callable[[Want], Awaitable[Token]]


class Tokens:
    """``clock`` is an IReactorTime."""

    def __init__(self, clock: Any, observe: Observe, margin: float) -> None:
        self._clock = clock
        self._observe = observe
        self._margin = margin
        self._kept: OrderedDict[TokenKey, _Kept] = OrderedDict()
        self._fetching: dict[TokenKey, _Fetching] = {}

    async def get(self, want: Want, fetch: Fetch) -> str:
        """The token's value. Raises what ``fetch`` raises."""
        kept = self._kept.get(want.key)
        now = self._clock.seconds()
        if kept is not None and now < kept.renew_at:
            self._kept.move_to_end(want.key)
            return kept.token.value
        try:
            token = await self._join(want, fetch)
        except UpstreamFailure:
            if kept is None or self._clock.seconds() >= kept.token.expires_at:
                raise
            token = kept.token
        return token.value

    def refuse(self, key: TokenKey, value: str) -> None:
        """Upstream would not have this one: the next ``get`` asks for another."""
        kept = self._kept.get(key)
        if kept is not None and kept.token.value == value:
            del self._kept[key]

    def _join(self, want: Want, fetch: Fetch) -> Deferred[Token]:
        fetching = self._fetching.get(want.key)
        if fetching is None:
            fetching = self._fetching[want.key] = _Fetching()
            waiter = fetching.wait()
            fetching.begin(self._fetch(want, fetch))
            return waiter
        self._observe(Coalesced(kind="token"))
        return fetching.wait()

    async def _fetch(self, want: Want, fetch: Fetch) -> Token:
        try:
            token = await fetch(want)
            now = self._clock.seconds()
            margin = min(self._margin, (token.expires_at - now) / 2)
            self._kept[want.key] = _Kept(token, token.expires_at - margin)
            while len(self._kept) > MOST:
                self._kept.popitem(last=False)
            return token
        finally:
            del self._fetching[want.key]

    def close(self) -> None:
        for fetching in list(self._fetching.values()):
            fetching.cancel()


class _Fetching:
    """One token request and those who wait for it."""

    def __init__(self) -> None:
        self._waiters: list[Deferred[Token]] = []
        self._running: Deferred[Token] | None = None

    def wait(self) -> Deferred[Token]:
        waiter: Deferred[Token] = Deferred(self._waiters.remove)
        self._waiters.append(waiter)
        return waiter

    def begin(self, fetch: Any) -> None:
        self._running = Deferred.fromCoroutine(fetch)
        self._running.addBoth(self._ended)

    def _ended(self, result: Token | Failure) -> None:
        if isinstance(result, Failure) and isinstance(result.value, CancelledError):
            result = Failure(UpstreamFailure(UpstreamKind.DOWN, "this node is stopping"))
        for waiter in tuple(self._waiters):
            if not waiter.called:  # one waiter's end may cancel another
                waiter.callback(result)  # a Failure makes it fail

    def cancel(self) -> None:
        if self._running is not None:
            self._running.cancel()

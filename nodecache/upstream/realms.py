"""Token servers: which of them an upstream may name, and how one is asked.

An account's password goes to a token server, so a realm is checked before it
is dialled (``realm_allowed``), and its redirects are not followed.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any
from urllib.parse import urlencode, urlsplit

from twisted.internet.defer import Deferred

from nodecache.challenge import Token, parse_token, realm_allowed
from nodecache.deadline import Deadline
from nodecache.events import TokenFetched
from nodecache.failures import UpstreamFailure, UpstreamKind
from nodecache.upstream.body import read_whole
from nodecache.upstream.courier import Attempt, Courier, Letter
from nodecache.upstream.guard import Guard
from nodecache.upstream.statuses import refusal
from nodecache.upstream.tokens import TokenKey, Want
from nodecache.upstream.urls import host_of, port_of
from nodecache.upstream.waits import TimedOut, bounded
from nodecache.upstream.wire import Reply


class Realms:
    """The token servers of one base URL. ``most`` is the size of an answer, in bytes."""

    def __init__(self, base: str, hosts: tuple[str, ...], courier: Courier, most: int) -> None:
        self._base = base
        self._hosts = frozenset(host.lower() for host in hosts)
        self._courier = courier
        self._most = most

    def check(self, realm: str) -> None:
        """Raises UpstreamFailure(WRONG) for a realm that this upstream has no business to name."""
        if not realm_allowed(realm, self._base, self._hosts):
            words = f"it names a token server that is not allowed: {host_of(realm)[:128]}"
            raise self._courier.failed(
                Letter("token", "GET", self._base), UpstreamKind.WRONG, words
            )

    async def in_time(
        self, getting: Coroutine[Any, Any, str], key: TokenKey, attempt: Attempt
    ) -> str:
        """A shared token request has time of its own; each attempt waits for it as it can."""
        courier = self._courier
        began = courier.now()
        left = attempt.deadline.remaining(began)
        try:
            return await bounded(courier.clock, Deferred.fromCoroutine(getting), left)
        except TimedOut:
            letter = Letter("token", "GET", key.realm)
            raise courier.failed(letter, UpstreamKind.TIMEOUT, "no token in time", began) from None

    async def fetch(self, want: Want, origin: str, guard: Guard) -> Token:
        """A new token; it expires on the reactor's clock. Raises UpstreamFailure."""
        courier = self._courier
        began = courier.now()
        attempt = Attempt(origin, guard, began, Deadline(began + courier.timeouts.upstream_answer))
        headers = {"Accept": "application/json"}
        if want.credentials is not None and want.credentials.basic is not None:
            headers["Authorization"] = want.credentials.basic
        url = token_url(want)
        letter = Letter("token", "GET", url, headers, self._is_configured(url))
        reply = await courier.send(letter, attempt)
        if reply.status != 200:
            courier.discard(reply)
            raise refusal(reply, "a token", courier.wall())
        body = await self._read(letter, reply, attempt)
        try:
            return self._parse(want, body)
        except ValueError as error:
            raise courier.failed(letter, UpstreamKind.WRONG, str(error), began) from error

    async def _read(self, letter: Letter, reply: Reply, attempt: Attempt) -> bytes:
        courier = self._courier
        began = courier.now()
        try:
            return await read_whole(
                courier.clock,
                courier.stream("token", reply),
                reply.header("Content-Encoding"),
                self._most,
                attempt.deadline.remaining(began),
            )
        except TimedOut as timed_out:
            words = "its answer has no end in time"
            raise courier.timed_out(letter, attempt, began, timed_out, words) from None
        except UpstreamFailure as failure:
            raise courier.failed(letter, failure.kind, failure.message, began) from failure

    def _parse(self, want: Want, body: bytes) -> Token:
        courier = self._courier
        received_at = courier.wall()
        token = parse_token(body, received_at)
        life = token.expires_at - received_at
        courier.tell(
            TokenFetched(
                namespace=courier.namespace,
                host=host_of(want.key.realm),
                scope=want.key.scope,
                life_seconds=life,
            )
        )
        return Token(token.value, courier.now() + life)

    def _is_configured(self, url: str) -> bool:
        """Whether an administrator named the host, who may have it anywhere."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        named = f"[{host}]" if ":" in host else host
        listed = {host, named, f"{named}:{port_of(parts)}"}
        return host == host_of(self._base) or not self._hosts.isdisjoint(listed)


def token_url(want: Want) -> str:
    """The realm with the query of the token protocol; a query of its own is kept."""
    query: list[tuple[str, str]] = []
    if want.key.service is not None:
        query.append(("service", want.key.service))
    query += [("scope", scope) for scope in want.key.scope.split()]
    if want.credentials is not None and want.credentials.user is not None:
        query.append(("account", want.credentials.user))
    parts = urlsplit(want.key.realm)
    added = urlencode(query, safe="/:")
    return parts._replace(query="&".join(filter(None, (parts.query, added))), fragment="").geturl()

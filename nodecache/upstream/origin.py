"""One base URL of an upstream, asked as a registry client asks it.

Login first: the token that this origin is known to want is sent at once; a
401 is answered by one new token and one more try, whatever it was that the
first try lacked. Then redirects, by hand: the login stays behind at the first
step to another origin and never comes back.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

import attrs

from nodecache.challenge import (
    BasicChallenge,
    BearerChallenge,
    Challenge,
    Token,
    parse_challenges,
    pull_scope,
)
from nodecache.failures import UpstreamFailure, UpstreamKind
from nodecache.limits import Limits
from nodecache.upstream.account import AccountFile, Credentials
from nodecache.upstream.courier import Attempt, Courier, Letter
from nodecache.upstream.guard import Guard
from nodecache.upstream.realms import Realms
from nodecache.upstream.redirects import REDIRECTS, headers_for, next_url
from nodecache.upstream.tokens import TokenKey, Tokens, Want
from nodecache.upstream.urls import host_of, origin_of
from nodecache.upstream.wire import Reply


@attrs.frozen
class Ask:
    """``path`` is what stands behind ``/v2/<name>/``, with its query."""

    leg: str
    method: str
    name: str
    path: str
    headers: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen
class _Login:
    """A value for Authorization; ``key`` says which token it is, if it is one of a token server."""

    value: str = attrs.field(repr=False)
    token: str = attrs.field(default="", repr=False)
    key: TokenKey | None = None


class Origin:
    """``account`` None: anonymous. ``key`` is the origin's name to Health.

    A path in ``url`` stands before every repository name, as mirrors that
    hold several registries want it.
    """

    def __init__(
        self,
        url: str,
        courier: Courier,
        tokens: Tokens,
        limits: Limits,
        *,
        account: AccountFile | None = None,
        realm_hosts: tuple[str, ...] = (),
    ) -> None:
        parts = urlsplit(url)
        self.key = origin_of(url)
        self.guard = Guard(self.key)
        self._base = f"{parts.scheme}://{parts.netloc}"
        path = parts.path.strip("/")
        self._prefix = f"{path}/" if path else ""
        self._courier = courier
        self._tokens = tokens
        self._limits = limits
        self._account = account
        self._realms = Realms(self._base, realm_hosts, courier, limits.token_bytes)
        self._wanted: Challenge | None = None
        courier.probes[self.key] = Letter("probe", "GET", f"{self._base}/v2/"), self.guard

    def account_of(self, name: str) -> str:
        """The label of the account that is used for ``name``; empty for none."""
        credentials = self._credentials(name)
        return credentials.label if credentials else ""

    def _credentials(self, name: str) -> Credentials | None:
        return self._account.credentials_for(name) if self._account else None

    async def ask(self, ask: Ask, attempt: Attempt) -> Reply:
        """The last answer, of any status but a redirect's. Raises UpstreamFailure.

        DENIED: it wants a login that we do not have, or refuses ours. WRONG: a
        redirect or a token server that is refused.
        """
        url = f"{self._base}/v2/{self._prefix}{ask.name}/{ask.path}"
        reply, headers = await self._authorised(ask, url, attempt)
        return await self._follow(ask, reply, headers, attempt)

    async def ask_link(self, ask: Ask, link: str, attempt: Attempt) -> Reply:
        """The same of a link that an earlier redirect of this origin led to."""
        headers = _headers(ask, None)
        trusted = origin_of(link) == self.key
        reply = await self._courier.send(Letter("cdn", ask.method, link, headers, trusted), attempt)
        return await self._follow(ask, reply, headers, attempt)

    # Login

    async def _authorised(
        self, ask: Ask, url: str, attempt: Attempt
    ) -> tuple[Reply, dict[str, str]]:
        """The answer, and the headers that were asked with."""
        credentials = self._credentials(ask.name)
        login = await self._login(self._wanted, ask.name, credentials, attempt)
        headers = _headers(ask, login)
        reply = await self._courier.send(Letter(ask.leg, ask.method, url, headers), attempt)
        if reply.status != 401:
            return reply, headers
        self._courier.discard(reply)
        if login is not None and login.key is not None:
            self._tokens.refuse(login.key, login.token)
        challenge = _challenge(reply)
        again = await self._login(challenge, ask.name, credentials, attempt)
        if again is None or again == login:
            raise _denied(url, "it wants a login")
        headers = _headers(ask, again)
        reply = await self._courier.send(Letter(ask.leg, ask.method, url, headers), attempt)
        if reply.status == 401:
            self._courier.discard(reply)
            raise _denied(url, "it refuses a fresh login")
        self._wanted = _without_scope(challenge)
        return reply, headers

    async def _login(
        self,
        challenge: Challenge | None,
        name: str,
        credentials: Credentials | None,
        attempt: Attempt,
    ) -> _Login | None:
        if credentials is not None and credentials.bearer is not None:
            return _Login(credentials.bearer)
        if isinstance(challenge, BearerChallenge):
            return await self._token(challenge, name, credentials, attempt)
        if isinstance(challenge, BasicChallenge) and credentials and credentials.basic:
            return _Login(credentials.basic)
        return None

    async def _token(
        self,
        challenge: BearerChallenge,
        name: str,
        credentials: Credentials | None,
        attempt: Attempt,
    ) -> _Login:
        self._realms.check(challenge.realm)
        scope = pull_scope(self._prefix + name)
        if credentials is None and challenge.scope:
            scope = challenge.scope  # an account's token is for the listed repository alone
        label = credentials.label if credentials else ""
        key = TokenKey(challenge.realm, challenge.service, scope, label)
        value = await self._realms.in_time(
            self._tokens.get(Want(key, credentials), self._fetch_token), key, attempt
        )
        return _Login(f"Bearer {value}", value, key)

    async def _fetch_token(self, want: Want) -> Token:
        return await self._realms.fetch(want, self.key, self.guard)

    # Redirects

    async def _follow(
        self, ask: Ask, reply: Reply, headers: dict[str, str], attempt: Attempt
    ) -> Reply:
        been = {reply.url}
        while reply.status in REDIRECTS:
            self._courier.discard(reply)
            target = self._next(ask, reply, been)
            been.add(target)
            headers = headers_for(reply.url, target, headers)
            trusted = origin_of(target) == self.key
            letter = Letter("cdn", ask.method, target, headers, trusted)
            reply = await self._courier.send(letter, attempt)
        return reply

    def _next(self, ask: Ask, reply: Reply, been: set[str]) -> str:
        words = "its redirects have no end"
        try:
            target = next_url(reply.url, reply.header("Location"))
            if target not in been and len(been) <= self._limits.redirects:
                return target
        except UpstreamFailure as failure:
            words = failure.message
        letter = Letter("cdn", ask.method, reply.url)
        raise self._courier.failed(letter, UpstreamKind.WRONG, words)


def _headers(ask: Ask, login: _Login | None) -> dict[str, str]:
    headers = dict(ask.headers)
    if login is not None:
        headers["Authorization"] = login.value
    return headers


def _challenge(reply: Reply) -> Challenge | None:
    """The one to answer: tokens before passwords."""
    challenges = parse_challenges(reply.headers("WWW-Authenticate"))
    bearer = [one for one in challenges if isinstance(one, BearerChallenge)]
    return next(iter(bearer or challenges), None)


def _without_scope(challenge: Challenge | None) -> Challenge | None:
    """What to expect of the origin's other repositories."""
    if isinstance(challenge, BearerChallenge):
        return attrs.evolve(challenge, scope=None)
    return challenge


def _denied(url: str, words: str) -> UpstreamFailure:
    return UpstreamFailure(UpstreamKind.DENIED, f"{host_of(url)}: {words}", status=401)

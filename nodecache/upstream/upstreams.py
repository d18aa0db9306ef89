"""Puts the upstreams together from their settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nodecache.config import UpstreamSettings
from nodecache.failures import UnknownNamespace
from nodecache.health import Health
from nodecache.limits import Limits, Timeouts
from nodecache.seams import Observe, WallClock
from nodecache.upstream.account import AccountFile
from nodecache.upstream.courier import Courier
from nodecache.upstream.dial import Dial
from nodecache.upstream.origin import Origin
from nodecache.upstream.probe import Prober
from nodecache.upstream.proxy import Proxies
from nodecache.upstream.registry import Upstream
from nodecache.upstream.tokens import Tokens
from nodecache.upstream.trust import Trust
from nodecache.upstream.turns import Turns
from nodecache.upstream.wire import Wire


class Upstreams:
    """The closed list of upstreams, by namespace. Owns their connections and timers.

    ``environ`` is where the proxy variables are read from; ``offline`` as in
    ``set_offline``. Raises ConfigError for a CA file or a proxy that cannot be used.
    """

    def __init__(
        self,
        settings: Sequence[UpstreamSettings],
        reactor: Any,
        wall: WallClock,
        observe: Observe,
        limits: Limits,
        timeouts: Timeouts,
        environ: Mapping[str, str],
        *,
        offline: bool = False,
    ) -> None:
        self._all: dict[str, _Assembled] = {}
        for one in settings:
            assembled = _Assembled(one, reactor, wall, observe, limits, timeouts, environ)
            self._all[one.namespace] = assembled
        self._stopping = False
        self.set_offline(offline=offline)

    def get(self, namespace: str) -> Upstream:
        """``namespace`` is canonical. Raises UnknownNamespace."""
        try:
            return self._all[namespace].upstream
        except KeyError:
            raise UnknownNamespace(namespace) from None

    @property
    def namespaces(self) -> tuple[str, ...]:
        return tuple(self._all)

    def set_offline(self, *, offline: bool) -> None:
        """While offline every call fails at once with UpstreamFailure(DOWN).

        Nothing is sent then, not even a probe; bodies under way may end.
        """
        if self._stopping:
            return
        for assembled in self._all.values():
            assembled.courier.closed = "this node is offline" if offline else None

    async def close(self) -> None:
        """Calls under way fail, and later ones at once. Fires when all connections are gone."""
        self._stopping = True
        for assembled in self._all.values():
            await assembled.close()


class _Assembled:
    """One upstream and what belongs to it."""

    def __init__(
        self,
        settings: UpstreamSettings,
        reactor: Any,
        wall: WallClock,
        observe: Observe,
        limits: Limits,
        timeouts: Timeouts,
        environ: Mapping[str, str],
    ) -> None:
        key = f'upstreams."{settings.namespace}"'
        proxies = Proxies.of(settings.proxy, environ, f"{key}.proxy")
        trust = Trust(settings.ca_file, f"{key}.ca_file")
        dial = Dial(reactor, trust, proxies, timeouts.connect)
        wire = Wire(reactor, dial, timeouts.keepalive)
        health = Health(timeouts)
        self.courier = Courier(settings.namespace, wire, health, reactor, wall, observe, timeouts)
        self._tokens = Tokens(reactor, observe, timeouts.token_margin)
        account = AccountFile(settings.account, observe) if settings.account else None
        mirrors = [
            Origin(url, self.courier, self._tokens, limits, realm_hosts=settings.realm_hosts)
            for url in settings.mirrors
        ]
        main = Origin(
            settings.url,
            self.courier,
            self._tokens,
            limits,
            account=account,
            realm_hosts=settings.realm_hosts,
        )
        origins = [*mirrors, main]
        self._prober = Prober(self.courier, [origin.key for origin in origins])
        self.upstream = Upstream(settings.namespace, Turns(self.courier, origins), limits)

    async def close(self) -> None:
        self.courier.closed = "this node is stopping"
        self._prober.stop()
        self._tokens.close()
        await self.courier.close("this node is stopping")

"""The Hub as the cluster's upstream: behind one cable, asked by all nodes."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterator

import attrs

from tests.system.cluster.network import Network, Station
from tests.system.parts.hub import Asked, Hub, make_hub
from tests.system.parts.images import Image, Manifest, Pusher
from tests.system.parts.tokens import TokenAsk

ADDRESSES = ("10.77.0.2", "10.77.0.3")


@attrs.frozen
class Bill:
    """What crossed the Hub's cable, and what its logs say was asked, within a block."""

    asked: Asked
    tokens: tuple[TokenAsk, ...]
    payload: int  # bytes to the cluster without packet headers, by the cable's own count

    @property
    def blob_bytes(self) -> int:
        """By the CDN's log."""
        return self.asked.fetched_bytes

    @property
    def clients(self) -> set[str]:
        """Addresses of those that fetched bodies."""
        return {ask.client for ask in self.asked.blobs}


@attrs.define
class Tab:
    """A bill that is still being run up; ``bill`` asks for it."""

    upstream: Upstream
    _log: int
    _tokens: int
    _sent: int

    def bill(self) -> Bill:
        """Up to now, once no request is under way."""
        asked = self.upstream.inside_asked(self._log)
        tokens = tuple(self.upstream.hub.tokens.asks[self._tokens :])
        return Bill(asked, tokens, self.upstream.station.sent().payload - self._sent)


@attrs.define
class Upstream:
    """The Hub's parts, all in one namespace."""

    station: Station
    hub: Hub

    @classmethod
    def make(cls, network: Network, folder: pathlib.Path, rate: int) -> Upstream:
        station = network.attach("hub", ADDRESSES, rate)
        with station.namespace.entered():
            return cls(station, make_hub(folder, *ADDRESSES))

    @property
    def url(self) -> str:
        return self.hub.url

    def start(self) -> None:
        with self.station.namespace.entered():
            self.hub.start()

    def stop(self) -> None:
        with self.station.namespace.entered():
            self.hub.stop()

    def as_usual(self) -> None:
        self.station.plug()
        with self.station.namespace.entered():
            self.hub.as_usual()

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        """Connections are refused."""
        self.hub.plain.stop()
        try:
            yield
        finally:
            with self.station.namespace.entered():
                self.hub.plain.start()

    def cap(self, rate: int) -> None:
        """Bits a second for each connection for a body; 0 is none."""
        self.hub.plain.nginx.cdn_rate(rate // 8)

    def push(self, name: str, tag: str, manifest: Manifest) -> Image:
        with self.station.namespace.entered():
            return Pusher(self.hub).push(name, tag, manifest)

    def tab(self) -> Tab:
        with self.station.namespace.entered():
            log = self.hub.plain.mark()
        return Tab(self, log, len(self.hub.tokens.asks), self.station.sent().payload)

    def inside_asked(self, mark: int) -> Asked:
        with self.station.namespace.entered():
            return self.hub.plain.asked(mark)

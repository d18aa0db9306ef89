"""What the tests of the upstream room share: a hub, an upstream of it, and its events."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from typing import Any, TypeVar

import attrs
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from nodecache.byteranges import Span
from nodecache.config import UpstreamSettings
from nodecache.deadline import Deadline
from nodecache.events import Event, UpstreamHealth
from nodecache.failures import UpstreamFailure, UpstreamKind
from nodecache.limits import Limits, Timeouts
from nodecache.reference import Digest, Tag
from nodecache.seams import BlobBody
from nodecache.upstream import Upstream, Upstreams
from tests.fakes_client import until
from tests.fakes_hub import FakeHub, Image
from tests.fakes_names import FakeNames

E = TypeVar("E", bound=Event)

APP = "library/app"
LAYER = b"0123456789" * 10


class UpstreamCase(TestCase):
    """``self.upstream()`` makes an upstream of ``self.hub``; all is closed in the end."""

    timeout = 20  # trial ends a test that hangs
    timeouts = Timeouts()
    limits = Limits()

    def setUp(self) -> None:
        self.events: list[Event] = []
        self.hub = self.start_hub()
        self.image: Image = self.hub.add_image(APP, "1", [LAYER])
        self.layer = Digest.parse(self.image.layers[0])
        self.digest = Digest.parse(self.image.digest)

    def start_hub(self, **options: Any) -> FakeHub:
        hub = FakeHub(reactor, **options).start()
        self.addCleanup(lambda: Deferred.fromCoroutine(hub.stop()))
        return hub

    def upstreams(
        self,
        *settings: UpstreamSettings,
        environ: dict[str, str] | None = None,
        offline: bool = False,
        timeouts: Timeouts | None = None,
    ) -> Upstreams:
        made = Upstreams(
            settings,
            reactor,
            time.time,
            self.events.append,
            self.limits,
            timeouts or self.timeouts,
            environ or {},
            offline=offline,
        )
        self.addCleanup(lambda: Deferred.fromCoroutine(made.close()))
        return made

    def upstream(
        self,
        url: str | None = None,
        *,
        environ: dict[str, str] | None = None,
        offline: bool = False,
        timeouts: Timeouts | None = None,
        **settings: Any,
    ) -> Upstream:
        one = UpstreamSettings("docker.io", url or self.hub.url, **settings)
        made = self.upstreams(one, environ=environ, offline=offline, timeouts=timeouts)
        return made.get("docker.io")

    def names(self, **places: list[str]) -> FakeNames:
        """From now on names lead here (``a__b`` stands for ``a.b``), and all others nowhere."""
        names = FakeNames({name.replace("__", "."): to for name, to in places.items()})
        resolvers: Any = reactor
        before = resolvers.installNameResolver(names)
        self.addCleanup(resolvers.installNameResolver, before)
        return names

    def told(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    def mktemp(self) -> str:
        """The name of a file that is not there yet; its folder goes away with the test."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        return os.path.join(folder.name, "file")

    def near(self, value: float | None, wanted: float, within: float = 2.0) -> None:
        """For times that the real clock has moved on a little."""
        assert value is not None
        self.assertTrue(abs(value - wanted) <= within, f"{value} is not near {wanted}")

    async def until(self, happened: Any) -> None:
        await until(reactor, happened)

    async def found_silent(self, ask: Callable[[], Any]) -> None:
        """Ask until somebody is blamed: a timer that is a second late blames nobody."""
        while not any(not event.up for event in self.told(UpstreamHealth)):
            await self.refused(ask(), UpstreamKind.TIMEOUT)

    async def refused(self, asking: Any, kind: UpstreamKind) -> UpstreamFailure:
        """The failure that ``asking`` ends in."""
        with self.assertRaises(UpstreamFailure) as caught:
            await asking
        self.assertEqual(caught.exception.kind, kind, str(caught.exception))
        failure: UpstreamFailure = caught.exception
        return failure


@attrs.define
class Sink:
    """Takes a body's bytes; may pause it after some of them."""

    body: BlobBody
    data: bytearray = attrs.field(factory=bytearray)

    def take(self, data: bytes) -> None:
        self.data += data


async def read(body: BlobBody) -> bytes:
    sink = Sink(body)
    await body.deliver(sink.take)
    return bytes(sink.data)


def soon(seconds: float = 10.0) -> Deadline:
    clock: Any = reactor
    return Deadline(clock.seconds() + seconds)


LATEST = Tag("1")

__all__ = ["APP", "LATEST", "LAYER", "Sink", "Span", "UpstreamCase", "read", "soon"]

"""Where one cell happens: a whole node, a double of Docker Hub, and a peer where one is needed."""

from __future__ import annotations

import pathlib
import random
import secrets
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import attrs

from nodecache.config import Settings, SizeSetting, UpstreamSettings
from nodecache.events import Event, FillFinished, FillStarted
from nodecache.limits import Timeouts
from nodecache.membership import Address
from nodecache.membership.target import PeerTarget
from nodecache.metrics import Metrics
from nodecache.peerwire.answers import Manifest
from nodecache.rendezvous import Roster
from nodecache.service import Node, Surroundings
from tests.cluster_case import free_port
from tests.fakes_ca import FakeAuthority
from tests.fakes_client import Begun, Got, begin, fetch, until
from tests.fakes_http import Change, Plan, Seen
from tests.fakes_hub import MANIFEST, FakeHub, Image, sha256
from tests.fakes_names import FakeNames
from tests.fakes_peer import LyingPeer, digest_of
from tests.fakes_peer_wire import Connection
from tests.trust.faults import BLOB_SIZE
from tests.trust.shapes import BLOBS, Fault, Leg, State

APP: Final = "library/app"
#: Of this process alone: another's peers on this machine are strangers.
SECRET: Final = secrets.token_hex(20)
LIAR: Final = "liar"

_SHORT: Final = Timeouts(
    resume_pause=0.02,
    absent=0.05,
    absent_signature=0.05,
    limited=1.0,
    probe_first=0.05,
    probe_last=0.2,
    drain=0.2,
    grace_pin=0.1,
    peer_greet=0.3,
    peer_pause_first=0.1,
    peer_pause_last=0.3,
    peer_corrupt=1.0,
    peer_first=1.0,
)
#: For faults that a timeout finds out, and for the others.
HASTY: Final = attrs.evolve(
    _SHORT,
    answer=2.0,
    connect=0.6,
    silence=0.5,
    stall_total=1.5,
    peer_connect=0.2,
    peer_silence=0.4,
    peer_stall=0.4,
    peer_search=0.6,
    peer_sweep_after=0.3,
)
PATIENT: Final = attrs.evolve(
    _SHORT,
    answer=8.0,
    connect=3.0,
    silence=3.0,
    stall_total=6.0,
    peer_search=2.0,
)

E = TypeVar("E", bound=Event)


class _Dripping(Connection):
    """A peer whose drip is of single bytes, once its headers are out."""

    def _drip(self, raw: bytes, seconds: float) -> None:
        size = raw.find(b"\r\n\r\n") + 4 if raw.startswith(b"HTTP/") else 1
        self._write(raw[:size])
        if len(raw) > size:
            self._later(seconds, lambda: self._drip(raw[size:], seconds))
        else:
            self._done()


class _Peer(LyingPeer):
    def buildProtocol(self, addr: object) -> Connection:
        self.accepted += 1
        return _Dripping(self)


class Ground:
    """``open``, and later ``close``. ``undo`` is what else is to be undone at the end."""

    def __init__(self, reactor: Any, fault: Fault, leg: Leg, state: State, seed: int) -> None:
        self.reactor = reactor
        self.fault = fault
        self.leg = leg
        self.state = state
        self.timeouts = HASTY if fault.slow else PATIENT
        self.random = random.Random(f"{seed} {fault.name} {leg.value} {state.value}")
        self.events: list[Event] = []
        self.metrics = Metrics()
        self.undo: list[Callable[[], None]] = []
        self.node: Node | None = None
        self.met = 0  # answers that a change was made to
        self._calls: list[Any] = []

    async def open(self) -> None:
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="trust-"))
        self.data_dir = self.folder / "data"
        self._name_hosts()
        self.fault.prepare(self)
        self.hub = self._hub().start()
        self.liar: LyingPeer | None = None
        tag = "1"
        layer, self._id = self._layer(tag)
        self.layer = layer
        self.image = self.hub.add_image(APP, tag, [layer])
        if self.leg is Leg.PEER:
            self._start_peer()
        await self.start_node()

    def _name_hosts(self) -> None:
        self.names = FakeNames({})
        if not self.fault.named_hosts:
            return
        for host in ("registry", "auth", "cdn"):
            self.names.places[f"{host}.hub.test"] = ["127.0.0.1"]
        before = self.reactor.installNameResolver(self.names)
        self.undo.append(lambda: self.reactor.installNameResolver(before) and None)

    def _hub(self) -> FakeHub:
        tls = None
        if self.fault.https:
            self.authority = FakeAuthority()
            (self.folder / "ca.pem").write_bytes(self.authority.pem)
            tls = self.authority.listener("127.0.0.1")
        cdn = None if self.leg is Leg.REGISTRY else "127.0.0.1"
        hub = FakeHub(self.reactor, cdn_host=cdn, tls=tls)
        if self.fault.named_hosts:
            hub.registry.public_host = "registry.hub.test"
            hub.tokens.public_host = "auth.hub.test"
            hub.cdn.public_host = "cdn.hub.test"
        return hub

    def _layer(self, tag: str) -> tuple[bytes, str]:
        """One of which, with the tag, the peer is the owner; and this node's id."""
        while True:
            layer = self.random.randbytes(BLOB_SIZE)
            me = f"node{self.random.randrange(1000)}"
            ranking = Roster((LIAR, me))
            keys = (f"{sha256(layer)}/0", f"docker.io/{APP}:{tag}")
            if self.leg is not Leg.PEER or all(ranking.rank(k, 1) == (LIAR,) for k in keys):
                return layer, me

    def move(self) -> None:
        """The tag means another image from now on, to upstream and to the peer."""
        self.image = self.hub.add_image(APP, "1", [self.layer[::-1]])
        if self.liar is not None:
            self._show_manifest(self.liar)

    def _start_peer(self) -> None:
        self.liar = _Peer(
            LIAR,
            secrets=(SECRET.encode(),),
            blobs={digest_of(self.layer): self.layer},
        )
        self._show_manifest(self.liar)
        self.liar.listen(self.reactor, free_port())

    def _show_manifest(self, peer: LyingPeer) -> None:
        manifest = self.image.manifest
        shown = Manifest(
            digest=digest_of(manifest.body),
            media_type=MANIFEST,
            size=len(manifest.body),
            age=0.0,
            body=manifest.body,
        )
        peer.manifests = {f"docker.io/{APP}:1": shown, self.image.digest: shown}

    async def start_node(self) -> None:
        around = Surroundings(self.reactor, time.time, self.observe, self.metrics, {})
        self.node = await Node.start(around, self._settings())
        if self.leg is Leg.PEER:
            node = self.node
            await until(self.reactor, node.live_peers)

    def _settings(self) -> Settings:
        more: dict[str, Any] = {}
        if self.liar is not None:
            (self.folder / "secret").write_text(SECRET + "\n")
            own = Address("127.0.0.1", free_port())
            more = {
                "peer_listen": str(own),
                "peers": PeerTarget(None, own.port, (own, self.liar.address)),
                "node_id": self._id,
                "peer_secret_file": str(self.folder / "secret"),
            }
        ca_file = str(self.folder / "ca.pem") if self.fault.https else None
        return Settings(
            data_dir=str(self.data_dir),
            listen="127.0.0.1:0",
            admin_listen="127.0.0.1:0",
            upstreams=(UpstreamSettings("docker.io", self.hub.url, ca_file=ca_file),),
            min_free=SizeSetting(bytes=0),
            max_size=SizeSetting(bytes=1 << 30),
            tag_ttl=0.0 if self.state is State.STALE else 60.0,
            timeouts=self.timeouts,
            **more,
        )

    async def close(self) -> None:
        """Ends the node, and all else; what is left open then is a leak."""
        for call in self._calls:
            if call.active():
                call.cancel()
        if self.node is not None:
            await self.node.stop("the cell is over")
        if self.liar is not None:
            await self.liar.stop()
        await self.hub.stop()
        for undo in reversed(self.undo):
            undo()
        shutil.rmtree(self.folder, ignore_errors=True)

    # The node's

    def observe(self, event: Event) -> None:
        self.events.append(event)
        self.metrics.observe(event)

    def told(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    def filling(self) -> int:
        """Fills under way. One that failed early was never told as started."""
        started = {event.digest for event in self.told(FillStarted)}
        ended = [event for event in self.told(FillFinished) if event.digest in started]
        return len(self.told(FillStarted)) - len(ended)

    def metric(self, name: str, **labels: str) -> float:
        """The sum of all series that have these labels."""
        total = 0.0
        for family in self.metrics.registry.collect():
            for sample in family.samples:
                if sample.name == f"nodecache_{name}" and labels.items() <= sample.labels.items():
                    total += sample.value
        return total

    # The fault's

    @property
    def site(self) -> Any:
        """The site of Docker Hub that the leg leads to."""
        return {Leg.TOKEN: self.hub.tokens, Leg.CDN: self.hub.cdn}.get(self.leg, self.hub.registry)

    @property
    def port(self) -> int:
        if self.liar is not None:
            return int(self._peer_port)
        return int(self.site.port)

    def connections(self) -> list[Any]:
        """Transports of those to the site, or to the peer."""
        if self.liar is not None:
            return [each.transport for each in self.liar.connections]
        return [each.transport for each in list(self.site._factory.protocols)]

    def later(self, act: Callable[[], object]) -> None:
        self._calls.append(self.reactor.callLater(0, act))

    def concerns(self, seen: Seen) -> bool:
        """Whether the request is one of the leg."""
        if self.leg is Leg.TOKEN:
            return seen.kind == "token"
        if self.leg in (Leg.HEAD, Leg.GET):
            return seen.kind == "manifest" and seen.method == self.leg.name
        return seen.kind == "blob"

    def change(
        self,
        *changes: Any,
        also: Callable[[Seen], bool] = lambda _: False,
        logins: bool = False,
    ) -> Callable[[], Awaitable[None]]:
        """Of each answer of the leg; what comes back ends it.

        A registry's honest call for a login is spared, unless ``logins``: what follows is meant.
        """
        if self.liar is not None:
            what = "manifest" if self.state is State.STALE else "blob"
            for lie in changes:
                self.liar.change(lie, what=what)
            peer = self.liar

            async def honest() -> None:
                peer.be_honest()

            return honest
        spared = self.leg is not Leg.TOKEN and not logins

        def change(plan: Plan) -> Plan:
            if spared and plan.status == 401:
                return plan
            self.met += 1
            for one in changes:
                plan = one(plan)
            return plan

        fault = self.site.fault(change, when=lambda seen: self.concerns(seen) or also(seen))

        async def lift() -> None:
            fault.lift()

        return lift

    async def begin_fault(self, *first: Change) -> Callable[[], Awaitable[None]]:
        """From now on it is so; ``first`` changes come before its own."""
        if self.liar is not None:
            self._peer_port = self.liar.address.port
            if self.fault.lie is not None:
                return self.change(self.fault.lie)
        if self.fault.arrange is not None:
            return await self.fault.arrange(self)
        return self.change(*self.fault.change, *first)

    # The client's

    def path(self, digest: str | None = None) -> str:
        wants_blob = self.leg in BLOBS or (self.leg is Leg.PEER and self.state is not State.STALE)
        if digest is not None or wants_blob:
            return f"/v2/{APP}/blobs/{digest or self.image.layers[0]}"
        return f"/v2/{APP}/manifests/1"

    @property
    def method(self) -> str:
        return "HEAD" if self.leg is Leg.HEAD else "GET"

    async def begin(self, path: str, method: str, **headers: str) -> Begun:
        assert self.node is not None
        url = f"http://127.0.0.1:{self.node.mirror_port}{path}"
        return await begin(self.reactor, url, method, headers)

    async def ask(self, **headers: str) -> Got:
        """The cell's question."""
        return await (await self.begin(self.path(), self.method, **headers)).whole()

    async def get(self, path: str) -> Got:
        assert self.node is not None
        return await fetch(self.reactor, f"http://127.0.0.1:{self.node.mirror_port}{path}")

    async def pull(self, image: Image) -> None:
        """All of it, and it is whole and stored.

        Once more where a busy machine let the short time for an answer pass.
        """
        paths = [f"/v2/{APP}/manifests/1", *map(self.path, (image.config, *image.layers))]
        for path in paths:
            got, tries = await self.get(path), 1
            while (got.status, got.broken) != (200, None) and tries < 20:
                got, tries = await self.get(path), tries + 1
            assert (got.status, got.broken) == (200, None), f"not warm: {got}"
        await until(self.reactor, lambda: not self.filling())

"""A node whose three ports and control socket are abused, and who asks properly meanwhile."""

from __future__ import annotations

import enum
import itertools
import os
import pathlib
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import attrs
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.protocol import ClientFactory

from nodecache.config import Settings, SizeSetting, UpstreamSettings
from nodecache.events import Unexpected
from nodecache.limits import MIB, Limits, Timeouts
from nodecache.membership import Address
from nodecache.membership.target import PeerTarget
from nodecache.peerwire.signing import Asked, sign
from tests.cluster_case import SECRET, Member, free_port
from tests.fakes_client import until
from tests.fakes_hub import FakeHub
from tests.loopback import Client
from tests.trust.abuse_dials import dials

APP: Final = "library/app"
NODE: Final = "node0"
ASKER: Final = "node1"
#: Bytes of the layer that slow readers are given: more than any buffer holds.
BIG: Final = 48 * MIB

#: Nobody waits long for who does not speak or does not read.
HASTY: Final = Timeouts(client_idle=2.0, client_stall=1.0, answer=3.0, drain=1.0)

_nonces = itertools.count(1)


class Port(enum.Enum):
    """What can be connected to."""

    MIRROR = "mirror"
    PEER = "peer"
    ADMIN = "admin"
    CONTROL = "control"


@attrs.frozen
class Signed:
    """What a peer's signature says; as it should be, unless a test says otherwise."""

    target: str = "/peer/v1/status"
    method: str = "GET"
    secret: str = SECRET
    to: str = NODE
    node: str = ASKER
    late: float = 0.0  # seconds
    body: bytes = b""
    nonce: str = attrs.Factory(lambda: f"{next(_nonces):032x}")

    def lines(self) -> list[str]:
        """The headers."""
        asked = Asked(self.method, self.target, self.node, self.to, "", self.body)
        now = int((time.time() - self.late) * 1000)
        return [
            f"Nodecache-Peer: {self.node}",
            f"Nodecache-To: {self.to}",
            "Nodecache-Wire: 1",
            f"Nodecache-Signature: {sign(asked, self.secret.encode(), now, self.nonce)}",
        ]


def target_of(port: Port) -> str:
    """One that the port answers with 200."""
    return {
        Port.MIRROR: "/v2/",
        Port.PEER: "/peer/v1/status",
        Port.ADMIN: "/healthz",
        Port.CONTROL: "/control/v1/pin",
    }[port]


def method_of(port: Port) -> str:
    return "POST" if port is Port.CONTROL else "GET"


def good(
    port: Port, target: str = "", *more: str, close: bool = True, length: bool = True
) -> bytes:
    """A request that is answered with 200. An order that names nothing is refused in its body."""
    method, target = method_of(port), target or target_of(port)
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost"]
    if port is Port.PEER:
        lines += Signed(target).lines()
    if port is Port.CONTROL and length:
        lines.append("Content-Length: 0")
    lines += [*more, *(["Connection: close"] if close else []), "", ""]
    return "\r\n".join(lines).encode("latin-1")


class _Clients(ClientFactory):
    noisy = False

    def __init__(self) -> None:
        self.client = Client()

    def buildProtocol(self, addr: object) -> Client:
        return self.client

    def clientConnectionFailed(self, connector: object, reason: Any) -> None:
        self.client.connected_now.errback(reason)


class Ground:
    """``open`` brings a node up in front of a Hub, ``close`` ends both."""

    def __init__(self, reactor: Any, **limits: int) -> None:
        self.reactor = reactor
        self._limits = Limits(**limits)
        self.clients: list[Client] = []
        self.made = 0
        self._turns = {port: DeferredLock() for port in Port}

    async def open(self, **given: Any) -> None:
        """``given`` are settings."""
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="abuse-"))
        self.hub = FakeHub(self.reactor).start()
        self.image = self.hub.add_image(APP, "1", [b"layer " * 1000])
        self.big = self.hub.add_pattern(APP, BIG)
        (self.folder / "secret").write_text(SECRET + "\n")
        here = Address("127.0.0.1", free_port())
        common: dict[str, Any] = {
            "data_dir": str(self.folder / "data"),
            "listen": "127.0.0.1:0",
            "admin_listen": "127.0.0.1:0",
            "peer_listen": str(here),
            "peers": PeerTarget(None, here.port, (here,)),
            "node_id": NODE,
            "peer_secret_file": str(self.folder / "secret"),
            "upstreams": (UpstreamSettings("docker.io", self.hub.url),),
            "min_free": SizeSetting(bytes=0),
            "max_size": SizeSetting(bytes=1 << 30),
            "timeouts": HASTY,
            "limits": self._limits,
        }
        settings = Settings(**{**common, **given})
        self.member = Member(NODE, here.port, self.folder / "data", settings)
        await self.member.start()
        assert self.member.node is not None
        self.node = self.member.node

    async def close(self) -> None:
        for client in self.clients:
            if client.transport is not None and not client.closed:
                client.leave()
        await self.member.stop()
        await self.hub.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def site(self, port: Port) -> Any:
        """Who listens there."""
        near = self.node._neighbours
        assert near is not None
        return {
            Port.MIRROR: self.node.mirror,
            Port.PEER: near.site,
            Port.ADMIN: self.node.admin,
            Port.CONTROL: self.node.steering.site,
        }[port]

    def number(self, port: Port) -> int:
        return {
            Port.MIRROR: self.node.mirror_port,
            Port.PEER: self.member.port,
            Port.ADMIN: self.node.admin_port,
        }[port]

    async def connect(self, port: Port) -> Client:
        """Taken in by the node."""
        client, _ = await self.pair(port)
        return client

    async def pair(self, port: Port) -> tuple[Client, Any]:
        """A connection as its client has it, and as the node has it."""
        clients, channels = _Clients(), self.site(port).channels
        await self._turns[port].acquire()
        try:
            before = set(channels)
            if port is Port.CONTROL:
                self.reactor.connectUNIX(str(self.member.data_dir / "control.sock"), clients)
            else:
                self.reactor.connectTCP("127.0.0.1", self.number(port), clients)
                self.made += 1
            client: Client = await clients.client.connected_now
            self.clients.append(client)
            await until(self.reactor, lambda: channels - before)
            [channel] = channels - before
        finally:
            self._turns[port].release()
        return client, channel

    async def send(self, port: Port, *data: bytes) -> Client:
        client = await self.connect(port)
        client.send(*data)
        return client

    async def serves(self, port: Port) -> None:
        """A proper request on a connection of its own is answered, whatever else goes on."""
        client = await self.send(port, good(port))
        await client.hung_up()
        reply = client.reply
        assert (reply.status, reply.whole) == (200, True), reply

    def filling(self) -> int:
        """Fills under way."""
        told = [event.name for event in self.member.events]
        return told.count("fill_start") - told.count("fill")

    @contextmanager
    def only_named(self) -> Iterator[None]:
        """Whom the settings name is all that is dialled or looked up meanwhile.

        To the node's own ports go this test's clients, each once: who is more was led there.
        """
        before = self.made
        with dials() as seen:
            yield
        hub = {("127.0.0.1", int(urlsplit(site.url).port or 0)) for site in self.hub.sites}
        ours = {("127.0.0.1", self.number(port)) for port in Port if port is not Port.CONTROL}
        led = len([each for each in seen.connected if each in ours]) - (self.made - before)
        names = [name for name in seen.resolved if name != "127.0.0.1"]
        strangers = [each for each in seen.connected if each not in hub | ours]
        assert (strangers, names, led) == ([], [], 0)

    async def at_rest(self) -> None:
        """Until every connection is gone, and all that was held for it."""
        sites = [self.site(port) for port in Port]
        await until(self.reactor, lambda: not any(site.channels or site.active for site in sites))
        assert self.site(Port.PEER).held() == (0, 0, 0)
        assert not any(site._from for site in sites)
        self.clients = [client for client in self.clients if not client.closed]
        assert self.member.told(Unexpected) == []


def answer(client: Client) -> str:
    """The statuses that came, in words; of one that was not whole, so it says."""
    replies = client.replies()
    if not replies:
        return "closed"
    return ", ".join(f"{each.status}{'' if each.whole else ' cut off'}" for each in replies)


def resident() -> int:
    """Bytes of memory that this process takes up."""
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def sockets() -> int:
    """Open sockets of this process."""
    found = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            found += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
        except OSError:  # the listing's own is gone by now
            continue
    return found


async def together(work: Sequence[Any]) -> list[Any]:
    """The results of all, in order; raises the first failure."""
    going = [Deferred.fromCoroutine(one) for one in work]
    return [await each for each in going]

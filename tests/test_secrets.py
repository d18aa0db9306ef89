"""Secrets are planted wherever two nodes of a cluster meet some, and looked for everywhere else.

``tests/test_node_secrets.py`` has the failures of upstream, one by one; here is the whole of what a
node says of itself: every document of its admin port, every answer over its socket, every file of
its folder, what its commands print, what it writes into archives, its spans, and what crosses
each connection.
"""

from __future__ import annotations

import base64
import io
import os
import time
import urllib.parse
from typing import Any

from click.testing import CliRunner
from twisted.internet import tcp
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from nodecache.cli import main
from nodecache.config import AccountSettings, Telemetry, UpstreamSettings
from nodecache.events import Event, Level
from nodecache.logs import LogWriter
from nodecache.tracing import Span, Tracing
from tests.cluster_case import ClusterCase, Member, reactor
from tests.fakes_client import fetch
from tests.fakes_http import Plan, with_headers
from tests.fakes_hub import Image

APP = "team/app"
PEERS, OLD_PEERS = "peer-secret-that-signs", "peer-secret-that-is-accepted"
PASSWORD = "hunter2-of-the-account"
INBOUND = "inbound-password"
SIGNED = "signature-of-a-link"


def login(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


class Tap:
    """All that any socket of this process receives, by the two ports of the connection."""

    def __init__(self) -> None:
        self.received: dict[tuple[int, int], bytearray] = {}
        hears: Any = tcp.Connection
        before = hears._dataReceived
        tap = self

        def received(connection: Any, data: bytes) -> Any:
            ends = connection.getHost(), connection.getPeer()
            ports = getattr(ends[0], "port", 0), getattr(ends[1], "port", 0)  # 0: the socket
            tap.received.setdefault(ports, bytearray()).extend(data)
            return before(connection, data)

        def remove() -> None:
            hears._dataReceived = before

        hears._dataReceived, self.remove = received, remove

    def ports_of(self, secret: str) -> set[int]:
        """Ports on whose connections it was seen: the lower one of the two names the server."""
        return {
            port
            for ports, data in self.received.items()
            if secret.encode() in data
            for port in ports
        }


class Sink:
    """Keeps spans in place of a collector."""

    def __init__(self) -> None:
        self.spans: list[Span] = []

    def send(self, span: Span, ended_at: float) -> None:
        self.spans.append(span)

    def close(self) -> None:
        """Nothing is owed."""


class TwoNodes(ClusterCase):
    """The first pulls from upstream, the second from the first, and both tell all they can."""

    def setUp(self) -> None:
        super().setUp()
        self.secret_file.write_text(f"{PEERS}\n{OLD_PEERS}\n")
        self.account = self.folder / "account"
        self.account.write_text(f"robot:{PASSWORD}\n")
        self.issued: list[str] = []
        self.hub.tokens.fault(self.remember_token)
        self.hub.registry.fault(self.sign_link)
        self.logs = {form: io.StringIO() for form in ("json", "console")}
        self.spoken: dict[str, str] = {}
        self.tap = Tap()
        self.addCleanup(self.tap.remove)
        self.sink = Sink()
        self.tracing = Tracing(self.sink, time.time)

    def remember_token(self, plan: Plan) -> Plan:
        body = plan.body.read(0, plan.body.size)
        if b'"token"' in body:
            self.issued.append(body.split(b'"')[3].decode())
        return plan

    def sign_link(self, plan: Plan) -> Plan:
        link = plan.headers.get("Location", "")
        if "verify=" not in link:
            return plan
        return with_headers(Location=f"{link}&X-Amz-Signature={SIGNED}")(plan)

    async def two(self) -> tuple[Member, Member, Image]:
        image = self.hub.add_image(APP, "1", [os.urandom(40_000), os.urandom(3_000_000)])
        self.hub.make_private(APP, "robot")
        self.hub.accounts["robot"] = PASSWORD
        upstream = UpstreamSettings(
            "docker.io", self.hub.url, account=AccountSettings(str(self.account), (APP,))
        )
        one, two = await self.cluster(2, upstreams=(upstream,), telemetry=Telemetry(images=5))
        writers = [LogWriter(to, form, level=Level.DEBUG) for form, to in self.logs.items()]
        for member in (one, two):
            self.listen(member, writers)
        return one, two, image

    def listen(self, member: Member, writers: list[LogWriter]) -> None:
        kept: list[Event] = member.events
        tracing = self.tracing

        class Kept(list[Event]):
            def append(self, event: Event) -> None:
                super().append(event)
                tracing.observe(event)
                for each in writers:
                    each.observe(event)

        member.events = Kept(kept)
        for event in kept:
            for each in writers:
                each.observe(event)

    async def pull(self, member: Member, image: Image) -> None:
        headers = {
            "Authorization": f"Basic {login('me', INBOUND)}",
            "Cookie": f"session={INBOUND}",
            "X-Registry-Auth": login("me", INBOUND),
        }
        paths = [f"manifests/{image.digest}", *(f"blobs/{one}" for one in image.layers)]
        for path in ("manifests/1", *paths, "tags/list", f"blobs/sha256:{'0' * 64}"):
            query = f"?ns=docker.io&access_token={INBOUND}"
            got = await member.get(f"/v2/{APP}/{path}{query}", **headers)
            assert got.status == (404 if "0" * 64 in path else 200), (path, got)
            self.say(f"headers {path}", repr(list(got.headers.getAllRawHeaders())))
            if got.status != 200:
                self.say(f"body {path}", got.body.decode())

    def say(self, way: str, text: str) -> None:
        self.spoken[way] = self.spoken.get(way, "") + text

    async def command(self, member: Member, *words: str) -> None:
        assert member.node is not None
        environment = {
            "NODECACHE_DATA_DIR": str(member.data_dir),
            "NODECACHE_ADMIN_URL": f"http://127.0.0.1:{member.node.admin_port}",
            "COLUMNS": "200",
        }
        runner = CliRunner(env=environment)
        result = await deferToThread(runner.invoke, main, list(words))
        assert result.exception is None, (words, result.output, result.exception)
        self.say(f"nodecache {' '.join(words)}", result.output)

    async def commands(self, member: Member) -> None:
        reference = f"docker.io/{APP}:1"
        for words in (
            ("status",), ("status", "--cluster"), ("list",), ("show", reference),
            ("pull", reference), ("config", "--running", "--all"), ("pin", reference),
            ("unpin", reference), ("verify",), ("refresh", reference),
        ):  # fmt: skip
            await self.command(member, *words)
            if words[0] != "pull":
                await self.command(member, *words, "--json")
        archive = self.folder / "archive.tar"
        await self.command(member, "export", reference, "--output", str(archive))
        self.say("the archive", archive.read_bytes().decode("latin-1"))
        await self.command(member, "import", str(archive))
        await self.command(member, "purge", reference, "--yes")

    async def documents(self, member: Member) -> None:
        assert member.node is not None
        reference = urllib.parse.quote(f"docker.io/{APP}:1")
        names = ("status", "transfers", "errors", "feeds", "history", "peers", "config", "images")
        paths = [f"/api/v1/{name}" for name in (*names, "cluster", f"image?ref={reference}")]
        for path in ("/", "/page/live", "/metrics", "/healthz", "/readyz", "/nothing", *paths):
            for accept in ("text/html", "application/json", "application/openmetrics-text"):
                url = f"http://127.0.0.1:{member.node.admin_port}{path}"
                got = await fetch(reactor, url, headers={"Accept": accept})
                assert got.status == (404 if path == "/nothing" else 200), (path, got)
                self.say(f"admin {path}", got.body.decode("latin-1"))

    def files(self, member: Member) -> None:
        for path in member.data_dir.rglob("*"):
            if path.is_file():
                self.say(f"file {path.name}", path.read_bytes().decode("latin-1"))

    def secrets(self) -> list[str]:
        fixed = [PEERS, OLD_PEERS, PASSWORD, INBOUND, SIGNED, "verify="]
        return [*fixed, login("robot", PASSWORD), login("me", INBOUND), *self.issued]

    async def test_nothing_that_a_node_says_of_itself_holds_one(self) -> None:
        one, two, image = await self.two()
        await self.pull(one, image)
        await self.pull(two, image)
        for member in (one, two):
            await self.documents(member)
            self.files(member)
        await self.commands(one)
        for member in (one, two):
            await member.stop()
            self.files(member)
        assert self.sink.spans
        self.say("spans", "".join(map(repr, self.sink.spans)))
        for form, written in self.logs.items():
            self.say(f"log as {form}", written.getvalue())
        assert any(seen.query.get("X-Amz-Signature") for seen in self.hub.cdn.requests)
        assert self.issued
        assert '"event": "request"' in self.spoken["log as json"], "not at debug"
        for way, text in self.spoken.items():
            for secret in self.secrets():
                assert secret not in text, (way, secret)

    async def test_each_goes_where_it_belongs_and_nowhere_else(self) -> None:
        one, two, image = await self.two()
        await self.pull(one, image)
        await self.pull(two, image)
        await deferLater(reactor, 0)
        seen = self.tap.ports_of
        assert one.node is not None
        assert two.node is not None
        mirrors = {one.node.mirror_port, two.node.mirror_port}
        servers = {one.port, two.port, *mirrors, *(site.port for site in self.hub.sites)}
        servers |= {one.node.admin_port, two.node.admin_port}
        assert seen(f"/v2/{APP}/manifests/1") & servers >= mirrors, "the tap hears nothing"
        assert seen("/peer/") & servers == {one.port, two.port}, "nor between the peers"
        assert seen(PEERS) == seen(OLD_PEERS) == set()
        assert seen(PASSWORD) == set()
        assert seen(login("robot", PASSWORD)) & servers == {self.hub.tokens.port}
        assert seen(login("me", INBOUND)) & servers == mirrors
        for token in self.issued:
            ports = {self.hub.tokens.port, self.hub.registry.port}
            assert seen(token) & servers <= ports
        assert seen(SIGNED) & servers == {self.hub.registry.port, self.hub.cdn.port}

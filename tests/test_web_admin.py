"""The admin port: health, metrics, and whom it answers."""

from __future__ import annotations

from typing import Any

from klein import Klein

from nodecache.events import Unexpected
from nodecache.limits import Limits, Timeouts
from nodecache.metrics import Metrics
from nodecache.web import admin_site
from tests.loopback import WALL, LoopbackCase, request, until


class AdminTests(LoopbackCase):
    not_ready: str | None = None
    broken: BaseException | None = None

    def make_site(self) -> Any:
        self.metrics = Metrics()
        return admin_site(
            self.metrics,
            self.readiness,
            ("node-7.example",),
            clock=self.clock,
            observe=self.events.append,
            wall=lambda: WALL,
            timeouts=Timeouts(),
            limits=Limits(),
            more=[self.more],
        )

    def readiness(self) -> str | None:
        if self.broken is not None:
            raise self.broken
        return self.not_ready

    def more(self, app: Klein) -> None:
        @app.route("/api/v1/status", methods=["GET"])
        def status(request: Any) -> bytes:
            return bytes(request.reply(200, b"{}", "application/json"))

    async def test_the_node_is_alive_while_the_reactor_turns(self) -> None:
        self.not_ready = "still scanning"
        reply = await self.ask("/healthz")
        self.assertEqual((reply.status, reply.body), (200, b"ok\n"))
        self.assertEqual(reply.header("Content-Type"), "text/plain; charset=utf-8")
        self.assertEqual(reply.header("Content-Length"), "3")
        self.assertIsNone(reply.header("Server"))

    async def test_the_node_is_ready_or_says_why_not(self) -> None:
        self.assertEqual((await self.ask("/readyz")).status, 200)
        self.not_ready = "the data folder can not be written"
        reply = await self.ask("/readyz")
        self.assertEqual(reply.status, 503)
        self.assertEqual(reply.body, b"not ready: the data folder can not be written\n")

    async def test_metrics_are_in_the_text_format(self) -> None:
        reply = await self.ask("/metrics")
        self.assertEqual(reply.status, 200)
        self.assertEqual(reply.header("Content-Type"), "text/plain; version=0.0.4; charset=utf-8")
        self.assertIn(b"nodecache_build_info{", reply.body)

    async def test_head_has_no_body(self) -> None:
        for path in ("/healthz", "/readyz", "/metrics", "/"):
            reply = await self.ask(path, "HEAD")
            self.assertEqual((path, reply.status, reply.body), (path, 200, b""))
            self.assertNotEqual(reply.header("Content-Length"), "0")

    async def test_the_root_names_what_is_here(self) -> None:
        self.assertIn(b"/metrics", (await self.ask("/")).body)

    async def test_other_rooms_add_routes(self) -> None:
        reply = await self.ask("/api/v1/status")
        self.assertEqual((reply.status, reply.body), (200, b"{}"))

    async def test_what_is_not_here_is_404_in_plain_text(self) -> None:
        for path in (
            "/nothing",
            "/v2/",
            "/metrics/",
            "/../metrics",
            "/%ff",
            "/%2e%2e/x",
            "/healthz/../metrics",
        ):
            reply = await self.ask(path)
            self.assertEqual((path, reply.status), (path, 404))
            self.assertEqual(reply.body, b"nothing is here\n")

    async def test_nothing_can_be_changed_here(self) -> None:
        for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
            reply = await self.ask("/metrics", method)
            self.assertEqual((method, reply.status), (method, 405))
            self.assertEqual(reply.header("Allow"), "GET, HEAD")

    async def test_addresses_and_known_names_are_answered(self) -> None:
        for host in (
            "localhost",
            "localhost:5002",
            "LOCALHOST.:5002",
            "127.0.0.1:5002",
            "10.1.2.3",
            "[::1]:5002",
            "[fd00::7]",
            "node-7.example:5002",
            "Node-7.Example",
        ):
            self.assertEqual((host, (await self.ask("/healthz", Host=host)).status), (host, 200))

    async def test_a_name_that_a_stranger_chose_is_refused(self) -> None:
        for host in (
            "evil.example",
            "evil.example:5002",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "",
            "1",
        ):
            for path in ("/healthz", "/metrics", "/", "/api/v1/status"):
                reply = await self.ask(path, Host=host)
                self.assertEqual((host, path, reply.status), (host, path, 421))

    async def test_what_is_no_host_is_refused(self) -> None:
        for host in ("[", "node-7.example@evil"):
            self.assertEqual((await self.ask("/metrics", Host=host)).status, 400)

    async def test_two_host_headers_are_refused(self) -> None:
        client = await self.connect()
        client.send(request("/metrics", headers={"Host": "localhost", "host": "evil.example"}))
        self.assertEqual((await client.whole()).status, 400)

    async def test_a_probe_without_host_is_answered(self) -> None:
        client = await self.connect()
        client.send(b"GET /healthz HTTP/1.0\r\n\r\n")
        await client.hung_up()
        self.assertEqual(client.reply.status, 200)

    async def test_a_defect_is_a_clean_500_and_an_event(self) -> None:
        self.broken = ZeroDivisionError("a defect")
        client = await self.connect()
        client.send(request("/readyz"), request("/healthz"))
        await until(lambda: len(client.replies()) == 2)
        broken, well = client.replies()
        self.assertEqual((broken.status, well.status), (500, 200))
        self.assertNotIn(b"a defect", broken.body)
        self.assertEqual(len(self.told(Unexpected)), 1)

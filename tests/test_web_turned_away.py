"""Over a limit: each port says so, and it is told in the log and counted."""

from __future__ import annotations

import time
from typing import Any

import attrs
from klein import Klein
from prometheus_client import CollectorRegistry
from twisted.internet.threads import deferToThread

from nodecache.body import Tools
from nodecache.cli.client import Admin
from nodecache.cli.commands import EXIT_UNREACHABLE
from nodecache.cli.problems import CommandError
from nodecache.events import PeerAnswered, RequestFinished, TurnedAway
from nodecache.limits import Limits, Timeouts
from nodecache.metrics.faults import Faults
from nodecache.web import admin_site
from nodecache.web.admin import AdminSite
from nodecache.web.control_site import CONNECTIONS, ControlSite
from nodecache.web.turned_away import HEARD_OUT, PATIENCE, TURNED_AWAY, refusal_of
from tests.loopback import LoopbackCase, request, turns, until
from tests.peer_case import PeerCase


def counted(events: list[Any], port: str, limit: str) -> float | None:
    """What a scrape shows after ``events``."""
    registry = CollectorRegistry()
    takers = Faults(registry).takers()
    for event in events:
        if taker := takers.get(type(event)):
            taker(event)
    return registry.get_sample_value("nodecache_turned_away_total", {"port": port, "limit": limit})


class _Told:
    """What each port tells of, beside connections too many. Goes before ``LoopbackCase``."""

    timeouts: Any
    clock: Any
    connect: Any
    told: Any
    one_too_many: Any
    check_told: Any
    events: Any
    assertEqual: Any
    assertGreaterEqual: Any
    assertNotIn: Any

    async def test_who_begins_a_request_and_does_not_end_it_is_told_of(self) -> None:
        for count, begun in enumerate(
            (b"G", b"GET /v2/ HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: a"), 1
        ):
            client = await self.connect()
            client.send(begun)
            await turns()
            self.clock.advance(self.timeouts.client_idle)
            await client.hung_up()
            self.assertEqual(client.received, b"")
            self.check_told("slow", 0, count)

    async def test_nothing_of_a_request_is_told_to_whom_it_was_refused(self) -> None:
        secret = "hunter2"
        for sent in (
            f"GET /v2/?token={secret} HTTP/1.1\r\nAuthorization: Basic {secret}\r\n\r\n",
            f"GET /v2/ HTTP/1.1\r\nHost: {secret}\r\nHost: {secret}\r\n\r\n",
            f"GET /{secret} HTTP/1.1\r\nHost: a\r\n{secret}\r\n\r\n",
            f"{secret} {secret} {secret}\r\n\r\n",
        ):
            client = await self.connect()
            client.send(sent.encode())
            await until(client.replies)
            self.assertGreaterEqual(client.reply.status, 400)
            self.assertNotIn(secret.encode(), client.received)
        self.assertNotIn(secret, repr(self.events))
        self.assertNotIn(secret.encode(), refusal_of(f"GET /{secret}?{secret}".encode(), "full"))

    async def test_a_head_that_is_refused_is_told_of(self) -> None:
        reply = await self.one_too_many(b"nonsense\r\n\r\n")
        self.assertEqual(reply.status, 400)
        self.check_head_told()

    def check_head_told(self) -> None:
        self.check_told("head", 400)


class _Cases(LoopbackCase):
    port_name = "mirror"

    async def fill(self, count: int) -> None:
        for _ in range(count):
            await self.connect()
        await until(lambda: len(self.site.channels) == count)

    async def one_too_many(self, sent: bytes = b"") -> Any:
        client = await self.connect()
        client.send(sent or request("/v2/", method=self.method))
        await until(lambda: client.closed or client.replies(head=sent.startswith(b"HEAD")))
        return client.replies(head=sent.startswith(b"HEAD"))[0]

    method = "GET"

    def check_told(self, limit: str, status: int = 503, count: int = 1) -> None:
        events = self.told(TurnedAway)
        self.assertEqual(
            [(event.port, event.limit, event.status) for event in events],
            [(self.port_name, limit, status)] * count,
        )
        self.assertEqual(counted(self.events, self.port_name, limit), count)


class MirrorTests(_Told, _Cases):
    limits = attrs.evolve(Limits(), client_connections=3, client_connections_per_address=2)

    async def test_one_address_has_its_bound(self) -> None:
        await self.fill(2)
        reply = await self.one_too_many()
        self.assertEqual((reply.status, reply.header("Retry-After")), (503, "1"))
        self.assertEqual(reply.header("Connection"), "close")
        self.assertIn(b"UNAVAILABLE", reply.body)
        self.check_told("address")
        self.source = "127.0.0.2"
        self.assertEqual((await self.ask("/v2/")).status, 200)

    async def test_all_have_a_bound(self) -> None:
        await self.fill(2)
        self.source = "127.0.0.2"
        await self.fill_one_more()
        self.assertEqual((await self.one_too_many()).status, 503)
        self.check_told("all")

    async def fill_one_more(self) -> None:
        await self.connect()
        await until(lambda: len(self.site.channels) == 3)

    async def test_a_blob_is_404_since_dockerd_would_wait_for_a_503(self) -> None:
        await self.fill(2)
        digest = "sha256:" + "a" * 64
        sent = request(f"/v2/library/alpine/blobs/{digest}?ns=docker.io")
        self.assertEqual((await self.one_too_many(sent)).status, 404)

    async def test_a_head_gets_no_body(self) -> None:
        await self.fill(2)
        sent = request("/v2/library/alpine/manifests/latest", "HEAD")
        client = await self.connect()
        client.send(sent)
        await until(lambda: client.replies(head=True))
        self.assertTrue(client.received.endswith(b"\r\n\r\n"))

    async def test_who_says_nothing_is_not_waited_for(self) -> None:
        await self.fill(2)
        client = await self.connect()
        await until(lambda: self.site.turned_away)
        self.clock.advance(PATIENCE)
        await client.hung_up()
        await until(lambda: not self.site.turned_away)
        self.assertEqual(client.received, b"")

    async def test_who_does_not_stop_sending_is_cut_off(self) -> None:
        await self.fill(2)
        client = await self.connect()
        client.send(b"x" * (2 * HEARD_OUT))
        await client.hung_up()

    async def test_of_those_too_there_are_not_many(self) -> None:
        await self.fill(2)
        waiting = [await self.connect() for _ in range(TURNED_AWAY)]
        await until(lambda: len(self.site.turned_away) == TURNED_AWAY)
        last = await self.connect()
        await last.hung_up()
        self.assertFalse(any(client.closed for client in waiting))
        self.assertEqual([event.status for event in self.told(TurnedAway)][-2:], [503, 0])

    async def test_a_place_that_is_left_is_free(self) -> None:
        await self.fill(2)
        await self.one_too_many()
        self.clients[0].leave()
        await until(lambda: len(self.site.channels) == 1)
        self.assertEqual((await self.ask("/v2/")).status, 200)

    def check_head_told(self) -> None:
        """As a request, like any other of this port."""
        self.assertEqual(self.told(TurnedAway), [])
        self.assertEqual([event.status for event in self.told(RequestFinished)], [400])

    async def test_who_is_idle_is_not(self) -> None:
        client = await self.connect()
        client.send(request("/v2/"))
        await client.whole()
        self.clock.advance(self.timeouts.client_idle)
        await client.hung_up()
        self.assertEqual(self.told(TurnedAway), [])


class PeerTests(_Told, PeerCase, _Cases):
    port_name = "peer"

    def check_head_told(self) -> None:
        """As an answer to a stranger, whose head might lie about who it is."""
        self.assertEqual(self.told(TurnedAway), [])
        [told] = self.told(PeerAnswered)
        self.assertEqual((told.status, told.outcome), (400, "unsigned"))


class AdminTests(_Told, _Cases):
    port_name = "admin"
    limits = attrs.evolve(Limits(), admin_clients=3, admin_clients_per_address=2)

    def make_site(self) -> AdminSite:
        class Nothing:
            def answer(self, accept: str) -> tuple[bytes, str]:
                return b"", accept

        return admin_site(
            Nothing(),
            lambda: None,
            clock=self.clock,
            observe=self.events.append,
            wall=time.time,
            timeouts=Timeouts(),
            limits=self.limits,
            more=[_nothing_more],
        )

    async def test_one_address_has_its_bound(self) -> None:
        await self.fill(2)
        self.assertEqual((await self.one_too_many()).status, 503)
        self.check_told("address")

    async def test_the_command_line_says_so(self) -> None:
        await self.fill(2)
        url = f"http://127.0.0.1:{self.port.getHost().port}"
        asked = deferToThread(Admin(url).get, "/api/v1/status")
        with self.assertRaises(CommandError) as caught:
            await asked
        error = caught.exception
        self.assertEqual(error.problem, f"the node on {url} has as many connections as it may have")
        self.assertEqual((error.exit_code, bool(error.next_step)), (EXIT_UNREACHABLE, True))

    async def test_all_have_a_bound(self) -> None:
        await self.fill(2)
        self.source = "127.0.0.2"
        await self.connect()
        await until(lambda: len(self.site.channels) == 3)
        self.assertEqual((await self.one_too_many()).status, 503)
        self.check_told("all")


def _nothing_more(app: Klein) -> None:
    """No routes."""


class ControlTests(_Told, _Cases):
    """Over a socket of the network here: what its factory does is the same."""

    port_name = "control"
    method = "POST"

    def make_site(self) -> ControlSite:
        tools = Tools(clock=self.clock, observe=self.events.append, stall=30.0)
        return ControlSite([], tools, time.time, Timeouts(), Limits())

    async def test_it_has_a_bound(self) -> None:
        await self.fill(CONNECTIONS)
        self.assertEqual((await self.one_too_many()).status, 503)
        self.check_told("all")


def test_whatever_comes_gets_an_answer() -> None:
    for begin in (b"", b"\xff", b"\r\n", b"GET", b"GET /v2/", b"\x16\x03\x01"):
        assert refusal_of(begin, "full").startswith(b"HTTP/1.1 503 ")

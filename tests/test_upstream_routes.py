"""The way to an upstream, over real sockets: names, addresses, kept connections."""

from __future__ import annotations

import ipaddress
import socket
import unittest
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred

from nodecache.events import UpstreamAnswered
from nodecache.failures import UpstreamKind
from nodecache.limits import Timeouts
from nodecache.upstream import guard
from tests.fakes_http import answer, hang_up
from tests.fakes_hub import FakeHub
from tests.fakes_proxy import FakeProxy
from tests.machine import has_ipv6
from tests.upstream_kit import APP, LATEST, LAYER, UpstreamCase, read, soon


class NameTests(UpstreamCase):
    async def test_an_upstream_is_reached_by_name(self) -> None:
        self.names(hub__test=["127.0.0.1"])
        upstream = self.upstream(
            f"http://hub.test:{self.hub.registry.port}", realm_hosts=("127.0.0.1",)
        )
        self.assertEqual((await upstream.head_manifest(APP, LATEST)).digest, self.digest)
        host = self.hub.registry.requests[0].header("host")
        self.assertEqual(host, f"hub.test:{self.hub.registry.port}")

    async def test_a_name_that_is_not_found_is_unreachable(self) -> None:
        self.names()
        upstream = self.upstream("http://hub.test")
        failure = await self.refused(upstream.head_manifest(APP, LATEST), UpstreamKind.UNREACHABLE)
        self.assertIn("not found in DNS", failure.message)

    async def test_a_name_server_that_is_silent_costs_the_time_to_connect(self) -> None:
        names = self.names()
        names.silent.add("hub.test")
        upstream = self.upstream("http://hub.test", timeouts=Timeouts(connect=0.5))
        failure = await self.refused(upstream.head_manifest(APP, LATEST), UpstreamKind.UNREACHABLE)
        self.assertIn("no connection in time", failure.message)

    async def test_leaving_while_the_name_is_looked_up_blames_nobody(self) -> None:
        names = self.names()
        names.silent.add("hub.test")
        upstream = self.upstream("http://hub.test")
        asking = Deferred.fromCoroutine(upstream.head_manifest(APP, LATEST))
        await self.until(lambda: names.asked)
        asking.cancel()
        with self.assertRaises(CancelledError):
            await asking
        self.assertIsNone(upstream.down())
        self.assertEqual(self.events, [])

    async def test_a_closed_port_is_unreachable(self) -> None:
        await self.hub.registry.stop()
        upstream = self.upstream()
        failure = await self.refused(upstream.head_manifest(APP, LATEST), UpstreamKind.UNREACHABLE)
        self.assertIn("refused", failure.message)

    async def test_the_first_address_that_answers_is_taken(self) -> None:
        closed = socket.socket()
        closed.bind(("127.0.0.3", 0))
        self.addCleanup(closed.close)
        self.names(hub__test=["127.0.0.3", "127.0.0.1"])
        upstream = self.upstream(
            f"http://hub.test:{self.hub.registry.port}", realm_hosts=("127.0.0.1",)
        )
        self.assertEqual((await upstream.head_manifest(APP, LATEST)).digest, self.digest)


class IPv6Tests(UpstreamCase):
    def setUp(self) -> None:
        if not has_ipv6():
            raise unittest.SkipTest("missing part: IPv6 on the loopback interface")
        super().setUp()

    def start_hub(self, **options: Any) -> FakeHub:
        return super().start_hub(host="::1", cdn_host="::1", **options)

    async def test_an_ipv6_address_is_an_upstream(self) -> None:
        upstream = self.upstream()
        self.assertIn("[::1]", self.hub.url)
        self.assertEqual((await upstream.get_manifest(APP, LATEST)).digest, self.digest)
        body = await upstream.blob_source(APP, self.layer).fetch(None, soon())
        self.assertEqual(await read(body), LAYER)
        host = self.hub.registry.requests[0].header("host")
        self.assertEqual(host, f"[::1]:{self.hub.registry.port}")

    async def test_a_name_with_both_families_is_reached_by_the_one_that_answers(self) -> None:
        self.names(hub__test=["127.0.0.1", "::1"])
        url = f"http://hub.test:{self.hub.registry.port}"
        upstream = self.upstream(url, realm_hosts=("[::1]",))
        self.assertEqual((await upstream.head_manifest(APP, LATEST)).digest, self.digest)


class GuardTests(UpstreamCase):
    """127.0.0.2 stands for a private address here, and 127.0.0.1 for a public one."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(guard, "is_private", self.is_private)
        self.inside = self.start_hub(host="127.0.0.2", cdn_host="127.0.0.2", token_auth=False)
        self.inside.add_blob(APP, LAYER)

    @staticmethod
    def is_private(address: str) -> bool:
        ipaddress.ip_address(address)  # a ValueError for a name, as the real one
        return address == "127.0.0.2"

    def redirect(self, place: str) -> None:
        self.hub.registry.fault(
            answer(307, Location=f"http://{place}/x"),
            kind="blob",
            when=lambda seen: seen.header("authorization") is not None,
        )

    async def fetch(self, **settings: Any) -> bytes:
        source = self.upstream(**settings).blob_source(APP, self.layer)
        return await read(await source.fetch(None, soon()))

    async def test_a_redirect_to_a_private_address_is_not_dialled(self) -> None:
        self.redirect(f"127.0.0.2:{self.inside.cdn.port}")
        failure = await self.refused(self.fetch(), UpstreamKind.WRONG)
        self.assertIn("private", failure.message)
        self.assertEqual(self.inside.cdn.accepted, 0)

    async def test_a_name_that_leads_to_a_private_address_is_not_dialled(self) -> None:
        self.names(cdn__test=["127.0.0.2"])
        self.redirect(f"cdn.test:{self.inside.cdn.port}")
        await self.refused(self.fetch(), UpstreamKind.WRONG)
        self.assertEqual(self.inside.cdn.accepted, 0)

    async def test_of_several_addresses_only_the_public_ones_are_dialled(self) -> None:
        self.names(cdn__test=["127.0.0.2", "127.0.0.1"])
        self.hub.cdn.public_host = "cdn.test"
        self.assertEqual(await self.fetch(), LAYER)

    async def test_a_private_upstream_may_redirect_to_a_private_address(self) -> None:
        source = self.upstream(self.inside.url).blob_source(APP, self.layer)
        self.assertEqual(await read(await source.fetch(None, soon())), LAYER)

    async def test_a_mirror_inside_does_not_open_the_inside_to_the_upstream(self) -> None:
        self.redirect(f"127.0.0.2:{self.inside.cdn.port}")
        upstream = self.upstream(mirrors=(self.inside.url,))
        source = upstream.blob_source(APP, self.layer)
        self.assertEqual(await read(await source.fetch(None, soon())), LAYER)
        accepted = self.inside.cdn.accepted
        self.inside.remove(APP)
        source = upstream.blob_source(APP, self.layer)
        await self.refused(source.fetch(None, soon()), UpstreamKind.WRONG)
        self.assertEqual(self.inside.cdn.accepted, accepted)

    async def test_a_token_server_at_a_private_address_is_not_dialled(self) -> None:
        self.names(registry__hub__test=["127.0.0.1"], auth__hub__test=["127.0.0.2"])
        self.hub.realm = f"http://auth.hub.test:{self.inside.tokens.port}/token"
        upstream = self.upstream(f"http://registry.hub.test:{self.hub.registry.port}")
        await self.refused(upstream.head_manifest(APP, LATEST), UpstreamKind.WRONG)
        self.assertEqual(self.inside.tokens.accepted, 0)

    async def test_a_redirect_through_a_proxy_may_not_name_a_private_address(self) -> None:
        proxy = self.start_proxy()
        for place in ("127.0.0.2", "localhost", "x.localhost."):
            self.hub.registry.faults.clear()
            self.redirect(f"{place}:{self.inside.cdn.port}")
            await self.refused(self.fetch(proxy=proxy.url), UpstreamKind.WRONG)
        self.assertEqual(self.inside.cdn.accepted, 0)

    def start_proxy(self) -> FakeProxy:
        proxy = FakeProxy(reactor).start()
        self.addCleanup(lambda: Deferred.fromCoroutine(proxy.stop()))
        return proxy


class ConnectionTests(UpstreamCase):
    async def test_connections_are_kept_and_used_again(self) -> None:
        upstream = self.upstream()
        for _ in range(5):
            await upstream.head_manifest(APP, LATEST)
        self.assertEqual(self.hub.registry.accepted, 1)

    async def test_a_kept_connection_that_died_costs_a_new_one_and_no_failure(self) -> None:
        upstream = self.upstream()
        await upstream.head_manifest(APP, LATEST)
        self.hub.registry.fault(hang_up, times=1)
        self.assertEqual((await upstream.head_manifest(APP, LATEST)).digest, self.digest)
        self.assertEqual(self.hub.registry.accepted, 2)
        self.assertIsNone(upstream.down())

    async def test_a_new_connection_that_dies_without_an_answer_is_unreachable(self) -> None:
        self.hub.registry.fault(hang_up)
        await self.refused(self.upstream().head_manifest(APP, LATEST), UpstreamKind.UNREACHABLE)
        self.assertEqual(self.hub.registry.accepted, 1)

    async def test_a_path_in_the_url_stands_before_the_name(self) -> None:
        self.hub.add_image("proxied/hub/library/app", "1", [LAYER])
        upstream = self.upstream(f"{self.hub.url}/proxied/hub")
        got = await upstream.get_manifest(APP, LATEST)
        self.assertEqual(self.hub.registry.requests[-1].name, "proxied/hub/library/app")
        self.assertEqual(self.hub.tokens.requests[-1].name, "proxied/hub/library/app")
        self.assertEqual(len(got.body), len(self.image.manifest.body))

    async def test_we_say_who_we_are(self) -> None:
        await self.upstream().head_manifest(APP, LATEST)
        agents = {seen.header("user-agent") for seen in self.hub.requests}
        self.assertEqual(self.hub.tokens.count(), 1)
        self.assertEqual(len(agents), 1)
        self.assertTrue(str(agents.pop()).startswith("nodecache/"))
        self.assertEqual({event.host for event in self.told(UpstreamAnswered)}, {"127.0.0.1"})

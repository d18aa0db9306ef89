"""The way to an upstream, over real sockets: names, addresses, TLS, proxies, kept connections."""

from __future__ import annotations

import ipaddress
import os
import pathlib
import socket
import unittest
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Factory, Protocol

from nodecache.events import UpstreamAnswered
from nodecache.failures import ConfigError, UpstreamFailure, UpstreamKind
from nodecache.limits import Timeouts
from nodecache.reference import Digest
from nodecache.upstream import guard
from tests.fakes_ca import DAY, FakeAuthority
from tests.fakes_http import answer, hang_up
from tests.fakes_hub import FakeHub
from tests.fakes_proxy import FakeProxy
from tests.upstream_kit import APP, LATEST, LAYER, UpstreamCase, read, soon


class NameTests(UpstreamCase):
    timeouts = Timeouts(connect=0.5)

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
        upstream = self.upstream("http://hub.test")
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


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


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


class Plain(Protocol):
    """Answers a TLS greeting as a plain web server does."""

    def dataReceived(self, data: bytes) -> None:
        transport: Any = self.transport
        transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        transport.loseConnection()


class TlsTests(UpstreamCase):
    authority = FakeAuthority()

    def start_hub(self, **options: Any) -> FakeHub:
        options.setdefault("tls", self.authority.listener("localhost", "127.0.0.1"))
        return super().start_hub(public_host="localhost", **options)

    def ca_file(self, *authorities: FakeAuthority) -> str:
        path = pathlib.Path(self.mktemp())
        path.write_bytes(b"# comment\n" + b"".join(one.pem for one in authorities))
        return str(path)

    async def refused_by(self, hub: FakeHub, ca_file: str | None) -> UpstreamFailure:
        upstream = self.upstream(hub.url, ca_file=ca_file)
        failure = await self.refused(upstream.head_manifest(APP, LATEST), UpstreamKind.UNREACHABLE)
        self.assertEqual(hub.registry.count(), 0)
        return failure

    async def test_an_extra_ca_is_trusted_on_all_legs(self) -> None:
        upstream = self.upstream(ca_file=self.ca_file(FakeAuthority("other"), self.authority))
        self.assertEqual((await upstream.get_manifest(APP, LATEST)).digest, self.digest)
        digest = Digest.parse(self.hub.add_pattern(APP, 1_000_000))
        body = await upstream.blob_source(APP, digest).fetch(None, soon())
        self.assertEqual(len(await read(body)), 1_000_000)

    async def test_the_systems_roots_stay_trusted_beside_it(self) -> None:
        system = FakeAuthority("the system's")
        before = os.environ.get("SSL_CERT_FILE")
        os.environ["SSL_CERT_FILE"] = self.ca_file(system)
        self.addCleanup(self.restore, before)
        hub = self.start_hub(tls=system.listener("localhost", "127.0.0.1"))
        hub.add_image(APP, "1", [LAYER])
        for one in (hub, self.hub):
            upstream = self.upstream(one.url, ca_file=self.ca_file(self.authority))
            self.assertEqual((await upstream.head_manifest(APP, LATEST)).digest, self.digest)

    @staticmethod
    def restore(before: str | None) -> None:
        del os.environ["SSL_CERT_FILE"]
        if before is not None:
            os.environ["SSL_CERT_FILE"] = before

    async def test_an_address_is_as_good_as_a_name_when_the_certificate_names_it(self) -> None:
        url = f"https://127.0.0.1:{self.hub.registry.port}"
        ca_file = self.ca_file(self.authority)
        upstream = self.upstream(url, ca_file=ca_file, realm_hosts=("localhost",))
        self.assertEqual((await upstream.head_manifest(APP, LATEST)).digest, self.digest)

    async def test_a_handshake_that_has_no_end_is_found_out_once(self) -> None:
        silent = self.listen(Protocol)
        timeouts = Timeouts(answer=0.4, probe_first=300)
        upstream = self.upstream(f"https://127.0.0.1:{silent}", timeouts=timeouts)
        await self.refused(upstream.head_manifest(APP, LATEST), UpstreamKind.TIMEOUT)
        await self.refused(upstream.head_manifest(APP, LATEST), UpstreamKind.DOWN)

    def listen(self, protocol: type[Protocol]) -> int:
        factory: Any = Factory.forProtocol(protocol)
        listening: Any = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(listening.stopListening)
        return int(listening.getHost().port)

    async def test_an_unknown_ca_is_refused(self) -> None:
        failure = await self.refused_by(self.hub, None)
        self.assertIn("certificate verify failed", failure.message)

    async def test_an_expired_certificate_is_refused(self) -> None:
        hub = self.start_hub(tls=self.authority.listener("localhost", life=-DAY))
        failure = await self.refused_by(hub, self.ca_file(self.authority))
        self.assertIn("certificate verify failed", failure.message)

    async def test_a_certificate_for_another_host_is_refused(self) -> None:
        hub = self.start_hub(tls=self.authority.listener("elsewhere.test"))
        failure = await self.refused_by(hub, self.ca_file(self.authority))
        self.assertIn("another host", failure.message)

    async def test_plain_http_behind_an_https_url_is_refused(self) -> None:
        upstream = self.upstream(f"https://127.0.0.1:{self.listen(Plain)}")
        failure = await self.refused(upstream.head_manifest(APP, LATEST), UpstreamKind.UNREACHABLE)
        self.assertIn("TLS", failure.message)

    async def test_https_does_not_lead_to_http(self) -> None:
        self.hub.registry.fault(
            answer(307, Location=f"http://127.0.0.1:{self.hub.cdn.port}/data/x"), kind="blob"
        )
        upstream = self.upstream(ca_file=self.ca_file(self.authority))
        source = upstream.blob_source(APP, self.layer)
        failure = await self.refused(source.fetch(None, soon()), UpstreamKind.WRONG)
        self.assertIn("from https to http", failure.message)

    def test_a_ca_file_that_is_none_stops_the_start(self) -> None:
        junk = pathlib.Path(self.mktemp())
        junk.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        empty = pathlib.Path(self.mktemp())
        empty.write_text("")
        for path in (str(junk), str(empty), "/nowhere/ca.pem"):
            with self.assertRaises(ConfigError) as caught:
                self.upstream(ca_file=path)
            message = str(caught.exception)
            self.assertIn('upstreams."docker.io".ca_file', message)
            self.assertNotIn("\n", message)


class ProxyTests(UpstreamCase):
    authority = FakeAuthority()

    def start_proxy(self, login: str | None = None) -> FakeProxy:
        proxy = FakeProxy(reactor, login).start()
        self.addCleanup(lambda: Deferred.fromCoroutine(proxy.stop()))
        return proxy

    def secure_hub(self) -> tuple[FakeHub, str]:
        hub = self.start_hub(
            tls=self.authority.listener("hub.test"),
            public_host="hub.test",
            cdn_public_host="hub.test",
        )
        hub.add_image(APP, "1", [LAYER])
        path = pathlib.Path(self.mktemp())
        path.write_bytes(self.authority.pem)
        return hub, str(path)

    async def test_https_goes_through_a_tunnel_to_a_name_that_only_the_proxy_knows(self) -> None:
        hub, ca_file = self.secure_hub()
        self.names()
        proxy = self.start_proxy("user:pa%20ss".replace("%20", "_"))
        proxy.places["hub.test"] = "127.0.0.1"
        for environ, setting in (({"HTTPS_PROXY": proxy.url}, None), ({}, proxy.url)):
            upstream = self.upstream(hub.url, environ=environ, proxy=setting, ca_file=ca_file)
            self.assertEqual((await upstream.get_manifest(APP, LATEST)).digest, self.digest)
            source = upstream.blob_source(APP, self.layer)
            self.assertEqual(await read(await source.fetch(None, soon())), LAYER)
        ports = {hub.registry.port, hub.tokens.port, hub.cdn.port}
        wanted = {f"CONNECT hub.test:{port} HTTP/1.1" for port in ports}
        self.assertEqual(set(proxy.asked), wanted)
        self.assertNotIn("proxy-authorization", hub.registry.requests[0].headers)

    async def test_plain_http_is_asked_of_the_proxy_itself(self) -> None:
        proxy = self.start_proxy("user:pass")
        upstream = self.upstream(proxy=proxy.url)
        self.assertEqual((await upstream.get_manifest(APP, LATEST)).digest, self.digest)
        self.assertEqual(proxy.asked[0], f"GET {self.hub.url}/v2/{APP}/manifests/1 HTTP/1.1")
        self.assertEqual(len(proxy.asked), 3)
        self.assertTrue(all("proxy-authorization" in headers for headers in proxy.headers))

    async def test_no_proxy_and_loopback_are_asked_directly(self) -> None:
        proxy = self.start_proxy()
        environ = {"http_proxy": proxy.url, "NO_PROXY": "example.com, .hub.test"}
        self.names(registry__hub__test=["127.0.0.1"])
        port = self.hub.registry.port
        for url in (self.hub.url, f"http://registry.hub.test:{port}"):
            upstream = self.upstream(url, environ=environ, realm_hosts=("127.0.0.1",))
            self.assertEqual((await upstream.head_manifest(APP, LATEST)).digest, self.digest)
        self.assertEqual(proxy.asked, [])

    async def test_the_environments_proxy_is_used_for_other_hosts(self) -> None:
        proxy = self.start_proxy()
        proxy.places["hub.test"] = "127.0.0.1"
        url = f"http://hub.test:{self.hub.registry.port}"
        upstream = self.upstream(url, environ={"HTTP_PROXY": proxy.url}, realm_hosts=("127.0.0.1",))
        self.assertEqual((await upstream.head_manifest(APP, LATEST)).digest, self.digest)
        self.assertEqual(
            [line.split()[1] for line in proxy.asked], [f"{url}/v2/{APP}/manifests/1"] * 2
        )

    async def test_a_proxy_that_wants_another_login_is_unreachable_and_gets_no_more(self) -> None:
        hub, ca_file = self.secure_hub()
        proxy = self.start_proxy("user:pass")
        wrong = proxy.url.replace("pass", "wrong")
        for url in (hub.url, self.hub.url):
            upstream = self.upstream(url, proxy=wrong, ca_file=ca_file)
            failure = await self.refused(
                upstream.head_manifest(APP, LATEST), UpstreamKind.UNREACHABLE
            )
            self.assertIn("407", failure.message)
            self.assertIsNotNone(upstream.down())
        self.assertNotIn("wrong", repr(self.events))

    async def test_a_proxy_that_cannot_connect_says_so(self) -> None:
        hub, ca_file = self.secure_hub()
        self.names()
        proxy = self.start_proxy()
        upstream = self.upstream(hub.url, proxy=proxy.url, ca_file=ca_file)
        failure = await self.refused(upstream.head_manifest(APP, LATEST), UpstreamKind.UNREACHABLE)
        self.assertIn("502", failure.message)

    async def test_junk_from_a_proxy_is_no_tunnel(self) -> None:
        hub, ca_file = self.secure_hub()
        proxy = self.start_proxy()
        for junk in (b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"y" * 20_000):
            proxy.answer = junk
            upstream = self.upstream(hub.url, proxy=proxy.url, ca_file=ca_file)
            await self.refused(upstream.head_manifest(APP, LATEST), UpstreamKind.UNREACHABLE)

    async def test_a_proxy_that_is_not_there_is_unreachable(self) -> None:
        hub, ca_file = self.secure_hub()
        proxy = self.start_proxy()
        url = proxy.url
        await proxy._port.stopListening()
        for target in (hub.url, self.hub.url):
            upstream = self.upstream(target, proxy=url, ca_file=ca_file)
            await self.refused(upstream.head_manifest(APP, LATEST), UpstreamKind.UNREACHABLE)

    async def test_a_silent_proxy_costs_the_time_to_connect(self) -> None:
        hub, ca_file = self.secure_hub()
        proxy = self.start_proxy()
        proxy.answer = b""
        timeouts = Timeouts(connect=0.5)
        upstream = self.upstream(hub.url, proxy=proxy.url, ca_file=ca_file, timeouts=timeouts)
        failure = await self.refused(upstream.head_manifest(APP, LATEST), UpstreamKind.UNREACHABLE)
        self.assertIn("no connection in time", failure.message)

    def test_a_proxy_that_is_none_stops_the_start(self) -> None:
        for environ in ({"HTTPS_PROXY": "socks5://127.0.0.1:1"}, {"http_proxy": "http://"}):
            with self.assertRaises(ConfigError) as caught:
                self.upstream(environ=environ)
            self.assertIn(next(iter(environ)), str(caught.exception))


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
        agents = {seen.header("user-agent") for seen in self.hub.registry.requests}
        self.assertEqual(len(agents), 1)
        self.assertTrue(str(agents.pop()).startswith("nodecache/"))
        self.assertEqual({event.host for event in self.told(UpstreamAnswered)}, {"127.0.0.1"})

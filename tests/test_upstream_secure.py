"""TLS and proxies on the way to an upstream, over real sockets."""

from __future__ import annotations

import contextlib
import os
import pathlib
from typing import Any
from unittest.mock import patch

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol

from nodecache.failures import ConfigError, UpstreamFailure, UpstreamKind
from nodecache.limits import Timeouts
from nodecache.reference import Digest
from nodecache.upstream.head import Head, Heads
from nodecache.upstream.reads import Reads
from tests.fakes_ca import DAY, FakeAuthority
from tests.fakes_http import answer, cut
from tests.fakes_hub import FakeHub, sha256
from tests.fakes_proxy import FakeProxy
from tests.upstream_kit import APP, LATEST, LAYER, UpstreamCase, read, soon


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

    async def test_records_are_handed_on_by_the_read(self) -> None:
        """A record has at most 16 KiB; a body that comes in those is read in bigger pieces."""
        upstream = self.upstream(ca_file=self.ca_file(self.authority))
        digest = Digest.parse(self.hub.add_pattern(APP, 4_000_000))
        sizes = []
        hand_on = Head._hand_on

        def counted(head: Head, data: bytes) -> None:
            sizes.append(len(data))
            hand_on(head, data)

        with patch.object(Head, "_hand_on", counted):
            body = await upstream.blob_source(APP, digest).fetch(None, soon())
            received = await read(body)
        self.assertEqual(sha256(received), str(digest))
        self.assertGreaterEqual(sum(sizes), 4_000_000)
        self.assertGreater(max(sizes), 32 * 1024)

    async def test_what_came_before_a_broken_connection_is_handed_on(self) -> None:
        upstream = self.upstream(ca_file=self.ca_file(self.authority))
        digest = Digest.parse(self.hub.add_pattern(APP, 1_000_000))
        self.hub.cdn.fault(cut(300_000), times=1)
        body = await upstream.blob_source(APP, digest).fetch(None, soon())
        received = bytearray()
        with self.assertRaises(UpstreamFailure):
            await body.deliver(received.extend)
        self.assertEqual(len(received), 300_000)

    def test_what_is_gathered_is_handed_on_also_when_the_reading_fails(self) -> None:
        pieces: list[bytes] = []

        class Above(Protocol):
            def dataReceived(self, data: bytes) -> None:
                pieces.append(data)

        head = Head(Heads(Factory(), Reads()), Above())
        head.dataReceived(b"a")
        with contextlib.suppress(ValueError), head.gathering():
            head.dataReceived(b"b")
            head.dataReceived(b"c")
            raise ValueError
        with head.gathering():
            pass
        head.dataReceived(b"d")
        self.assertEqual(pieces, [b"a", b"bc", b"d"])

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
        # Far apart: a machine that stood still for a while must not reach both at once.
        timeouts = Timeouts(connect=0.5, answer=100.0)
        upstream = self.upstream(hub.url, proxy=proxy.url, ca_file=ca_file, timeouts=timeouts)
        failure = await self.refused(upstream.head_manifest(APP, LATEST), UpstreamKind.UNREACHABLE)
        self.assertIn("no connection in time", failure.message)

    def test_a_proxy_that_is_none_stops_the_start(self) -> None:
        for environ in ({"HTTPS_PROXY": "socks5://127.0.0.1:1"}, {"http_proxy": "http://"}):
            with self.assertRaises(ConfigError) as caught:
                self.upstream(environ=environ)
            self.assertIn(next(iter(environ)), str(caught.exception))

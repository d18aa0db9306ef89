"""Over TLS: the same answers, by ordinary writes."""

from __future__ import annotations

import datetime as dt
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.internet import ssl
from twisted.internet.protocol import ServerFactory

from nodecache.events import TurnedAway
from nodecache.failures import UpstreamFailure, UpstreamKind
from tests.fakes_registry import some_bytes
from tests.loopback import LoopbackCase, reactor, request, turns, until

DATA = some_bytes(3_000_000)


def certificate() -> ssl.PrivateCertificate:
    """A key and a certificate for localhost, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ) + made.public_bytes(serialization.Encoding.PEM)
    loaded: ssl.PrivateCertificate = ssl.PrivateCertificate.loadPEM(pem)
    return loaded


class TlsTests(LoopbackCase):
    def listen(self, factory: ServerFactory) -> Any:
        plain = ServerFactory()
        # Without the site's word on protocols, on which old releases of Twisted
        # and new ones of pyOpenSSL differ.
        plain.buildProtocol = factory.buildProtocol  # type: ignore[method-assign]
        return reactor.listenSSL(0, plain, certificate().options(), interface="127.0.0.1")

    def dial(self, factory: Any) -> None:
        trusting = ssl.CertificateOptions(verify=False)
        reactor.connectSSL("127.0.0.1", self.port.getHost().port, factory, trusting)

    async def test_a_whole_blob_comes_and_the_connection_is_kept(self) -> None:
        path = self.serve(self.whole(DATA), DATA)
        client = await self.begin(path)
        self.assertTrue((await client.whole()).body == DATA)
        client.received.clear()
        client.send(request("/v2/"))
        self.assertEqual((await client.whole()).body, b"{}")

    async def test_a_blob_that_arrives_comes_as_it_arrives(self) -> None:
        blob = self.blob(DATA[:1_000_000], total=len(DATA), tail=10)
        client = await self.begin(self.serve(blob, DATA))
        await client.body(1_000_000)
        blob.append(DATA[1_000_000:])
        blob.finish()
        self.assertTrue((await client.whole()).body == DATA)

    async def test_a_failed_flight_is_no_whole_body(self) -> None:
        blob = self.blob(DATA[:1_000_000], total=len(DATA), tail=10)
        client = await self.begin(self.serve(blob, DATA))
        await client.body(900_000)
        blob.fail(UpstreamFailure(UpstreamKind.WRONG, "wrong digest"))
        await client.hung_up()
        self.assertFalse(client.reply.whole)
        self.assertEqual((await self.finished())[0].outcome, "aborted")

    async def test_a_client_that_leaves_leaves_nothing_behind(self) -> None:
        client = await self.begin(self.serve(self.whole(DATA), DATA))
        await client.body(100_000)
        client.leave()
        self.assertEqual((await self.finished())[0].outcome, "left")

    async def test_one_too_many_is_told_so(self) -> None:
        self.site.most_per_address = 1
        await self.connect()
        await until(lambda: self.site.channels)
        client = await self.begin("/v2/")
        await client.hung_up()
        self.assertEqual((client.reply.status, client.reply.header("Retry-After")), (503, "1"))
        self.assertEqual(client.reply.header("Connection"), "close")
        self.assertTrue(client.reply.whole)
        self.assertEqual([event.limit for event in self.told(TurnedAway)], ["address"])
        await until(lambda: not self.site.turned_away)

    async def test_a_client_that_takes_nothing_is_dropped(self) -> None:
        big = DATA * 10  # more than the kernel takes
        client = await self.begin(self.serve(self.whole(big), big))
        await client.body(1)
        client.stop_reading()
        await turns(300)
        for _ in range(30):
            self.clock.advance(self.timeouts.client_stall / 8)
            await turns(2)
        self.assertEqual((await self.finished())[0].outcome, "stalled")

"""A headless service of many pods, resolved through a real name server."""

from __future__ import annotations

import pathlib
import random
import shutil
import socket
import tempfile

import attrs
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from nodecache.discovery.lookup import Lookup
from nodecache.discovery.question import Question, _over_udp
from nodecache.discovery.resolvconf import ResolvConf
from tests.system.parts.processes import Child, free_port, need

NAME = "peers.images.svc.cluster.local"


@attrs.frozen
class Fixed:
    """The settings of a resolver that asks the test's server."""

    def settings(self) -> ResolvConf:
        return ResolvConf(("127.0.0.1",))


class ManyPods(TestCase):
    timeout = 60

    def serve(self, pods: int) -> int:
        """dnsmasq, which knows the name; its port."""
        need("dnsmasq")
        folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, folder)
        hosts, port = folder / "hosts", free_port()
        hosts.write_text("".join(f"{address} {NAME}\n" for address in self.addresses(pods)))
        words = [
            *("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv"),
            *("--no-hosts", "--user=root", "--log-facility=-", f"--addn-hosts={hosts}"),
            *("--local=/cluster.local/", "--listen-address=127.0.0.1", "--bind-interfaces"),
            *(f"--port={port}", f"--pid-file={folder}/pid"),
        ]
        child = Child("dnsmasq", words, folder)
        self.addCleanup(child.stop)
        child.ready(lambda: self.listens(port))
        return port

    def addresses(self, pods: int) -> set[str]:
        return {f"10.0.{number >> 8}.{number & 255}" for number in range(1, pods + 1)}

    def listens(self, port: int) -> bool:
        with socket.socket() as asker:
            return asker.connect_ex(("127.0.0.1", port)) == 0

    async def test_a_thousand_pods_are_found_over_tcp(self) -> None:
        port = self.serve(1000)
        question = Question(NAME, "A", 7)
        cut_off = await Deferred.fromCoroutine(_over_udp(reactor, ("127.0.0.1", port), question))
        self.assertTrue(cut_off.trunc, "it fits a datagram: then this shows nothing")
        found = await Lookup(reactor, Fixed(), 10.0, random.Random(1), port).lookup(NAME)
        self.assertEqual((set(found.hosts), found.partial), (self.addresses(1000), False))

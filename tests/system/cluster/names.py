"""The headless service: dnsmasq, authoritative for one name, changed as pods come and go."""

from __future__ import annotations

import pathlib
import signal
import socket
from collections.abc import Iterable

import attrs
from twisted.names import dns

from tests.system.cluster.network import Station
from tests.system.parts.processes import Child, need, until

#: As a pod of kube-system sees it.
DOMAIN = "cluster.local"
SERVICE = "nodecache-peers"
NAME = f"{SERVICE}.kube-system.svc.{DOMAIN}"


def resolv_conf(server: str) -> str:
    """What a kubelet writes for a pod."""
    search = f"kube-system.svc.{DOMAIN} svc.{DOMAIN} {DOMAIN}"
    return f"nameserver {server}\nsearch {search}\noptions ndots:5\n"


@attrs.define
class Names:
    """dnsmasq in ``station``."""

    station: Station
    folder: pathlib.Path
    child: Child | None = None
    _emptied: bool = False

    @property
    def _hosts(self) -> pathlib.Path:
        return self.folder / "hosts"

    def start(self, *, empty: bool = False) -> None:
        """Begin (again). ``empty``: the name exists and has no address."""
        need("dnsmasq")
        self.stop()
        self._emptied = empty
        self.folder.mkdir(parents=True, exist_ok=True)
        self._hosts.touch()
        words = [
            *("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null"),
            *("--no-resolv", "--no-hosts", "--user=root", "--log-facility=-"),
            *(f"--addn-hosts={self._hosts}", f"--local=/{DOMAIN}/", "--local-ttl=5"),
            *(f"--listen-address={self.station.address}", "--bind-interfaces"),
            *(f"--pid-file={self.folder}/dnsmasq.pid",),
            *([f"--txt-record={NAME},nothing else"] if empty else []),
        ]
        self.child = Child("dnsmasq", self.station.namespace.argv(words), self.folder)
        self.child.ready(lambda: self._ask(dns.A) is not None)

    def stop(self) -> None:
        """From now on a question is refused by the machine: the port is closed."""
        if self.child is not None:
            self.child.stop()

    def freeze(self) -> None:
        """From now on questions are not answered at all."""
        assert self.child is not None
        self.child.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.child is not None
        self.child.signal(signal.SIGCONT)

    def publish(self, addresses: Iterable[str]) -> None:
        """These, at once, whatever was before; none at all is NXDOMAIN."""
        wanted = sorted(addresses)
        self._hosts.write_text("".join(f"{address} {NAME}\n" for address in wanted))
        if self.child is None or not self.child.alive or self._emptied:
            self.start()
        else:
            self.child.signal(signal.SIGHUP)
        until(lambda: self.answers() == wanted, "DNS answers with what was published")

    def empty(self) -> None:
        """The name stays, with no address of either family."""
        self._hosts.write_text("")
        self.start(empty=True)

    def answers(self) -> list[str]:
        """What a node would be told now, sorted."""
        return sorted(address for kind in (dns.A, dns.AAAA) for address in self._ask(kind) or ())

    def _ask(self, kind: int) -> list[str] | None:
        """The addresses of one family; None without an answer."""
        question = dns.Message(id=7, recDes=1)
        question.addQuery(NAME.encode(), kind)
        with (
            self.station.namespace.entered(),
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker,
        ):
            asker.settimeout(1)
            try:
                asker.connect((self.station.address, 53))
                asker.send(question.toStr())
                data = asker.recv(65536)
            except OSError:
                return None
        answer = dns.Message()
        answer.fromStr(data)
        return [_address(record.payload) for record in answer.answers]


def _address(record: object) -> str:
    if isinstance(record, dns.Record_A):
        return str(record.dottedQuad())
    assert isinstance(record, dns.Record_AAAA), record
    return socket.inet_ntop(socket.AF_INET6, record.address)

"""The whole cluster: bridge, Hub, DNS and nodes, wired and started together."""

from __future__ import annotations

import contextlib
import itertools
import pathlib
from collections.abc import Iterator, Sequence
from functools import partial

import attrs

from tests.system.cluster import names
from tests.system.cluster.member import ADMIN_PORT, MIRROR_PORT, PEER_PORT, Member
from tests.system.cluster.names import Names
from tests.system.cluster.netns import Run
from tests.system.cluster.network import MBIT, Network, Station, node_addresses
from tests.system.cluster.pulls import Pulled, begin
from tests.system.cluster.upstream import Upstream
from tests.system.parts.images import MIB, Image, huge_layer, image
from tests.system.parts.node import Node
from tests.system.parts.processes import until

DNS = "10.77.0.4"
SECRET = "of this cluster, and long enough to be one"


@attrs.frozen(kw_only=True)
class Plan:
    """What to build. Rates are bits a second, each way; 0 is as fast as it can."""

    nodes: int = 8
    link: int = 100 * MBIT
    hub_link: int = 200 * MBIT
    sharing: bool = True
    toml: str = ""


@attrs.define
class Cluster:
    """``members`` are the nodes by what they are now; addresses are never used twice."""

    plan: Plan
    folder: pathlib.Path
    network: Network
    upstream: Upstream
    names: Names
    members: list[Member] = attrs.Factory(list)
    _given: int = 0
    _images: Iterator[int] = attrs.Factory(itertools.count)

    def addresses(self) -> tuple[str, str]:
        """Two that no node ever had."""
        self._given += 1
        return node_addresses(self._given)

    def station(self, name: str) -> Station:
        return self.network.attach(name, self.addresses(), self.plan.link, names.resolv_conf(DNS))

    def add(self, name: str = "", flags: dict[str, str] | None = None, toml: str = "") -> Member:
        """A new node with an empty data folder; neither started nor published."""
        name = name or f"node{len(self.members) + 1}"
        station = self.station(name)
        given = {
            "admin-listen": f"0.0.0.0:{ADMIN_PORT}",
            **(self._sharing(name) if self.plan.sharing else {}),
            **(flags or {}),
        }
        node = Node(
            self.folder / name,
            f"docker.io={self.upstream.url}",
            given,
            toml or self.plan.toml,
            before=tuple(station.namespace.argv([])),
            port=MIRROR_PORT,
            admin_port=ADMIN_PORT,
        )
        member = Member(name, station, node, self.upstream.url)
        member.secrets(SECRET)
        self.members.append(member)
        return member

    def _sharing(self, name: str) -> dict[str, str]:
        return {
            "node-id": name,
            "peers": f"{names.SERVICE}:{PEER_PORT}",
            "peer-listen": f"[::]:{PEER_PORT}",
            "peer-secret-file": str(self.folder / name / "secret"),
        }

    def remove(self, member: Member) -> None:
        """As if the machine were gone."""
        member.close()
        member.station.namespace.delete()
        self.members.remove(member)

    def image(self, *sizes: int) -> Image:
        """An image that nobody has, with layers of so many MiB."""
        number = next(self._images)
        layers = [huge_layer(size * MIB, (number, place)) for place, size in enumerate(sizes)]
        return self.upstream.push(f"library/image-{number}", "latest", image(layers))

    def start(self, members: Sequence[Member] | None = None) -> None:
        """Start these (else all that do not run) together; ready when it returns."""
        beginning = [one for one in self._these(members) if not one.alive]
        for member in beginning:
            member.launch()
        for member in beginning:
            member.ready()

    def up(self, members: Sequence[Member] | None = None) -> None:
        """These (else all) are named in DNS, run, and know each other."""
        self.publish(members)
        self.start(members)
        self.met(members)

    def as_usual(self) -> None:
        """Heal what a test did, start what it stopped, and wait until all see all, and the Hub."""
        self.upstream.as_usual()
        self.upstream.station.shape(self.plan.hub_link)
        for member in self.members:
            member.heal()
            member.station.shape(self.plan.link)
            member.secrets(SECRET)
        self.names.start()
        self.up()
        for member in self.members:
            until(member.asks_upstream, f"{member.id} has found out that the Hub is back")

    def _these(self, members: Sequence[Member] | None) -> Sequence[Member]:
        return self.members if members is None else members

    def publish(self, members: Sequence[Member] | None = None) -> None:
        """DNS names all addresses of these (else of all members)."""
        named = self._these(members)
        self.names.publish(address for one in named for address in one.station.addresses)

    def met(self, members: Sequence[Member] | None = None) -> None:
        """Wait until each of these (else all) counts all others as live."""
        these = self._these(members)
        if self.plan.sharing:
            for one in these:
                until(partial(_knows, one, len(these) - 1), f"{one.id} knows all others")

    def herd(self, members: Sequence[Member], of: Image, *, direct: bool = False) -> list[Pulled]:
        """All pull at once; how each went."""
        pulls = [member.pull(of, direct=direct) for member in members]
        begin(pulls)
        return [pull.result() for pull in pulls]

    def close(self) -> None:
        for member in self.members:
            member.close()
        self.names.stop()
        self.upstream.stop()


def _knows(member: Member, others: int) -> bool:
    return member.live() >= others


@contextlib.contextmanager
def cluster(folder: pathlib.Path, plan: Plan) -> Iterator[Cluster]:
    """Bridge, Hub and DNS run; the nodes are made and not started. All is gone in the end."""
    folder.mkdir(parents=True, exist_ok=True)
    with Run(folder) as run, contextlib.ExitStack() as stack:
        network = Network.make(run)
        upstream = Upstream.make(network, folder / "hub", plan.hub_link)
        stack.callback(upstream.stop)
        upstream.start()
        dns = Names(network.attach("dns", [DNS]), folder / "dns")
        stack.callback(dns.stop)
        dns.start()
        made = Cluster(plan, folder, network, upstream, dns)
        stack.callback(made.close)
        for _ in range(plan.nodes):
            made.add()
        yield made

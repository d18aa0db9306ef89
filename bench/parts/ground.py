"""Where caches and clients stand, and how far upstream is: on loopback, or behind a cable."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Callable, Iterator
from typing import Protocol

import attrs

from bench.parts.origin import HOST
from tests.system.cluster.netns import Run
from tests.system.cluster.network import Network, Station, node_addresses
from tests.system.cluster.upstream import ADDRESSES


class Ground(Protocol):
    @property
    def host(self) -> str:
        """The address of upstream."""
        ...

    def upstream(self) -> contextlib.AbstractContextManager[None]:
        """What is started within is where upstream is."""
        ...

    def received(self) -> int:
        """Payload from upstream by the cable's own count; 0 where there is no cable."""
        ...


@attrs.frozen
class Loopback:
    host: str = HOST

    @contextlib.contextmanager
    def upstream(self) -> Iterator[None]:
        yield

    def received(self) -> int:
        return 0


@attrs.frozen
class Shaped:
    """Upstream has a machine of its own, and a cable of a rate."""

    station: Station

    @property
    def host(self) -> str:
        return self.station.address

    def upstream(self) -> contextlib.AbstractContextManager[None]:
        return self.station.namespace.entered()

    def received(self) -> int:
        return self.station.sent().payload


@contextlib.contextmanager
def shaped(folder: pathlib.Path, rate: int) -> Iterator[Ground]:
    """A cable of ``rate`` bits a second; this thread stands at the other end meanwhile."""
    folder.mkdir(parents=True)
    with Run(folder) as run:
        network = Network.make(run)
        hub = network.attach("hub", ADDRESSES[:1], rate)
        here = network.attach("here", node_addresses(1)[:1])
        with here.namespace.entered():
            yield Shaped(hub)


#: Makes the ground in a folder.
Grounds = Callable[[pathlib.Path], contextlib.AbstractContextManager[Ground]]


@contextlib.contextmanager
def loopback(_: pathlib.Path) -> Iterator[Ground]:
    yield Loopback()

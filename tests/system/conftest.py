"""The system ring: one Hub for the run, a node and a runtime for each test that wants them."""

from __future__ import annotations

import contextlib
import itertools
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterator

import attrs
import pytest

from tests.system.cluster.cluster import Cluster, Plan, cluster
from tests.system.cluster.network import MBIT
from tests.system.kube.docker import Docker, docker_with_image
from tests.system.parts.hub import Hub, make_hub
from tests.system.parts.images import Image, Pusher
from tests.system.parts.node import Node
from tests.system.parts.processes import MissingPart
from tests.system.parts.runtimes import Containerd, Dockerd, Podman, Runtime, Setup, Skopeo
from tests.system.parts.userlands import System, newer
from tests.system.parts.zoo import Kind


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A part that is missing ends the test as skipped, by name (a failure where CI=true)."""
    report = yield
    if call.excinfo is not None and isinstance(call.excinfo.value, MissingPart):
        path, line, _ = item.location
        report.outcome = "skipped"
        report.longrepr = (path, line or 0, f"Skipped: missing part: {call.excinfo.value}")
    return report


#: What has the machine for itself: a herd on a cable of its own is slower beside others, and
#: what it costs is compared.
_ALONE = {"test_bench.py", "test_cluster.py", "test_cluster_failures.py"}
_ALONE |= {"test_cluster_rollout.py", "test_soak.py"}
#: What pulls by the runtimes of containers; and so does whoever wants the image.
_CONTAINERS = {"test_faults_runtimes.py", "test_runtimes.py"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests with the stream that they run in (see Makefile); each is in one."""
    here = pathlib.Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker("system")
            item.add_marker(pytest.mark.timeout(300))
            item.add_marker(_stream(item))


def _stream(item: pytest.Item) -> str:
    if item.path.name in _ALONE or "the_cluster" in getattr(item, "fixturenames", ()):
        return "alone"
    image = "the_image" in getattr(item, "fixturenames", ())
    return "containers" if image or item.path.name in _CONTAINERS else "beside"


@pytest.fixture(scope="session")
def world() -> Iterator[pathlib.Path]:
    """The folder of everything in this run; short, since sockets are named in it."""
    base = os.environ.get("NODECACHE_TEST_DIR", "/var/tmp")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="nodecache-", dir=base))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def the_hub(world: pathlib.Path) -> Iterator[Hub]:
    hub = make_hub(world / "hub")
    try:
        hub.start()
        yield hub
    finally:
        hub.stop()


@pytest.fixture
def hub(the_hub: Hub) -> Iterator[Hub]:
    """The Hub as usual, whatever the last test did to it."""
    the_hub.as_usual()
    yield the_hub
    the_hub.as_usual()


@attrs.define
class Shop:
    """Images to order: each is new, so that no test finds another's blobs."""

    hub: Hub
    _numbers: Iterator[int] = attrs.Factory(itertools.count)
    _made: dict[Kind, Image] = attrs.Factory(dict)

    def make(self, kind: Kind, tag: str = "latest", namespace: str = "library") -> Image:
        """Push a new image of ``kind``."""
        name = f"{namespace}/{kind.__name__.replace('_', '-')}-{next(self._numbers)}"
        return self.push(name, tag, kind, name)

    def once(self, kind: Kind) -> Image:
        """The run's one image of ``kind``: for the big ones, and nodes that start empty."""
        if kind not in self._made:
            self._made[kind] = self.make(kind)
        return self._made[kind]

    def push(self, name: str, tag: str, kind: Kind, seed: object) -> Image:
        """Push ``name:tag``; another ``seed`` makes another image of it."""
        return Pusher(self.hub).push(name, tag, kind((os.getpid(), seed)))

    def delete(self, image: Image) -> None:
        Pusher(self.hub).delete(image)


@pytest.fixture(scope="session")
def shop(the_hub: Hub) -> Shop:
    return Shop(the_hub)


NodeMaker = Callable[..., Node]


@pytest.fixture
def make_node(world: pathlib.Path, hub: Hub, request: pytest.FixtureRequest) -> Iterator[NodeMaker]:
    """Start nodes against the Hub's plain face; all are stopped and removed after the test."""
    folder = world / f"nodes-{abs(hash(request.node.nodeid)) % 10**8}"
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)

        def make(**settings: object) -> Node:
            number = len(list(folder.iterdir())) if folder.exists() else 0
            given = {"upstream": f"docker.io={hub.url}", **settings}
            node = Node(folder / str(number), **given)  # type: ignore[arg-type]  # by name
            node.folder.mkdir(parents=True)
            stack.callback(node.close)
            return node

        yield make


@pytest.fixture
def node(make_node: NodeMaker) -> Node:
    """A node with an empty data folder, ready."""
    return make_node().start()


#: What a cluster does now and then, it does often in tests.
BRISK = """\
[timeouts]
probe_last = '2s'
peer_resolve = '1s'
peer_greet = '2s'
peer_pause_last = '2s'
peer_corrupt = '5s'
peer_secrets = '500ms'
"""


@pytest.fixture(scope="module")
def the_cluster(world: pathlib.Path) -> Iterator[Cluster]:
    """Eight nodes in network namespaces, with a Hub and DNS of their own."""
    plan = Plan(nodes=8, link=300 * MBIT, hub_link=400 * MBIT, toml=BRISK)
    with cluster(world / "cluster", plan) as made:
        yield made


@pytest.fixture
def land(the_cluster: Cluster) -> Cluster:
    """All eight run and know each other, whatever the last test did to them."""
    the_cluster.as_usual()
    return the_cluster


@pytest.fixture(scope="session")
def the_image(world: pathlib.Path) -> Iterator[Docker]:
    """The container image, built in a dockerd that also runs the pods of the tests."""
    with docker_with_image(world / "k") as docker:
        yield docker


RUNTIMES: dict[str, Callable[[Setup], Runtime]] = {
    "dockerd": Dockerd,
    "containerd": Containerd,
    "containerd-cri-default": lambda setup: Containerd(setup, default=True),
    "podman": Podman,
    "skopeo": Skopeo,
}


@attrs.define
class Pair:
    """A runtime that is pointed at a node, and the Hub behind both."""

    node: Node
    runtime: Runtime
    hub: Hub


@contextlib.contextmanager
def paired(
    kind: str, age: str, hub: Hub, node: Node, folder: pathlib.Path, world: pathlib.Path
) -> Iterator[Pair]:
    userland = System() if age == "system" else newer(world)
    runtime = RUNTIMES[kind](Setup(folder, userland, node.url, hub.client_env()))
    try:
        runtime.start()
        yield Pair(node, runtime, hub)
    finally:
        runtime.stop()
        shutil.rmtree(folder, ignore_errors=True)

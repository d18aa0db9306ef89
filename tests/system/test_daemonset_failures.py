"""What a pull costs while the node's pod is away, with each runtime: it never fails.

All runtimes of one machine pull the same new image at once, as pods of a rollout do. The
times are printed as rows of the table in docs/operations.md.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import pathlib
import signal
import time
from collections.abc import Callable, Iterator, Mapping

import attrs
import pytest

from tests.system.kube.docker import Docker
from tests.system.kube.land import MIRROR, Land, land, metric
from tests.system.kube.manifests import render
from tests.system.kube.pod import Machine, Pod
from tests.system.kube.probes import Kubelet
from tests.system.parts.images import Image, image, layer, noise
from tests.system.parts.processes import CommandFailed, until
from tests.system.parts.runtimes import Containerd, Dockerd, Podman, Runtime
from tests.system.parts.userlands import System, newer

#: Bits a second of each connection to upstream where a pull has to last a while.
SLOW = 12_000_000
LAYERS = 3
LAYER = 3_000_000


@attrs.define
class Ground:
    """One machine with its pod and its runtimes."""

    land: Land
    machine: Machine
    runtimes: Mapping[str, Runtime]
    pod: Pod
    kubelet: Kubelet | None = None
    _made: int = 1

    def begin(self) -> None:
        """The pod of the DaemonSet is made, and watched until it is ready."""
        self.pod.create().begin()
        self.watch()

    def watch(self) -> None:
        self.kubelet = Kubelet(self.pod)
        self.kubelet.__enter__()
        self.ready()

    def ready(self) -> None:
        kubelet = self.kubelet
        assert kubelet is not None
        until(lambda: kubelet.ready and self.pod.alive, f"the pod is ready\n{self.pod.log()}")

    def unwatch(self) -> None:
        if self.kubelet is not None:
            self.kubelet.__exit__(None, None, None)
            self.kubelet = None

    def delete(self, grace: float | None = None) -> None:
        self.unwatch()
        self.pod.delete(grace)

    def another(self) -> None:
        """The pod that comes after a deleted one; only named yet."""
        self._made += 1
        self.pod = self.land.pod(f"pod-{self._made}", self.machine)
        self.land.publish(self.pod)

    def push(self, name: str) -> Image:
        layers = [layer({f"file-{place}": noise(LAYER, (name, place))}) for place in range(LAYERS)]
        return self.land.upstream.push(f"library/{name}", "latest", image(layers))

    def pull(self, of: Image, meanwhile: Callable[[], None]) -> dict[str, float]:
        """Seconds of each runtime, which all pull at once while ``meanwhile`` happens."""
        with concurrent.futures.ThreadPoolExecutor(len(self.runtimes)) as pool:
            began = [(name, pool.submit(_timed, one, of)) for name, one in self.runtimes.items()]
            meanwhile()
            return {name: pulled.result() for name, pulled in began}

    def flowing(self) -> None:
        """Wait until a layer is under way."""
        until(lambda: metric(self.pod, "nodecache_fills_active") > 0, "a layer is under way")


def _timed(runtime: Runtime, of: Image) -> float:
    began = time.monotonic()
    try:
        runtime.pull(of)
    except CommandFailed as failed:
        # podman gives up on a layer that breaks off, whoever sends it; who pulls with it
        # (CRI-O for a kubelet, a person) tries again.
        if not (isinstance(runtime, Podman) and "unexpected EOF" in failed.output):
            raise
        runtime.pull(of)
    took = time.monotonic() - began
    runtime.check(of)
    return took


@contextlib.contextmanager
def grounds(folder: pathlib.Path, docker: Docker, world: pathlib.Path) -> Iterator[Ground]:
    """Everything runs, and the pod is ready."""
    with (
        land(folder, docker, render("overlays/containerd")) as place,
        contextlib.ExitStack() as stack,
    ):
        machine = place.machine("node-1")
        made: dict[str, Runtime] = {
            "dockerd": Dockerd(place.setup(machine, "d", System(), MIRROR)),
            "containerd 1.6": Containerd(place.setup(machine, "c", System(), "")),
            "containerd 2": Containerd(place.setup(machine, "n", newer(world), "")),
            "podman": Podman(place.setup(machine, "p", System(), MIRROR)),
        }
        pod = place.pod("pod-1", machine)
        place.publish(pod)
        ground = Ground(place, machine, made, pod)
        stack.callback(ground.delete, 1)
        ground.begin()
        for runtime in made.values():
            if isinstance(runtime, Containerd):
                runtime.setup.folder.mkdir()
                hosts = runtime.setup.folder / "certs.d"
                hosts.symlink_to(machine.folder / "etc/containerd/certs.d")
            stack.callback(runtime.stop)
            runtime.start()
        yield ground


@attrs.frozen
class Lost:
    """Pulls that wait for nothing most of the time, on a land of their own."""

    ground: Ground
    took: concurrent.futures.Future[dict[str, float]]


@pytest.fixture(scope="module")
def lost(the_image: Docker, world: pathlib.Path) -> Iterator[Lost]:
    """Packets to the mirror's port are lost, those of the probes are not.

    That takes minutes, so it begins before all else.
    """
    with (
        grounds(world / "dl", the_image, world) as ground,
        concurrent.futures.ThreadPoolExecutor(1) as pool,
    ):
        ground.pod.namespace.run("iptables -A INPUT -p tcp --dport 5000 -j DROP")
        yield Lost(ground, pool.submit(ground.pull, ground.push("lost"), nothing))


@pytest.fixture(scope="module")
def the_ground(the_image: Docker, world: pathlib.Path, lost: Lost) -> Iterator[Ground]:
    assert lost.ground.pod.alive
    with grounds(world / "df", the_image, world) as ground:
        yield ground


@pytest.fixture
def ground(the_ground: Ground) -> Ground:
    the_ground.land.upstream.as_usual()
    the_ground.ready()
    return the_ground


def nothing() -> None:
    """Happens."""


@contextlib.contextmanager
def healthy(ground: Ground) -> Iterator[Callable[[], None]]:
    yield nothing


@contextlib.contextmanager
def evicted(ground: Ground) -> Iterator[Callable[[], None]]:
    """No pod, so no hostPort either."""
    ground.delete()
    yield nothing
    ground.another()
    ground.begin()


@contextlib.contextmanager
def starting(ground: Ground) -> Iterator[Callable[[], None]]:
    """The hostPort leads to the pod, in which nobody listens yet."""
    ground.delete()
    ground.another()
    ground.pod.create()
    yield nothing
    ground.pod.begin()
    ground.watch()


@contextlib.contextmanager
def crash_looping(ground: Ground) -> Iterator[Callable[[], None]]:
    """It ends at each start, since its secret is no secret any more."""
    ground.pod.give("nodecache-peers", {"secrets": "short\n"})
    ground.pod.signal(signal.SIGKILL)
    kubelet = ground.kubelet
    assert kubelet is not None
    before = kubelet.restarts
    until(lambda: kubelet.restarts > before and not ground.pod.alive, "it crashed again")
    yield nothing
    ground.delete()
    ground.another()
    ground.begin()


@contextlib.contextmanager
def killed(ground: Ground) -> Iterator[Callable[[], None]]:
    """In the middle of the layers; the kubelet starts it again."""
    ground.land.upstream.cap(SLOW)

    def meanwhile() -> None:
        ground.flowing()
        ground.pod.signal(signal.SIGKILL)

    yield meanwhile
    ground.ready()


@contextlib.contextmanager
def replaced(ground: Ground) -> Iterator[Callable[[], None]]:
    """By a rollout, in the middle of the layers; it may finish them."""
    ground.land.upstream.cap(SLOW)

    def meanwhile() -> None:
        ground.flowing()
        ground.delete()
        ground.another()
        ground.begin()

    yield meanwhile


@contextlib.contextmanager
def frozen(ground: Ground) -> Iterator[Callable[[], None]]:
    """Its port takes connections and says nothing, until the liveness probe has it ended."""
    kubelet = ground.kubelet
    assert kubelet is not None
    before = kubelet.killed
    ground.pod.signal(signal.SIGSTOP)
    yield nothing
    until(lambda: kubelet.killed > before, "the liveness probe ended it")
    ground.ready()


Trouble = Callable[[Ground], contextlib.AbstractContextManager[Callable[[], None]]]

TROUBLES: dict[str, Trouble] = {
    "as usual": healthy,
    "evicted": evicted,
    "starting": starting,
    "crash-looping": crash_looping,
    "killed in the middle": killed,
    "replaced in the middle": replaced,
    "frozen": frozen,
}
#: Where some layers may still have come from the pod.
PARTLY = {"killed in the middle", "replaced in the middle"}


def show(trouble: str, took: Mapping[str, float], capsys: pytest.CaptureFixture[str]) -> None:
    """A row of the table."""
    with capsys.disabled():
        print(f"\n| {trouble} | " + " | ".join(f"{one:.1f} s" for one in took.values()) + " |")


@pytest.mark.parametrize("trouble", TROUBLES)
def test_every_pull_succeeds_while_the_pod_is(
    ground: Ground, trouble: str, capsys: pytest.CaptureFixture[str]
) -> None:
    of = ground.push(trouble.replace(" ", "-"))
    with TROUBLES[trouble](ground) as meanwhile:
        took = ground.pull(of, meanwhile)
    show(trouble, took, capsys)
    if trouble not in PARTLY:
        assert ground.land.fell_back() == (trouble != "as usual")


def test_every_pull_succeeds_while_packets_to_the_port_are_lost(
    lost: Lost, capsys: pytest.CaptureFixture[str]
) -> None:
    show("its port silently dropped", lost.took.result(), capsys)
    assert lost.ground.land.fell_back()
    assert lost.ground.kubelet is not None
    assert lost.ground.kubelet.killed == 0, "the probes saw nothing of it"

"""Real runtimes pull through a node whose upstream, disk or process is being broken: all succeed.

All runtimes pull the same new image at once. What each took is printed beside what it takes
without a mirror; ``make trust`` keeps the whole table in docs/reliability.md.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import pathlib
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from typing import Final

import attrs
import pytest

from tests.system.parts.breaking import Break, BreakingProxy
from tests.system.parts.disks import MIB, FailingDisk, SmallDisk
from tests.system.parts.hub import Hub
from tests.system.parts.images import Image, Pusher, image, layer, noise
from tests.system.parts.node import Node
from tests.system.parts.processes import CommandFailed, free_port, until
from tests.system.parts.runtimes import Containerd, Dockerd, Podman, Runtime, Setup
from tests.system.parts.userlands import System, newer

LAYERS: Final = 3
LAYER: Final = 3_000_000
#: Bytes a second of one connection of the CDN that the node asks: a layer takes a while.
RATE: Final = 1_500_000
#: After wrong bytes a node says 404 for ten seconds, and podman looks for a blob nowhere else.
MOST_TRIES: Final = 4
PAUSE: Final = 6.0
#: What the liveness probe of k8s/ takes to end a frozen process.
LIVENESS: Final = 12.0

#: Everything is run, with the newest runtimes too, and the results are kept there.
RESULTS: Final = os.environ.get("NODECACHE_FAULTS_RESULTS", "")

Meanwhile = Callable[[], None]


def nothing() -> None:
    """Happens."""


@attrs.define
class Ground:
    """One Hub, one port where a node is or should be, and the runtimes that are pointed at it."""

    hub: Hub
    proxy: BreakingProxy
    folder: pathlib.Path
    runtimes: dict[str, Runtime]
    port: int
    node: Node
    _count: int = 0

    def another_node(self, data_dir: pathlib.Path | None = None) -> Node:
        """Empty, ready, at the same port."""
        self.node.close()
        self._count += 1
        flags = {"min-free": "0", **({"data-dir": str(data_dir)} if data_dir else {})}
        folder = self.folder / f"node-{self._count}"
        self.node = Node(folder, f"docker.io={self.proxy.url}", flags, port=self.port)
        return self.node.start()

    def push(self, name: str) -> Image:
        self._count += 1
        seed = (os.getpid(), name, self._count)
        layers = [layer({f"file-{place}": noise(LAYER, (seed, place))}) for place in range(LAYERS)]
        return Pusher(self.hub).push(f"library/{name}-{self._count}", "latest", image(layers))

    def flowing(self) -> None:
        """Wait until a layer is under way."""
        until(lambda: self.node.metric("nodecache_fills_active") > 0, "a layer is under way")

    def pull(self, of: Image, meanwhile: Meanwhile, *, wrong: bool) -> dict[str, Pulled]:
        with concurrent.futures.ThreadPoolExecutor(len(self.runtimes)) as pool:
            began = {
                name: pool.submit(pulled, one, of, wrong=wrong)
                for name, one in self.runtimes.items()
            }
            meanwhile()
            try:
                return {name: each.result() for name, each in began.items()}
            except CommandFailed as failed:
                raise AssertionError(f"{failed.output[-300:]}\n{self.complaints()}") from None

    def complaints(self) -> str:
        """What the node had to say that is no routine."""
        told = [e for e in self.node.events() if e.get("level") in ("warning", "error")]
        return "\n".join(map(str, told[-20:]))


@attrs.frozen
class Pulled:
    """``tries`` is how often the command was given."""

    seconds: float
    tries: int


def pulled(runtime: Runtime, of: Image, *, wrong: bool) -> Pulled:
    """podman gives up on a layer that breaks off, whoever sends it; whoever got ``wrong`` bytes
    of upstream fails that one time. Who pulls with them tries again."""
    began, tries = time.monotonic(), 1
    while True:
        try:
            runtime.pull(of)
            break
        except CommandFailed:
            again = isinstance(runtime, Podman)
            if tries >= (MOST_TRIES if wrong else 2 if again else 1):
                raise
        tries += 1
        if wrong:
            time.sleep(PAUSE)
    took = time.monotonic() - began
    runtime.check(of)
    runtime.remove(of)
    return Pulled(round(took, 1), tries)


@pytest.fixture(scope="module")
def the_ground(the_hub: Hub, world: pathlib.Path) -> Iterator[Ground]:
    folder, port = world / "fr", free_port()
    ages = {"": System()}
    if RESULTS:
        ages[" newest"] = newer(world)  # type: ignore[assignment]  # both are userlands
    with BreakingProxy(the_hub.url).running() as proxy, contextlib.ExitStack() as stack:
        made: dict[str, Runtime] = {}
        for age, userland in ages.items():
            for kind, start in (
                ("dockerd", Dockerd),
                ("containerd", Containerd),
                ("podman", Podman),
            ):
                place = folder / f"{kind}{age.strip()}"
                setup = Setup(place, userland, f"http://127.0.0.1:{port}", the_hub.client_env())
                made[f"{kind}{age}"] = runtime = start(setup)
                stack.callback(runtime.stop)
                runtime.start()
        node = Node(folder / "node", f"docker.io={proxy.url}", port=port)
        ground = Ground(the_hub, proxy, folder, made, port, node)
        stack.callback(lambda: ground.node.close())  # noqa: PLW0108 - it is another one by then
        yield ground
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def ground(the_ground: Ground, hub: Hub) -> Ground:
    assert the_ground.hub is hub
    the_ground.proxy.be(Break.NOTHING)
    return the_ground


@contextlib.contextmanager
def well(ground: Ground) -> Iterator[Meanwhile]:
    ground.another_node()
    yield nothing


@contextlib.contextmanager
def gone(ground: Ground) -> Iterator[Meanwhile]:
    ground.node.close()
    yield nothing


def upstream(how: Break) -> Callable[[Ground], contextlib.AbstractContextManager[Meanwhile]]:
    @contextlib.contextmanager
    def broken(ground: Ground) -> Iterator[Meanwhile]:
        ground.another_node()
        ground.proxy.be(how)
        yield nothing
        ground.proxy.be(Break.NOTHING)

    return broken


@contextlib.contextmanager
def full_disk(ground: Ground) -> Iterator[Meanwhile]:
    """Somebody fills it in the middle of the layers."""
    disk = SmallDisk(ground.folder / "small", 48 * MIB).mount()
    try:
        ground.another_node(disk.path / "data")
        ground.hub.plain.nginx.cdn_rate(RATE)

        def meanwhile() -> None:
            ground.flowing()
            disk.fill()

        yield meanwhile
        ground.node.close()
    finally:
        disk.unmount()


@contextlib.contextmanager
def read_only_disk(ground: Ground) -> Iterator[Meanwhile]:
    """ext4 finds an error in the middle of the layers, and lets nobody write any more."""
    disk = FailingDisk(ground.folder / "failing", ground.folder / "below", 64 * MIB).mount()
    try:
        ground.another_node(disk.path / "data")
        ground.hub.plain.nginx.cdn_rate(RATE)

        def meanwhile() -> None:
            ground.flowing()
            disk.go_read_only()

        yield meanwhile
        ground.node.close()
    finally:
        disk.unmount()


@contextlib.contextmanager
def killed(ground: Ground) -> Iterator[Meanwhile]:
    """In the middle of the layers, and started again at once."""
    ground.another_node()
    ground.hub.plain.nginx.cdn_rate(RATE)

    def meanwhile() -> None:
        ground.flowing()
        ground.node.kill()
        ground.node.start()

    yield meanwhile


@contextlib.contextmanager
def frozen(ground: Ground) -> Iterator[Meanwhile]:
    """It takes connections and says nothing; a liveness probe ends it, and it starts again."""
    ground.another_node()
    ground.node.process.signal(signal.SIGSTOP)

    def meanwhile() -> None:
        time.sleep(LIVENESS)
        ground.node.process.signal(signal.SIGCONT)
        ground.node.kill()
        ground.node.start()

    yield meanwhile


Trouble = Callable[[Ground], contextlib.AbstractContextManager[Meanwhile]]

TROUBLES: Final[dict[str, Trouble]] = {
    "nothing": well,
    Break.CUT.value: upstream(Break.CUT),
    Break.STALL.value: upstream(Break.STALL),
    Break.ERROR.value: upstream(Break.ERROR),
    Break.LIMIT.value: upstream(Break.LIMIT),
    Break.WRONG.value: upstream(Break.WRONG),
    "the disk is filled by others in the middle": full_disk,
    "the disk becomes read-only in the middle": read_only_disk,
    "the node is killed in the middle, and starts again": killed,
    "the node is frozen, until a liveness probe ends it": frozen,
    "the node is gone": gone,
}
#: Those that are part of every run of the tests.
SLICE: Final = (
    Break.CUT.value,
    Break.ERROR.value,
    "the disk is filled by others in the middle",
    "the disk becomes read-only in the middle",
)
#: Where nothing can come through the node.
PAST_IT: Final = {"the node is gone", Break.ERROR.value, Break.LIMIT.value}


def keep(trouble: str, took: dict[str, Pulled]) -> None:
    if not RESULTS:
        return
    path = pathlib.Path(RESULTS)
    found = json.loads(path.read_text()) if path.exists() else {}
    found[trouble] = {name: attrs.asdict(each) for name, each in took.items()}
    path.write_text(json.dumps(found, indent=1))


def show(trouble: str, took: dict[str, Pulled], capsys: pytest.CaptureFixture[str]) -> None:
    """A row of the table."""
    words = [f"{name} {one.seconds:.1f} s, {one.tries}x" for name, one in took.items()]
    with capsys.disabled():
        print(f"\n{trouble}: " + " | ".join(words))


@pytest.mark.parametrize("trouble", [t for t in TROUBLES if RESULTS or t in SLICE])
def test_every_pull_succeeds_while(
    ground: Ground, trouble: str, capsys: pytest.CaptureFixture[str]
) -> None:
    of = ground.push("app")
    with TROUBLES[trouble](ground) as meanwhile:
        took = ground.pull(of, meanwhile, wrong=trouble == Break.WRONG.value)
    show(trouble, took, capsys)
    keep(trouble, took)
    if trouble in PAST_IT:
        assert ground.hub.egress.connects, "they went past the node"
    if trouble in ("nothing", Break.CUT.value, "the disk is filled by others in the middle"):
        assert ground.hub.egress.connects == [], f"all through the node: {ground.complaints()}"


if RESULTS:

    def test_what_a_pull_takes_without_a_mirror(
        the_ground: Ground, hub: Hub, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The other figure of the table."""
        without: dict[str, Runtime] = {}
        with contextlib.ExitStack() as stack:
            for name, with_it in the_ground.runtimes.items():
                setup = with_it.setup  # type: ignore[attr-defined]  # all of these have one
                place = setup.folder.with_name(f"{setup.folder.name}-w")
                without[name] = bare = type(with_it)(attrs.evolve(setup, folder=place, mirror=""))  # type: ignore[call-arg]
                stack.callback(bare.stop)
                bare.start()
            ground = attrs.evolve(the_ground, runtimes=without)
            took = ground.pull(ground.push("bare"), nothing, wrong=False)
        show("no mirror", took, capsys)
        keep("no mirror", took)

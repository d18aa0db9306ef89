"""Images carried from a node with a way out to one without, by archive, and then run.

The archives are read and written by real tools as well: docker, podman, skopeo and ctr.
"""

from __future__ import annotations

import json
import os
import pathlib
import platform
import struct
import subprocess
import sys
from collections.abc import Iterator

import attrs
import pytest

from tests.system.conftest import Shop
from tests.system.parts.hub import Hub
from tests.system.parts.images import Image, Manifest, image, index, layer, noise
from tests.system.parts.node import Node
from tests.system.parts.processes import MissingPart, need, run
from tests.system.parts.runtimes import Containerd, Dockerd, Podman, Setup
from tests.system.parts.terminal import COLUMNS, Terminal
from tests.system.parts.userlands import System, newer
from tests.system.parts.zoo import quarter_gib

GREETING = b"hello from the archive\n"
NODECACHE = (sys.executable, "-m", "nodecache")


def program() -> bytes:
    """A static program for Linux on x86-64 that prints GREETING."""
    code = (
        b"\xb8\x01\x00\x00\x00\xbf\x01\x00\x00\x00\x48\x8d\x35\x10\x00\x00\x00\xba"  # write
        + struct.pack("<I", len(GREETING))
        + b"\x0f\x05\xb8\x3c\x00\x00\x00\x31\xff\x0f\x05"  # and exit
        + GREETING
    )
    base, size = 0x400000, 120 + len(code)
    head = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack(
        "<HHIQQQIHHHHHH", 2, 62, 1, base + 120, 64, 0, 0, 64, 56, 1, 64, 0, 0
    )
    return head + struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 4096) + code


def greeting(seed: object) -> Manifest:
    """Several platforms; the one for x86-64 greets."""
    mine = image([layer({"hello": program()}), layer({"noise": noise(50_000, seed)})])
    arm = image([layer({"noise": noise(9_000, (seed, "arm"))})], architecture="arm64")
    return index({"amd64": mine, "arm64": arm}, attested=True)


@attrs.frozen
class Commands:
    """``nodecache`` as on the node's own machine."""

    node: Node

    @property
    def env(self) -> dict[str, str]:
        return {
            **self.node.env,
            "NODECACHE_DATA_DIR": str(self.node.data_dir),
            "NODECACHE_ADMIN_URL": f"http://127.0.0.1:{self.node.admin_port}",
        }

    def terminal(self, *words: str) -> Terminal:
        return Terminal([*NODECACHE, *words], self.env)

    def __call__(self, *words: str, given: bytes | None = None) -> bytes:
        done = subprocess.run(
            [*NODECACHE, *words],
            input=given,
            capture_output=True,
            env={**os.environ, **self.env},
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout


def started(node: Node) -> Iterator[Commands]:
    if platform.machine() != "x86_64":
        raise MissingPart("a machine that runs x86-64 programs")
    try:
        yield Commands(node.start())
    finally:
        node.close()


@pytest.fixture(scope="module")
def here(world: pathlib.Path, the_hub: Hub) -> Iterator[Commands]:
    """A node with a way out."""
    yield from started(Node(world / "way-out", f"docker.io={the_hub.url}"))


@pytest.fixture(scope="module")
def island(world: pathlib.Path, the_hub: Hub) -> Iterator[Commands]:
    """A node without one."""
    env = {"NODECACHE_OFFLINE": "true"}
    yield from started(Node(world / "island", f"docker.io={the_hub.url}", env=env))


@pytest.fixture
def folder(world: pathlib.Path, request: pytest.FixtureRequest) -> pathlib.Path:
    made = world / f"carried-{abs(hash(request.node.nodeid)) % 10**8}"
    made.mkdir()
    return made


def setup_of(folder: pathlib.Path, hub: Hub, node: Node | None) -> Setup:
    return Setup(folder / "r", System(), node.url if node else "", hub.client_env())


def ran_by_podman(podman: Podman, name: str) -> bytes:
    # Limits that stand below those of a machine that grants no higher ones.
    limits = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")
    words = ("run", "--rm", "--pull", "never", "--network", "none", *limits)
    return podman._podman(*words, name, "/hello").encode()


def test_what_one_node_exports_another_imports_and_podman_runs(
    here: Commands, island: Commands, shop: Shop, hub: Hub, folder: pathlib.Path
) -> None:
    """Also after a restart, and with the tag that upstream has moved meanwhile."""
    carried = shop.make(greeting)
    archive = folder / "image.tar"
    here("export", f"{carried.name}:latest", "-o", str(archive))
    told = json.loads(island("import", "--json", "-", given=archive.read_bytes()))
    assert told["images"][0]["digest"] == carried.digest
    shop.push(carried.name, "latest", greeting, "a later one")
    assert island.node.stop() == 0
    island.node.start()
    mark = hub.plain.mark()
    podman = Podman(setup_of(folder, hub, island.node))
    podman.start()
    podman.pull(carried)
    podman.check(carried)
    assert ran_by_podman(podman, carried.reference) == GREETING
    saved = folder / "saved.tar"
    podman._podman("save", "--quiet", "--output", str(saved), carried.reference)
    told = json.loads(island("import", "--json", "--name", "acme/saved", str(saved)))
    assert told["images"][0]["names"] == ["acme/saved:latest"]
    podman.remove(carried)
    asked = hub.plain.asked(mark)
    assert (asked.blobs, asked.manifest_gets, asked.manifest_heads) == ([], 0, 0)
    assert hub.egress.connects == []


def test_containerd_pulls_what_was_imported_for_all_platforms_from_a_folder(
    here: Commands, island: Commands, shop: Shop, hub: Hub, folder: pathlib.Path
) -> None:
    carried = shop.make(greeting)
    layout = folder / "layout"
    here("export", carried.name, "--all-platforms", "-o", f"{layout}/")
    island("import", str(layout))
    containerd = Containerd(setup_of(folder, hub, island.node))
    try:
        containerd.start()
        containerd.pull(carried)
        containerd.check(carried)
        containerd.remove(carried)
        # ctr reads what is exported without a node between.
        containerd._ctr("images", "import", "--snapshotter", "native", str(_packed(layout)))
        containerd.check(carried)
        exported = folder / "exported.tar"
        containerd._ctr("images", "export", str(exported), carried.reference)
        told = json.loads(island("import", "--json", str(exported)))
        assert told["images"][0]["digest"] == carried.digest
    finally:
        containerd.stop()


def _packed(layout: pathlib.Path) -> pathlib.Path:
    archive = layout.with_suffix(".tar")
    run(["tar", "--create", "--file", str(archive), "--directory", str(layout), "."])
    return archive


@pytest.fixture(params=["system", "newest"])
def docker(
    request: pytest.FixtureRequest, folder: pathlib.Path, hub: Hub, world: pathlib.Path
) -> Iterator[Dockerd]:
    """What docker save writes has become an OCI layout between the two."""
    userland = System() if request.param == "system" else newer(world)
    runtime = Dockerd(attrs.evolve(setup_of(folder, hub, None), userland=userland))
    try:
        runtime.start()
        yield runtime
    finally:
        runtime.stop()


def test_docker_loads_what_is_exported_and_what_it_saves_is_imported(
    here: Commands,
    island: Commands,
    shop: Shop,
    hub: Hub,
    folder: pathlib.Path,
    docker: Dockerd,
) -> None:
    carried = shop.make(greeting)
    name, archive = f"{carried.name.removeprefix('library/')}:latest", folder / "docker.tar"
    here("export", name, "--format", "docker", "-o", str(archive))
    loaded = docker._docker("load", "--quiet", "--input", str(archive))
    assert name in loaded
    config = json.loads(carried.platform().body)["config"]["digest"]
    seen = json.loads(docker._docker("image", "inspect", name))[0]
    assert config in (seen["Id"], seen.get("Config", {}).get("Digest"), *seen["RepoDigests"])

    saved = folder / "saved.tar"
    docker._docker("save", "--output", str(saved), name)
    told = json.loads(island("import", "--json", str(saved)))
    assert told["images"][0]["names"] == [name]
    podman = Podman(setup_of(folder, hub, island.node))
    podman.start()
    again = attrs.evolve(carried, tag="latest")
    podman.pull(again)
    assert ran_by_podman(podman, again.reference) == GREETING
    podman.remove(again)


def test_skopeo_reads_what_is_exported_and_what_it_writes_is_imported(
    here: Commands, island: Commands, shop: Shop, folder: pathlib.Path
) -> None:
    need("skopeo")
    carried = shop.make(greeting)
    archive = folder / "image.tar"
    here("export", carried.name, "--all-platforms", "-o", str(archive))
    policy = folder / "policy.json"
    policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    skopeo = ["skopeo", "--policy", str(policy), "copy", "--all", "--quiet"]
    layout = folder / "layout"
    run([*skopeo, f"oci-archive:{archive}:latest", f"oci:{layout}:written"])
    index_ = json.loads((layout / "index.json").read_text())
    assert [each["digest"] for each in index_["manifests"]] == [carried.digest]
    told = json.loads(island("import", "--json", "--name", "acme/again", str(layout)))
    assert told["images"][0]["names"] == ["acme/again:written"]
    assert told["images"][0]["digest"] == carried.digest

    one = folder / "one.tar"
    run([*skopeo[:4], "--quiet", f"oci:{layout}:written", f"docker-archive:{one}:acme/one:1"])
    told = json.loads(island("import", "--json", str(one)))
    assert told["images"][0]["names"] == ["acme/one:1"]
    reply = island.node.ask("/v2/acme/one/manifests/1")
    assert reply.status == 200
    run(
        [
            *skopeo[:4],
            "--quiet",
            "--src-tls-verify=false",
            "--override-os",
            "linux",
            f"docker://127.0.0.1:{island.node.port}/acme/one:1",
            f"dir:{folder}/checked",
        ]
    )


def test_a_pull_before_anybody_asks_makes_the_first_pull_a_warm_one(
    here: Commands, shop: Shop, hub: Hub, folder: pathlib.Path
) -> None:
    carried: Image = shop.make(greeting)
    lines = here("pull", "--json", carried.name).splitlines()
    assert json.loads(lines[-1])["failed"] == 0
    mark = hub.plain.mark()
    podman = Podman(setup_of(folder, hub, here.node))
    podman.start()
    podman.pull(carried)
    assert ran_by_podman(podman, carried.reference) == GREETING
    podman.remove(carried)
    assert hub.plain.asked(mark).blobs == []


def test_a_pull_in_a_terminal_shows_bars_and_then_what_came(here: Commands, shop: Shop) -> None:
    big = shop.once(quarter_gib)
    with here.terminal("pull", big.name) as terminal:
        terminal.until(lambda seen: "MiB" in seen and "total" in seen, "a bar")
        assert terminal.end() == 0
        lines = terminal.screen.splitlines()
    assert all(len(line) <= COLUMNS for line in lines), lines
    [told] = [line for line in lines if line.startswith(f"{big.name}  256")]
    assert big.digest[:19] in told

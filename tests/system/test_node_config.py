"""What node-config writes is read by the real runtimes, and what doctor says of them is so.

Each runtime is started without a mirror. Only the command, run as a person runs
it, makes it ask the node.
"""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import attrs
import pytest
from click.testing import CliRunner

from nodecache.cli import main
from nodecache.runtimes.names import parse_version, shown
from tests.system.conftest import Shop
from tests.system.parts import cri
from tests.system.parts.hub import REGISTRY, Hub
from tests.system.parts.images import Image
from tests.system.parts.node import Node
from tests.system.parts.processes import CommandFailed, until
from tests.system.parts.runtimes import Containerd, Dockerd, Podman, Setup
from tests.system.parts.userlands import System, Userland, newer
from tests.system.parts.zoo import schema2

ROOT = pathlib.Path(__file__).parent.parent.parent
AGES = ("system", "newest")
DIRECT = (REGISTRY, 443)


def nodecache(*words: str, code: int = 0) -> str:
    """Run a command of ours; its stdout. Fails where it ends with another code."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    argv = [sys.executable, "-m", "nodecache", *words]
    done = subprocess.run(argv, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


@attrs.define
class Ground:
    """One node, one Hub, and folders for runtimes."""

    folder: pathlib.Path
    world: pathlib.Path
    hub: Hub
    shop: Shop
    node: Node
    stack: ExitStack

    def setup(self, age: str) -> Setup:
        userland: Userland = System() if age == "system" else newer(self.world)
        return Setup(self.folder, userland, "", self.hub.client_env())

    def containerd(self, age: str) -> Containerd:
        """Started, pulls by CRI; its folder of hosts.toml files is empty."""
        made = Containerd(self.setup(age), default=True)
        self.stack.callback(made.stop)
        made.start()
        return made

    def image(self) -> Image:
        return self.shop.make(schema2)

    def diagnosis(self, *words: str) -> dict[str, dict[str, Any]]:
        """The findings of doctor by code; of the rest of this machine nothing is expected."""
        argv = ["doctor", "--json", "--registry", "docker.io", "--mirror", self.node.url]
        argv += ["--data-dir", str(self.node.data_dir)]
        argv += ["--admin", f"http://127.0.0.1:{self.node.admin_port}", *words]
        done = CliRunner().invoke(main, argv, env=self.hub.client_env())
        assert done.exit_code in {0, 1}, done.output
        return {one["code"]: one for one in json.loads(done.stdout)["findings"]}


@pytest.fixture(scope="module")
def the_node(world: pathlib.Path, the_hub: Hub) -> Iterator[Node]:
    """One for all tests here; each leaves it running."""
    node = Node(world / "node-config", f"docker.io={the_hub.url}")
    try:
        yield node.start()
    finally:
        node.close()


@pytest.fixture
def ground(
    world: pathlib.Path, hub: Hub, shop: Shop, the_node: Node, request: pytest.FixtureRequest
) -> Iterator[Ground]:
    folder = world / f"nc-{abs(hash(request.node.nodeid)) % 10**6}"
    folder.mkdir()
    with ExitStack() as stack:
        yield Ground(folder, world, hub, shop, the_node, stack)
    if not the_node.process.alive:
        the_node.start()


def goes_through(ground: Ground, runtime: Containerd | Dockerd | Podman) -> bool:
    """Pull a new image; whether the runtime asked the node, and nobody else."""
    image = ground.image()
    connects, asked = len(ground.hub.egress.connects), manifests_asked(ground)
    runtime.pull(image)
    runtime.check(image)
    new = ground.hub.egress.connects[connects:]
    assert new == [] or DIRECT in new
    if new == []:
        assert manifests_asked(ground) > asked
    return new == []


def manifests_asked(ground: Ground) -> float:
    """Of the node, since it was started."""
    if not ground.node.process.alive:
        return 0
    return ground.node.metric("nodecache_requests_total", kind="manifest")


def version_of(ground: Ground, age: str) -> list[str]:
    """The newer containerd is not the one on this machine's path, where doctor would ask it."""
    if age == "system":
        return []
    version = parse_version(ground.setup(age).run(["containerd", "--version"]))
    assert version is not None
    assert version >= (2, 1, 0)
    return ["--runtime-version", shown(version)]


@pytest.mark.parametrize("age", AGES)
def test_hosts_toml_is_read_without_a_restart_and_falls_back(ground: Ground, age: str) -> None:
    runtime = ground.containerd(age)
    certs = str(ground.folder / "certs.d")
    words = ("node-config", "containerd", "--certs-dir", certs)
    assert not goes_through(ground, runtime)
    nodecache(*words, "--registry", "docker.io", "--mirror", ground.node.url, "--write")
    assert goes_through(ground, runtime)
    config = ("--runtime", "containerd", "--containerd-config", f"{ground.folder}/config.toml")
    found = ground.diagnosis(*config, *version_of(ground, age))
    assert {"containerd-used", "containerd-fallback", "port-ours"} <= set(found)
    assert not [
        one
        for one in found.values()
        if one["subject"] in {"containerd", "port"} and one["severity"] in {"warning", "problem"}
    ]
    ground.node.stop()
    assert not goes_through(ground, runtime), "the node is down, and the pull succeeds"
    assert "port-refused" in ground.diagnosis(*config)
    ground.node.start()
    nodecache(*words, "--mirror", ground.node.url, "--remove")
    assert os.listdir(certs) == []
    assert not goes_through(ground, runtime)
    nodecache(*words, "--default", "--mirror", ground.node.url, "--write")
    assert goes_through(ground, runtime)


@attrs.frozen
class OtherRegistry(Setup):
    """As Setup, but the [registry] table of containerd's config.toml is ``table``.

    ``schema`` 3 is a file of that version, where plug-ins have other names.
    """

    table: str = ""
    schema: int = 2

    def write(self, name: str, text: str) -> pathlib.Path:
        if name == "config.toml":
            text = text[: text.index("config_path")] + self.table
            if self.schema == 3:
                before, _, _ = text.partition("[plugins.")
                text = before.replace("version = 2", "version = 3") + self.table
        return Setup.write(self, name, text)


def with_registry(ground: Ground, age: str, table: str, schema: int = 2) -> Containerd:
    """containerd, started with another [registry] table."""
    as_usual = attrs.asdict(ground.setup(age), recurse=False)
    runtime = Containerd(OtherRegistry(**as_usual, table=table, schema=schema), default=True)
    ground.stack.callback(runtime.stop)
    runtime.start()
    return runtime


@pytest.mark.parametrize("age", AGES)
def test_a_list_of_folders_is_searched_by_1_6_and_not_since_2_1(ground: Ground, age: str) -> None:
    """As containerd 2.2 has it by default: doctor must tell, since containerd says nothing."""
    certs, config = ground.folder / "certs.d", ground.folder / "config.toml"
    runtime = with_registry(ground, age, f"config_path = '{certs}:{ground.folder}/other.d'\n")
    nodecache(
        *("node-config", "containerd", "--certs-dir", str(certs)),
        *("--mirror", ground.node.url, "--write"),
    )
    assert goes_through(ground, runtime) == (age == "system")
    words = ("--runtime", "containerd", "--containerd-config", str(config))
    found = ground.diagnosis(*words, *version_of(ground, age))
    assert ("containerd-list-ignored" in found) == (age == "newest")
    assert ("containerd-used" in found) == (age == "system")


@pytest.mark.parametrize("age", AGES)
def test_no_release_takes_config_path_and_the_deprecated_table(ground: Ground, age: str) -> None:
    config = ground.folder / "config.toml"
    with_registry(
        ground,
        age,
        f"config_path = '{ground.folder}/certs.d'\n"
        "[plugins.'io.containerd.grpc.v1.cri'.registry.mirrors.'docker.io']\n"
        f"endpoint = ['{ground.node.url}']\n",
    )
    with pytest.raises(CommandFailed):
        cri.pull_image(f"{ground.folder}/containerd.sock", ground.image().reference)
    found = ground.diagnosis("--runtime", "containerd", "--containerd-config", str(config))
    assert found["containerd-both"]["severity"] == "problem"


@pytest.mark.parametrize("age", AGES)
def test_the_deprecated_table_of_older_kops_is_used(ground: Ground, age: str) -> None:
    config = ground.folder / "config.toml"
    runtime = with_registry(
        ground,
        age,
        "[plugins.'io.containerd.grpc.v1.cri'.registry.mirrors.'docker.io']\n"
        f"endpoint = ['{ground.node.url}']\n",
    )
    assert goes_through(ground, runtime)
    words = ("--runtime", "containerd", "--containerd-config", str(config))
    found = ground.diagnosis(*words, *version_of(ground, age))
    assert {"containerd-used", "containerd-table"} <= set(found)


#: In a file of version 3 each service is told of the snapshotter.
NATIVE = """\
[plugins.'io.containerd.cri.v1.images']
snapshotter = 'native'
[[plugins.'io.containerd.transfer.v1.local'.unpack_config]]
platform = 'linux'
snapshotter = 'native'
"""


@pytest.mark.parametrize("plugin", ["io.containerd.cri.v1.images", "io.containerd.grpc.v1.cri"])
def test_files_of_newer_kops_are_read_where_config_path_stands_in_its_place(
    ground: Ground, plugin: str
) -> None:
    """In a file of version 3 the plug-in's name of version 2 is not read, without a word."""
    certs, config = ground.folder / "certs.d", ground.folder / "config.toml"
    fixture = (
        ROOT / "tests/fixtures/kops/containerd-1.36/etc/containerd/certs.d/docker.io/hosts.toml"
    )
    (certs / "docker.io").mkdir(parents=True)
    text = fixture.read_text().replace("http://127.0.0.1:5000", ground.node.url)
    (certs / "docker.io" / "hosts.toml").write_text(text)
    table = f"{NATIVE}[plugins.'{plugin}'.registry]\nconfig_path = '{certs}'\n"
    runtime = with_registry(ground, "newest", table, schema=3)
    right = plugin == "io.containerd.cri.v1.images"
    assert goes_through(ground, runtime) == right
    words = ("--runtime", "containerd", "--containerd-config", str(config))
    found = ground.diagnosis(*words, *version_of(ground, "newest"))
    assert ("containerd-used" in found) == right
    assert ("containerd-no-config-path" in found) == (not right)
    if right:
        ground.node.stop()
        assert not goes_through(ground, runtime), "the node is down, and the pull succeeds"


@pytest.mark.parametrize("age", AGES)
def test_daemon_json_is_reloaded_and_falls_back(ground: Ground, age: str) -> None:
    runtime = Dockerd(ground.setup(age))
    ground.stack.callback(runtime.stop)
    runtime.start()
    file = ground.folder / "daemon.json"
    before = '{\n    "max-concurrent-downloads": 5,\n    "registry-mirrors": []\n}'
    file.write_text(before)
    words = ("node-config", "docker", "--file", str(file), "--mirror", ground.node.url)
    nodecache(*words, "--write")
    assert json.loads(file.read_text())["max-concurrent-downloads"] == 5
    reload_mirrors(runtime, ground.node.url)
    assert goes_through(ground, runtime)
    ground.node.stop()
    assert not goes_through(ground, runtime), "the node is down, and the pull succeeds"
    ground.node.start()
    nodecache(*words, "--remove")
    assert file.read_text() == before
    reload_mirrors(runtime, "")
    assert not goes_through(ground, runtime)


def reload_mirrors(runtime: Dockerd, mirror: str) -> None:
    """SIGHUP, and wait until dockerd has read its file."""
    assert runtime.daemon is not None
    runtime.daemon.signal(signal.SIGHUP)

    def has_read() -> bool:
        seen = json.loads(runtime._docker("info", "--format", "{{json .RegistryConfig.Mirrors}}"))
        return [one.rstrip("/") for one in seen or []] == ([mirror] if mirror else [])

    until(has_read, "dockerd reads its mirrors")


@pytest.mark.parametrize("age", AGES)
def test_the_drop_in_is_read_by_podman_and_falls_back(ground: Ground, age: str) -> None:
    """Beside a registries.conf that already says something of the registry."""
    home = ground.folder / "home"
    conf = home / ".config" / "containers"
    conf.mkdir(parents=True)
    (conf / "registries.conf").write_text(
        'unqualified-search-registries = ["docker.io"]\n'
        '[[registry]]\nprefix = "docker.io"\nlocation = "docker.io"\n'
    )
    setup = ground.setup(age)
    runtime = HomePodman(attrs.evolve(setup, env={**setup.env, "HOME": str(home)}))
    runtime.start()
    words = ("node-config", "podman", "--conf-dir", f"{conf}/registries.conf.d")
    nodecache(*words, "--mirror", ground.node.url, "--write")
    assert goes_through(ground, runtime)
    ground.node.stop()
    assert not goes_through(ground, runtime), "the node is down, and the pull succeeds"
    nodecache(*words, "--remove")
    assert os.listdir(conf / "registries.conf.d") == []


class HomePodman(Podman):
    """podman with the files of its user in place of one that a variable names."""

    def _podman(self, *words: str) -> str:
        folder = self.setup.folder
        return self.setup.run(
            [
                *("podman", "--storage-driver", "vfs"),
                *("--root", str(folder / "root")),
                *("--runroot", str(folder / "run")),
                *("--tmpdir", str(folder / "tmp")),
                *("--cgroup-manager", "cgroupfs"),
                *words,
            ]
        )

"""doctor on whole nodes: files as kops writes them, a real nodecache, and what goes wrong there."""

from __future__ import annotations

import contextlib
import email.utils
import http.server
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from click.testing import CliRunner

from nodecache.cli import main
from nodecache.cli.doctoring.asks import peer_skews
from nodecache.cli.doctoring.disk import disk
from nodecache.cli.doctoring.files import Root, Unreadable
from nodecache.cli.doctoring.runtimes import present
from nodecache.config import load
from nodecache.runtimes.hosts_toml import HostsPart
from tests.system.parts.node import Node
from tests.system.parts.processes import free_port

ROOT = pathlib.Path(__file__).parent.parent
FIXTURES = pathlib.Path(__file__).parent / "fixtures" / "kops"

MIRROR = "http://127.0.0.1:5000"  # as the fixtures say it
CONFIG = "etc/containerd/config.toml"
HOSTS = "etc/containerd/certs.d/docker.io/hosts.toml"
KUBELET = "etc/sysconfig/kubelet"


class Registry:
    """A server that answers ``/v2/`` as a registry does, with a clock of its own."""

    def __init__(self) -> None:
        registry = self
        self.ahead = 0.0  # seconds
        self.status = 401

        class Answering(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response_only(registry.status)
                date = email.utils.formatdate(time.time() + registry.ahead, usegmt=True)
                self.send_header("Date", date)
                self.send_header("Server", "nginx")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture(scope="module")
def a_registry() -> Iterator[Registry]:
    made = Registry()
    yield made
    made.stop()


@pytest.fixture
def registry(a_registry: Registry) -> Registry:
    a_registry.ahead, a_registry.status = 0.0, 401
    return a_registry


@pytest.fixture(scope="module")
def running(a_registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A nodecache, as it is on a node, in front of the registry."""
    folder = tmp_path_factory.mktemp("doctor") / "node"
    flags = {"max-size": "100MiB", "min-free": "20%"}
    node = Node(folder, f"docker.io={a_registry.url}", flags)
    try:
        yield node.start()
    finally:
        node.close()


class Patient:
    """A node's files, which a test may change, and doctor's word on them."""

    def __init__(self, root: pathlib.Path, node: Node, registry: Registry) -> None:
        self.root, self.node = root, node
        self.env = {"NODECACHE_UPSTREAMS": f"docker.io={registry.url}"}
        self.mirror = node.url
        for name in (CONFIG, HOSTS, "etc/sysconfig/docker"):
            if self.path(name).exists():
                self.change(name, lambda text: text.replace(MIRROR, node.url))

    def path(self, name: str) -> pathlib.Path:
        return self.root / name

    def change(self, name: str, how: Callable[[str], str]) -> None:
        self.path(name).write_text(how(self.path(name).read_text()))

    def write(self, name: str, text: str) -> None:
        self.path(name).parent.mkdir(parents=True, exist_ok=True)
        self.path(name).write_text(text)

    def words(self, *more: str) -> list[str]:
        return [
            *("doctor", "--root", str(self.root), "--mirror", self.mirror),
            *("--admin", f"http://127.0.0.1:{self.node.admin_port}"),
            *("--data-dir", str(self.node.data_dir), *more),
        ]

    def findings(self, *more: str) -> dict[str, dict[str, Any]]:
        """By code. How full this machine's disk is says nothing of the product."""
        result = CliRunner().invoke(main, self.words("--json", *more), env=self.env)
        document = json.loads(result.stdout)
        assert result.exit_code == (0 if document["well"] else 1)
        bad = any(one["severity"] in {"warning", "problem"} for one in document["findings"])
        assert document["well"] == (not bad)
        return {
            one["code"]: one for one in document["findings"] if not one["code"].startswith("disk-")
        }

    def bad(self, *more: str) -> set[str]:
        return {
            code
            for code, one in self.findings(*more).items()
            if one["severity"] in {"warning", "problem"}
        }


Admit = Callable[[str], Patient]


@pytest.fixture
def admit(tmp_path: pathlib.Path, running: Node, registry: Registry) -> Admit:
    """A patient of one of the kinds of kops clusters."""

    def make(kind: str) -> Patient:
        root = tmp_path / "root"
        shutil.copytree(FIXTURES / kind, root)
        return Patient(root, running, registry)

    return make


KINDS = {
    "docker": (),
    "containerd-1.35": ("--runtime-version", "1.7.28"),
    "containerd-1.36": ("--runtime-version", "2.1.6"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_node_as_kops_sets_it_up_is_well(admit: Admit, kind: str) -> None:
    found = admit(kind).findings(*KINDS[kind])
    runtime = kind.partition("-")[0]
    assert {f"{runtime}-used", f"{runtime}-fallback", "port-ours", "upstream-reached"} <= set(found)
    assert {"clock", "kubelet-gc-first", "kubelet-evicts-later", "peers-none"} <= set(found)
    assert not [one for one in found.values() if one["severity"] in {"warning", "problem"}]


def replaced(old: str, new: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new)

    return change


#: What is changed in a fixture, what doctor is told, and what it must find.
FAULTS: dict[str, tuple[str, str, Callable[[str], str] | None, tuple[str, ...], str]] = {
    "the deprecated table under 2.2.0": (
        *("containerd-1.35", CONFIG, None),
        *(("--runtime-version", "2.2.0"), "containerd-table-refused"),
    ),
    "the table and config_path": (
        *("containerd-1.35", CONFIG),
        replaced(
            ".registry]\n\n",
            '.registry]\n      config_path = "/etc/containerd/certs.d"\n\n',
        ),
        *((), "containerd-both"),
    ),
    "no mirrors at all": (
        *("containerd-1.35", CONFIG),
        lambda text: text.partition('    [plugins."io.containerd.grpc.v1.cri".registry]')[0],
        *((), "containerd-no-config-path"),
    ),
    "the table names another mirror": (
        *("containerd-1.35", CONFIG),
        lambda text: text.replace("http://127.0.0.1", "http://127.0.0.2"),
        *((), "containerd-mirror-missing"),
    ),
    "config_path is taken out, as 2.2 has it by default": (
        *("containerd-1.36", CONFIG, replaced('config_path = "/etc/containerd/certs.d"', "")),
        *(("--runtime-version", "2.2.3"), "containerd-list-ignored"),
    ),
    "config_path is a list": (
        *("containerd-1.36", CONFIG, replaced('certs.d"', 'certs.d:/etc/docker/certs.d"')),
        *(("--runtime-version", "2.1.6"), "containerd-list-ignored"),
    ),
    "config_path is a list, and the version is not known": (
        *("containerd-1.36", CONFIG, replaced('certs.d"', 'certs.d:/etc/docker/certs.d"')),
        *((), "containerd-list"),
    ),
    "config_path stands under the plug-in of version 2": (
        *("containerd-1.36", CONFIG),
        replaced('cri.v1.images".registry]', 'grpc.v1.cri".registry]'),
        *(("--runtime-version", "2.1.6"), "containerd-no-config-path"),
    ),
    "config.toml is broken": (
        *("containerd-1.36", CONFIG, lambda _: "[plugins"),
        *((), "containerd-unreadable"),
    ),
    "hosts.toml is broken": (
        *("containerd-1.36", HOSTS, lambda _: "[host"),
        *((), "containerd-hosts-unreadable"),
    ),
    "hosts.toml has no fall-back": (
        *("containerd-1.36", HOSTS),
        lambda text: f"server = {text.partition('[host.')[2].partition(']')[0]}\n{text}",
        *((), "containerd-no-fallback"),
    ),
    "hosts.toml falls back to what is no registry": (
        *("containerd-1.36", HOSTS, lambda text: f'server = "https://docker.io"\n{text}'),
        *((), "containerd-wrong-fallback"),
    ),
    "the mirror may not resolve tags": (
        *("containerd-1.36", HOSTS, replaced(', "resolve"', "")),
        *((), "containerd-capabilities"),
    ),
    "daemon.json names the mirror that the flags name": (
        *("docker", "etc/docker/daemon.json", lambda _: '{"registry-mirrors": []}'),
        *((), "docker-both"),
    ),
    "daemon.json is broken": (
        *("docker", "etc/docker/daemon.json", lambda _: "{"),
        *((), "docker-invalid"),
    ),
    "the flag is taken out": (
        *("docker", "etc/sysconfig/docker", replaced("--registry-mirror", "--label")),
        *((), "docker-mirror-missing"),
    ),
    "the kubelet collects images late": (
        *("containerd-1.36", KUBELET, replaced("--image-gc-high-threshold=75", "")),
        *((), "kubelet-gc"),
    ),
    "pods are evicted early, by the kubelet's file": (
        *("containerd-1.36", "var/lib/kubelet/kubelet.conf"),
        lambda text: text + "evictionHard:\n  nodefs.available: 25%\n",
        *((), "kubelet-evicts"),
    ),
    "the kubelet's file is broken": (
        *("containerd-1.36", "var/lib/kubelet/kubelet.conf", lambda _: "a: [\n"),
        *((), "kubelet-unreadable"),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_has_its_finding(admit: Admit, fault: str) -> None:
    kind, name, change, words, code = FAULTS[fault]
    patient = admit(kind)
    if code == "kubelet-evicts":  # flags win over the file
        patient.change(KUBELET, lambda text: text.replace("--eviction-hard", "--x"))
    if change is not None:
        patient.write(name, patient.path(name).read_text() if patient.path(name).exists() else "")
        patient.change(name, change)
    assert patient.bad(*words) == {code}


def test_config_files_that_are_imported_count(admit: Admit) -> None:
    patient = admit("containerd-1.36")
    patient.change(CONFIG, lambda text: 'imports = ["/etc/containerd/conf.d/*.toml"]\n' + text)
    patient.write(
        "etc/containerd/conf.d/x.toml",
        "[plugins.'io.containerd.cri.v1.images'.registry.mirrors.'docker.io']\n"
        "endpoint = ['https://other']\n",
    )
    assert patient.bad("--runtime-version", "2.1.6") == {"containerd-both"}


def test_another_registry_can_be_asked_about(admit: Admit) -> None:
    patient = admit("containerd-1.36")
    assert patient.bad("--registry", "quay.io") == {"containerd-mirror-missing"}
    patient.write(
        "etc/containerd/certs.d/_default/hosts.toml",
        HostsPart("_default", patient.mirror).merge(None),
    )
    assert patient.bad("--registry", "quay.io") == set()


def test_what_node_config_writes_is_well(admit: Admit) -> None:
    patient = admit("containerd-1.36")
    shutil.rmtree(patient.path("etc/containerd/certs.d"))
    assert patient.bad() == {"containerd-mirror-missing"}
    words = ["node-config", "containerd", "--write", "--mirror", patient.mirror]
    words += ["--certs-dir", str(patient.path("etc/containerd/certs.d"))]
    assert CliRunner().invoke(main, words).exit_code == 0
    assert patient.bad("--runtime-version", "2.1.6") == set()


def test_crio_and_podman_are_looked_at_too(admit: Admit) -> None:
    patient = admit("docker")
    words = ("--runtime", "crio", "--runtime", "podman")
    assert patient.bad(*words) == {"crio-mirror-missing", "podman-mirror-missing"}
    conf = str(patient.path("etc/containers/registries.conf.d"))
    wrote = ["node-config", "crio", "--write", "--conf-dir", conf, "--mirror", patient.mirror]
    assert CliRunner().invoke(main, wrote).exit_code == 0
    assert patient.bad(*words) == set()


# The port.


def test_a_port_where_nobody_listens(admit: Admit) -> None:
    patient = admit("docker")
    patient.mirror = f"http://127.0.0.1:{free_port()}"
    patient.change("etc/sysconfig/docker", replaced(patient.node.url, patient.mirror))
    assert patient.bad() == {"port-refused"}


def test_a_port_that_somebody_else_answers(admit: Admit, registry: Registry) -> None:
    patient = admit("docker")
    patient.mirror = registry.url
    patient.change("etc/sysconfig/docker", replaced(patient.node.url, patient.mirror))
    found = patient.findings()["port-other"]
    assert "nginx" in found["what"]


@contextlib.contextmanager
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_a_port_that_speaks_no_http(admit: Admit) -> None:
    with listening() as server:

        def answer() -> None:
            taken, _ = server.accept()
            with taken:
                taken.recv(1000)
                taken.sendall(b"SSH-2.0-OpenSSH\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        patient = admit("docker")
        patient.mirror = f"http://127.0.0.1:{server.getsockname()[1]}"
        assert "port-other" in patient.bad()
        thread.join()


def test_a_port_that_is_silent(admit: Admit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nodecache.cli.doctoring.asks._PORT", 0.2)
    with listening() as server:
        patient = admit("docker")
        patient.mirror = f"http://127.0.0.1:{server.getsockname()[1]}"
        assert "port-silent" in patient.bad()


# Upstream, clock, admin port, disk.


def test_an_upstream_that_can_not_be_reached(admit: Admit) -> None:
    patient = admit("docker")
    patient.env["NODECACHE_UPSTREAMS"] = f"docker.io=http://127.0.0.1:{free_port()}"
    found = patient.findings()
    assert "refused" in found["upstream-unreachable"]["what"]
    assert found["clock-unknown"]["severity"] == "note"


def test_an_upstream_that_answers_strangely(admit: Admit, registry: Registry) -> None:
    registry.status = 503
    assert admit("docker").bad() == {"upstream-strange"}


@pytest.mark.parametrize(("ahead", "side"), [(120.0, "behind"), (-120.0, "ahead")])
def test_a_clock_that_is_wrong(admit: Admit, registry: Registry, ahead: float, side: str) -> None:
    registry.ahead = ahead
    patient = admit("docker")
    found = patient.findings()["clock-skew"]
    assert side in found["what"]
    assert patient.bad() == {"clock-skew"}


def test_a_node_that_is_told_to_be_offline_asks_no_upstream(admit: Admit) -> None:
    patient = admit("docker")
    patient.env |= {
        "NODECACHE_OFFLINE": "true",
        "NODECACHE_UPSTREAMS": f"docker.io=http://127.0.0.1:{free_port()}",
    }
    found = patient.findings()
    assert found["offline"]["severity"] == "note"
    assert "upstream-unreachable" not in found


def test_peers_tell_the_time_where_no_upstream_does(registry: Registry) -> None:
    registry.ahead = -300.0
    rows = [
        {"addresses": []},
        {"addresses": [f"127.0.0.1:{free_port()}"]},
        {"addresses": [registry.url.removeprefix("http://")]},
    ]
    [skew] = peer_skews({"peers": rows})
    assert 298 < skew < 310
    assert peer_skews(None) == ()


def test_a_node_that_is_not_there_is_a_finding_and_not_the_end(admit: Admit) -> None:
    patient = admit("docker")
    found = patient.bad("--admin", f"http://127.0.0.1:{free_port()}")
    assert found == {"admin-unreachable"}


def test_a_data_folder_that_is_not_there_is_a_note(admit: Admit) -> None:
    result = CliRunner().invoke(
        main, admit("docker").words("--json", "--data-dir", "/nowhere"), env={}
    )
    codes = {one["code"]: one["severity"] for one in json.loads(result.stdout)["findings"]}
    assert codes["disk-unknown"] == "note"


def test_the_data_folder_is_looked_for_on_the_node_first(admit: Admit) -> None:
    """An image has an empty folder of the same name, on another disk."""
    patient = admit("docker")
    patient.write("var/lib/nodecache/v1/x", "")
    settings = load({"data_dir": "/var/lib/nodecache"}, {}, None, "").settings
    found = disk(Root(str(patient.root)), settings, {})
    assert found.data_dir == str(patient.path("var/lib/nodecache"))
    assert found.with_kubelet is True
    assert disk(Root("/"), settings, {}).data_dir == "/var/lib/nodecache"


def test_a_pod_says_that_it_asked_from_within_itself(admit: Admit) -> None:
    patient = admit("docker")
    assert "within this pod" in patient.findings()["port-ours"]["what"]
    patient.path("proc/1/ns").mkdir(parents=True)
    patient.path("proc/1/ns/net").symlink_to(os.readlink("/proc/self/ns/net"))
    assert "from here" in patient.findings()["port-ours"]["what"]


def test_a_kubelet_that_is_not_there_is_a_note(admit: Admit) -> None:
    patient = admit("docker")
    patient.path(KUBELET).unlink()
    assert patient.findings()["kubelet-none"]["severity"] == "note"


def test_a_kubelets_file_may_be_json(admit: Admit) -> None:
    """As on EKS, where drop-ins come from a folder too."""
    patient = admit("containerd-1.36")
    patient.path("var/lib/kubelet/kubelet.conf").unlink()
    document = {"kind": "KubeletConfiguration", "imageGCHighThresholdPercent": 75}
    name = "etc/kubernetes/kubelet/config.json"
    patient.write(name, json.dumps(document, indent="\t"))
    patient.write(KUBELET, f'ARGS="--config=/{name} --config-dir=/etc/kubelet.d"\n')
    patient.write("etc/kubelet.d/10-low.conf", "imageGCLowThresholdPercent: 70\n")
    patient.write("etc/kubelet.d/notes.txt", "imageGCLowThresholdPercent: 90\n")
    assert "kubelet-gc-first" in patient.findings()
    patient.write("etc/kubelet.d/20-low.conf", "imageGCLowThresholdPercent: 75\n")
    assert patient.bad() == {"kubelet-gc-order"}


def test_a_node_without_any_runtime_is_told_so(admit: Admit) -> None:
    patient = admit("docker")
    patient.path("etc/sysconfig/docker").unlink()
    assert patient.bad() == {"runtime-none"}


# Which runtimes there are.


@pytest.mark.parametrize(
    ("files", "endpoint", "names"),
    [
        ([CONFIG], "", ("containerd",)),
        ([CONFIG, "etc/docker/daemon.json"], "", ("docker",)),
        ([CONFIG, "etc/docker/daemon.json", HOSTS], "", ("containerd", "docker")),
        (
            [CONFIG, "etc/docker/daemon.json"],
            "unix:///run/containerd/containerd.sock",
            ("containerd",),
        ),
        ([CONFIG], "unix:///var/run/crio/crio.sock", ("crio",)),
        ([CONFIG], "unix:///var/run/cri-dockerd.sock", ("docker",)),
        (["usr/bin/podman", "etc/crio/crio.conf"], "", ("crio", "podman")),
        ([], "", ()),
    ],
)
def test_the_runtimes_are_the_kubelets_or_those_that_are_there(
    files: list[str], endpoint: str, names: tuple[str, ...], tmp_path: pathlib.Path
) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    assert present(Root(str(tmp_path)), endpoint) == names


def test_what_runs_says_where_its_files_are(admit: Admit) -> None:
    patient = admit("containerd-1.36")
    patient.path(CONFIG).rename(patient.path("etc/other.toml"))
    patient.write("proc/17/cmdline", "/usr/bin/containerd\0-c\0/etc/other.toml\0")
    patient.write("proc/self/cmdline", "containerd\0--config\0/nowhere\0")
    assert patient.bad("--runtime-version", "2.1.6") == set()
    patient.write("proc/18/cmdline", "/usr/bin/kubelet\0--image-gc-high-threshold=85\0")
    assert patient.bad("--runtime", "containerd") == {"kubelet-gc"}


# Files under a folder.


def test_links_of_the_node_lead_within_its_folder(tmp_path: pathlib.Path) -> None:
    root = Root(str(tmp_path))
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").write_text("inside")
    (tmp_path / "link").symlink_to("/real")
    (tmp_path / "real" / "up").symlink_to("../real/file")
    assert root.read("/link/file") == "inside"
    assert root.read("/link/up") == "inside"
    (tmp_path / "out").symlink_to("../../../../etc/passwd")
    assert root.read("/out") is None
    (tmp_path / "loop").symlink_to("/loop")
    with pytest.raises(Unreadable, match="/loop: too many links"):
        root.read("/loop")
    assert not root.exists("/loop")


def test_a_folder_in_place_of_a_file_is_named(tmp_path: pathlib.Path) -> None:
    (tmp_path / "etc").mkdir()
    with pytest.raises(Unreadable, match="/etc: is a directory"):
        Root(str(tmp_path)).read("/etc")


# As a person.


def run(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "nodecache", *words]
    environ = {**os.environ, "PYTHONPATH": str(ROOT), **env}
    return subprocess.run(argv, capture_output=True, text=True, env=environ, check=False)


def test_a_person_reads_what_it_means_and_what_to_do(admit: Admit) -> None:
    patient = admit("containerd-1.36")
    patient.change(CONFIG, replaced('certs.d"', 'certs.d:/etc/docker/certs.d"'))
    done = run(*patient.words("--runtime-version", "2.1.6"), **patient.env)
    assert done.returncode == 1
    assert done.stderr == ""
    assert "PROBLEM" in done.stdout
    assert "means: containerd 2.1.6 takes it for the name of one folder" in done.stdout
    assert "fix: Name one folder" in done.stdout
    assert "1 problem" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_a_person_reads_that_all_is_well(admit: Admit) -> None:
    patient = admit("docker")
    done = run(*patient.words(), **patient.env)
    well = done.stdout.splitlines()[-1]
    assert (done.returncode, "All is well" in well) in {(0, True), (1, False)}
    if done.returncode:  # only for want of room on this machine
        assert "below" in done.stdout or "exceed" in done.stdout or "floor" in done.stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--root", "/nowhere"), "/nowhere is no folder"),
        (("--mirror", "somewhere"), "no URL of a mirror"),
        (("--runtime", "rkt"), "rkt"),
        (("--runtime-version", "new"), "no version"),
        (("--config", "/nowhere.toml"), "/nowhere.toml"),
    ],
)
def test_wrong_input_is_named_and_is_exit_code_2(words: tuple[str, ...], told: str) -> None:
    done = run("doctor", *words)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr

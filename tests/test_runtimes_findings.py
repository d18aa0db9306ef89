"""What doctor makes of what it gathered: every fault has its finding, and what is well has none."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from nodecache.limits import GIB
from nodecache.runtimes.check_containerd import check_containerd
from nodecache.runtimes.check_containers import check_containers
from nodecache.runtimes.check_disk import check_disk
from nodecache.runtimes.check_docker import check_docker
from nodecache.runtimes.check_node import check_admin, check_clock, check_port, check_upstreams
from nodecache.runtimes.containerd import CertsDir, CriConfig, read
from nodecache.runtimes.diagnosis import diagnose
from nodecache.runtimes.facts import (
    Answer,
    ContainerdFacts,
    ContainersFacts,
    DiskFacts,
    DockerFacts,
    Facts,
    KubeletFacts,
    NodeFacts,
    PortFacts,
    UpstreamFacts,
)
from nodecache.runtimes.findings import Finding, Severity, needs_action
from nodecache.runtimes.hosts_toml import HostsPart
from nodecache.runtimes.kubelet import Thresholds, thresholds
from nodecache.runtimes.names import Unusable
from nodecache.runtimes.toml import read_toml
from nodecache.runtimes.words import environment_words, read_flags

MIRROR = "http://127.0.0.1:5000"
HUB = ("docker.io",)
CERTS = "/etc/containerd/certs.d"
OURS = HostsPart("docker.io", MIRROR).merge(None)
BASE = CriConfig(schema=2, config_path=CERTS)
TABLE = CriConfig(schema=2, mirrors={"docker.io": (MIRROR,)})
WELL = ContainerdFacts("config.toml", BASE, (1, 7, 28), (CertsDir(CERTS, {"docker.io": OURS}),))


def codes(findings: Any) -> dict[str, Severity]:
    found: list[Finding] = list(findings)
    for one in found:
        assert one.what
        assert one.severity is not Severity.OK or not one.fix
        assert not one.severity.needs_action or (one.means and one.fix), one.code
    return {one.code: one.severity for one in found}


def bad(findings: Any) -> set[str]:
    return {code for code, severity in codes(findings).items() if severity.needs_action}


# containerd.


def test_a_containerd_that_is_set_up_well() -> None:
    found = codes(check_containerd(WELL, MIRROR, HUB))
    assert found == {"containerd-used": Severity.OK, "containerd-fallback": Severity.OK}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"problem": "config.toml: permission denied"}, "containerd-unreadable"),
        ({"config": attrs.evolve(TABLE, config_path=CERTS)}, "containerd-both"),
        ({"config": TABLE, "version": (2, 2, 0)}, "containerd-table-refused"),
        ({"config": TABLE, "version": (2, 2, 1)}, "containerd-table-refused"),
        ({"config": CriConfig(schema=2)}, "containerd-no-config-path"),
        ({"config": None}, "containerd-no-config-path"),
        (
            {"config": CriConfig(schema=3, misplaced="io.containerd.grpc.v1.cri")},
            "containerd-no-config-path",
        ),
        ({"config": CriConfig(schema=3), "version": (2, 2, 3)}, "containerd-list-ignored"),
        ({"config": None, "version": (2, 3, 0)}, "containerd-list-ignored"),
        (
            {"config": CriConfig(schema=3, config_path=f"{CERTS}:/x"), "version": (2, 1, 0)},
            "containerd-list-ignored",
        ),
        (
            {"config": CriConfig(schema=3, config_path=f"{CERTS}:/x"), "version": None},
            "containerd-list",
        ),
        ({"dirs": ()}, "containerd-mirror-missing"),
        ({"dirs": (CertsDir(CERTS, {"ghcr.io": OURS}),)}, "containerd-mirror-missing"),
        (
            {"dirs": (CertsDir(CERTS, {"docker.io": None, "_default": OURS}),)},
            "containerd-mirror-missing",
        ),
        ({"dirs": (CertsDir(CERTS, {"docker.io": "[host"}),)}, "containerd-hosts-unreadable"),
    ],
)
def test_each_fault_of_a_containerd_has_its_finding(change: dict[str, Any], code: str) -> None:
    facts = attrs.evolve(WELL, **change)
    assert bad(check_containerd(facts, MIRROR, HUB)) == {code}


@pytest.mark.parametrize(
    "change",
    [
        {"config": CriConfig(schema=2, config_path=f"{CERTS}:/x")},
        {"config": CriConfig(schema=3, config_path=f"{CERTS}:/x"), "version": (2, 0, 9)},
        {
            "config": CriConfig(schema=3, config_path=f"{CERTS}:/x", local_pull=True),
            "version": (2, 2, 2),
        },
        {"config": TABLE, "version": (1, 7, 0)},
        {"config": TABLE, "version": (2, 2, 2)},
        {"config": TABLE, "version": None},
        {"config": CriConfig(schema=2, mirrors={"*": ("http://127.0.0.1:5000/v2",)})},
        {"dirs": (CertsDir(CERTS, {"_default": HostsPart("_default", MIRROR).merge(None)}),)},
        {"config": CriConfig(off=True)},
    ],
)
def test_what_works_needs_no_action(change: dict[str, Any]) -> None:
    assert bad(check_containerd(attrs.evolve(WELL, **change), MIRROR, HUB)) == set()


def test_the_deprecated_table_is_worth_a_note_and_its_endpoints_count() -> None:
    facts = attrs.evolve(WELL, config=TABLE)
    assert codes(check_containerd(facts, MIRROR, HUB))["containerd-table"] is Severity.NOTE
    assert bad(check_containerd(facts, MIRROR, ("ghcr.io",))) == {"containerd-mirror-missing"}
    second = CriConfig(schema=2, mirrors={"docker.io": ("https://other", MIRROR)})
    facts = attrs.evolve(WELL, config=second)
    assert "containerd-not-first" in codes(check_containerd(facts, MIRROR, HUB))


def test_a_folder_of_its_own_hides_the_default() -> None:
    files = {"docker.io": '[host."https://other"]\n', "_default": OURS}
    facts = attrs.evolve(WELL, dirs=(CertsDir(CERTS, files),))
    [finding] = check_containerd(facts, MIRROR, HUB)
    assert "hides _default" in finding.what


def test_the_folder_of_a_registry_with_a_port_has_two_spellings() -> None:
    for name in ("h.corp:8443", "h.corp_8443_"):
        facts = attrs.evolve(WELL, dirs=(CertsDir(CERTS, {name: f'[host."{MIRROR}"]\n'}),))
        assert "containerd-mirror-missing" not in bad(
            check_containerd(facts, MIRROR, ("h.corp:8443",))
        )


def hosts(text: str, registry: str = "docker.io") -> ContainerdFacts:
    return attrs.evolve(WELL, dirs=(CertsDir(CERTS, {registry: text}),))


CAN = 'capabilities = ["pull", "resolve"]\n'


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (f'[host."{MIRROR}"]\ncapabilities = ["pull"]\n', "containerd-capabilities"),
        (f'[host."{MIRROR}"]\ncapabilities = ["resolve"]\n', "containerd-capabilities"),
        (f'[host."{MIRROR}"]\n', "containerd-push"),
        (f'[host."{MIRROR}"]\noverride_path = true\n{CAN}', "containerd-override-path"),
        (f'server = "{MIRROR}"\n[host."{MIRROR}"]\n{CAN}', "containerd-no-fallback"),
        (f'server = "https://docker.io"\n[host."{MIRROR}"]\n{CAN}', "containerd-wrong-fallback"),
    ],
)
def test_each_fault_of_a_hosts_toml_has_its_finding(text: str, code: str) -> None:
    assert bad(check_containerd(hosts(text), MIRROR, HUB)) == {code}


def test_a_server_in_the_file_of_all_registries_is_wrong_for_all() -> None:
    text = f'server = "https://registry-1.docker.io"\n[host."{MIRROR}"]\n{CAN}'
    found = bad(check_containerd(hosts(text, "_default"), MIRROR, ("ghcr.io",)))
    assert found == {"containerd-wrong-fallback"}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (f'[host."https://x"]\n{CAN}[host."{MIRROR}"]\n{CAN}', "containerd-not-first"),
        (f'[host."{MIRROR}"]\nskip_verify = true\n{CAN}', "containerd-tls"),
        (f'server = "https://proxy.corp"\n[host."{MIRROR}"]\n{CAN}', "containerd-other-fallback"),
    ],
)
def test_what_is_only_worth_knowing_is_a_note(text: str, code: str) -> None:
    found = codes(check_containerd(hosts(text), MIRROR, HUB))
    assert found[code] is Severity.NOTE
    assert not any(severity.needs_action for severity in found.values())


def test_localhost_is_worth_a_note() -> None:
    text = f'[host."http://localhost:5000"]\n{CAN}'
    assert "containerd-localhost" in codes(
        check_containerd(hosts(text), "http://localhost:5000", HUB)
    )


def test_a_missing_dial_timeout_is_told_where_containerd_knows_it() -> None:
    facts = hosts(f'[host."{MIRROR}"]\n{CAN}')
    assert "containerd-dial-timeout" not in codes(check_containerd(facts, MIRROR, HUB))
    newer = attrs.evolve(facts, version=(2, 1, 0))
    assert "containerd-dial-timeout" in codes(check_containerd(newer, MIRROR, HUB))


@pytest.mark.parametrize(
    ("text", "config"),
    [
        ("", CriConfig()),
        (
            (
                "version = 3\n[plugins.'io.containerd.cri.v1.images']\n"
                "use_local_image_pull = true\n"
                "[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path = '/c'\n"
            ),
            CriConfig(3, "/c", local_pull=True),
        ),
        (
            "version = 3\n[plugins.'io.containerd.grpc.v1.cri'.registry]\nconfig_path = '/c'\n",
            CriConfig(3, misplaced="io.containerd.grpc.v1.cri"),
        ),
        (
            (
                "version = 2\n[plugins.'io.containerd.grpc.v1.cri'.registry.mirrors.'docker.io']\n"
                "endpoint = ['http://m']\n"
            ),
            CriConfig(2, mirrors={"docker.io": ("http://m",)}),
        ),
        ("[plugins.cri.registry]\nconfig_path = '/c'\n", CriConfig(1, "/c")),
        ("disabled_plugins = ['cri']\n", CriConfig(off=True)),
        (
            (
                "version = 2\n[plugins.'io.containerd.grpc.v1.cri'.containerd]\n"
                "discard_unpacked_layers = true\n"
            ),
            CriConfig(2, local_pull=True),
        ),
        (
            (
                "version = 2\n[plugins.'io.containerd.grpc.v1.cri']\nmax_concurrent_downloads = 3\n"
                "[plugins.'io.containerd.grpc.v1.cri'.containerd]\n"
                "disable_snapshot_annotations = true\n"
            ),
            CriConfig(2),
        ),
        (
            "version = 3\n[plugins.'io.containerd.cri.v1.images']\nmax_concurrent_downloads = 9\n",
            CriConfig(3, local_pull=True),
        ),
        (
            "version = 3\n[plugins.'io.containerd.cri.v1.images'.registry.auths.'https://x']\n",
            CriConfig(3, local_pull=True),
        ),
        ("version = 'x'\nplugins = 3\n", CriConfig()),
        ("version = 2\n[plugins.'io.containerd.grpc.v1.cri']\nregistry = 'x'\n", CriConfig(2)),
    ],
)
def test_a_config_toml_is_read_by_its_version(text: str, config: CriConfig) -> None:
    assert read([read_toml(text)]) == config


def test_files_that_are_imported_win() -> None:
    first = "version = 2\n[plugins.'io.containerd.grpc.v1.cri'.registry]\nconfig_path = '/a'\n"
    second = "[plugins.'io.containerd.grpc.v1.cri'.registry]\nconfig_path = '/b'\n"
    assert read([read_toml(first), read_toml(second)]).config_path == "/b"


# dockerd.


def docker(text: str | None, *flags: str) -> DockerFacts:
    return DockerFacts("daemon.json", text, flags, "/etc/sysconfig/docker")


@pytest.mark.parametrize(
    "facts",
    [
        docker(f'{{"registry-mirrors": ["{MIRROR}/"]}}'),
        docker(None, f"--registry-mirror={MIRROR}"),
        docker("{}", "--registry-mirror", MIRROR),
    ],
)
def test_a_dockerd_that_is_set_up_well(facts: DockerFacts) -> None:
    assert codes(check_docker(facts, MIRROR)) == {
        "docker-used": Severity.OK,
        "docker-fallback": Severity.OK,
    }


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        (docker(None), "docker-mirror-missing"),
        (docker('{"registry-mirrors": ["https://other"]}'), "docker-mirror-missing"),
        (docker("{"), "docker-invalid"),
        (docker('{"registry-mirrors": []}', f"--registry-mirror={MIRROR}"), "docker-both"),
        (DockerFacts("daemon.json", problem="daemon.json: permission denied"), "docker-unreadable"),
    ],
)
def test_each_fault_of_a_dockerd_has_its_finding(facts: DockerFacts, code: str) -> None:
    assert bad(check_docker(facts, MIRROR)) == {code}


def test_a_mirror_before_ours_is_worth_a_note() -> None:
    text = f'{{"registry-mirrors": ["https://other", "{MIRROR}"]}}'
    assert codes(check_docker(docker(text), MIRROR))["docker-not-first"] is Severity.NOTE


# CRI-O and podman.

MIRRORED = (
    '[[registry]]\nprefix = "docker.io"\nlocation = "docker.io"\n'
    '[[registry.mirror]]\nlocation = "127.0.0.1:5000"\n'
)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "crio-mirror-missing"),
        (MIRRORED, "crio-insecure"),
        (MIRRORED + "insecure = true\npull-from-mirror = 'digest-only'\n", "crio-digest-only"),
        ("[[registry]", "crio-invalid"),
        (
            MIRRORED.replace('location = "docker.io"', 'location = "127.0.0.1:5000"')
            + "insecure = true\n",
            "crio-no-fallback",
        ),
    ],
)
def test_each_fault_of_registries_conf_has_its_finding(text: str, code: str) -> None:
    facts = ContainersFacts("crio", (("registries.conf", text),))
    assert bad(check_containers(facts, MIRROR, HUB)) == {code}


def test_a_podman_that_is_set_up_well() -> None:
    facts = ContainersFacts("podman", (("a.conf", MIRRORED + "insecure = true\n"),))
    assert codes(check_containers(facts, MIRROR, HUB)) == {
        "podman-used": Severity.OK,
        "podman-fallback": Severity.OK,
    }
    later = attrs.evolve(
        facts, files=(*facts.files, ("b.conf", MIRRORED.partition("[[registry.")[0]))
    )
    assert bad(check_containers(later, MIRROR, HUB)) == {"podman-mirror-missing"}
    hidden = ContainersFacts("podman", problem="x: permission denied")
    assert bad(check_containers(hidden, MIRROR, HUB)) == {"podman-unreadable"}


def test_a_longer_prefix_is_worth_a_note() -> None:
    text = MIRRORED + 'insecure = true\n[[registry]]\nlocation = "docker.io/acme"\n'
    found = codes(check_containers(ContainersFacts("crio", (("a.conf", text),)), MIRROR, HUB))
    assert found["crio-longer-prefix"] is Severity.NOTE


def test_a_mirror_before_ours_in_registries_conf_is_worth_a_note() -> None:
    first = '[[registry.mirror]]\nlocation = "other"\n[[registry.mirror]]'
    text = MIRRORED.replace("[[registry.mirror]]", first) + "insecure = true\n"
    facts = ContainersFacts("crio", (("a.conf", text),))
    assert codes(check_containers(facts, MIRROR, HUB))["crio-not-first"] is Severity.NOTE


# The port, the node, the upstreams and the clock.


@pytest.mark.parametrize(
    ("port", "found"),
    [
        (PortFacts(MIRROR, Answer.OURS), set()),
        (PortFacts(MIRROR, Answer.OURS, seconds=3.0), {"port-slow"}),
        (PortFacts(MIRROR, Answer.OTHER, "404, nginx"), {"port-other"}),
        (PortFacts(MIRROR, Answer.REFUSED), {"port-refused"}),
        (PortFacts(MIRROR, Answer.SILENT), {"port-silent"}),
        (PortFacts(MIRROR, Answer.FAILED, "reset"), {"port-failed"}),
    ],
)
def test_who_answers_the_port(port: PortFacts, found: set[str]) -> None:
    assert bad(check_port(port)) == found


def peers(**fields: Any) -> NodeFacts:
    return NodeFacts("http://localhost:5002", peers={"known": 4, "live": 4, "peers": [], **fields})


@pytest.mark.parametrize(
    ("node", "code", "severity"),
    [
        (peers(), "peers-live", Severity.OK),
        (peers(live=1), "peers-few", Severity.WARNING),
        (peers(known=0, live=0), "peers-unknown", Severity.WARNING),
        (peers(live=0, off_seconds=3.0), "peers-off", Severity.PROBLEM),
        (peers(peers=[{"state": "version"}]), "peers-version", Severity.NOTE),
        (NodeFacts("u"), "peers-none", Severity.NOTE),
        (NodeFacts("u", unasked_seconds=7200.0), "node-unasked", Severity.NOTE),
        (NodeFacts("u", problem="no node answers"), "admin-unreachable", Severity.WARNING),
    ],
)
def test_what_the_admin_port_says_of_peers(node: NodeFacts, code: str, severity: Severity) -> None:
    assert codes(check_admin(node))[code] is severity


def upstream(**fields: Any) -> UpstreamFacts:
    return attrs.evolve(UpstreamFacts("docker.io", "https://registry-1.docker.io"), **fields)


@pytest.mark.parametrize(
    ("one", "node", "code", "severity"),
    [
        (upstream(status=401), NodeFacts("u"), "upstream-reached", Severity.OK),
        (upstream(status=200), NodeFacts("u"), "upstream-reached", Severity.OK),
        (upstream(status=403), NodeFacts("u"), "upstream-strange", Severity.WARNING),
        (upstream(problem="refused"), NodeFacts("u"), "upstream-unreachable", Severity.PROBLEM),
        (upstream(status=401), NodeFacts("u", down=("o",)), "upstream-down", Severity.WARNING),
        (upstream(problem="x"), NodeFacts("u", offline=True), "offline", Severity.NOTE),
    ],
)
def test_what_upstreams_say(
    one: UpstreamFacts, node: NodeFacts, code: str, severity: Severity
) -> None:
    assert codes(check_upstreams((one,), node, peers=True))[code] is severity


@pytest.mark.parametrize(
    ("skews", "peer_skews", "code", "severity"),
    [
        ((0.4,), (), "clock", Severity.OK),
        ((300.0,), (), "clock-skew", Severity.PROBLEM),
        ((-300.0, 1.0), (), "clock", Severity.OK),
        ((None,), (-90.0,), "clock-skew", Severity.PROBLEM),
        ((None,), (), "clock-unknown", Severity.NOTE),
    ],
)
def test_the_clock_is_held_against_whoever_answers(
    skews: tuple[float | None, ...],
    peer_skews: tuple[float, ...],
    code: str,
    severity: Severity,
) -> None:
    asked = tuple(upstream(skew=skew) for skew in skews)
    found = codes(check_clock(asked, NodeFacts("u", peer_skews=peer_skews)))
    assert found == {code: severity}


# The disk.

DISK = DiskFacts("/data", 100 * GIB, 50 * GIB, 20 * GIB, 20 * GIB, with_kubelet=True)
GOOD = Thresholds(75, 70, thresholds(None).evictions)


@pytest.mark.parametrize(
    ("disk", "limits", "found"),
    [
        ({}, GOOD, set()),
        ({"free": 10 * GIB}, GOOD, {"disk-below-floor"}),
        ({"cap": 90 * GIB}, GOOD, {"disk-cap"}),
        ({"floor": 10 * GIB}, GOOD, {"kubelet-evicts"}),
        ({}, thresholds(None), {"kubelet-gc"}),
        ({}, attrs.evolve(GOOD, high=100), {"kubelet-gc"}),
        ({}, attrs.evolve(GOOD, high=80, low=75), {"kubelet-gc"}),
        ({}, attrs.evolve(GOOD, low=75), {"kubelet-gc-order"}),
        ({"with_kubelet": False}, thresholds(None), set()),
        ({"with_kubelet": None}, thresholds(None), {"kubelet-gc"}),
    ],
)
def test_the_cache_against_the_kubelet(
    disk: dict[str, Any], limits: Thresholds, found: set[str]
) -> None:
    facts = KubeletFacts(limits, ("config.yaml",))
    assert bad(check_disk(attrs.evolve(DISK, **disk), facts)) == found


def test_what_can_not_be_seen_of_the_disk_is_said() -> None:
    assert codes(check_disk(DiskFacts("/d", problem="x"), KubeletFacts())) == {
        "disk-unknown": Severity.NOTE
    }
    assert codes(check_disk(DISK, KubeletFacts()))["kubelet-none"] is Severity.NOTE
    assert bad(check_disk(DISK, KubeletFacts(problem="x"))) == {"kubelet-unreadable"}


@pytest.mark.parametrize(
    ("document", "flags", "high", "low", "evicts"),
    [
        (None, (), 85, 80, 15 * GIB),
        (
            {"imageGCHighThresholdPercent": 75, "imageGCLowThresholdPercent": 70},
            (),
            75,
            70,
            15 * GIB,
        ),
        (
            {"imageGCHighThresholdPercent": 75},
            ("--image-gc-high-threshold=60", "--image-gc-low-threshold", "50"),
            60,
            50,
            15 * GIB,
        ),
        ({"evictionHard": {"memory.available": "1Gi"}}, (), 85, 80, 0),
        ({"evictionHard": {"nodefs.available": "30Gi"}}, (), 85, 80, 30 * GIB),
        ({"evictionSoft": {"imagefs.available": "25%"}}, (), 85, 80, 25 * GIB),
        (None, ("--eviction-hard=memory.available<100Mi,nodefs.available<10%",), 85, 80, 10 * GIB),
    ],
)
def test_the_kubelets_thresholds_come_from_its_file_and_its_flags(
    document: dict[str, Any] | None, flags: tuple[str, ...], high: int, low: int, evicts: int
) -> None:
    found = thresholds(document, flags)
    assert (found.high, found.low, found.evicts_below(100 * GIB)) == (high, low, evicts)


@pytest.mark.parametrize(
    "document",
    [
        {"imageGCHighThresholdPercent": "many"},
        {"evictionHard": ["x"]},
        {"evictionHard": {"nodefs.available": "some"}},
        {"evictionHard": {"nodefs.available": "200%"}},
    ],
)
def test_thresholds_that_are_none_are_refused(document: dict[str, Any]) -> None:
    with pytest.raises(Unusable):
        thresholds(document)


def test_words_of_command_lines_and_environment_files() -> None:
    assert read_flags(["kubelet", "--a=1", "--b", "2", "--c", "--a=3"]) == {
        "a": "3",
        "b": "2",
        "c": "",
    }
    text = '# DAEMON_ARGS="--no"\nDAEMON_ARGS="--a=1 --b"\nDOCKER_OPTS=--c --d=e\nHOME="/root"\n\n'
    assert environment_words(text) == ("--a=1", "--b", "--c", "--d=e", "/root")


# All of it.


def test_a_node_that_is_well_needs_nothing() -> None:
    facts = Facts(
        mirror=MIRROR,
        registries=HUB,
        port=PortFacts(MIRROR, Answer.OURS),
        node=peers(),
        disk=DISK,
        kubelet=KubeletFacts(GOOD, ("config.yaml",)),
        upstreams=(upstream(status=401, skew=0.1),),
        containerd=WELL,
    )
    assert not needs_action(diagnose(facts))
    assert bad(diagnose(attrs.evolve(facts, containerd=None))) == {"runtime-none"}
    all_three = attrs.evolve(
        facts,
        docker=docker(None),
        containers=(ContainersFacts("crio"), ContainersFacts("podman")),
    )
    assert bad(diagnose(all_three)) == {
        "docker-mirror-missing",
        "crio-mirror-missing",
        "podman-mirror-missing",
    }


def test_a_finding_is_a_document() -> None:
    one = Finding("c", Severity.NOTE, "s", "w")
    assert one.document() == {
        "code": "c",
        "severity": "note",
        "subject": "s",
        "what": "w",
        "means": "",
        "fix": "",
    }

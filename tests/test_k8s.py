"""The manifests as they lie there, and the lock of the image: what needs no kubectl to be seen."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from nodecache.config import KEYS, load
from nodecache.config.keys import OTHER_VARIABLES
from nodecache.limits import Timeouts
from tests.system.kube.manifests import K8S, RENDERED, Manifests, container, environment
from tests.system.kube.profile import beyond_restricted
from tests.system.kube.schemas import VERSIONS, Invalid, validate

ROOT = K8S.parent


@pytest.fixture(scope="module")
def rendered() -> Manifests:
    return Manifests.read(RENDERED.read_text())


@pytest.fixture(scope="module")
def pod(rendered: Manifests) -> dict[str, Any]:
    return dict(rendered.one("DaemonSet")["spec"]["template"])


@pytest.mark.parametrize("version", VERSIONS)
def test_the_single_file_fits_the_strict_schemas(rendered: Manifests, version: str) -> None:
    for document in rendered.documents:
        validate(document, version)


def test_the_strict_schemas_find_a_misspelt_key(rendered: Manifests) -> None:
    wrong = yaml.safe_load(yaml.safe_dump(rendered.one("DaemonSet")))
    wrong["spec"]["template"]["spec"]["hostNetworks"] = True
    with pytest.raises(Invalid):
        validate(wrong, VERSIONS[-1])


def test_only_hostpath_and_hostport_and_chown_are_beyond_the_restricted_profile(
    pod: dict[str, Any],
) -> None:
    assert beyond_restricted(pod["spec"]) == {
        "volume data: hostPath",
        "nodecache: hostPort 5000",
        "data-folder: root",
        "data-folder: CHOWN",
    }


def test_every_container_has_a_read_only_root_and_no_limit_of_the_processor(
    pod: dict[str, Any],
) -> None:
    for one in (*pod["spec"]["initContainers"], *pod["spec"]["containers"]):
        assert one["securityContext"]["readOnlyRootFilesystem"] is True
        assert "memory" in one["resources"]["limits"]
        assert "cpu" not in one["resources"]["limits"]
        assert {"cpu", "memory"} <= set(one["resources"]["requests"])
        assert one["imagePullPolicy"] == "IfNotPresent"


def test_no_token_and_no_service_links(rendered: Manifests, pod: dict[str, Any]) -> None:
    assert rendered.one("ServiceAccount")["automountServiceAccountToken"] is False
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert pod["spec"]["enableServiceLinks"] is False


def test_the_mirror_is_reached_at_the_nodes_loopback_alone(pod: dict[str, Any]) -> None:
    ports = {port["name"]: port for port in container(pod)["ports"]}
    assert (ports["mirror"]["hostPort"], ports["mirror"]["hostIP"]) == (5000, "127.0.0.1")
    assert not any("hostPort" in ports[name] for name in ("peers", "admin"))


def test_the_policy_lets_nodes_and_prometheus_in_and_no_pod_to_the_mirror(
    rendered: Manifests,
) -> None:
    policy = rendered.one("NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress"]
    ports = [port["port"] for rule in policy["ingress"] for port in rule["ports"]]
    assert ports == [5001, 5002]
    peers, admin = policy["ingress"]
    assert peers["from"] == [{"podSelector": policy["podSelector"]}]
    assert list(admin["from"][0]) == ["namespaceSelector"]
    labels = rendered.one("DaemonSet")["spec"]["template"]["metadata"]["labels"]
    for name, value in policy["podSelector"]["matchLabels"].items():
        assert labels[name] == value


def test_the_headless_service_names_the_pods_of_both_families(
    rendered: Manifests, pod: dict[str, Any]
) -> None:
    service = rendered.one("Service")
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["ipFamilyPolicy"] == "PreferDualStack"
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    assert environment(container(pod))["NODECACHE_PEERS"] == f"{service['metadata']['name']}:5001"


def test_pods_go_to_every_linux_node_and_stay_there(
    rendered: Manifests, pod: dict[str, Any]
) -> None:
    spec = pod["spec"]
    assert spec["nodeSelector"] == {"kubernetes.io/os": "linux"}
    assert spec["tolerations"] == [
        {"operator": "Exists", "effect": "NoSchedule"},
        {"operator": "Exists", "effect": "NoExecute"},
    ]
    assert spec["priorityClassName"] == "system-node-critical"
    quota = rendered.one("ResourceQuota")["spec"]["scopeSelector"]["matchExpressions"][0]
    assert quota["values"] == [spec["priorityClassName"]]
    rolling = rendered.one("DaemonSet")["spec"]["updateStrategy"]["rollingUpdate"]
    assert rolling == {"maxUnavailable": "10%"}


def test_a_pod_is_given_the_time_that_its_drain_takes(pod: dict[str, Any]) -> None:
    drain = Timeouts().drain
    assert drain + 10 <= pod["spec"]["terminationGracePeriodSeconds"] <= drain + 20


def test_probes_ask_the_admin_port_alone(pod: dict[str, Any]) -> None:
    mine = container(pod)
    asked = {
        kind: (mine[kind]["httpGet"]["path"], mine[kind]["httpGet"]["port"])
        for kind in ("startupProbe", "livenessProbe", "readinessProbe")
    }
    assert asked == {
        "startupProbe": ("/healthz", "admin"),
        "livenessProbe": ("/healthz", "admin"),
        "readinessProbe": ("/readyz", "admin"),
    }
    alive = mine["livenessProbe"]
    # dockerd waits 15 s for its first answer and containerd 30 for each: a frozen process is to
    # be ended before, but not one that is slow for a moment.
    silence = alive["periodSeconds"] * alive["failureThreshold"] + alive["timeoutSeconds"]
    assert silence + alive["terminationGracePeriodSeconds"] < 15
    assert alive["periodSeconds"] * (alive["failureThreshold"] - 1) + alive["timeoutSeconds"] >= 9


def test_every_variable_is_a_setting_and_the_settings_are_those_of_a_node(
    rendered: Manifests, pod: dict[str, Any]
) -> None:
    given = environment(container(pod))
    known = {key.environment for key in KEYS} | set(OTHER_VARIABLES)
    assert set(given) <= known
    assert given["NODECACHE_NODE_ID"] == "spec.nodeName"
    assert given["NODECACHE_NODE_ADDRESS"] == "status.podIPs"
    toml = rendered.one("ConfigMap")["data"]["nodecache.toml"]
    real = {**given, "NODECACHE_NODE_ID": "node-1", "NODECACHE_NODE_ADDRESS": "10.0.0.1,fd00::1"}
    loaded = load({}, real, toml, "nodecache.toml")
    assert loaded.warnings == ()
    assert loaded.settings.node_address == ("10.0.0.1", "fd00::1")
    assert loaded.settings.peer_address == "[::]:5001"
    mounts = {one["name"]: one["mountPath"] for one in container(pod)["volumeMounts"]}
    assert loaded.settings.data_dir == mounts["data"]
    assert given["NODECACHE_CONFIG"] == f"{mounts['config']}/nodecache.toml"
    assert str(loaded.settings.peer_secret_file).rpartition("/")[0] == mounts["peers"]


def test_the_command_for_the_secret_makes_what_the_pod_mounts(pod: dict[str, Any]) -> None:
    told = (K8S.parent / "docs" / "kubernetes.md").read_text()
    match = re.search(r"create secret generic (\S+) \\\n\s+--from-literal=(\w+)=", told)
    assert match is not None
    volume = next(one for one in pod["spec"]["volumes"] if one["name"] == "peers")
    assert match[1] == volume["secret"]["secretName"]
    file = environment(container(pod))["NODECACHE_PEER_SECRET_FILE"]
    assert match[2] == file.rpartition("/")[2]


def pinned(name: str) -> dict[str, str]:
    """Versions by distribution in a lock; each has hashes of its own."""
    found = {}
    text = (ROOT / name).read_text()
    hashes = r"((?:    --hash=sha256:[0-9a-f]{64}.*\n)+)"
    for match in re.finditer(rf"^(\S+)==(\S+) \\\n{hashes}", text, re.MULTILINE):
        found[match[1]] = match[2]
    lines = re.findall(r"^[A-Za-z0-9]", text, re.MULTILINE)
    assert len(found) == len(lines), "a line without hashes"
    return found


def required() -> list[Requirement]:
    text = (ROOT / "setup.py").read_text()
    listed = re.search(r"install_requires=\[(.*?)\]", text, re.DOTALL)
    assert listed is not None
    return [Requirement(one) for one in re.findall(r'"([^"]+\d)"', listed[1])]


def test_the_lock_holds_what_nodecache_asks_for() -> None:
    lock = pinned("requirements.lock")
    assert len(required()) > 4
    for one in required():
        assert one.specifier.contains(lock[one.name.lower()]), f"{one}: make lock"


def test_the_locks_name_no_place_to_take_packages_from() -> None:
    assert set(pinned("requirements-build.lock")) == {"setuptools"}
    for name in ("requirements.lock", "requirements-build.lock"):
        assert "://" not in (ROOT / name).read_text()
        assert "-index" not in (ROOT / name).read_text()

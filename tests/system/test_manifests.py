"""Every overlay as kubectl renders it: strict schemas, security, and what refers to what."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
from typing import Any

import pytest
import yaml

import nodecache
from nodecache.config import load
from tests.system.kube.manifests import (
    K8S,
    OVERLAYS,
    RENDERED,
    Manifests,
    container,
    environment,
    kustomize,
    render,
    rendered_text,
)
from tests.system.kube.profile import beyond_restricted
from tests.system.kube.schemas import VERSIONS, validate

#: Kinds of the Prometheus operator, whose schemas are not among Kubernetes' own, and the keys
#: that they are used with here (of its API reference).
OPERATORS = {
    "PodMonitor": {"selector", "podTargetLabels", "podMetricsEndpoints"},
    "ServiceMonitor": {"selector", "namespaceSelector", "endpoints"},
    "PrometheusRule": {"groups"},
}
ENDPOINT = {"port", "path", "interval", "relabelings"}

BASE = {
    "volume data: hostPath",
    "nodecache: hostPort 5000",
    "data-folder: root",
    "data-folder: CHOWN",
}
CONTAINERD = {"volume containerd-hosts: hostPath", "containerd-hosts: root"}
#: What each overlay asks for beyond the restricted profile.
BEYOND = {
    "base": BASE,
    "overlays/containerd": BASE | CONTAINERD,
    "overlays/hostnetwork": BASE
    | {"hostNetwork", "nodecache: hostPort 5001", "nodecache: hostPort 5002"},
    "overlays/private-hub-account": BASE,
    "overlays/monitoring": set(),
    "overlays/central": set(),
    "overlays/remove": CONTAINERD | {"volume data: hostPath"},
}


@pytest.fixture(scope="module")
def rendered() -> dict[str, Manifests]:
    return {overlay: render(overlay) for overlay in OVERLAYS}


def test_no_overlay_is_left_out() -> None:
    there = {f"overlays/{path.name}" for path in (K8S / "overlays").iterdir()}
    assert there | {"base"} == set(OVERLAYS) == set(BEYOND)


def test_the_single_file_is_what_the_base_renders_to() -> None:
    comment, _, text = RENDERED.read_text().partition("\n")
    assert comment.startswith("#")
    assert text == rendered_text("base"), "make kubernetes"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_strict_schemas(rendered: dict[str, Manifests], overlay: str, version: str) -> None:
    seen = 0
    for document in rendered[overlay].documents:
        if document["kind"] in OPERATORS:
            continue
        validate(document, version)
        seen += 1
    assert seen


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_nothing_is_asked_for_beyond_the_restricted_profile_but_this(
    rendered: dict[str, Manifests], overlay: str
) -> None:
    asked = {line for pod in rendered[overlay].pods() for line in beyond_restricted(pod["spec"])}
    assert asked == BEYOND[overlay]
    for namespace in rendered[overlay].of("Namespace"):
        level = namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
        assert level == ("privileged" if asked else "restricted")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_container_is_hardened_and_of_this_release(
    rendered: dict[str, Manifests], overlay: str
) -> None:
    for pod in rendered[overlay].pods():
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        for one in (*spec.get("initContainers", ()), *spec["containers"]):
            assert one["image"] == f"registry.example.com/nodecache:{nodecache.__version__}"
            assert one["imagePullPolicy"] == "IfNotPresent"
            assert one["securityContext"]["readOnlyRootFilesystem"] is True
            assert "cpu" not in one["resources"]["limits"]
            assert one["resources"]["limits"]["memory"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_pods_mount_is_there_or_is_said_how_to_make(
    rendered: dict[str, Manifests], overlay: str
) -> None:
    told = (K8S.parent / "docs/kubernetes.md").read_text()
    made = {
        (one["kind"], one["metadata"]["name"])
        for one in rendered[overlay].documents
        if one["kind"] in {"ConfigMap", "PersistentVolumeClaim"}
    }
    for pod in rendered[overlay].pods():
        for volume in pod["spec"].get("volumes", ()):
            if secret := volume.get("secret"):
                assert secret["secretName"] in told
            if config := volume.get("configMap"):
                assert ("ConfigMap", config["name"]) in made
            if claim := volume.get("persistentVolumeClaim"):
                assert ("PersistentVolumeClaim", claim["claimName"]) in made


def test_the_mirror_of_hostnetwork_is_on_the_loopback_and_no_policy_is_promised(
    rendered: dict[str, Manifests],
) -> None:
    overlay = rendered["overlays/hostnetwork"]
    (pod,) = overlay.pods()
    assert pod["spec"]["dnsPolicy"] == "ClusterFirstWithHostNet"
    assert environment(container(pod))["NODECACHE_LISTEN"] == "localhost:5000"
    for port in container(pod)["ports"]:
        assert port["hostPort"] == port["containerPort"]
    assert not overlay.of("NetworkPolicy")


def test_the_account_is_for_a_list_of_repositories_and_its_file_is_mounted(
    rendered: dict[str, Manifests],
) -> None:
    overlay = rendered["overlays/private-hub-account"]
    toml = overlay.one("ConfigMap")["data"]["nodecache.toml"]
    (upstream,) = load({}, {}, toml, "nodecache.toml").settings.upstreams
    assert upstream.account is not None
    assert upstream.account.covers("acme/app")
    assert not upstream.account.covers("library/nginx")
    (pod,) = overlay.pods()
    mounts = {one["name"]: one["mountPath"] for one in container(pod)["volumeMounts"]}
    assert upstream.account.file == f"{mounts['hub-account']}/account"
    assert overlay.of("NetworkPolicy"), "with an account it matters most"


def test_the_settings_of_the_central_cache_are_good(rendered: dict[str, Manifests]) -> None:
    overlay = rendered["overlays/central"]
    (pod,) = overlay.pods()
    toml = overlay.one("ConfigMap")["data"]["nodecache.toml"]
    loaded = load({}, environment(container(pod)), toml, "nodecache.toml")
    assert loaded.warnings == ()
    assert loaded.settings.peers is None
    assert overlay.one("Deployment")["spec"]["strategy"] == {"type": "Recreate"}


def test_the_ingress_leads_over_tls_to_the_mirror_of_the_central_cache(
    rendered: dict[str, Manifests],
) -> None:
    overlay = rendered["overlays/central"]
    assert {one["metadata"].get("namespace", "docker-cache") for one in overlay.documents} == {
        "docker-cache"
    }
    ingress, service = overlay.one("Ingress")["spec"], overlay.one("Service")
    (rule,) = ingress["rules"]
    assert ingress["tls"][0]["hosts"] == [rule["host"]]
    (path,) = rule["http"]["paths"]
    assert (path["path"], path["pathType"]) == ("/v2/", "Prefix")
    assert path["backend"]["service"]["name"] == service["metadata"]["name"]
    ports = {port["name"]: port["targetPort"] for port in service["spec"]["ports"]}
    assert ports[path["backend"]["service"]["port"]["name"]] == "mirror"
    (pod,) = overlay.pods()
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    assert {port["name"] for port in container(pod)["ports"]} == set(ports.values())


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    return bool(selector["matchLabels"].items() <= labels.items())


def test_the_monitors_select_the_pods_and_the_service(rendered: dict[str, Manifests]) -> None:
    monitoring = rendered["overlays/monitoring"]
    nodes, central = monitoring.one("PodMonitor"), monitoring.one("ServiceMonitor")
    assert nodes["metadata"]["namespace"] == "nodecache"
    (pod,) = rendered["base"].pods()
    assert selects(nodes["spec"]["selector"], pod["metadata"]["labels"])
    (endpoint,) = nodes["spec"]["podMetricsEndpoints"]
    assert endpoint["port"] in {port["name"] for port in container(pod)["ports"]}
    service = rendered["overlays/central"].one("Service")
    assert selects(central["spec"]["selector"], service["metadata"]["labels"])
    assert central["spec"]["namespaceSelector"]["matchNames"] == [service["metadata"]["namespace"]]
    (endpoint,) = central["spec"]["endpoints"]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}


def test_what_the_operator_gets_has_its_shape(rendered: dict[str, Manifests]) -> None:
    monitoring = rendered["overlays/monitoring"]
    for kind, keys in OPERATORS.items():
        one = monitoring.one(kind)
        assert one["apiVersion"] == "monitoring.coreos.com/v1"
        assert set(one["spec"]) == keys
    for one in (
        *monitoring.one("PodMonitor")["spec"]["podMetricsEndpoints"],
        *monitoring.one("ServiceMonitor")["spec"]["endpoints"],
    ):
        assert set(one) <= ENDPOINT
        assert one["path"] == "/metrics"


def test_rules_and_dashboards_arrive_as_they_are(rendered: dict[str, Manifests]) -> None:
    folder = K8S / "overlays/monitoring"
    monitoring = rendered["overlays/monitoring"]
    written = yaml.safe_load((folder / "prometheus-rules.yaml").read_text())
    assert monitoring.one("PrometheusRule")["spec"] == written["spec"]
    carried = {
        name: text
        for one in monitoring.of("ConfigMap")
        for name, text in one["data"].items()
        if one["metadata"]["labels"]["grafana_dashboard"] == "1"
    }
    written_boards = {path.name: path.read_text() for path in folder.glob("dashboards/*.json")}
    assert carried == written_boards
    for text in carried.values():
        assert json.loads(text)["title"]
        # kubectl apply keeps a copy in an annotation, which may have 256 KiB.
        assert len(text) < 200_000


COMBINED = """\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [{k8s}/base, {k8s}/overlays/monitoring]
components:
  - {k8s}/components/containerd
  - {k8s}/components/hostnetwork
  - {k8s}/components/private-hub-account
images:
  - name: registry.example.com/nodecache
    newName: registry.your-company.net/nodecache
    newTag: "9"
"""


def test_several_components_go_together_with_an_image_of_ones_own(tmp_path: pathlib.Path) -> None:
    text = COMBINED.format(k8s=os.path.relpath(K8S, tmp_path))
    (tmp_path / "kustomization.yaml").write_text(text)
    done = subprocess.run([*kustomize(), str(tmp_path)], capture_output=True, text=True, check=True)
    made = Manifests.read(done.stdout)
    (pod,) = made.pods()
    names = [one["name"] for one in pod["spec"]["initContainers"]]
    assert sorted(names) == ["containerd-hosts", "data-folder"]
    images = {one["image"] for one in (*pod["spec"]["initContainers"], container(pod))}
    assert images == {"registry.your-company.net/nodecache:9"}
    assert pod["spec"]["hostNetwork"] is True
    config = next(one for one in pod["spec"]["volumes"] if one["name"] == "config")
    toml = next(
        one["data"]["nodecache.toml"]
        for one in made.of("ConfigMap")
        if one["metadata"]["name"] == config["configMap"]["name"]
    )
    assert "account" in toml

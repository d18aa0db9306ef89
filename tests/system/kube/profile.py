"""The ``restricted`` Pod Security Standard: what a pod asks for beyond it.

As https://kubernetes.io/docs/concepts/security/pod-security-standards/ lists it,
in words short enough to be compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_VOLUMES = {
    *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral"),
    *("persistentVolumeClaim", "projected", "secret"),
}
_HOST_NAMESPACES = ("hostNetwork", "hostPID", "hostIPC")


def beyond_restricted(spec: dict[str, Any]) -> set[str]:
    """One line for each thing in a pod's spec that the profile forbids."""
    return {*_of_pod(spec), *(line for one in _containers(spec) for line in _of(one, spec))}


def _containers(spec: dict[str, Any]) -> list[dict[str, Any]]:
    kinds = ("initContainers", "containers", "ephemeralContainers")
    return [one for kind in kinds for one in spec.get(kind, ())]


def _of_pod(spec: dict[str, Any]) -> Iterator[str]:
    yield from (name for name in _HOST_NAMESPACES if spec.get(name))
    for volume in spec.get("volumes", ()):
        (kind,) = set(volume) - {"name"}
        if kind not in _VOLUMES:
            yield f"volume {volume['name']}: {kind}"
    security = spec.get("securityContext", {})
    yield from (f"pod: {name}" for name in ("sysctls", "seLinuxOptions") if name in security)


def _of(one: dict[str, Any], spec: dict[str, Any]) -> Iterator[str]:
    name, own = one["name"], one.get("securityContext", {})
    both = {**spec.get("securityContext", {}), **own}
    for port in one.get("ports", ()):
        if port.get("hostPort"):
            yield f"{name}: hostPort {port['hostPort']}"
    if own.get("privileged"):
        yield f"{name}: privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield f"{name}: may gain privileges"
    if both.get("runAsNonRoot") is not True or both.get("runAsUser") == 0:
        yield f"{name}: root"
    if both.get("seccompProfile", {}).get("type") not in {"RuntimeDefault", "Localhost"}:
        yield f"{name}: no seccomp"
    capabilities = own.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", ()):
        yield f"{name}: keeps capabilities"
    for capability in capabilities.get("add", ()):
        if capability != "NET_BIND_SERVICE":
            yield f"{name}: {capability}"
    if own.get("procMount", "Default") != "Default":
        yield f"{name}: procMount"

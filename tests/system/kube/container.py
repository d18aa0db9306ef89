"""A container of a manifest as a docker command line: every word of it, or an error."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import attrs

_UNITS = {"": 1, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}
#: What of a container is carried out here; another key in a manifest is an error, not a gap.
_CARRIED_OUT = {
    *("name", "image", "imagePullPolicy", "command", "args", "env", "ports", "resources"),
    *("securityContext", "volumeMounts", "startupProbe", "livenessProbe", "readinessProbe"),
}
_SECURITY = {
    *("allowPrivilegeEscalation", "capabilities", "readOnlyRootFilesystem"),
    *("runAsNonRoot", "runAsUser", "runAsGroup", "seccompProfile", "fsGroup"),
    "fsGroupChangePolicy",
}


@attrs.frozen
class Place:
    """What a container gets from its pod: the sandbox, the fields, and folders by volume."""

    sandbox: str
    fields: Mapping[str, str]  # spec.nodeName and the like
    volumes: Mapping[str, str]
    security: Mapping[str, Any]  # the pod's

    def words(self, one: Mapping[str, Any]) -> list[str]:
        """The options, image and arguments of ``docker run``."""
        assert set(one) <= _CARRIED_OUT, set(one) - _CARRIED_OUT
        command, args = one.get("command", []), one.get("args", [])
        return [
            *("--network", f"container:{self.sandbox}"),
            *self._security(one["securityContext"]),
            *self._resources(one.get("resources", {})),
            *(word for name in one.get("env", ()) for word in ("--env", self._variable(name))),
            *(word for at in one.get("volumeMounts", ()) for word in ("--volume", self._mount(at))),
            *("--volume", f"{self.volumes['resolv.conf']}:/etc/resolv.conf:ro"),
            *(["--entrypoint", command[0]] if command else []),
            *(one["image"], *command[1:], *args),
        ]

    def _variable(self, one: Mapping[str, Any]) -> str:
        value = one.get("value")
        if value is None:
            value = self.fields[one["valueFrom"]["fieldRef"]["fieldPath"]]
        return f"{one['name']}={value}"

    def _mount(self, at: Mapping[str, Any]) -> str:
        read_only = ":ro" if at.get("readOnly") else ""
        return f"{self.volumes[at['name']]}:{at['mountPath']}{read_only}"

    def _security(self, own: Mapping[str, Any]) -> list[str]:
        both = {**self.security, **own}
        assert set(both) <= _SECURITY, set(both) - _SECURITY
        assert both["runAsUser"] != 0 or not both["runAsNonRoot"], "the kubelet would refuse it"
        # Docker's own seccomp profile is on unless it is told otherwise.
        assert both["seccompProfile"] == {"type": "RuntimeDefault"}
        words = ["--user", f"{both['runAsUser']}:{both['runAsGroup']}"]
        if "fsGroup" in both:
            words += ["--group-add", str(both["fsGroup"])]
        if both.get("readOnlyRootFilesystem"):
            words.append("--read-only")
        if both.get("allowPrivilegeEscalation") is False:
            words += ["--security-opt", "no-new-privileges"]
        capabilities = both.get("capabilities", {})
        for change in ("drop", "add"):
            words += [f"--cap-{change}={name}" for name in capabilities.get(change, ())]
        return words

    def _resources(self, given: Mapping[str, Any]) -> list[str]:
        words = []
        if memory := given.get("limits", {}).get("memory"):
            limit = str(quantity(memory))
            words += ["--memory", limit, "--memory-swap", limit]
        if cpu := given.get("requests", {}).get("cpu"):
            words += ["--cpu-shares", str(max(2, int(quantity(cpu) * 1.024)))]
        return words


def quantity(text: str) -> int:
    """Bytes of ``256Mi``, thousandths of a processor of ``100m``."""
    match = re.fullmatch(r"(\d+)(Ki|Mi|Gi|m|)", text)
    assert match, text
    return int(match[1]) if match[2] == "m" else int(match[1]) * _UNITS[match[2]]

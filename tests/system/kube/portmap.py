"""A hostPort, by the plug-in that nodes have for it."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
from collections.abc import Sequence
from typing import Any

import attrs

from tests.system.cluster.netns import Namespace
from tests.system.parts.processes import MissingPart

_FOLDERS = ("/usr/lib/cni", "/opt/cni/bin")


@attrs.frozen
class Portmap:
    """The mapping of one sandbox; ``address`` is the pod's own, of IPv4."""

    node: Namespace
    sandbox: Namespace
    address: str
    ports: Sequence[dict[str, Any]]

    def add(self) -> None:
        self._call("ADD")

    def remove(self) -> None:
        self._call("DEL")

    def _call(self, command: str) -> None:
        folder = next((one for one in _FOLDERS if pathlib.Path(one, "portmap").exists()), None)
        if folder is None:
            raise MissingPart("portmap (Debian: containernetworking-plugins)")
        path = f"/run/netns/{self.sandbox.name}"
        told = {
            "cniVersion": "0.4.0",
            "name": "tests",
            "type": "portmap",
            "runtimeConfig": {
                "portMappings": [
                    {
                        "hostPort": port["hostPort"],
                        "hostIP": port["hostIP"],
                        "containerPort": port["containerPort"],
                        "protocol": port["protocol"].lower(),
                    }
                    for port in self.ports
                    if "hostPort" in port
                ]
            },
            "prevResult": {
                "cniVersion": "0.4.0",
                "interfaces": [{"name": "eth0", "sandbox": path}],
                "ips": [{"version": "4", "address": f"{self.address}/16", "interface": 0}],
            },
        }
        environment = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": self.sandbox.name,
            "CNI_NETNS": path,
            "CNI_IFNAME": "eth0",
            "CNI_PATH": folder,
        }
        done = subprocess.run(
            self.node.argv([f"{folder}/portmap"]),
            input=json.dumps(told),
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

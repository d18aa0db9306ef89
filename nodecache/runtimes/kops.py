"""What belongs into a kops cluster's spec, for each generation of kops.

kops up to 1.35 writes ``containerd.registryMirrors`` as the deprecated table of
config.toml; from 1.36 on as one hosts.toml for each registry. dockerd came with
clusters up to Kubernetes 1.23.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Final

from nodecache.runtimes.names import ANY_REGISTRY, Version

#: From this release of kops on mirrors become hosts.toml files.
HOSTS_FILES_SINCE: Final = (1, 36, 0)
#: The kubelet begins to delete unused images at this use of the disk, and stops at the second.
IMAGE_GC_HIGH: Final = 75
IMAGE_GC_LOW: Final = 70

_KUBELET = f"""\
  kubelet:
    imageGCHighThresholdPercent: {IMAGE_GC_HIGH}   # before the cache has to give way
    imageGCLowThresholdPercent: {IMAGE_GC_LOW}
"""


class Way(enum.Enum):
    """How the runtimes of a kops cluster learn of the mirror."""

    DOCKER = "docker"  # spec.docker.registryMirrors
    MIRRORS = "containerd"  # spec.containerd.registryMirrors
    HOSTS_DIR = "hosts-dir"  # only config_path, and the DaemonSet writes the files


def spec(way: Way, mirror: str, registries: Sequence[str], kops: Version, certs_dir: str) -> str:
    """The part of ``spec:`` as YAML, with comments for the person who pastes it.

    ``registries`` may hold ``_default``, which kops spells ``"*"``.
    """
    if way is Way.DOCKER:
        return (
            f"spec:\n  docker:\n    registryMirrors:   # Docker Hub only\n    - {mirror}\n"
            + _KUBELET
        )
    if way is Way.HOSTS_DIR:
        return _hosts_dir(kops, certs_dir) + _KUBELET
    lines = [f"      {_key(one)}:\n      - {mirror}\n" for one in registries]
    return f"spec:\n{_told(kops)}  containerd:\n    registryMirrors:\n{''.join(lines)}{_KUBELET}"


def _key(registry: str) -> str:
    return '"*"' if registry == ANY_REGISTRY else f'"{registry}"' if ":" in registry else registry


def _told(kops: Version) -> str:
    if kops >= HOSTS_FILES_SINCE:
        return "  # written as hosts.toml files: containerd reads them without a restart\n"
    return (
        "  # This kops writes the deprecated table of config.toml. containerd 2.2.0 and 2.2.1\n"
        "  # refuse it, every release refuses it beside config_path: add no config_path.\n"
    )


def _hosts_dir(kops: Version, certs_dir: str) -> str:
    newer = kops >= HOSTS_FILES_SINCE
    told = (
        "For containerd 1.x the plug-in is io.containerd.grpc.v1.cri."
        if newer
        else "This kops writes a config.toml of version 2, with containerd 2.x too."
    )
    plugin = (
        "io.containerd.cri.v1.images" if kops >= HOSTS_FILES_SINCE else "io.containerd.grpc.v1.cri"
    )
    return (
        "spec:\n"
        "  # The DaemonSet writes the hosts.toml files; registryMirrors must be empty.\n"
        f"  # {told}\n"
        "  containerd:\n    configAdditions:\n"
        f"      'plugins.\"{plugin}\".registry.config_path': {certs_dir}\n"
    )

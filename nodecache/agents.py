"""Which program pulls, by what it says of itself. Pure.

A label of metrics and a field of logs needs a word of a short list, and agents
are long texts that any client may choose.
"""

from __future__ import annotations

import re
from typing import Final

OTHER: Final = "other"

#: The first word of an agent, and what it is called here. The first that fits counts.
_WORDS: Final = (
    ("docker", "docker"),
    ("containerd", "containerd"),
    ("nerdctl", "nerdctl"),
    ("cri-o", "cri-o"),
    ("libpod", "podman"),
    ("podman", "podman"),
    ("buildah", "buildah"),
    ("skopeo", "skopeo"),
    ("containers", "containers"),  # a tool of that library that gives no name of its own
    ("buildkit", "buildkit"),
    ("kaniko", "kaniko"),
    ("crane", "crane"),
    ("go-containerregistry", "crane"),
    ("cosign", "cosign"),
    ("oras", "oras"),
    ("helm", "helm"),
    ("trivy", "trivy"),
    ("nodecache", "nodecache"),
    ("curl", "curl"),
)
#: All that ``runtime_of`` says.
RUNTIMES: Final = frozenset({OTHER, *(name for _, name in _WORDS)})

_FIRST = re.compile(r"[A-Za-z]+(?:-[A-Za-z]+)*")


def runtime_of(agent: str) -> str:
    """``docker`` for ``docker/28.5.0 go/go1.24 …``; ``other`` for what is not known."""
    match = _FIRST.match(agent.strip())
    first = "" if match is None else match[0].lower()
    for word, name in _WORDS:
        if first == word or first.startswith(f"{word}-"):
            return name
    return OTHER

"""What the kubelet was told: its file, its drop-ins and its flags, wherever they stand."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

import yaml

from nodecache.cli.doctoring.files import Root, Unreadable
from nodecache.runtimes.facts import KubeletFacts
from nodecache.runtimes.kubelet import thresholds
from nodecache.runtimes.names import Unusable
from nodecache.runtimes.words import environment_words, read_flags

#: Where kubeadm, kops and EKS write it. kops's name is a kubeconfig's elsewhere: its kind tells.
_FILES: Final = (
    "/var/lib/kubelet/config.yaml",
    "/var/lib/kubelet/kubelet.conf",
    "/etc/kubernetes/kubelet/config.json",
    "/etc/kubernetes/kubelet/kubelet-config.json",
)
#: Where services get its flags from.
_FLAGS: Final = (
    "/var/lib/kubelet/kubeadm-flags.env",
    "/etc/default/kubelet",
    "/etc/sysconfig/kubelet",
)
_KIND: Final = "KubeletConfiguration"


def kubelet(root: Root) -> KubeletFacts:
    """Its thresholds, and the files that they came from."""
    sources: list[str] = []
    try:
        words = _words(root, sources)
        document = _document(root, read_flags(words), sources)
        if not sources:
            return KubeletFacts()
        return KubeletFacts(thresholds(document, words), tuple(sources))
    except (Unreadable, Unusable) as error:
        return KubeletFacts(sources=tuple(sources), problem=str(error))


def _words(root: Root, sources: list[str]) -> tuple[str, ...]:
    words = root.command_line("kubelet")
    if words:
        sources.append("the kubelet's command line")
        return words
    found: tuple[str, ...] = ()
    for path in _FLAGS:
        given = environment_words(root.read(path) or "")
        if given:
            sources.append(path)
            found += given
    return found


def _document(root: Root, flags: Mapping[str, str], sources: list[str]) -> dict[str, Any]:
    named = flags.get("config")
    for path in (named,) if named else _FILES:
        document = _read(root, path)
        if document is not None and document.get("kind") == _KIND:
            sources.append(path)
            break
    else:
        document = {}
    folder = flags.get("config-dir") or ""
    for name in root.names(folder) if folder else ():
        if name.endswith(".conf"):
            document = {**document, **(_read(root, os.path.join(folder, name)) or {})}
            sources.append(os.path.join(folder, name))
    return document


def _read(root: Root, path: str) -> dict[str, Any] | None:
    """JSON is YAML too, but for its tabs."""
    text = root.read(path)
    if text is None:
        return None
    try:
        document = yaml.safe_load(text.replace("\t", " ") if text[:1] == "{" else text)
    # Also a date that is none, a number without end, and lists within lists.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise Unusable(f"{path} is no YAML: {_where(error)}") from None
    if not isinstance(document, dict):
        raise Unusable(f"{path} holds no object")
    return document


def _where(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    return f"line {mark.line + 1}" if mark is not None else "it can not be read"

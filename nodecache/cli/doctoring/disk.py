"""The disk of the data folder, and the cache's limits on it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

from nodecache.cli.doctoring.files import Root, Unreadable
from nodecache.config import Settings
from nodecache.runtimes.facts import DiskFacts

#: Where the kubelet and the runtimes keep pods and images.
_KUBELET: Final = "/var/lib/kubelet"


def disk(root: Root, settings: Settings, status: Mapping[str, Any]) -> DiskFacts:
    """``status`` is the node's own document, whose limits win over the settings read here."""
    folder = _folder(root, settings.data_dir)
    try:
        seen = os.statvfs(folder)
        device = os.stat(folder).st_dev
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        return DiskFacts(folder, problem=f"the data folder {folder} can not be looked at: {reason}")
    total = seen.f_frsize * seen.f_blocks
    told = status.get("cache") or {}
    return DiskFacts(
        data_dir=folder,
        total=total,
        free=seen.f_frsize * seen.f_bavail,
        cap=int(told.get("cap") or settings.cap(total)),
        floor=int(told.get("floor") or settings.floor(total)),
        with_kubelet=_shared(root, device),
    )


def _folder(root: Root, data_dir: str) -> str:
    """Under the root where it is there: an image has an empty folder of the same name."""
    try:
        there = root.real(os.path.abspath(data_dir))
    except Unreadable:
        return data_dir
    return there if not root.is_own and os.path.isdir(there) else data_dir


def _shared(root: Root, device: int) -> bool | None:
    try:
        return os.stat(root.real(_KUBELET)).st_dev == device
    except (OSError, Unreadable):
        return None

"""Bytes that entries of several files take on disk, as the ledger has them."""

from __future__ import annotations

import os
from collections.abc import Iterable

from nodecache.eviction import BLOCK, whole_blocks
from nodecache.store.disk import allocated


def manifest_bytes(size: int) -> int:
    """Of a manifest of ``size`` bytes and its sidecar."""
    return whole_blocks(size) + BLOCK


def partial_bytes(files: Iterable[os.stat_result]) -> int:
    """Of the files of a partial, sparse as they may be."""
    return sum(whole_blocks(allocated(each)) for each in files)

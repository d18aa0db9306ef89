"""Memory stays flat: twenty clients of one cold blob, whatever its size."""

from __future__ import annotations

import contextlib

import pytest

from tests.system.conftest import NodeMaker, Shop
from tests.system.parts.cgroups import memory_group
from tests.system.parts.curl import fetch_all
from tests.system.parts.hub import Hub
from tests.system.parts.images import Blob
from tests.system.parts.node import Node
from tests.system.parts.zoo import quarter_gib, two_gib

MIB = 1 << 20
CLIENTS = 20
#: What a node may need at most, bytes.
CEILING = 120 * MIB
#: How much more a blob of 2 GiB may need than one of 256 MiB: noise of the allocator.
GROWTH = 16 * MIB


def pull_by_all(node: Node, hub: Hub, name: str, blob: Blob) -> None:
    """Twenty clients at once; each gets all of it, and upstream sends it once."""
    mark = hub.plain.mark()
    seen = fetch_all([f"{node.url}/v2/{name}/blobs/{blob.digest}"] * CLIENTS)
    assert {(one.exit_code, one.status, one.size) for one in seen} == {(0, 200, blob.size)}
    assert hub.plain.asked(mark).fetched(blob.digest) == blob.size


def test_twenty_clients_of_a_cold_2_gib_blob_stay_under_120_mib(
    make_node: NodeMaker, shop: Shop, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    with contextlib.ExitStack() as stack:
        group = stack.enter_context(memory_group())
        stack.enter_context(group.watched())
        node = make_node(group=group).start()
        stack.callback(node.close)
        peaks = {}
        for kind in (quarter_gib, two_gib):
            image = shop.once(kind)
            pull_by_all(node, hub, image.name, image.manifest.blobs[1])
            peaks[kind.__name__] = (node.peak_memory(), group.peak)
    with capsys.disabled():
        for name, (resident, counted) in peaks.items():
            print(
                f"\n{CLIENTS} clients of a cold blob of {name}: VmHWM {resident / MIB:.1f} MiB,"
                f" cgroup without page cache {counted / MIB:.1f} MiB",
                end="",
            )
        print()
    (small, small_counted), (big, big_counted) = peaks.values()
    assert max(big, big_counted) < CEILING
    assert big - small < GROWTH
    assert big_counted - small_counted < GROWTH

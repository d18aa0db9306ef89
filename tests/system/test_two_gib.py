"""One layer of 2 GiB through real runtimes: fetched once, then from disk."""

from __future__ import annotations

import contextlib
import pathlib

import pytest

from tests.system.conftest import NodeMaker, Shop, paired
from tests.system.parts.hub import Hub
from tests.system.parts.zoo import two_gib

CLIENTS = ("dockerd newest", "containerd-cri-default newest", "skopeo system")


@pytest.mark.timeout(600)
def test_a_layer_of_2_gib_is_fetched_once_for_all_runtimes(
    make_node: NodeMaker, shop: Shop, hub: Hub, world: pathlib.Path
) -> None:
    image = shop.once(two_gib)
    node = make_node().start()
    mark = hub.plain.mark()
    for client in CLIENTS:
        kind, _, age = client.partition(" ")
        with contextlib.ExitStack() as stack:
            folder = world / f"big-{kind}"
            pair = stack.enter_context(paired(kind, age, hub, node, folder, world))
            pair.runtime.pull(image)
            pair.runtime.check(image)
    asked = hub.plain.asked(mark)
    for blob in image.manifest.all_blobs():
        assert asked.fetched(blob.digest) == blob.size
    assert asked.manifest_gets == 1
    assert hub.egress.connects == []

"""Real runtimes, old and new, configured as in the field, pull through a node.

In each test the Hub's own log shows what was asked of it, and the egress proxy
shows whether the runtime went past the node.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest

from tests.system.conftest import RUNTIMES, Pair, Shop, paired
from tests.system.parts.hub import REGISTRY, Hub
from tests.system.parts.images import Image
from tests.system.parts.node import Node
from tests.system.parts.processes import until
from tests.system.parts.zoo import (
    RUNNABLE,
    Kind,
    empty_blob,
    oci_index,
    schema2,
    sixty_layers,
    unknown_types,
    zstd,
)

#: Kinds that only some runtimes take, and which; the others refuse them by design.
TAKEN_BY: dict[str, tuple[Kind, ...]] = {
    "dockerd-system": (),
    "dockerd-newest": (zstd,),
    "containerd-system": (zstd,),
    "containerd-system-cri-default": (zstd,),
    "containerd-newest": (zstd, unknown_types),
    "containerd-newest-cri-default": (zstd, unknown_types),
    "podman-system": (zstd,),
    "podman-newest": (zstd,),
    "skopeo-system": (zstd, unknown_types, empty_blob),
    "skopeo-newest": (zstd, unknown_types, empty_blob),
}

#: Upstream is stopped and started often here.
PROBING = "[timeouts]\nprobe_first = '100ms'\nprobe_last = '500ms'\n"

EVERY_RUNTIME = [f"{kind} {age}" for kind in RUNTIMES for age in ("system", "newest")]


@pytest.fixture(scope="module", params=EVERY_RUNTIME)
def started(request: pytest.FixtureRequest, the_hub: Hub, world: pathlib.Path) -> Iterator[Pair]:
    """One runtime and its node, for all tests of the module."""
    kind, _, age = request.param.partition(" ")
    folder = world / f"{kind}-{age}"
    # A tag that is asked again each time shows most of what is asked upstream.
    node = Node(folder / "node", f"docker.io={the_hub.url}", {"tag-ttl": "0"}, PROBING)
    try:
        node.start()
        with paired(kind, age, the_hub, node, folder / "r", world) as pair:
            yield pair
    finally:
        node.close()


@pytest.fixture
def pair(started: Pair, hub: Hub) -> Pair:
    """The Hub as usual, and the node knows it."""
    assert started.hub is hub
    until(lambda: not upstream_is_down(started.node), "the node found its upstream up again")
    return started


def upstream_is_down(node: Node) -> bool:
    return any(
        name == "nodecache_upstream_up" and value == 0
        for (name, _), value in node.metrics().items()
    )


def test_every_kind_of_image_arrives_as_it_was_pushed(pair: Pair, shop: Shop) -> None:
    for kind in (*RUNNABLE, *TAKEN_BY[pair.runtime.name]):
        image = shop.make(kind)
        pair.runtime.pull(image)
        pair.runtime.check(image)
        pair.runtime.remove(image)
    assert pair.hub.egress.connects == []


def test_an_image_pulled_again_asks_upstream_for_no_blob(pair: Pair, shop: Shop) -> None:
    image = shop.make(oci_index)
    pair.runtime.pull(image)
    pair.runtime.remove(image)
    mark = pair.hub.plain.mark()
    pair.runtime.pull(image)
    pair.runtime.check(image)
    pair.runtime.remove(image)
    asked = pair.hub.plain.asked(mark)
    assert (asked.blobs, asked.manifest_gets) == ([], 0), asked
    assert asked.manifest_heads > 0, "the tag's time to live is 0"
    assert pair.hub.egress.connects == []


def test_an_image_of_sixty_layers_costs_upstream_one_request_a_layer(
    pair: Pair, shop: Shop
) -> None:
    image = shop.make(sixty_layers)
    mark = pair.hub.plain.mark()
    pair.runtime.pull(image)
    pair.runtime.check(image)
    pair.runtime.remove(image)
    asked = pair.hub.plain.asked(mark)
    assert len(asked.blobs) == len(image.manifest.all_blobs()), asked
    assert asked.manifest_gets == 1, asked
    assert pair.hub.egress.connects == []


def test_a_warm_image_pulls_while_upstream_is_stopped(pair: Pair, shop: Shop) -> None:
    image = shop.make(schema2)
    pair.runtime.pull(image)
    pair.runtime.remove(image)
    with pair.hub.plain.stopped(), pair.hub.public.stopped():
        pair.runtime.pull(image)
        pair.runtime.check(image)
        pair.runtime.remove(image)
    assert pair.hub.egress.connects == []


def delete_blobs(node: Node, image: Image) -> None:
    """Take the image's blobs off the node's disk, as an administrator may."""
    for blob in image.manifest.all_blobs():
        for path in node.data_dir.rglob(f"blobs/**/{blob.digest.partition(':')[2]}"):
            path.unlink()


def test_blobs_that_are_gone_from_disk_are_fetched_again(pair: Pair, shop: Shop) -> None:
    image = shop.make(schema2)
    pair.runtime.pull(image)
    pair.runtime.remove(image)
    delete_blobs(pair.node, image)
    mark = pair.hub.plain.mark()
    pair.runtime.pull(image)
    pair.runtime.check(image)
    pair.runtime.remove(image)
    asked = pair.hub.plain.asked(mark)
    assert len(asked.blobs) == len(image.manifest.all_blobs()), asked
    assert pair.hub.egress.connects == []


def test_a_cached_manifest_whose_blobs_are_gone_falls_back_while_upstream_is_stopped(
    pair: Pair, shop: Shop
) -> None:
    """A runtime that got the manifest here would look nowhere else for its blobs."""
    image = shop.make(schema2)
    pair.runtime.pull(image)
    pair.runtime.remove(image)
    delete_blobs(pair.node, image)
    with pair.hub.plain.stopped():
        pair.runtime.pull(image)
        pair.runtime.check(image)
        pair.runtime.remove(image)
    assert (REGISTRY, 443) in pair.hub.egress.connects


def test_an_unknown_image_falls_back_while_the_nodes_upstream_is_stopped(
    pair: Pair, shop: Shop
) -> None:
    image = shop.make(oci_index)
    with pair.hub.plain.stopped():
        pair.runtime.pull(image)
        pair.runtime.check(image)
        pair.runtime.remove(image)
    assert (REGISTRY, 443) in pair.hub.egress.connects


def test_a_node_that_is_not_there_costs_no_pull(pair: Pair, shop: Shop) -> None:
    """Nobody listens where the mirror should be."""
    image = shop.make(schema2)
    pair.node.stop()
    try:
        pair.runtime.pull(image)
        pair.runtime.check(image)
        pair.runtime.remove(image)
    finally:
        pair.node.start()
    assert (REGISTRY, 443) in pair.hub.egress.connects

"""What a node logs and counts by name, as its settings say and as a person changes it meanwhile."""

from __future__ import annotations

import signal
import sys

from tests.fakes_collector import Receiver
from tests.system.conftest import NodeMaker, Shop
from tests.system.parts.images import Image
from tests.system.parts.node import Node
from tests.system.parts.processes import run, until
from tests.system.parts.zoo import schema2

NODECACHE = (sys.executable, "-m", "nodecache")
CLIENT = {"User-Agent": "containerd/2.1.4"}


def pull(node: Node, image: Image) -> None:
    for path in (
        f"manifests/{image.tag}",
        f"manifests/{image.digest}",
        *(f"blobs/{blob.digest}" for blob in image.manifest.all_blobs()),
    ):
        assert node.ask(f"/v2/{image.name}/{path}", headers=CLIENT).status == 200


def test_a_pull_is_one_line_that_says_who_got_what_from_where(node: Node, shop: Shop) -> None:
    image = shop.make(schema2)
    pull(node, image)
    [cold] = until(lambda: node.events("pull"), "the pull is told")
    size = sum(blob.size for blob in image.manifest.all_blobs())
    assert (cold["reference"], cold["digest"]) == (image.tag, image.digest)
    assert (cold["repository"], cold["runtime"], cold["source"]) == (
        image.name,
        "containerd",
        "fill",
    )
    assert cold["bytes"] == size + 2 * len(image.manifest.body)
    assert 0 < cold["seconds"] < 60
    assert sum(cold["bytes_by_source"].values()) == cold["bytes"]
    assert cold["bytes_by_source"]["fill"] >= size
    assert len(cold["trace_id"]) == 32
    pull(node, image)
    until(lambda: len(node.events("pull")) == 2, "and again")
    [_, warm] = node.events("pull")
    assert warm["source"] == "disk"
    assert warm["trace_id"] != cold["trace_id"]
    # Requests are for who looks closer.
    assert node.events("request") == []


def test_what_is_logged_is_changed_while_the_node_runs(make_node: NodeMaker, shop: Shop) -> None:
    """``--log-level`` holds until somebody says otherwise."""
    node = make_node(flags={"log-level": "warning"}).start()
    pull(node, shop.make(schema2))
    until(lambda: node.metric("nodecache_pulls_total") == 1, "the pull is over")
    assert node.events() == []
    order = ["log-level", "--data-dir", str(node.data_dir)]
    said = run([*NODECACHE, *order, "debug", "--for", "10m"])
    assert said.startswith("logs what is debug or worse for ")
    pull(node, shop.make(schema2))
    [told] = until(lambda: node.events("pull"), "the pull is told")
    requests = node.events("request")
    assert len(requests) == told["requests"]
    assert {request["trace_id"] for request in requests} == {told["trace_id"]}
    # What was asked upstream for it can be found by the same.
    asked = [event for event in node.events("upstream") if "trace_id" in event]
    assert {event["trace_id"] for event in asked} == {told["trace_id"]}


def test_settings_that_are_read_again_say_what_is_logged(make_node: NodeMaker) -> None:
    node = make_node().start()
    node.config.write_text('log_level = "error"\n')
    node.process.signal(signal.SIGHUP)
    [told] = until(lambda: node.events("log_level"), "the level is changed")
    assert (told["before"], told["now"]) == ("info", "error")
    run([*NODECACHE, "log-level", "--data-dir", str(node.data_dir), "info"])
    assert node.events("reload") == []  # told while only errors were


def test_images_are_counted_by_name_where_the_settings_ask_for_it(
    make_node: NodeMaker, shop: Shop
) -> None:
    node = make_node(toml="[telemetry]\nimages = 1\n").start()
    first, second = shop.make(schema2), shop.make(schema2)
    pull(node, first)
    pull(node, second)
    until(lambda: len(node.events("pull")) == 2, "both are told")
    pull(node, first)
    until(lambda: len(node.events("pull")) == 3, "the third is told")
    assert node.metric("nodecache_image_pulls_total", image=f"docker.io/{first.name}") == 2
    assert node.metric("nodecache_image_pulls_total", image="other") == 1
    assert node.metric("nodecache_image_bytes_total", image=f"docker.io/{first.name}") > 0


# Traces.


def test_spans_of_a_pull_reach_the_collector_before_the_node_ends(
    make_node: NodeMaker, shop: Shop
) -> None:
    receiver = Receiver()
    try:
        node = make_node(toml=f"[telemetry]\ntraces = '{receiver.url}'\n").start()
        pull(node, shop.make(schema2))
        assert node.stop() == 0
    finally:
        receiver.stop()
    spans = receiver.spans()
    [told] = node.events("pull")
    assert {span.trace_id.hex() for span in spans} == {told["trace_id"]}
    names = {span.name for span in spans}
    assert names >= {"pull", "GET manifest", "GET blob", "fill", "upstream cdn"}


def test_a_collector_that_is_not_there_is_told_of_and_holds_nothing_up(
    make_node: NodeMaker, shop: Shop
) -> None:
    node = make_node(toml="[telemetry]\ntraces = 'http://127.0.0.1:9/v1/traces'\n").start()
    pull(node, shop.make(schema2))
    until(lambda: node.events("traces_failed"), "it is told of")
    assert node.metric("nodecache_traces_failed_total") >= 1
    assert node.stop() == 0
    assert "Traceback" not in node.words

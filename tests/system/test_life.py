"""The life of the process: start, signals, drain, a second start, kill, and what it says of it."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import signal
from functools import partial

import pytest

from tests.system.conftest import NodeMaker, Shop
from tests.system.parts.hub import Hub
from tests.system.parts.images import Image, Manifest, artifact, noise
from tests.system.parts.node import Node
from tests.system.parts.processes import listens, until
from tests.system.parts.reader import MIB, Reader
from tests.system.parts.zoo import oci_index, quarter_gib, schema2

#: More than sockets hold on both sides, so that a client that stops reading holds it up.
BODY = 64 * MIB


def one_body(seed: object) -> Manifest:
    """An artifact whose second blob is BODY long."""
    return artifact(
        "application/vnd.example.body", [("application/octet-stream", noise(BODY, seed))]
    )


def path_of(of: Image, number: int = 1) -> str:
    """The path of a blob of the image (0 is the config)."""
    return f"/v2/{of.name}/blobs/{of.manifest.blobs[number].digest}"


def test_sigterm_lets_a_body_from_disk_finish(node: Node, shop: Shop) -> None:
    of = shop.make(one_body)
    assert node.ask(path_of(of)).status == 200
    reader = Reader(node, path_of(of))
    reader.read(MIB)
    node.process.signal(signal.SIGTERM)
    until(lambda: not listens("127.0.0.1", node.port), "the mirror port is closed")
    assert node.process.alive
    assert reader.rest() == of.manifest.blobs[1].digest
    assert node.process.wait() == 0


def test_sigterm_lets_a_body_from_upstream_finish(node: Node, shop: Shop, hub: Hub) -> None:
    of = shop.make(one_body)
    hub.plain.nginx.cdn_rate(4 * MIB)
    reader = Reader(node, path_of(of))
    reader.read(MIB)
    node.process.signal(signal.SIGTERM)
    until(lambda: not listens("127.0.0.1", node.port), "the mirror port is closed")
    hub.plain.nginx.cdn_rate(0)
    assert reader.rest() == of.manifest.blobs[1].digest
    assert node.process.wait() == 0


def test_a_drain_ends_at_its_deadline_with_a_broken_body(make_node: NodeMaker, shop: Shop) -> None:
    of = shop.make(one_body)
    node = make_node(toml="[timeouts]\ndrain = '1s'\n").start()
    assert node.ask(path_of(of)).status == 200
    reader = Reader(node, path_of(of))
    reader.read(MIB)
    assert node.stop() == 0
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        reader.rest()
    [stopped] = node.events("stopped")
    assert stopped["aborted"] == 1


def test_an_idle_node_stops_at_once_and_starts_again_with_what_it_had(
    node: Node, shop: Shop, hub: Hub
) -> None:
    of = shop.make(oci_index)
    manifest = f"/v2/{of.name}/manifests/{of.digest}"
    assert node.ask(manifest).body == of.manifest.body
    assert node.stop() == 0
    node.start()
    [started] = node.events("start")
    assert started["unclean"] is False
    mark = hub.plain.mark()
    reply = node.ask(manifest)
    assert (reply.body, reply.source) == (of.manifest.body, "disk")
    assert hub.plain.asked(mark).asks == ()


def test_a_second_start_on_the_same_data_folder_is_refused_in_one_line(
    node: Node, make_node: NodeMaker, shop: Shop
) -> None:
    second = make_node(flags={"data-dir": str(node.data_dir)})
    assert second.launch().wait() == 2
    [line] = second.words.splitlines()
    assert str(node.data_dir) in line
    assert str(node.process.pid) in line
    assert node.ask("/v2/").status == 200


def test_a_port_that_is_taken_is_refused_in_one_line(node: Node, make_node: NodeMaker) -> None:
    second = make_node(port=node.port)
    assert second.launch().wait() == 2
    [line] = second.words.splitlines()
    assert "listen" in line
    assert str(node.port) in line


@pytest.mark.parametrize(
    ("toml", "flags", "named"),
    [
        ("tag_tll = '5s'", {}, "tag_tll"),
        ("tag_ttl = 'soon'", {}, "tag_ttl"),
        ("", {"max-size": "many"}, "max_size"),
        ("tag_ttl = ", {}, "nodecache.toml"),
        ("peers = 'nodecache-peers'", {}, "peers"),
    ],
)
def test_a_wrong_setting_stops_the_start_with_a_line_that_names_it(
    make_node: NodeMaker, toml: str, flags: dict[str, str], named: str
) -> None:
    node = make_node(toml=toml, flags=flags)
    assert node.launch().wait() == 2
    [line] = node.words.splitlines()
    assert named in line.replace("-", "_")


def test_a_variable_that_nobody_knows_is_warned_of(make_node: NodeMaker) -> None:
    """Kubernetes injects such variables for a Service of that name."""
    node = make_node(env={"NODECACHE_PORT": "tcp://10.0.0.1:5000"}).start()
    assert any("NODECACHE_PORT" in event["message"] for event in node.events("setting"))


def test_sighup_takes_on_rules_and_says_what_needs_a_restart(node: Node, shop: Shop) -> None:
    of = shop.make(schema2)
    path = f"/v2/{of.name}/manifests/{of.tag}"
    assert node.ask(path).status == 200
    node.config.write_text(
        f"log_format = 'console'\n[upstreams.'docker.io']\ndeny = ['{of.name}']\n"
    )
    node.process.signal(signal.SIGHUP)
    [reloaded] = until(lambda: node.events("reload"), "the settings are read again")
    assert "deny" in reloaded["changed"]
    assert node.ask(path).status == 404


def test_sighup_with_a_broken_file_keeps_the_old_settings(node: Node, shop: Shop) -> None:
    of = shop.make(schema2)
    node.config.write_text("tag_ttl = 'soon'\n")
    node.process.signal(signal.SIGHUP)
    until(
        lambda: any("tag_ttl" in event["message"] for event in node.events("setting")),
        "the node says what is wrong with the file",
    )
    assert node.ask(f"/v2/{of.name}/manifests/{of.tag}").status == 200


def test_a_killed_node_resumes_the_segments_that_were_whole(
    node: Node, shop: Shop, hub: Hub
) -> None:
    of = shop.make(quarter_gib)
    blob = of.manifest.blobs[1]
    hub.plain.nginx.cdn_rate(32 * MIB)
    reader = Reader(node, path_of(of))
    reader.read(64 * MIB)
    node.kill()
    reader.close()
    hub.plain.nginx.as_usual()
    node.start()
    [started] = node.events("start")
    assert started["unclean"] is True
    mark = hub.plain.mark()
    assert Reader(node, path_of(of)).rest() == blob.digest
    fetched = hub.plain.asked(mark).fetched(blob.digest)
    # At least seven segments were whole and journaled when the 64th MiB was read.
    assert fetched <= blob.size - 48 * MIB, fetched


def test_what_is_on_disk_survives_a_kill_and_is_checked_before_it_is_served(
    node: Node, shop: Shop, hub: Hub
) -> None:
    of = shop.make(one_body)
    blob = of.manifest.blobs[1]
    assert node.ask(path_of(of)).status == 200
    until(lambda: node.metric("nodecache_fills_active") == 0, "the blob is stored")
    node.kill()
    digest = blob.digest.partition(":")[2]
    [stored] = node.data_dir.rglob(f"blobs/**/{digest}")
    with stored.open("r+b") as file:  # what a power loss may leave of the last pages
        file.seek(BODY // 2)
        file.write(bytes(4096))
    os.utime(stored)
    node.start()
    reply = node.ask(path_of(of))
    assert hashlib.sha256(reply.body).hexdigest() == digest


def test_a_pull_can_be_followed_in_a_log_without_secrets(node: Node, shop: Shop, hub: Hub) -> None:
    of = shop.make(schema2)
    headers = {"Authorization": "Bearer the-clients-own-secret"}
    for path in (
        f"/v2/{of.name}/manifests/{of.tag}",
        *(path_of(of, number) for number, _ in enumerate(of.manifest.blobs)),
    ):
        assert node.ask(path, headers=headers).status == 200
    [pull] = until(lambda: node.events("pull"), "the pull is told")
    assert (pull["namespace"], pull["repository"], pull["reference"]) == (
        "docker.io",
        of.name,
        of.tag,
    )
    assert pull["bytes"] >= sum(blob.size for blob in of.manifest.all_blobs())
    text = node.process.out.read_text() + node.words
    for line in node.process.out.read_text().splitlines():
        event = json.loads(line)
        assert {"time", "level", "event"} <= event.keys()
    assert "the-clients-own-secret" not in text
    assert "verify=" not in text
    assert not re.search(r"eyJ[\w-]+\.[\w-]+\.", text), "a token"
    assert hub.tokens.asks


def requests_are(node: Node, count: int) -> bool:
    return node.metric("nodecache_requests_total", kind="blob") == count


def test_the_admin_port_tells_health_and_what_was_done(node: Node, shop: Shop) -> None:
    assert node.admin("/healthz").status == 200
    assert node.admin("/readyz").status == 200
    of = shop.make(schema2)
    manifest = f"/v2/{of.name}/manifests/{of.tag}"
    seen = node.metric
    for count in (1, 2):
        assert node.ask(manifest).status == 200
        assert node.ask(path_of(of)).status == 200
        # A client has its last byte before the blob is in the store, and before it is counted.
        until(lambda: seen("nodecache_cache_blobs") == 1, "the blob is stored")
        until(partial(requests_are, node, count), "the request is counted")
    size = of.manifest.blobs[1].size
    assert seen("nodecache_requests_total", kind="blob", source="fill") == 1
    assert seen("nodecache_requests_total", kind="blob", source="disk") == 1
    assert seen("nodecache_response_bytes_total", kind="blob") == 2 * size
    assert seen("nodecache_cache_hits_total", kind="manifest") == 1
    assert seen("nodecache_cache_misses_total", kind="blob") == 1
    assert seen("nodecache_cache_blobs") == 1
    assert seen("nodecache_cache_bytes") >= size
    assert seen("nodecache_upstream_tokens_total") == 1
    assert seen("nodecache_upstream_rate_limit_remaining") == 76
    assert seen("nodecache_upstream_bytes_total") >= size


def test_a_node_is_ready_while_upstream_is_stopped(make_node: NodeMaker, hub: Hub) -> None:
    with hub.plain.stopped():
        node = make_node().start()
        assert node.admin("/readyz").status == 200
        assert node.ask("/v2/").status == 200

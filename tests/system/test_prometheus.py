"""A real Prometheus scrapes nodes that are used, fail and rot: every plot and alert gets data.

One scene for all: two nodes that share, behind a real registry, a third that has all the bad
luck: an upstream that refuses and breaks off, a full disk, peers that are not there, an old
release, few descriptors, and a loop that stands still now and then; and a fourth that is lost
among its peers (parts/lost.py).
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import http.server
import pathlib
import re
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any, ClassVar

import attrs
import pytest
import yaml

from tests.cluster_case import free_port
from tests.monitoring_kit import CASES, Asked, groups, queries, rules
from tests.system.conftest import Shop
from tests.system.parts.hub import Hub
from tests.system.parts.images import Image
from tests.system.parts.lost import DEFECT, Lost
from tests.system.parts.node import Node
from tests.system.parts.processes import MissingPart, need, until
from tests.system.parts.prometheus import JOB, Prometheus, promtool
from tests.system.parts.zoo import schema2

#: Descriptors of the unlucky node.
DESCRIPTORS = 64
#: The tests below that say of an alert that it fires.
_FIRES = re.compile(r'"(Nodecache\w+)"')


class Refusing(http.server.BaseHTTPRequestHandler):
    """A registry at the end of its patience: 429 for manifests, a hang-up for the rest."""

    protocol_version = "HTTP/1.1"
    rates: ClassVar = {
        "RateLimit-Limit": "100;w=21600",
        "RateLimit-Remaining": "3;w=21600",
        "Content-Length": "0",
    }

    def do_GET(self) -> None:
        if "/manifests/" not in self.path:
            self.connection.close()
            self.close_connection = True
            return
        self.send_response(429)
        for name, value in self.rates.items():
            self.send_header(name, value)
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def refusing() -> Iterator[str]:
    """Its URL."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@attrs.define
class Scene:
    """``one`` and ``two`` share; ``odd`` has the bad luck, and ``lost`` bad company."""

    hub: Hub
    shop: Shop
    one: Node
    two: Node
    odd: Node
    prometheus: Prometheus
    company: Lost | MissingPart

    @property
    def lost(self) -> Lost:
        """Raises MissingPart, which ends the test, where it can not be had."""
        if isinstance(self.company, MissingPart):
            raise self.company
        return self.company

    def pull(self, node: Node, image: Image) -> None:
        """An upstream that a test before this one has stopped may still count as down."""
        manifests = f"/v2/{image.name}/manifests"
        until(lambda: node.ask(f"{manifests}/{image.tag}", "HEAD").status == 200, "the tag")
        until(lambda: node.ask(f"{manifests}/{image.digest}").status == 200, "the manifest")
        for blob in image.manifest.all_blobs():
            assert node.ask(f"/v2/{image.name}/blobs/{blob.digest}").status == 200

    def sets_off(self, alert: str, node: str = ".*") -> None:
        until(lambda: self.fires(alert, node), f"{alert} fires")

    def fires(self, alert: str, node: str) -> bool:
        wanted = f'ALERTS{{alertname="{alert}", node=~"{node}", alertstate="firing"}}'
        return bool(self.prometheus.query(wanted))

    def scraped(self, expr: str, value: float) -> None:
        """Until Prometheus has seen it."""

        def seen() -> bool:
            found = self.prometheus.query(expr)
            return bool(found) and float(found[0]["value"][1]) == value

        until(seen, f"{expr} is {value}")


def _settings(folder: pathlib.Path, port: int, peers: str, name: str) -> dict[str, str]:
    secret = folder / "secret"
    secret.parent.mkdir(parents=True, exist_ok=True)
    secret.write_text("a secret that is long enough\n")
    return {
        "peers": peers,
        "peer-listen": f"127.0.0.1:{port}",
        "peer-secret-file": str(secret),
        "node-id": name,
        "tag-ttl": "0s",
    }


def _node(folder: pathlib.Path, upstream: str, flags: dict[str, str]) -> Node:
    """Many connections go out here: none of them may be given a port that is to be listened on."""
    return Node(folder, upstream, flags, port=free_port(), admin_port=free_port())


def _nodes(folder: pathlib.Path, hub: Hub, refuser: str) -> tuple[Node, Node, Node]:
    ports = [free_port() for _ in range(4)]
    both = ",".join(f"127.0.0.1:{port}" for port in ports[:2])
    upstream = f"docker.io={hub.url}"
    one, two = (
        _node(folder / name, upstream, _settings(folder, port, both, name))
        for name, port in zip(("one", "two"), ports[:2], strict=True)
    )
    nobody = f"127.0.0.1:{ports[2]},127.0.0.1:{ports[3]}"
    older = folder / "older"
    older.mkdir(parents=True, exist_ok=True)
    (older / "sitecustomize.py").write_text("import nodecache\nnodecache.__version__ = '0.0.9'\n")
    odd = _node(folder / "odd", f"docker.io={refuser}", _settings(folder, ports[2], nobody, "odd"))
    odd.flags["min-free"] = "99%"
    odd.before = ("prlimit", f"--nofile={DESCRIPTORS}:{DESCRIPTORS}")
    source = pathlib.Path(__file__).parent.parent.parent
    odd.env["PYTHONPATH"] = f"{older}:{source}"
    return one, two, odd


def _rules_at_once() -> dict[str, Any]:
    """As they are, but for how long something has to last."""
    found = copy.deepcopy(groups())
    for group in found["groups"]:
        for rule in group["rules"]:
            rule.pop("for", None)
    return found


def _company(
    folder: pathlib.Path, hub: Hub, shop: Shop, stack: contextlib.ExitStack
) -> Lost | MissingPart:
    """Only the tests that need it are without it where there is none."""
    try:
        lost = Lost(folder / "lost", f"docker.io={hub.url}", shop.make(schema2))
    except MissingPart as missing:
        return missing
    stack.callback(lost.stop)
    lost.launch()
    return lost


@pytest.fixture(scope="module")
def scene(world: pathlib.Path, the_hub: Hub, shop: Shop) -> Iterator[Scene]:
    need("prometheus", "promtool", "prlimit")
    folder = world / "prometheus"
    the_hub.as_usual()
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        stack.callback(the_hub.as_usual)
        nodes = _nodes(folder, the_hub, stack.enter_context(refusing()))
        company = _company(folder, the_hub, shop, stack)
        for node in nodes:
            stack.callback(node.close)
            node.launch()
        named = dict(zip(("one", "two", "odd"), nodes, strict=True))
        if isinstance(company, Lost):
            named["lost"] = company.node
        for node in named.values():
            node.process.ready(node.is_ready)
        targets = {name: f"127.0.0.1:{node.admin_port}" for name, node in named.items()}
        prometheus = Prometheus(folder / "tsdb", targets, _rules_at_once(), free_port())
        stack.callback(prometheus.stop)
        prometheus.start()
        made = Scene(the_hub, shop, *nodes, prometheus, company)
        until(lambda: len(prometheus.query("up == 1")) == len(named), "all are scraped")
        _use(made)
        yield made


def _use(scene: Scene) -> None:
    """Load: cold and warm pulls, from upstream and between the two, and one that breaks off."""
    until(lambda: scene.one.metric("nodecache_peers_live") == 1, "the two have met")
    images = [scene.shop.make(schema2) for _ in range(3)]
    for image in images:
        for node in (scene.one, scene.two, scene.one):
            scene.pull(node, image)
    with socket.create_connection(("127.0.0.1", scene.one.port)) as hasty:
        digest = images[0].manifest.all_blobs()[1].digest
        path = f"/v2/{images[0].name}/blobs/{digest}"
        hasty.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        hasty.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    _be_unlucky(scene)


def _be_unlucky(scene: Scene) -> None:
    """What fails at the odd node."""
    for number in range(4):
        scene.odd.ask(f"/v2/library/nothing-{number}/manifests/latest")
        scene.odd.ask(f"/v2/library/nothing-{number}/tags/list")


def asked(expr: str) -> str:
    """A query of a dashboard with its variables filled in."""
    for variable, value in {
        "$__rate_interval": "1m",
        "$__range": "10m",
        "$job": JOB,
        "$instance": ".*",
    }.items():
        expr = expr.replace(variable, value)
    return expr


def gets_data(scene: Scene, expr: str) -> None:
    until(lambda: scene.prometheus.query(expr), f"there is data for {expr}", patience=30)


# What stands on its own.


def test_promtool_has_nothing_to_say_of_the_metrics_of_a_node(scene: Scene) -> None:
    for node in (scene.one, scene.two, scene.odd):
        promtool(["check", "metrics"], node.admin("/metrics").body)


def test_promtool_has_nothing_to_say_of_the_rules(scene: Scene) -> None:
    promtool(["check", "rules", str(scene.prometheus.folder / "rules.yml")])


@pytest.mark.parametrize("cases", sorted(CASES.glob("*.yml")), ids=lambda path: path.stem)
def test_the_cases_of_the_rules_come_out_as_they_say(
    cases: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(groups()))
    shutil.copy(cases, tmp_path)
    promtool(["test", "rules", cases.name], folder=tmp_path)


# The scene.


def test_what_was_counted_is_what_the_registry_saw(scene: Scene) -> None:
    """Three images of which each was pulled thrice: each manifest crossed the link once."""
    made = '{leg="manifest", method="GET", status="200", node!="odd"}'
    scene.scraped(f"sum(nodecache_upstream_requests_total{made})", 3)
    scene.scraped('sum(nodecache_requests_total{kind="manifest", method="GET", status="200"})', 9)
    scene.scraped('sum(nodecache_counted_pulls_avoided_total{node!="odd"})', 6)


def test_a_value_leads_to_the_log_of_its_request(scene: Scene) -> None:
    def led() -> set[str]:
        found = scene.prometheus.exemplars('nodecache_pull_seconds_bucket{node="one"}')
        return {each["labels"]["trace_id"] for each in found}

    traces = until(led, "exemplars were scraped")
    assert traces <= {event["trace_id"] for event in scene.one.events("pull")}


def _once() -> dict[str, Asked]:
    """Each query of the dashboards, as it is asked."""
    return {asked(each.expr): each for each in queries()}


def _of_a_dead_peer(query: Asked) -> bool:
    return any(name.startswith("nodecache_peer_failures") for name, _ in query.metrics())


@pytest.mark.parametrize(
    "query",
    [each for each in _once().values() if not _of_a_dead_peer(each)],
    ids=lambda each: each.of,
)
def test_every_query_of_the_dashboards_gets_data(scene: Scene, query: Asked) -> None:
    gets_data(scene, asked(query.expr))


def test_every_alert_is_set_off_by_one_of_these_tests() -> None:
    here = pathlib.Path(__file__).read_text(encoding="utf-8")
    assert set(_FIRES.findall(here)) == set(rules("alert"))


@pytest.mark.parametrize(
    "name",
    [
        "NodecacheDiskAtFloor",
        "NodecachePeersSplit",
        "NodecacheVersionSkew",
        "NodecacheRateLimitLow",
        "NodecacheRateLimited",
        "NodecacheUpstreamDown",
        "NodecacheUpstreamFailing",
    ],
)
def test_bad_luck_sets_the_alert_off(scene: Scene, name: str) -> None:
    until(lambda: name in scene.prometheus.firing(), f"{name} fires", patience=30)


def test_a_loop_that_often_stands_still_sets_the_alert_off(scene: Scene) -> None:
    def fires() -> bool:
        scene.odd.process.signal(signal.SIGSTOP)
        time.sleep(0.5)  # this is how long it stands still; nothing is waited for
        scene.odd.process.signal(signal.SIGCONT)
        return "NodecacheLoopLag" in scene.prometheus.firing()

    until(fires, "it fires")


def test_lucky_nodes_set_off_no_alert(scene: Scene) -> None:
    found = scene.prometheus.query('ALERTS{node=~"one|two", alertstate="firing"}')
    assert {series["metric"]["alertname"] for series in found} <= {"NodecachePeersSplit"}


def test_few_descriptors_left_set_the_alert_off(scene: Scene) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(DESCRIPTORS - 22):
            connected = socket.create_connection(("127.0.0.1", scene.odd.port))
            stack.enter_context(connected)
        scene.sets_off("NodecacheDescriptorsLow")


def test_tags_that_can_not_be_checked_set_the_alert_off(scene: Scene) -> None:
    image = scene.shop.make(schema2)
    scene.pull(scene.one, image)
    with scene.hub.plain.stopped():
        for _ in range(10):
            answer = scene.one.ask(f"/v2/{image.name}/manifests/{image.tag}")
            assert (answer.status, answer.source) == (200, "stale")
        scene.sets_off("NodecacheStaleAnswers")


def test_a_disk_that_fails_sets_the_alert_off(scene: Scene) -> None:
    tags = scene.one.data_dir / "v1" / "tags"
    away = tags.with_name("tags-away")
    tags.rename(away)
    tags.write_text("a file where a folder should be")
    try:
        image = scene.shop.make(schema2)
        path = f"/v2/{image.name}/manifests/{image.tag}"
        # The registry may still be taken for down.
        until(lambda: scene.one.ask(path).status == 200, "it is served all the same")
        scene.sets_off("NodecacheDiskFailing")
    finally:
        tags.unlink()
        away.rename(tags)


def test_rot_and_a_peer_that_dies_are_seen(scene: Scene) -> None:
    image = scene.shop.make(schema2)
    scene.pull(scene.two, image)
    scene.two.kill()
    scene.pull(scene.one, scene.shop.make(schema2))
    digest = image.manifest.all_blobs()[1].digest.split(":")[1]
    [file] = (scene.two.data_dir / "v1" / "blobs").rglob(digest)
    rotten = bytearray(file.read_bytes())
    rotten[len(rotten) // 2] ^= 1
    file.write_bytes(rotten)
    scene.two.start()
    body = scene.two.ask(f"/v2/{image.name}/blobs/sha256:{digest}").body
    assert hashlib.sha256(body).hexdigest() == digest
    scene.sets_off("NodecacheCorruption")
    for query in filter(_of_a_dead_peer, _once().values()):
        gets_data(scene, asked(query.expr))


def test_peers_that_all_fail_set_the_alert_off(scene: Scene) -> None:
    """And nothing is left of it once they answer again."""
    scene.lost.knows(1)
    scene.lost.kill_peer()
    scene.sets_off("NodecachePeersOff", "lost")
    scene.lost.start_peer()
    scene.lost.knows(1)
    until(lambda: not scene.fires("NodecachePeersOff", "lost"), "it ends")


def test_a_peer_that_sends_wrong_bytes_sets_the_alert_off(scene: Scene) -> None:
    scene.lost.kill_peer()
    scene.lost.start_peer("wrong-bytes")
    scene.lost.knows(1)
    scene.lost.ask_for_it()
    scene.sets_off("NodecachePeerWrongBytes", "lost")


def test_a_name_of_peers_that_is_not_resolved_any_more_sets_the_alert_off(scene: Scene) -> None:
    """After ten minutes, which the clock of that node is put ahead by."""
    assert not scene.fires("NodecachePeersUnresolved", "lost")
    scene.lost.end_names()
    until(lambda: scene.lost.node.events("discovery_failed"), "no name is resolved")
    scene.lost.put_ahead()
    scene.sets_off("NodecachePeersUnresolved", "lost")


def test_a_defect_sets_the_alert_off(scene: Scene) -> None:
    assert scene.lost.node.ask(f"/v2/{DEFECT}/manifests/latest").status == 500
    scene.sets_off("NodecacheDefect", "lost")


def test_a_node_that_is_down_sets_the_alert_off(scene: Scene) -> None:
    scene.odd.kill()
    scene.sets_off("NodecacheDown")

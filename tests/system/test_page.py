"""The status page in a real Chromium, over real nodes that real clients pull from.

With ``NODECACHE_SCREENS`` the pictures go to that folder: those of docs/ are
made so, and looked at before they are kept.
"""

from __future__ import annotations

import itertools
import json
import os
import pathlib
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import attrs
import pytest

from nodecache.web.page.site import read_assets
from nodecache.web.page.whole import page
from tests.page_kit import cluster, hostile, trouble
from tests.system.conftest import Shop
from tests.system.parts.browser import SCHEMES, SIZES, Browser, View, browser
from tests.system.parts.hub import Hub
from tests.system.parts.images import MIB, Manifest, huge_layer, image
from tests.system.parts.node import Node
from tests.system.parts.processes import until
from tests.system.parts.row import pull, row
from tests.system.parts.zoo import oci_index, schema2, two_gib, zstd

HOSTILE = "%3Cscript%3Ealert(1)%3C/script%3E"
#: Where axe looks as well: each size and each scheme once.
LOOKED_AT = {("desktop", "light"), ("phone", "dark")}
#: Bytes a second of one connection to the CDN, so that a big pull takes a while.
SLOWLY = 2 * MIB


@attrs.define
class Scene:
    """``node`` is the one that is looked at; ``big`` is the pull of 2 GiB through it."""

    nodes: list[Node]
    big: Future[None] | None = None

    @property
    def node(self) -> Node:
        return self.nodes[0]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.node.admin_port}/"

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.node.admin_port}"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def scene(world: pathlib.Path, the_hub: Hub, shop: Shop, chromium: Browser) -> Iterator[Scene]:
    """Four nodes; one is gone, an image came from peers, and a pull of 2 GiB is on its way."""
    del chromium  # without it there is nothing to be seen
    the_hub.as_usual()
    big = shop.once(two_gib)
    # The nodes go first, and what is left of the pull with them.
    with (
        ThreadPoolExecutor(1) as pool,
        row(world / "row", f"docker.io={the_hub.url}", 4) as nodes,
    ):
        found = Scene(nodes)
        _traffic(found, shop)
        the_hub.plain.nginx.cdn_rate(SLOWLY)
        found.big = pool.submit(pull, found.node, big)
        until(lambda: _transfers(found), "the big layer is on its way")
        yield found
        for node in nodes:
            if node.process.alive:
                node.kill()  # rather than wait for its bodies
    the_hub.as_usual()


def shared_layer(seed: object) -> Manifest:
    """Six segments."""
    return image([huge_layer(48 * MIB, seed)])


def _traffic(scene: Scene, shop: Shop) -> None:
    node, second, third, fourth = scene.nodes
    shared = shop.make(shared_layer)
    pull(third, shared)
    pull(node, shared)
    for kind in (schema2, oci_index, zstd):
        of = shop.make(kind)
        pull(node, of)
        pull(second, of)
        pull(node, of)
    until(lambda: _was_told_its_limit(scene, shop), "upstream told the node of its limit")
    assert node.ask("/v2/library/not-there/manifests/latest").status == 404
    assert node.ask(f"/v2/library/x/manifests/latest?ns={HOSTILE}").status == 404
    fourth.stop()
    until(lambda: _is_aside(scene), "the fourth is put aside")


def _was_told_its_limit(scene: Scene, shop: Shop) -> bool:
    """Which of the nodes asks for an image, its name decides: pull one more."""
    pull(scene.node, shop.make(schema2))
    return _document(scene, "status")["upstreams"][0]["rate_limit"] is not None


def _document(scene: Scene, name: str) -> Any:
    return json.loads(scene.node.admin(f"/api/v1/{name}").body)


def _transfers(scene: Scene) -> list[Any]:
    return [each for each in _document(scene, "transfers")["transfers"] if each["total_bytes"]]


def _is_aside(scene: Scene) -> bool:
    peers = _document(scene, "peers")["peers"]
    return any(peer["state"] in {"aside", "leaving"} for peer in peers)


def _keep(view: View, name: str, tmp_path: pathlib.Path) -> None:
    folder = pathlib.Path(os.environ.get("NODECACHE_SCREENS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    view.page.screenshot(path=str(folder / f"{name}.png"), full_page=True)


def test_it_stays_live_during_a_pull_of_2_gib(scene: Scene, chromium: Browser) -> None:
    """The bar of the layer moves on, without a reload and without a complaint."""
    with chromium.view(scene.url) as view:
        bar = view.page.locator('#flights-now [role="progressbar"]').first
        seen: list[int] = []

        def moved() -> bool:
            if bar.count():
                value = int(bar.get_attribute("aria-valuenow") or 0)
                if not seen or value > seen[-1]:
                    seen.append(value)
            return len(seen) >= 4

        limit = time.monotonic() + 40
        while not moved():
            assert time.monotonic() < limit, seen
            view.page.wait_for_timeout(200)
        assert view.text("#pulse") == "live, every 2 s"
        assert view.complaints == []
        assert view.hosts() == {scene.host}
        assert len([url for url in view.requests if url.endswith("/page/live")]) >= 3
        assert len([url for url in view.requests if url == scene.url]) == 1, "it was reloaded"


@pytest.mark.parametrize(("size", "scheme"), list(itertools.product(SIZES, SCHEMES)))
def test_it_can_be_read(
    scene: Scene, chromium: Browser, size: str, scheme: str, tmp_path: pathlib.Path
) -> None:
    """On a phone and on a desk, light and dark: nothing sticks out, and axe finds no fault."""
    with chromium.view(scene.url, size, scheme) as view:
        assert view.fits()
        _keep(view, f"status-{size}-{scheme}", tmp_path)
        for details in view.page.locator("summary").all():
            details.click()
        assert view.fits(), "with its tables unfolded"
        if (size, scheme) in LOOKED_AT:
            assert view.faults() == []
        assert view.complaints == []
        assert view.hosts() == {scene.host}


def test_it_says_everything_without_javascript(scene: Scene, chromium: Browser) -> None:
    with chromium.view(scene.url, javascript=False) as view:
        words = view.text("body")
        status = _document(scene, "status")
        assert view.text("h1").split() == ["nodecache", "node-1"]
        assert "Hit rate" in words
        assert "76 of 100 pulls left" in words
        assert "docker.io/library/not-there:latest was answered with 404" in words
        assert "2 of 3 peers are asked" in words
        assert status["hottest"][0]["image"] in words
        assert view.page.locator("#flights-now li").count() >= 1
        assert "Reload the page" in words
        view.page.locator("#window-24h").click()
        assert view.page.url.endswith("?window=24h")
        assert "24 h ago" in view.text("#plot")


def test_it_shows_who_feeds_whom_among_the_others(scene: Scene, chromium: Browser) -> None:
    """They are asked for it from the first look on, and the next looks show what they said."""
    with chromium.view(scene.url) as view:
        view.page.locator(".flow.between").first.wait_for(state="attached")
        assert "Between others: what 2 of 2 say of the last 5 min." in view.words("#peers-now")
        view.page.locator("#peers-all summary").click()
        assert "Who fed whom in the last 5 min" in view.words("#peers-all-now")
        assert view.complaints == []


#: What no test makes real nodes be, and how it is looked at.
WORST = {
    "alone-in-trouble": (trouble, "dark"),
    "a-hundred-peers": (lambda: cluster(100), "light"),
    "names-that-are-markup": (hostile, "dark"),
}


@pytest.mark.parametrize("name", list(WORST))
def test_the_worst_can_be_read_as_well(
    chromium: Browser, name: str, tmp_path: pathlib.Path
) -> None:
    """On a phone: nothing sticks out, unfolded neither, and axe finds no fault."""
    documents, scheme = WORST[name]
    # Without the script, which would look for a node behind the file.
    assets = attrs.evolve(read_assets(), script="")
    file = tmp_path / "page.html"
    file.write_text(page(documents(), assets), "utf-8", errors="replace")
    with chromium.view(f"file://{file}", "phone", scheme) as view:
        assert view.fits()
        assert view.faults() == []
        _keep(view, name, tmp_path)
        for details in view.page.locator("summary").all():
            details.click()
        assert view.fits(), "with its tables unfolded"


def test_names_from_outside_are_words_and_nothing_else(scene: Scene, chromium: Browser) -> None:
    with chromium.view(scene.url) as view:
        assert "<script>alert(1)" in view.text("#errors-now")
        assert view.page.locator("#errors-now script").count() == 0
        assert view.page.locator("script").count() == 1
        assert view.complaints == []


def test_an_error_can_be_copied(scene: Scene, chromium: Browser) -> None:
    """Its age goes on every two seconds; what is selected stays."""
    with chromium.view(scene.url) as view:
        error = view.page.locator("#errors-now .problem").first
        view.page.evaluate(
            "(part) => getSelection().selectAllChildren(part)", error.element_handle()
        )
        words = view.page.evaluate("String(getSelection())")
        assert words
        for _ in range(2):  # when the second is asked for, the first was put in
            with view.page.expect_response("**/page/live"):
                pass
        assert view.page.evaluate("String(getSelection())") == words


def test_the_policy_lets_nothing_else_run(scene: Scene, chromium: Browser) -> None:
    """Even a script that got into the page would not run, nor reach another host."""
    policy = scene.node.admin("/page/live").headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    with chromium.view(scene.url) as view:
        view.page.evaluate(
            """() => {
                const made = document.createElement("script");
                made.textContent = "window.ran = true";
                document.body.append(made);
            }"""
        )
        assert view.page.evaluate("window.ran") is None
        reached = view.page.evaluate("fetch('http://127.0.0.9/').then(() => 1, () => 0)")
        assert reached == 0
        assert any("Content Security Policy" in said for said in view.complaints)


def test_it_says_when_the_node_does_not_answer(scene: Scene, chromium: Browser) -> None:
    """And when it does again, all is as before."""
    node = scene.nodes[2]
    with chromium.view(f"http://127.0.0.1:{node.admin_port}/") as view:
        assert not view.page.locator("#silence").is_visible()
        node.kill()
        view.page.locator("#silence").wait_for(state="visible")
        assert "does not answer" in view.text("#silence")
        assert view.text("#pulse").startswith("no answer for")
        assert view.faults() == [], "what is old can be read as well"
        node.start()
        view.page.locator("#silence").wait_for(state="hidden")
        assert view.text("#pulse") == "live, every 2 s"


def test_it_rests_while_nobody_looks(scene: Scene, chromium: Browser) -> None:
    with chromium.view(scene.url) as view:
        hide = """(hidden) => {
            Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
            document.dispatchEvent(new Event("visibilitychange"));
        }"""
        view.page.evaluate(hide, True)
        assert view.text("#pulse") == "paused"
        asked = len(view.requests)
        view.page.wait_for_timeout(2500)  # longer than its pause
        assert len(view.requests) == asked
        with view.page.expect_request("**/page/live"):
            view.page.evaluate(hide, False)

"""The status page: what it shows, that nothing from outside becomes markup, and how it is sent."""

from __future__ import annotations

import base64
import hashlib
import pathlib
import re
from html.parser import HTMLParser
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodecache import events
from nodecache.limits import Limits, Timeouts
from nodecache.metrics import Metrics
from nodecache.watching import Flow, Series, Watch, Window, documents
from nodecache.web import admin_site
from nodecache.web.api import BytesByRole, PeerState
from nodecache.web.page import plot, units
from nodecache.web.page.facts import facts
from nodecache.web.page.markup import Html, tag, text
from nodecache.web.page.peers import BLAMED, LISTED
from nodecache.web.page.peers_map import BETWEEN, DRAWN, MIDDLE
from nodecache.web.page.peers_seen import neighbours
from nodecache.web.page.site import HEADERS, policy, read_assets, status_page, wants_html
from nodecache.web.page.whole import Documents, live, page
from tests.loopback import WALL, LoopbackCase
from tests.page_kit import (
    cluster,
    cluster_feeds,
    everything,
    hostile,
    made,
    peer,
    seen,
    transfer,
    trouble,
)
from tests.test_watching import HUB, START, answered
from tests.test_watching_troubles import limit, now

VOID = {"meta", "link", "br", "hr"}


def drawn(*found: events.Event, **given_: Any) -> str:
    return page(made(*found, **given_), read_assets())


class Outline(HTMLParser):
    """Elements that are open, what was wrong with them, and the text."""

    def __init__(self, markup: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.wrong: list[str] = []
        self.words: list[str] = []
        self.feed(markup)
        self.close()
        self.wrong += self.open

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((name, dict(attributes)))
        if name not in VOID:
            self.open.append(name)

    def handle_endtag(self, name: str) -> None:
        if not self.open or self.open.pop() != name:
            self.wrong.append(name)

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in {"script", "style"}:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def names(self) -> set[str]:
        return {name for name, _ in self.found}


# Markup.


@pytest.mark.parametrize(
    ("markup", "written"),
    [
        (tag("p", "a & b"), "<p>a &amp; b</p>"),
        (tag("p", tag("b", "x"), None, 1, 2.50), "<p><b>x</b>12.5</p>"),
        (tag("p", [tag("i", "<")], class_="a", aria_label='"'), None),
        (tag("meta", charset="utf-8"), '<meta charset="utf-8">'),
        (tag("p", hidden=True, id=None, title=False), "<p hidden></p>"),
        (text("\0"), "\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_markup(markup: Html, written: str | None) -> None:
    assert markup == (written or '<p class="a" aria-label="&quot;"><i>&lt;</i></p>')


@given(st.text(), st.text())
def test_whatever_is_put_in_comes_out_as_text(words: str, value: str) -> None:
    outline = Outline(tag("p", words, title=value))
    assert outline.names() == {"p"}
    assert outline.wrong == []


# Units.


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (None, units.NOTHING),
        (0, "0 B"),
        (999, "999 B"),
        (1023, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (100 * 1024, "100 KiB"),
        (1 << 30, "1.0 GiB"),
        (1 << 60, "1024 PiB"),
    ],
)
def test_sizes(count: int | None, words: str) -> None:
    assert units.size(count).replace(units.GLUE, " ") == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, units.NOTHING),
        (0.4, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3600, "1 h"),
        (12000, "3 h 20 min"),
        (86400 * 3 + 7200, "3 d 2 h"),
        (86400 * 30, "30 d"),
    ],
)
def test_spans(seconds: float | None, words: str) -> None:
    assert units.span(seconds).replace(units.GLUE, " ") == words


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (None, units.NOTHING),
        (0, "0 %"),
        (0.001, "<1 %"),
        (0.5, "50 %"),
        (0.999, "99 %"),
        (1.0, "100 %"),
    ],
)
def test_percents_are_not_rounded_to_all_or_nothing(share: float | None, words: str) -> None:
    assert units.percent(share).replace(units.GLUE, " ") == words


# The page.


EMPTY = made()


@pytest.mark.parametrize("given_", [EMPTY, everything(), hostile(), cluster(100), trouble()])
def test_the_markup_is_whole(given_: Documents) -> None:
    outline = Outline(page(given_, read_assets()))
    assert outline.wrong == []
    names = [attributes["id"] for _, attributes in outline.found if "id" in attributes]
    assert len(names) == len(set(names)), "an id is there twice"
    labelled = {attributes.get("aria-labelledby") for _, attributes in outline.found} - {None}
    assert labelled <= set(names)


def test_nothing_from_outside_becomes_markup() -> None:
    """The same elements, with names that are markup and with names that are none."""
    outline = Outline(page(hostile(), read_assets()))
    assert [name for name, _ in outline.found].count("script") == 1
    assert "img" not in outline.names()
    handlers = [key for _, attributes in outline.found for key in attributes if key[:2] == "on"]
    assert handlers == []
    assert outline.text.count("<script>alert(1)") > 5, "it is shown as what it is"


def test_no_style_attribute_which_the_policy_would_refuse() -> None:
    outline = Outline(page(everything(), read_assets()))
    assert [name for name, attributes in outline.found if "style" in attributes] == []


def test_nothing_is_fetched_from_anywhere() -> None:
    outline = Outline(page(everything(), read_assets()))
    for name, attributes in outline.found:
        assert "src" not in attributes, name
        if (link := attributes.get("href")) is not None:
            assert link.startswith(("metrics", "api/v1/", "?", "data:image/svg+xml,")), link
    assert "url(" not in read_assets().style
    assert "@import" not in read_assets().style


@pytest.mark.parametrize(
    "words",
    [
        "nodecache node-1",
        "release 1.0, up 1 min",
        "All is well: docker.io answers.",
        "Hit rate 50 % of 2 answers",
        "Given to clients 1.5 KiB 1.0 KiB from disk",
        "docker.io/library/nginx aaaaaaaaaaaa 25 %",
        "250 B of 1.0 KiB · 75 B/s · 10 s to go · from upstream · 1 reader",
        "asking for it",
        "40 of 100 pulls left within 6 h; it names no time of reset · seen now",
        "Cache 10 B of 100 B",
        "Disk 80 B of 200 B free floor 50 B, at the mark",
        "1 of 5 peers is asked; now 1 feeds this node and 1 is fed by it.",
        "failed, left alone",
        "docker.io/library/nginx:latest was answered with 404",
        "Look at the name and the tag.",
        "docker.io/library/nginx:1 1 now",
    ],
)
def test_the_facts_are_in_the_markup(words: str) -> None:
    found = Outline(page(everything(), read_assets())).text.replace(units.GLUE, " ")
    assert words in found, found


def test_an_empty_node_says_so() -> None:
    found = Outline(page(EMPTY, read_assets())).text
    for words in (
        "Nothing is being fetched.",
        "No image was pulled yet.",
        "Nothing went wrong since the start.",
        "not asked yet",
        "this node was told no rate limit",
    ):
        assert words in found
    assert "Peers" not in found


def test_progress_is_told_to_who_can_not_see_it() -> None:
    outline = Outline(page(everything(), read_assets()))
    bars = [each for _, each in outline.found if each.get("role") == "progressbar"]
    assert [bar.get("aria-valuenow") for bar in bars] == ["25", None]
    assert bars[1]["aria-valuetext"] == "asking for it"
    meters = [each for _, each in outline.found if each.get("role") == "meter"]
    assert [meter["aria-valuetext"] for meter in meters] == [
        f"10{units.GLUE}B of 100{units.GLUE}B",
        f"80{units.GLUE}B of 200{units.GLUE}B free",
    ]
    pictures = [each for name, each in outline.found if name == "svg" and "role" in each]
    assert all(each.get("aria-label") or each.get("class") == "map" for each in pictures)


@pytest.mark.parametrize(
    ("from_peers", "fetched", "words"),
    [
        ((), 250, "from upstream"),
        ((("node-2", 250),), 250, "from peer node-2"),
        ((("node-2", 100), ("node-3", 150)), 250, "from 2 peers"),
        ((("node-2", 100),), 400, "25 % from peer node-2"),
    ],
)
def test_where_a_blob_comes_from(
    from_peers: tuple[tuple[str, int], ...], fetched: int, words: str
) -> None:
    markup = drawn(transfers=(transfer(from_peers=from_peers, fetched=fetched),))
    assert f"· {words} ·" in Outline(markup).text.replace(units.GLUE, " ")


def test_many_blobs_in_flight_are_counted() -> None:
    assert "And 5 more blobs." in Outline(drawn(transfers=(transfer(),) * 25)).text.replace(
        units.GLUE, " "
    )


def test_the_gauge_is_nearly_empty() -> None:
    markup = drawn(answered(), limit(4))
    assert 'class="low"' in markup
    assert "4 of 100 pulls left. Cached images cost none." in Outline(markup).text


def test_the_gauge_says_when_it_is_reset() -> None:
    event = attrs.evolve(limit(4), resets_at=5000.0 + 600)
    assert "reset in 10 min" in Outline(drawn(answered(), event)).text.replace(units.GLUE, " ")


# Peers.


def test_those_that_feed_come_first_then_those_that_fail() -> None:
    found = made(
        events.PeerBytes(peer="c", direction="in", role="owner", bytes=10**8),
        peers=seen(peer("a"), peer("b", PeerState.ASIDE), peer("c")),
    )
    assert found.peers is not None
    assert found.feeds is not None
    order = [each.row["id"] for each in neighbours(found.peers, found.status, found.feeds)]
    assert order == ["c", "b", "a"]


def test_lines_show_who_fed_whom_and_when() -> None:
    rows = (
        peer("now", received=BytesByRole(owner=10**8)),
        peer("before", sent=BytesByRole(holder=5)),
        peer("never"),
    )
    markup = drawn(
        events.PeerBytes(peer="now", direction="in", role="owner", bytes=10**8), peers=seen(*rows)
    )
    assert markup.count('class="flow came"') == 1
    assert markup.count('class="flow went past"') == 1
    assert markup.count("<polygon") == 1, "only what flows has a head"


def test_a_big_cluster_is_drawn_in_part_and_counted_in_full() -> None:
    rows = [peer(f"node-{number}") for number in range(5000)]
    markup = drawn(peers=seen(*rows))
    assert markup.count('class="peer live"') == DRAWN + 1, "and one in the key"
    words = Outline(markup).text.replace(units.GLUE, " ")
    assert "5,000 of 5,000 peers are asked" in words
    assert f"And {5000 - LISTED:,} more." in words
    assert len(markup) < 150_000


def test_lines_show_who_fed_whom_among_the_others() -> None:
    markup = drawn(
        peers=seen(peer("b"), peer("c"), peer("d")),
        feeds=cluster_feeds(
            ("b", "c", 10**9, 1.0), ("c", "d", 10**6, 100.0), ("node-1", "b", 5, 1.0), b=1.0, c=2.0
        ),
    )
    assert markup.count('class="flow between"') == 1
    assert markup.count('class="flow between old"') == 1
    outline = Outline(markup).text.replace(units.GLUE, " ")
    assert "b gave c 954 MiB in 5 min" in outline
    assert "c gave d 977 KiB in 5 min, as told 1 min ago" in outline
    assert "Between others: what 2 of 2 say of the last 5 min." in outline
    assert "Who fed whom in the last 5 min" in outline
    assert "node-1 b 5 B 1 s ago" in outline, "the table has this node's own as well"
    assert "fed another, 5 min" in outline


def test_peers_whose_report_is_old_are_named() -> None:
    ages: dict[str, float | None] = {"b": 1.0, "c": 400.0, "d": None}
    rows = [peer(name) for name in ages]
    words = Outline(drawn(peers=seen(*rows), feeds=cluster_feeds(**ages))).text
    words = words.replace(units.GLUE, " ")
    assert "what 1 of 3 say of the last 5 min." in words
    assert "c has not said whom it feeds for 6 min." in words
    assert "d does not say whom it feeds." in words
    assert "b has not" not in words


def test_many_with_old_reports_are_counted() -> None:
    ages = {f"n{number}": 400.0 for number in range(20)}
    rows = [peer(name) for name in ages]
    words = Outline(drawn(peers=seen(*rows), feeds=cluster_feeds(**ages))).text
    assert words.count("has not said whom it feeds") == BLAMED
    assert f"And {20 - BLAMED} more do not." in words.replace(units.GLUE, " ")


def test_who_feeds_others_is_drawn_first_of_a_big_cluster() -> None:
    rows = [peer(f"n{number:03}") for number in range(100)]
    feeds = cluster_feeds(("n098", "n099", 10**9, 1.0), ("gone", "n099", 10**9, 1.0))
    markup = drawn(peers=seen(*rows), feeds=feeds)
    assert markup.count('class="flow between"') == 1, "of those that are there"
    assert "n098: asked" in Outline(markup).text


def test_lines_are_bounded() -> None:
    names = [f"n{number:02}" for number in range(30)]
    edges = [(a, b, 1000, 1.0) for a in names for b in names if a != b]
    markup = drawn(peers=seen(*map(peer, names)), feeds=cluster_feeds(*edges))
    assert markup.count('class="flow between"') == BETWEEN


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["ip-1.ec2.internal", "ip-2.ec2.internal"], ["ip-1", "ip-2"]),
        (["ip-1.ec2.internal", "ip-2"], ["…-1.ec2.internal", "ip-2"]),
        (["10.0.0.2:5001", "10.0.0.3:5001"], ["10.0.0.2:5001", "10.0.0.3:5001"]),
        (["node-1"], ["node-1"]),
        (["n" * 99], ["…" + "n" * 15]),
    ],
)
def test_names_on_the_map_are_cut_where_they_are_the_same(
    names: list[str], labels: list[str]
) -> None:
    markup = drawn(peers=seen(*map(peer, names)))
    found = re.findall(r'<text x="0"[^>]*>([^<]*)</text>', markup)
    assert found == labels


def test_a_line_past_the_middle_is_seen() -> None:
    """Two peers stand to the sides, and a line from one to the other leaves the middle free."""
    feeds = cluster_feeds(("a", "b", 10**9, 1.0))
    markup = drawn(peers=seen(peer("a"), peer("b")), feeds=feeds)
    [path] = re.findall(r'class="flow between">.*?<path d="M(\S+) (\S+)Q\S+ (\S+) ', markup)
    start_y, bend_y = float(path[1]), float(path[2])
    assert abs((start_y + bend_y) / 2 - MIDDLE[1]) > 15


def test_a_limit_that_is_used_up_is_not_drawn_as_one_that_is_unknown() -> None:
    assert "used-up" in drawn(answered(), limit(0)).partition("<body>")[2]
    assert "used-up" not in drawn(answered(), limit(4)).partition("<body>")[2]


def test_a_full_disk_is_said_to_take_nothing() -> None:
    full = attrs.evolve(now().cache, disk_free=1, floor=50)
    words = Outline(drawn(cache=full)).text
    assert "passed through until the disk has more free" in words
    assert "goes to make room" not in words


def test_states_are_told_apart_by_shape_and_word() -> None:
    rows = [peer(f"node-{number}", state) for number, state in enumerate(PeerState)]
    markup = drawn(peers=seen(*rows))
    shapes = {
        re.sub(r"[a-z]+\">", "", found, count=1)
        for found in re.findall(r'<g class="peer (.*?)</g>', markup)
    }
    assert len(shapes) == len(PeerState), shapes
    for words in ("asked", "failed, left alone", "other wire version", "is stopping", "not met"):
        assert words in markup


# The plot.


def plotted(*flows: Flow, window: Window = Window.HOUR, at: float = START) -> dict[str, Any]:
    watch = Watch([HUB])
    for flow in flows:
        watch.history.add(flow, at)
    return documents.history(watch, window, (), 5000.0, at)


def test_bars_are_rates() -> None:
    bars = plot.bars_of(plotted(Flow(Series.DISK, 3000, 30.0), at=1020.0, window=Window.QUARTER))
    assert bars.rates["disk"][-4:-1] == [100, 100, 100]
    assert bars.seconds == 10


def test_the_bar_that_is_going_on_is_not_too_high() -> None:
    """A step that began a moment ago counts as a whole one."""
    bars = plot.bars_of(plotted(Flow(Series.DISK, 1000), at=1020.5, window=Window.QUARTER))
    assert bars.rates["disk"][-1] == 100


@settings(deadline=None, max_examples=20)
@given(st.floats(1e3, 1e6))
def test_the_same_steps_stand_in_the_same_bar(at: float) -> None:
    """So that bars do not change their height as time goes by."""
    watch = Watch([HUB])
    watch.history.add(Flow(Series.DISK, 900), at)
    for later in range(10, 130, 10):
        history = documents.history(watch, Window.HOUR, (), 5000.0, at + later)
        rates = plot.bars_of(history).rates["disk"]
        assert sum(value > 0 for value in rates) == 1


@given(st.floats(0, 1e12, exclude_min=True))
def test_the_scale_holds_all_and_is_not_mostly_empty(most: float) -> None:
    ceiling = plot._ceiling(most)
    assert most <= ceiling
    assert ceiling <= max(2048, most * 2.1)


@pytest.mark.parametrize(
    ("given_", "brought", "high", "low"),
    [(0, 0, 132, 66), (10, 5, 132, 66), (10, 10, 99, 99), (10, 30, 66, 132), (0, 5, 66, 132)],
)
def test_the_higher_peaks_get_the_higher_panel(
    given_: float, brought: float, high: int, low: int
) -> None:
    assert plot.heights(given_, brought) == (high, low)


@pytest.mark.parametrize("window", list(Window))
def test_the_plot_says_in_words_what_it_shows(window: Window) -> None:
    markup = plot.plot(plotted(Flow(Series.DISK, 5 << 20, 5.0), window=window))
    label = re.search(r'aria-label="(Given[^"]*)"', markup)
    assert label is not None
    assert label[1].startswith(f"Given to clients: 5.0{units.GLUE}MiB, at most")
    assert 'class="area disk" d="M0 132' in markup
    assert 'class="area stale" d=""' in markup


def test_the_table_says_the_same_in_numbers() -> None:
    markup = plot.table(plotted(Flow(Series.UPSTREAM, 5 << 20)))
    rows = re.findall(r"<tr>(.*?)</tr>", markup)
    assert len(rows) == 11
    assert "until now" in rows[1]
    assert f"5.0{units.GLUE}MiB" in rows[1]
    assert f"5.0{units.GLUE}MiB" not in rows[2]


# Plain text.


def test_facts_for_curl() -> None:
    found = everything()
    words = facts(found.status, found.transfers)
    for line in (
        "nodecache 1.0, node-1, up 1 min",
        "All is well: docker.io answers.",
        "hit rate       50 %",
        "upstream       docker.io answers, 40 of 100 pulls left",
        "in flight      docker.io/library/nginx sha256:aaaaaaaaaaaa 25 %",
    ):
        assert line in words.splitlines(), words
    assert "/metrics" in words


# How it is sent.


@pytest.mark.parametrize(
    ("accepts", "html"),
    [
        ([], False),
        (["*/*"], False),
        (["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"], True),
        (["application/json", "text/html"], True),
        (["TEXT/HTML; q=0.5"], True),
        (["text/html;q=0, */*"], False),
        (["text/html ; q = 0"], False),
        (["text/plain"], False),
        (["text/htmlx"], False),
    ],
)
def test_who_gets_html(accepts: list[str], html: bool) -> None:
    assert wants_html(accepts) is html


class PageTests(LoopbackCase):
    broken = False

    def make_site(self) -> Any:
        return admin_site(
            Metrics(),
            lambda: None,
            clock=self.clock,
            observe=self.events.append,
            wall=lambda: WALL,
            timeouts=Timeouts(),
            limits=Limits(),
            more=[status_page(self, lambda: seen(peer("node-2")))],
        )

    # As the node that is looked at.

    def status(self) -> dict[str, Any]:
        if self.broken:
            raise ZeroDivisionError("a defect")
        return everything().status

    def history(self, window: Window) -> dict[str, Any]:
        return made(window=window).history

    def transfers(self) -> dict[str, Any]:
        return everything().transfers

    def errors(self) -> dict[str, Any]:
        return everything().errors

    def feeds(self) -> dict[str, Any] | None:
        return everything().feeds

    async def test_a_browser_gets_the_page_and_curl_gets_text(self) -> None:
        html = await self.ask("/", Accept="text/html,*/*;q=0.8")
        self.assertEqual(
            (html.status, html.header("Content-Type")), (200, "text/html; charset=utf-8")
        )
        self.assertTrue(html.body.startswith(b"<!doctype html>"))
        words = await self.ask("/", Accept="*/*")
        self.assertEqual(words.header("Content-Type"), "text/plain; charset=utf-8")
        self.assertIn(b"/metrics", words.body)
        self.assertEqual({html.header("Vary"), words.header("Vary")}, {"Accept"})

    async def test_the_headers_let_nothing_else_in(self) -> None:
        for path in ("/", "/page/live"):
            reply = await self.ask(path, Accept="text/html")
            csp = reply.header("Content-Security-Policy") or ""
            self.assertIn("default-src 'none'", csp)
            self.assertIn("frame-ancestors 'none'", csp)
            self.assertIn("base-uri 'none'", csp)
            self.assertIn("form-action 'none'", csp)
            self.assertNotIn("unsafe", csp)
            self.assertEqual(reply.header("X-Content-Type-Options"), "nosniff")
            self.assertEqual(reply.header("Cache-Control"), "no-store")
            for name, value in HEADERS:
                self.assertEqual(reply.header(name), value)

    async def test_the_policy_names_the_style_and_the_script_that_are_sent(self) -> None:
        reply = await self.ask("/", Accept="text/html")
        csp = reply.header("Content-Security-Policy") or ""
        for name in ("style", "script"):
            [inner] = re.findall(rf"<{name}>(.*?)</{name}>", reply.body.decode(), re.DOTALL)
            digest = base64.b64encode(hashlib.sha256(inner.encode()).digest()).decode()
            self.assertIn(f"{name}-src 'sha256-{digest}'", csp)

    async def test_the_live_part_is_the_page_without_style_and_script(self) -> None:
        whole = (await self.ask("/?window=24h", Accept="text/html")).body.decode()
        part = (await self.ask("/page/live?window=24h")).body.decode()
        self.assertIn(part, whole)
        self.assertNotIn("<script", part)
        self.assertIn("24 h ago", part)

    async def test_a_window_that_is_none_is_refused_in_plain_text(self) -> None:
        for path in ("/?window=%3Cscript%3E", "/page/live?window=1y"):
            reply = await self.ask(path, Accept="text/html")
            self.assertEqual(reply.status, 400)
            self.assertEqual(reply.header("Content-Type"), "text/plain; charset=utf-8")

    async def test_head_has_no_body(self) -> None:
        for path in ("/", "/page/live"):
            head = await self.ask(path, "HEAD", Accept="text/html")
            self.assertEqual((head.status, head.body), (200, b""))

    async def test_a_name_that_a_stranger_chose_is_refused(self) -> None:
        for path in ("/", "/page/live"):
            reply = await self.ask(path, Host="evil.example", Accept="text/html")
            self.assertEqual(reply.status, 421)

    async def test_nothing_can_be_changed(self) -> None:
        self.assertEqual((await self.ask("/page/live", "POST")).status, 405)

    async def test_a_defect_is_a_clean_500_and_an_event(self) -> None:
        self.broken = True
        reply = await self.ask("/", Accept="text/html")
        self.assertEqual(reply.status, 500)
        self.assertNotIn(b"a defect", reply.body)
        self.assertEqual(len(self.told(events.Unexpected)), 1)


# What is shipped.


def test_the_release_of_the_page_changes_with_its_files() -> None:
    assets = read_assets()
    assert re.fullmatch(r"[0-9a-f]{12}", assets.release)
    other = attrs.evolve(assets, style=assets.style + " ")
    assert policy(other) != policy(assets)
    assert f'data-release="{assets.release}"' in live(EMPTY, assets)


def test_the_script_makes_no_markup_of_its_own() -> None:
    """What is put in comes from the node, through one parser that runs no scripts."""
    script = read_assets().script
    for word in (
        "innerHTML =",
        "outerHTML",
        "insertAdjacent",
        "document.write",
        "eval(",
        "Function(",
    ):
        assert word not in script
    assert "</" not in script
    assert "</" not in read_assets().style


def test_every_file_of_the_page_is_shipped() -> None:
    """In the wheel (setup.py) and in the source archive (MANIFEST.in)."""
    root = pathlib.Path(__file__).parent.parent
    kinds = {path.suffix for path in (root / "nodecache/web/page").iterdir() if path.is_file()}
    wheel, archive = ((root / name).read_text() for name in ("setup.py", "MANIFEST.in"))
    for kind in kinds - {".py"}:
        assert f'"*{kind}"' in wheel
        assert f"*{kind}" in archive
    assert {".css", ".js"} <= kinds

"""What a node remembers of itself: sums over time, speeds, feeds, images, upstreams."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodecache import events
from nodecache.watching import Flow, Place, Series, Speeds, Watch, Window
from nodecache.watching.feeds import MOST as MOST_FEEDS
from nodecache.watching.feeds import Feeds
from nodecache.watching.history import STEPS, History
from nodecache.watching.images import HALF_LIFE, Images, image_name
from nodecache.watching.ring import Ring
from nodecache.watching.speed import OVER
from nodecache.watching.upstreams import MOST as MOST_ORIGINS
from nodecache.watching.upstreams import UpstreamsSeen

START = 1000.0
HUB = Place("docker.io", "https://registry-1.docker.io", ("https://registry-1.docker.io:443",))
MIRRORED = Place(
    "quay.io", "https://quay.io", ("https://mirror.example:443", "https://quay.io:443")
)


def request(**fields: Any) -> events.RequestFinished:
    common: dict[str, Any] = {
        "request_id": "a-1",
        "client": "10.0.0.1",
        "agent": "containerd",
        "method": "GET",
        "kind": "blob",
        "namespace": "docker.io",
        "repository": "library/nginx",
        "reference": "latest",
        "status": 200,
        "source": "disk",
        "bytes": 1000,
        "seconds": 1.0,
        "outcome": "complete",
    }
    return events.RequestFinished(**{**common, **fields})


def pull(name: str = "library/nginx", size: int = 100, **fields: Any) -> events.PullFinished:
    common: dict[str, Any] = {
        "client": "10.0.0.1",
        "agent": "containerd",
        "namespace": "docker.io",
        "repository": name,
        "reference": "1",
        "digest": "sha256:" + "a" * 64,
        "requests": 3,
        "bytes": size,
        "seconds": 1.0,
        "bytes_by_source": {"disk": size},
        "failed": 0,
    }
    return events.PullFinished(**{**common, **fields})


class TestRing:
    def test_what_happened_at_once_stands_in_its_step(self) -> None:
        ring = Ring(10.0, 3, 2)
        ring.add(0, 5, 1001.0)
        ring.add(1, 7, 1012.0)
        assert ring.rows(1013.0) == [[0, 0], [5, 0], [0, 7]]

    def test_what_took_long_is_spread_over_its_time(self) -> None:
        ring = Ring(10.0, 4, 1)
        ring.add(0, 40, 1035.0, 40.0)  # from 995 on
        assert ring.rows(1035.0) == [[10], [10], [10], [5]], "the 5 before the first are left out"

    def test_old_steps_go(self) -> None:
        ring = Ring(10.0, 3, 1)
        ring.add(0, 1, 1000.0)
        assert ring.rows(1029.0) == [[1], [0], [0]]
        assert ring.rows(1030.0) == [[0], [0], [0]]
        assert ring.rows(9e9) == [[0], [0], [0]], "however long nothing happened"

    def test_a_clock_that_goes_back_stays_in_the_last_step(self) -> None:
        ring = Ring(10.0, 2, 1)
        ring.add(0, 1, 1010.0)
        ring.add(0, 1, 1002.0)
        assert ring.rows(1010.0) == [[0], [2]]

    def test_a_copy_is_another_one(self) -> None:
        ring = Ring(10.0, 2, 1)
        ring.add(0, 1, 1010.0)
        ring.copy().add(0, 5, 1010.0)
        assert ring.rows(1010.0) == [[0], [1]]

    @given(
        st.lists(
            st.tuples(st.floats(0, 1e9), st.floats(0, 5), st.floats(0, 60)), min_size=1, max_size=30
        )
    )
    def test_nothing_is_lost_or_made_that_lies_within(
        self, given_: list[tuple[float, float, float]]
    ) -> None:
        ring, now = Ring(10.0, 60, 1), 500.0
        for amount, later, seconds in given_:
            now += later
            ring.add(0, amount, now, seconds)
        total = sum(row[0] for row in ring.rows(now))
        expected = sum(amount for amount, _, _ in given_)
        assert math.isclose(total, expected, rel_tol=1e-6, abs_tol=1e-3)


class TestHistory:
    def test_both_lengths_of_steps_get_everything(self) -> None:
        history = History()
        history.add(Flow(Series.DISK, 300), START)
        for window in Window:
            past = history.past(window, START)
            assert sum(past.values[Series.DISK]) == 300
            assert past.values[Series.DISK][-1] == 300
            assert len(past.values[Series.DISK]) == STEPS[window][1]
            assert past.step == STEPS[window][0]

    def test_what_is_going_out_is_seen_and_not_counted_twice(self) -> None:
        history = History()
        going = [Flow(Series.FILL, 100, 20.0)]
        past = history.past(Window.HOUR, START + 5, going)
        assert past.values[Series.FILL][-3:] == [25, 50, 25]
        assert history.totals_with(going)[Series.FILL] == 100
        history.add(Flow(Series.FILL, 120, 24.0), START + 9)
        assert sum(history.past(Window.HOUR, START + 9).values[Series.FILL]) == pytest.approx(120)
        assert history.totals[Series.FILL] == 120

    def test_a_step_keeps_its_number(self) -> None:
        history = History()
        first = history.past(Window.HOUR, START + 3)
        later = history.past(Window.HOUR, START + 13)
        assert (first.first + 1, first.elapsed) == (later.first, later.elapsed)


class TestSpeeds:
    def test_the_first_look_takes_the_whole_time(self) -> None:
        assert Speeds().at("a", 500, START + 10, START) == 50

    def test_later_ones_take_the_last_while(self) -> None:
        speeds = Speeds()
        places = {
            0: 0.0,
            2: 200.0,
            4: 400.0,
            6: 600.0,
            8: 800.0,
            10: 1000.0,
            12: 1000.0,
            20: 1000.0,
        }
        found = {at: speeds.at("a", place, START + at, START) for at, place in places.items()}
        assert found[10] == 100
        assert 0 < found[12] < 100
        assert found[20] == 0
        assert OVER <= 8

    def test_no_time_is_no_speed(self) -> None:
        assert Speeds().at("a", 500, START, START) == 0

    def test_what_is_over_is_forgotten(self) -> None:
        speeds = Speeds()
        speeds.at("a", 900, START + 1, START)
        speeds.keep(set())
        assert speeds.at("a", 10, START + 2, START + 1) == 10, "another one under the same name"


class TestFeeds:
    def test_who_gave_and_who_got(self) -> None:
        feeds = Feeds()
        feeds.moved("b", "out", 10, START)
        feeds.moved("a", "in", 1000, START)
        feeds.moved("a", "in", 1000, START)
        first, second = feeds.seen(START)
        assert (first.peer, first.received, first.sent) == ("a", 2000, 0)
        assert (second.peer, second.received, second.sent) == ("b", 0, 10)
        assert first.received_rate > second.sent_rate > 0 == first.sent_rate

    def test_a_rate_fades_and_the_total_stays(self) -> None:
        feeds = Feeds()
        feeds.moved("a", "in", 10**9, START)
        [soon], [late] = feeds.seen(START + 1), feeds.seen(START + 300)
        assert soon.received_rate > 10**7
        assert late.received_rate < 100
        assert (late.received, late.idle_seconds) == (10**9, 300)

    def test_a_steady_rate_is_told_as_it_is(self) -> None:
        feeds = Feeds()
        for tick in range(2000):
            feeds.moved("a", "in", 10_000, START + tick / 10)
        [found] = feeds.seen(START + 200)
        assert found.received_rate == pytest.approx(100_000, rel=0.05)

    def test_only_so_many_are_remembered(self) -> None:
        feeds = Feeds()
        for number in range(MOST_FEEDS + 5):
            feeds.moved(f"n{number}", "in", 1, START + number)
        peers = {feed.peer for feed in feeds.seen(START)}
        assert len(peers) == MOST_FEEDS
        assert "n0" not in peers


class TestImages:
    def test_the_hottest_and_the_biggest(self) -> None:
        images = Images()
        images.pulled(pull("library/big", 5000), START)
        for _ in range(3):
            images.pulled(pull("library/hot", 10), START)
        hot, big = images.hottest(START, 2)
        assert (hot.image, hot.pulls, hot.bytes) == ("docker.io/library/hot:1", 3, 30)
        assert big.image == "docker.io/library/big:1"
        assert [each.image for each in images.biggest(START, 1)] == [big.image]

    def test_what_was_hot_cools_down(self) -> None:
        images = Images()
        for _ in range(3):
            images.pulled(pull("library/old"), START)
        later = START + 4 * HALF_LIFE
        images.pulled(pull("library/new"), later)
        assert [each.image for each in images.hottest(later, 1)] == ["docker.io/library/new:1"]

    def test_the_coolest_goes_and_never_the_newest(self) -> None:
        images = Images(most=2)
        for name, times in (("a", 3), ("b", 2), ("c", 1)):
            for _ in range(times):
                images.pulled(pull(name), START)
        assert {each.image for each in images.hottest(START, 9)} == {
            "docker.io/a:1",
            "docker.io/c:1",
        }

    def test_a_pull_that_got_nothing_names_no_image(self) -> None:
        images = Images()
        images.pulled(pull("library/typo", failed=3), START)
        images.pulled(pull("library/half", failed=1), START)
        assert [each.image for each in images.hottest(START, 9)] == ["docker.io/library/half:1"]
        assert images.hottest(START, 9)[0].failed == 1

    @pytest.mark.parametrize(
        ("reference", "name"),
        [
            ("1.27", "docker.io/a/b:1.27"),
            ("sha256:" + "c" * 64, "docker.io/a/b@sha256:" + "c" * 12),
            ("", "docker.io/a/b"),
        ],
    )
    def test_names(self, reference: str, name: str) -> None:
        assert image_name("docker.io", "a/b", reference) == name


def health(origin: str, *, up: bool, reason: str = "refused") -> events.UpstreamHealth:
    return events.UpstreamHealth(origin=origin, up=up, reason=reason)


def answered(namespace: str = "docker.io", **fields: Any) -> events.UpstreamAnswered:
    common: dict[str, Any] = {
        "namespace": namespace,
        "leg": "manifest",
        "method": "GET",
        "host": "registry-1.docker.io",
        "status": 200,
        "seconds": 0.1,
    }
    return events.UpstreamAnswered(**{**common, **fields})


class TestUpstreams:
    def test_nothing_is_known_of_one_that_was_not_asked(self) -> None:
        [seen] = UpstreamsSeen([HUB]).seen(START)
        assert (seen.up, seen.since, seen.limit) == (None, None, None)

    def test_it_goes_down_and_comes_back(self) -> None:
        seen = UpstreamsSeen([HUB])
        seen.answered(answered(), START)
        assert seen.seen(START + 5)[0].up is True
        seen.health(health(HUB.origins[0], up=False), START + 10)
        [down] = seen.seen(START + 70)
        assert (down.up, down.reason, down.since) == (False, "refused", 60)
        seen.health(health(HUB.origins[0], up=True), START + 80)
        [back] = seen.seen(START + 81)
        assert (back.up, back.reason, back.since) == (True, "", 1)

    def test_one_of_its_places_is_enough(self) -> None:
        seen = UpstreamsSeen([MIRRORED])
        seen.health(health(MIRRORED.origins[0], up=False), START)
        assert seen.seen(START)[0].up is True
        seen.health(health(MIRRORED.origins[1], up=False), START)
        assert seen.seen(START)[0].up is False

    def test_what_it_leads_to_is_told_apart(self) -> None:
        seen = UpstreamsSeen([HUB])
        seen.health(health("https://cdn.example:443", up=False), START)
        assert seen.seen(START)[0].up is None
        assert seen.others_down() == [("https://cdn.example:443", "refused")]
        seen.health(health("https://cdn.example:443", up=True), START)
        assert seen.others_down() == []

    def test_only_so_many_origins_are_remembered(self) -> None:
        seen = UpstreamsSeen([HUB])
        for number in range(2 * MOST_ORIGINS):
            seen.health(health(f"https://c{number}.example:443", up=False), START)
        assert len(seen.others_down()) <= MOST_ORIGINS + 1
        seen.health(health(HUB.origins[0], up=False), START)
        assert seen.seen(START)[0].up is False, "its own has its place"

    def test_limits_of_others_are_not_taken(self) -> None:
        seen = UpstreamsSeen([HUB])
        for namespace, left in (("docker.io", 7), ("else.example", 3)):
            seen.rates(
                events.RateLimitSeen(
                    namespace=namespace,
                    limit=100,
                    remaining=left,
                    window_seconds=21600,
                    resets_at=None,
                    source="",
                ),
                START,
            )
        [found] = seen.seen(START)
        assert found.limit is not None
        assert (found.limit.limit, found.limit.remaining, found.limit.seen_at) == (100, 7, START)

    def test_a_refusal_holds_until_a_pull_is_answered(self) -> None:
        seen = UpstreamsSeen([HUB])
        seen.answered(answered(status=429), START)
        seen.answered(answered(method="HEAD"), START + 1)
        assert seen.seen(START + 2)[0].refused_seconds == 2
        seen.answered(answered(), START + 3)
        assert seen.seen(START + 4)[0].refused_seconds is None


class TestWatch:
    def test_requests_are_counted_by_source(self) -> None:
        watch = Watch([HUB])
        for source in ("disk", "flight", "fill", "stale", "none"):
            watch.observe(request(source=source), START)
        totals = watch.history.totals
        for series in (Series.DISK, Series.FLIGHT, Series.FILL, Series.STALE):
            assert totals[series] == 1000
        assert (totals[Series.HITS], totals[Series.MISSES]) == (2, 1), "as the metrics count them"

    def test_only_blobs_and_manifests_are_hits(self) -> None:
        watch = Watch([HUB])
        watch.observe(request(kind="tags"), START)
        assert watch.history.totals[Series.HITS] == 0

    def test_a_body_is_spread_from_its_first_byte_on(self) -> None:
        watch = Watch([HUB])
        watch.observe(request(seconds=60.0, first_byte_seconds=40.0), START + 5)
        past = watch.history.past(Window.HOUR, START + 5)
        assert past.values[Series.DISK][-3:] == [250, 500, 250]

    def test_bytes_of_peers_and_of_upstream(self) -> None:
        watch = Watch([HUB])
        for direction, count in (("in", 5), ("out", 7)):
            watch.observe(
                events.PeerBytes(peer="b", direction=direction, role="owner", bytes=count), START
            )
        watch.observe(events.UpstreamBytes(namespace="docker.io", leg="cdn", bytes=11), START)
        totals = watch.history.totals
        found = [totals[series] for series in (Series.PEERS, Series.LENT, Series.UPSTREAM)]
        assert found == [5, 7, 11]
        assert [(feed.received, feed.sent) for feed in watch.feeds.seen(START)] == [(5, 7)]

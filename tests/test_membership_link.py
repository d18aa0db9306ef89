"""How fast the own link is, and whether it is slow beside those of the peers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nodecache.membership.link import BACK, BEHIND, ENOUGH, KEPT, OTHERS, REST, Link


def flowing(link: Link, rate: int, seconds: int, start: float = 0.0) -> float:
    """Bytes come ten times a second; when they end."""
    tenths = range(seconds * 10 + 1)
    for tenth in tenths:
        link.came(rate // 10, start + tenth / 10)
    return start + seconds


def seen(rate: int) -> Link:
    link = Link()
    flowing(link, rate, ENOUGH + 1)
    return link


def test_the_best_second_is_what_the_link_was_seen_to_carry() -> None:
    link = Link()
    end = flowing(link, 3_000_000, 5)
    assert 2_500_000 < link.best < 3_500_000
    flowing(link, 9_000_000, 2, end)
    assert 8_000_000 < link.best < 10_000_000


def test_too_little_tells_nothing() -> None:
    link = Link()
    end = flowing(link, 3_000_000, ENOUGH - 1)
    assert link.best == 0
    flowing(link, 3_000_000, 1, end)
    assert link.best > 0


def test_what_came_with_rests_tells_nothing() -> None:
    link = Link()
    for number in range(100):
        link.came(5_000_000, number * (REST + 0.01))
    assert link.best == 0


def test_what_had_gathered_during_a_rest_is_not_taken_for_the_links_rate() -> None:
    link = seen(3_000_000)
    before = link.best
    link.came(500_000_000, 1000.0)
    flowing(link, 3_000_000, 2, 1000.1)
    assert link.best == before


def test_a_link_that_became_slow_is_found_out() -> None:
    link = Link()
    end = flowing(link, 9_000_000, 5)
    flowing(link, 3_000_000, 2 * KEPT, end)
    assert link.best < 4_000_000


def test_a_clock_that_goes_back_makes_no_rate() -> None:
    link = seen(3_000_000)
    before = link.best
    link.came(1_000_000_000, 1.0)
    link.came(1_000_000_000, 1.0)
    assert link.best == before


def test_less_than_half_of_what_most_have_is_behind_until_it_is_nearly_as_much() -> None:
    link = seen(3_000_000)
    assert link.compare([12_000_000, 11_000_000, 0]) and link.behind
    assert not link.compare([12_000_000, 11_000_000]) and link.behind  # no news
    flowing(link, 7_000_000, 5, 100.0)
    assert not link.compare([12_000_000, 11_000_000]) and link.behind
    flowing(link, 11_000_000, 5, 200.0)
    assert link.compare([12_000_000, 11_000_000]) and not link.behind


def test_nobody_is_behind_where_too_few_say_anything_or_nothing_is_known_of_the_own() -> None:
    link = seen(3_000_000)
    assert not link.compare([12_000_000] * (OTHERS - 1) + [0] * 9) and not link.behind
    assert not Link().compare([12_000_000] * 9)
    link.compare([12_000_000] * OTHERS)
    assert link.behind
    assert link.compare([]) and not link.behind  # they were all started anew


@given(
    st.lists(st.integers(10, 10**10), min_size=1, max_size=40),
    st.lists(st.booleans(), min_size=40, max_size=40),
)
def test_fewer_than_half_of_a_cluster_are_behind(rates: list[int], before: list[bool]) -> None:
    """Whoever was behind needs more to be back, so that it may be half of them then."""
    behind = []
    for index, rate in enumerate(rates):
        link = seen(rate)
        link.behind = before[index]
        others = [seen(other).best for at, other in enumerate(rates) if at != index]
        link.compare(others)
        behind.append(link.behind)
        if link.behind:
            assert link.best < max(others)
    assert sum(behind) <= max(0, (len(rates) + 1) // 2)
    assert BEHIND < BACK < 1

"""Which names the rules of an upstream permit."""

from __future__ import annotations

import pytest

from nodecache.rules import NameRules


@pytest.mark.parametrize(
    ("allow", "deny", "name", "permitted"),
    [
        ([], [], "library/alpine", True),
        (["library/*"], [], "library/alpine", True),
        (["library/*"], [], "team/app", False),
        (["team/*"], [], "team/a/b", True),
        (["team/*"], [], "team", False),
        (["team/app"], [], "team/app2", False),
        (["team/app"], [], "x/team/app", False),
        (["team/app-[0-9]"], [], "team/app-1", True),
        (["team/app-?"], [], "team/app-10", False),
        (["TEAM/*"], [], "team/app", False),
        ([], ["team/*"], "team/app", False),
        ([], ["team/*"], "library/alpine", True),
        (["team/*"], ["team/secret"], "team/secret", False),
        (["team/*"], ["team/secret"], "team/open", True),
        ([], ["*"], "library/alpine", False),
        (["*"], ["*"], "library/alpine", False),
    ],
)
def test_patterns_over_the_whole_name_of_which_a_denial_wins(
    allow: list[str], deny: list[str], name: str, permitted: bool
) -> None:
    assert NameRules(tuple(allow), tuple(deny)).permits(name) == permitted


def test_on_docker_hub_a_short_pattern_is_about_official_images_too() -> None:
    rules = NameRules.of("docker.io", deny=["alpine", "busy*"])
    assert not rules.permits("library/alpine")
    assert not rules.permits("library/busybox")
    assert rules.permits("team/alpine")
    assert NameRules.of("docker.io", allow=["alpine"]).permits("library/alpine")


def test_elsewhere_a_short_pattern_is_about_what_it_says() -> None:
    rules = NameRules.of("ghcr.io", deny=["alpine"])
    assert not rules.permits("alpine")
    assert rules.permits("library/alpine")

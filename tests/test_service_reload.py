"""What SIGHUP changes at once, and what it says needs a restart."""

from __future__ import annotations

from typing import Any

import attrs

from nodecache.config import DOCKER_HUB_UPSTREAM, Settings, SizeSetting, UpstreamSettings
from nodecache.service.reload import changes, merged

OTHER = UpstreamSettings("ghcr.io", "https://ghcr.io")
OLD = Settings(upstreams=(DOCKER_HUB_UPSTREAM, OTHER))


def test_equal_settings_change_nothing() -> None:
    found = changes(OLD, Settings(upstreams=(DOCKER_HUB_UPSTREAM, OTHER)))
    assert (found.live, found.restart) == ((), ())


def test_freshness_and_room_are_taken_on_at_once() -> None:
    new = attrs.evolve(
        OLD, tag_ttl=5.0, offline=True, max_size=SizeSetting(bytes=1), log_format="json"
    )
    found = changes(OLD, new)
    assert found.live == ("max_size", "offline", "tag_ttl")
    assert found.restart == ("log_format",)
    taken = merged(OLD, new)
    assert (taken.tag_ttl, taken.offline, taken.max_size) == (5.0, True, SizeSetting(bytes=1))
    assert taken.log_format == OLD.log_format


def test_rules_of_an_upstream_are_taken_on_and_its_address_is_not() -> None:
    hub = attrs.evolve(DOCKER_HUB_UPSTREAM, deny=("evil/*",), url="https://elsewhere.example")
    new = attrs.evolve(OLD, upstreams=(hub, OTHER))
    found = changes(OLD, new)
    assert found.live == ("upstreams.docker.io.deny",)
    assert found.restart == ("upstreams.docker.io.url",)
    taken = merged(OLD, new).upstreams[0]
    assert (taken.deny, taken.url) == (("evil/*",), DOCKER_HUB_UPSTREAM.url)


def test_upstreams_that_come_and_go_need_a_restart() -> None:
    new = attrs.evolve(OLD, upstreams=(OTHER, UpstreamSettings("quay.io", "https://quay.io")))
    found = changes(OLD, new)
    assert found.live == ()
    assert found.restart == ("upstreams.docker.io", "upstreams.quay.io")
    assert merged(OLD, new).upstreams == OLD.upstreams


def test_a_timeout_is_named_by_its_table_and_needs_a_restart() -> None:
    new = attrs.evolve(OLD, timeouts=attrs.evolve(OLD.timeouts, answer=3.0))
    assert changes(OLD, new).restart == ("timeouts.answer",)


def test_every_setting_is_either_live_or_needs_a_restart() -> None:
    """A setting that is added later cannot be forgotten: it needs a restart."""
    for field in attrs.fields(Settings):
        if field.name in {"upstreams", "origins", "limits", "timeouts"}:
            continue
        changed: dict[str, Any] = {field.name: object()}
        found = changes(OLD, attrs.evolve(OLD, **changed))
        assert field.name in found.live + found.restart

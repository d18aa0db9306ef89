"""``[telemetry]``: names of images, and where traces go."""

from __future__ import annotations

import pytest

from nodecache.config import Loaded, Origin, Telemetry, load
from nodecache.failures import ConfigError


def given(text: str) -> Loaded:
    return load({}, {}, f"[telemetry]\n{text}\n", "nodecache.toml")


def test_nothing_of_it_is_on_by_default() -> None:
    assert load({}, {}, None, "").settings.telemetry == Telemetry(0, None, 1.0)


def test_each_key_is_read_and_its_origin_kept() -> None:
    loaded = given('images = 50\ntraces = "http://collector:4318/v1/traces"\ntraces_share = 0.1')
    found = loaded.settings
    assert found.telemetry == Telemetry(50, "http://collector:4318/v1/traces", 0.1)
    assert found.origins["telemetry.images"] is Origin.FILE


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("images = -1", "telemetry.images: -1 is no whole number from 0 to 1000"),
        ("images = 1001", "is no whole number"),
        ("images = true", "is no whole number"),
        ("images = 1.5", "is no whole number"),
        ('traces = "collector:4318"', "telemetry.traces"),
        ('traces = "https://user:secret@collector"', "holds a user or password"),
        ("traces = 4318", "telemetry.traces"),
        ("traces_share = 2", "telemetry.traces_share: 2 is no number from 0 to 1"),
        ("traces_share = '1'", "is no number"),
        ("traces_share = nan", "is no number"),
        ("image = 3", "telemetry.image: unknown key (did you mean images?)"),
    ],
)
def test_what_is_wrong_is_named(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        given(text)
    assert complaint in str(caught.value)
    assert "secret" not in str(caught.value)

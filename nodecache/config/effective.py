"""The settings that hold, and where each comes from, for a person to read. No secret is shown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs

from nodecache.config.keys import KEYS, UPSTREAM
from nodecache.config.settings import (
    DEFAULT_MAX_BYTES,
    DEFAULT_MAX_PERCENT,
    Origin,
    Settings,
    UpstreamSettings,
)
from nodecache.config.tables import COUNTS
from nodecache.config.units import format_duration, format_size
from nodecache.config.values import masked


@attrs.frozen
class Effective:
    """``key`` is dotted, as in the file; ``environment`` is empty where there is no variable."""

    key: str
    value: str
    origin: Origin
    environment: str = ""

    def document(self) -> dict[str, str]:
        """For JSON."""
        return {
            "key": self.key,
            "value": self.value,
            "origin": self.origin.value,
            "environment": self.environment,
        }


def effective(settings: Settings) -> list[Effective]:
    """All settings: those with a flag, then the tables of the file."""
    return [*_keys(settings), *_upstreams(settings), *_tables(settings)]


def _origin(settings: Settings, key: str) -> Origin:
    return settings.origins.get(key, Origin.DEFAULT)


def _keys(settings: Settings) -> Iterator[Effective]:
    for key in KEYS:
        value = _listed(settings) if key is UPSTREAM else _of_key(settings, key.name)
        yield Effective(key.name, value, _origin(settings, key.name), key.environment)


def _listed(settings: Settings) -> str:
    return ",".join(f"{one.namespace}={one.url}" for one in settings.upstreams)


def _of_key(settings: Settings, name: str) -> str:
    if name == "max_size" and settings.max_size is None:
        return f"the smaller of {DEFAULT_MAX_PERCENT} and {format_size(DEFAULT_MAX_BYTES)}"
    if name == "peer_listen":
        return settings.peer_address or "off"
    value = getattr(settings, name)
    return format_duration(value) if name == "tag_ttl" else _shown(value)


def _shown(value: Any) -> str:
    if value is None or value in ("", ()):
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    text = str(value)
    return masked(text) if "://" in text else text  # a path may hold an @ of its own


def _upstreams(settings: Settings) -> Iterator[Effective]:
    """What the file alone can say of an upstream, where it says something."""
    bare = UpstreamSettings("", "")
    for one in settings.upstreams:
        for field in attrs.fields(UpstreamSettings):
            value = getattr(one, field.name)
            if field.name in ("namespace", "url") or value == getattr(bare, field.name):
                continue
            key = f'upstreams."{one.namespace}".{field.name}'
            if one.account is not None and field.name == "account":
                value = f"from {one.account.file}, for {','.join(one.account.repositories)}"
            yield Effective(key, _shown(value), Origin.FILE)


def _tables(settings: Settings) -> Iterator[Effective]:
    yield _row(settings, "limits.sole_registry", _shown(settings.sole_registry))
    for field in attrs.fields(type(settings.limits)):
        value = getattr(settings.limits, field.name)
        text = str(value) if field.name in COUNTS else format_size(value)
        yield _row(settings, f"limits.{field.name}", text)
    for field in attrs.fields(type(settings.timeouts)):
        seconds = getattr(settings.timeouts, field.name)
        yield _row(settings, f"timeouts.{field.name}", format_duration(seconds))
    for field in attrs.fields(type(settings.telemetry)):
        value = getattr(settings.telemetry, field.name)
        yield _row(settings, f"telemetry.{field.name}", _shown(value))


def _row(settings: Settings, key: str, value: str) -> Effective:
    return Effective(key, value, _origin(settings, key))

"""Frozen settings and all their validation. Reads no file and no environment itself."""

from nodecache.config.keys import KEYS, UPSTREAM, Key, render_table
from nodecache.config.load import load
from nodecache.config.settings import (
    DOCKER_HUB_UPSTREAM,
    DOCKER_HUB_URL,
    AccountSettings,
    ListenAddress,
    Loaded,
    Origin,
    Settings,
    SizeSetting,
    Telemetry,
    UpstreamSettings,
    parse_listen,
)
from nodecache.config.units import (
    format_duration,
    format_size,
    parse_bytes,
    parse_duration,
    parse_percent,
)

parse_size = SizeSetting.parse

__all__ = [
    "DOCKER_HUB_UPSTREAM",
    "DOCKER_HUB_URL",
    "KEYS",
    "UPSTREAM",
    "AccountSettings",
    "Key",
    "ListenAddress",
    "Loaded",
    "Origin",
    "Settings",
    "SizeSetting",
    "Telemetry",
    "UpstreamSettings",
    "format_duration",
    "format_size",
    "load",
    "parse_bytes",
    "parse_duration",
    "parse_listen",
    "parse_percent",
    "parse_size",
    "render_table",
]

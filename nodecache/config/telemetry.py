"""The file's ``[telemetry]``: what is told to other programs beyond the usual."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from nodecache.config.layers import Table
from nodecache.config.settings import Origin, Telemetry
from nodecache.config.values import read_url

#: Most images that may be counted by name; each is some series on each node.
IMAGES_MOST: Final = 1000


@attrs.frozen
class TelemetryGiven:
    """``origins`` names the values that were given."""

    telemetry: Telemetry
    origins: Mapping[str, Origin]


def _read_images(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= IMAGES_MOST:
        raise ValueError(f"is no whole number from 0 to {IMAGES_MOST}")
    return value


def _read_share(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
        raise ValueError("is no number from 0 to 1")
    return float(value)


_READERS: Final[Mapping[str, Callable[[object], Any]]] = {
    "images": _read_images,
    "traces": read_url,
    "traces_share": _read_share,
}


def read_telemetry(document: Table) -> TelemetryGiven:
    """Raises ConfigError naming the key."""
    table = document.table("telemetry")
    table.refuse_unknown(_READERS)
    found = {name: table.get(name) for name in _READERS}
    given = {name: each for name, each in found.items() if each is not None}
    values = {name: each.read(_READERS[name]) for name, each in given.items()}
    origins = {f"telemetry.{name}": each.origin for name, each in given.items()}
    return TelemetryGiven(Telemetry(**values), origins)

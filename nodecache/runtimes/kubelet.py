"""The kubelet's thresholds for the disk, from its file and its flags (which win)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from nodecache.config.units import parse_bytes, parse_percent
from nodecache.runtimes.names import Unusable
from nodecache.runtimes.words import read_flags

#: What a kubelet does where nothing is said: free room below which it evicts pods (percent).
_EVICTION: Final = {"nodefs.available": "10%", "imagefs.available": "15%"}
_SIGNALS: Final = tuple(_EVICTION)
_HIGH: Final = 85
_LOW: Final = 80


@attrs.frozen
class Eviction:
    """Free room below which pods go: ``percent`` of the disk, or ``bytes``."""

    signal: str
    text: str
    soft: bool = False
    percent: float | None = None
    bytes: int | None = None

    def free(self, total: int) -> int:
        """Bytes, on a disk of ``total`` bytes."""
        return int(total * (self.percent or 0) / 100) if self.bytes is None else self.bytes


@attrs.frozen
class Thresholds:
    """``high`` and ``low`` are percent of the disk in use: images go from the one to the other."""

    high: int = _HIGH
    low: int = _LOW
    evictions: tuple[Eviction, ...] = ()
    runtime_endpoint: str = ""

    @property
    def collects(self) -> bool:
        """Whether unused images are deleted at all; 100 turns it off."""
        return self.high < 100

    def evicts_below(self, total: int) -> int:
        """The most free bytes at which pods are evicted, on a disk of ``total`` bytes."""
        return max((one.free(total) for one in self.evictions), default=0)


def thresholds(document: Mapping[str, Any] | None, flags: Sequence[str] = ()) -> Thresholds:
    """``document`` is the KubeletConfiguration, ``flags`` the words of the command line.

    A signal that a list of hard evictions leaves out is off, as for the kubelet.
    Raises Unusable.
    """
    given, told = document or {}, read_flags(flags)
    hard = _signals(told.get("eviction-hard"), given.get("evictionHard"))
    soft = _signals(told.get("eviction-soft"), given.get("evictionSoft"))
    return Thresholds(
        high=_number(told, "image-gc-high-threshold", given, "imageGCHighThresholdPercent", _HIGH),
        low=_number(told, "image-gc-low-threshold", given, "imageGCLowThresholdPercent", _LOW),
        evictions=(
            *_evictions(_EVICTION if hard is None else hard, soft=False),
            *_evictions(soft or {}, soft=True),
        ),
        runtime_endpoint=str(
            told.get("container-runtime-endpoint") or given.get("containerRuntimeEndpoint") or ""
        ),
    )


def _number(
    flags: Mapping[str, str], flag: str, document: Mapping[str, Any], key: str, default: int
) -> int:
    value = flags.get(flag) or document.get(key)
    if value is None:
        return default
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        raise Unusable(f"{key} is {value!r}, which is no number") from None


def _signals(flag: str | None, document: Any) -> dict[str, str] | None:
    """By signal. None where nothing is said."""
    if flag is not None:
        pairs = (one.partition("<") for one in flag.strip("\"'").split(",") if one)
        return {name.strip(): value.strip() for name, _, value in pairs}
    if document is None:
        return None
    if not isinstance(document, Mapping):
        raise Unusable("evictionHard and evictionSoft are lists of signals")
    return {str(name): str(value) for name, value in document.items()}


def _evictions(signals: Mapping[str, str], *, soft: bool) -> list[Eviction]:
    return [_eviction(one, signals[one], soft=soft) for one in _SIGNALS if signals.get(one)]


def _eviction(signal: str, text: str, *, soft: bool) -> Eviction:
    try:
        percent = parse_percent(text)
        size = parse_bytes(text) if percent is None else None
    except ValueError as error:
        raise Unusable(f"{signal} is {text!r}, which {error}") from None
    return Eviction(signal, text, soft, percent, size)

"""Durations and sizes as people write them: ``30s``, ``1h30m``, ``20GiB``, ``10%``."""

from __future__ import annotations

import re
from decimal import Decimal

_NUMBER = r"[0-9]{1,15}(?:\.[0-9]{1,9})?"
_QUANTITY = re.compile(rf"({_NUMBER})\s*([A-Za-z]*)")
_PERCENT = re.compile(rf"({_NUMBER})\s*%")
_DURATION = re.compile(rf"(?:{_NUMBER}[a-z]+)+")
_DURATION_PART = re.compile(rf"({_NUMBER})([a-z]+)")

_SECONDS = {
    "ms": Decimal("0.001"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
    "d": Decimal(86400),
}
_BINARY = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40, "PiB": 1 << 50}
_DECIMAL = {"kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "PB": 10**15}
#: By lower-cased unit. Kubernetes writes ``20Gi`` and ``20G``.
_BYTES = {"": 1, "b": 1}
_BYTES |= {unit.lower(): factor for unit, factor in (_BINARY | _DECIMAL).items()}
_BYTES |= {unit[:-1].lower(): factor for unit, factor in (_BINARY | _DECIMAL).items()}

#: Seconds and bytes that nobody means: beyond them arithmetic would go astray.
DURATION_MOST = 10 * 365 * 86400
SIZE_MOST = 1 << 60

_NO_DURATION = "is no duration (like 30s, 5m, 1h, 250ms, or 0)"
_NO_SIZE = "is no size (like 20GiB, 500MB, or a number of bytes)"


def parse_duration(text: str) -> float:
    """Seconds. A number without a unit is seconds. Raises ValueError."""
    text = text.strip()
    if re.fullmatch(_NUMBER, text):
        text += "s"
    parts = _DURATION_PART.findall(text) if _DURATION.fullmatch(text) else []
    if not parts or any(unit not in _SECONDS for _, unit in parts):
        raise ValueError(_NO_DURATION)
    seconds = sum(Decimal(number) * _SECONDS[unit] for number, unit in parts)
    if seconds > DURATION_MOST:
        raise ValueError("is more than ten years")
    return float(seconds)


def parse_bytes(text: str) -> int:
    """Bytes. Units are of 1024 (KiB or Ki) or 1000 (kB or k). Raises ValueError."""
    match = _QUANTITY.fullmatch(text.strip())
    factor = _BYTES.get(match[2].lower()) if match else None
    if match is None or factor is None:
        raise ValueError(_NO_SIZE)
    size = Decimal(match[1]) * factor
    if size > SIZE_MOST:
        raise ValueError("is more than an exbibyte")
    return int(size)


def parse_percent(text: str) -> float | None:
    """Percent, 0 to 100; None for text without a percent sign. Raises ValueError."""
    if "%" not in text:
        return None
    match = _PERCENT.fullmatch(text.strip())
    percent = float(match[1]) if match else -1.0
    if not 0 <= percent <= 100:
        raise ValueError("is no percentage from 0% to 100%")
    return percent


def format_duration(seconds: float) -> str:
    """The shortest of the units that says it exactly to the millisecond."""
    thousandths = round(seconds * 1000)
    if thousandths == 0:
        return "0"
    for unit in ("h", "m", "s"):
        factor = int(_SECONDS[unit] * 1000)
        if thousandths % factor == 0:
            return f"{thousandths // factor}{unit}"
    if thousandths < 1000:
        return f"{thousandths}ms"
    return f"{thousandths / 1000:.3f}".rstrip("0") + "s"


def format_size(size: int) -> str:
    """For people: in the biggest unit of 1024 that leaves at least 1, one decimal if needed."""
    for unit, factor in reversed(_BINARY.items()):
        if abs(size) >= factor:
            return f"{size / factor:.1f}".removesuffix(".0") + unit
    return f"{size}B"

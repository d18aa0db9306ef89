"""Numbers for people: three digits and a unit."""

from __future__ import annotations

from typing import Final

#: Between a number and its unit: they stay on one line.
GLUE: Final = "\N{NO-BREAK SPACE}"
NOTHING: Final = "\N{EN DASH}"

_SIZES: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_SPANS: Final = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"))


def size(count: float | None) -> str:
    """``12.3 GiB``; a dash for what is not known."""
    if count is None:
        return NOTHING
    unit = 0
    while count >= 999.5 and unit < len(_SIZES) - 1:
        count, unit = count / 1024, unit + 1
    digits = 0 if unit == 0 or count >= 99.95 else 1
    return f"{count:.{digits}f}{GLUE}{_SIZES[unit]}"


def rate(count: float) -> str:
    """Bytes a second."""
    return f"{size(count)}/s"


def span(seconds: float | None) -> str:
    """``12 s``, ``5 min``, ``3 h 20 min``, ``2 d``; a dash for what is not known."""
    if seconds is None:
        return NOTHING
    for unit, name in _SPANS:
        if seconds >= unit:
            return f"{int(seconds / unit)}{GLUE}{name}{_rest(seconds, unit)}"
    return f"{int(seconds)}{GLUE}s"


def _rest(seconds: float, unit: float) -> str:
    """Of hours, their minutes, and of few days, their hours."""
    if unit == 3600 and seconds < 36000:
        minutes = int(seconds % 3600 / 60)
        return f" {minutes}{GLUE}min" if minutes else ""
    if unit == 86400 and seconds < 864000:
        hours = int(seconds % 86400 / 3600)
        return f" {hours}{GLUE}h" if hours else ""
    return ""


def ago(seconds: float | None) -> str:
    """``12 s ago``."""
    if seconds is None:
        return NOTHING
    return "now" if seconds < 1 else f"{span(seconds)} ago"


def percent(share: float | None) -> str:
    """Never 100 % or 0 % for what is only close to it."""
    if share is None:
        return NOTHING
    whole = round(share * 100)
    if whole == 100 and share < 1:
        whole = 99
    if whole == 0 and share > 0:
        return f"<1{GLUE}%"
    return f"{whole}{GLUE}%"


def count(number: float, one: str, many: str | None = None) -> str:
    """``1 blob``, ``2 blobs``, ``1,234 blobs``."""
    return f"{number:,.0f}{GLUE}{one if number == 1 else many or one + 's'}"

"""How full the cache is against its cap, and the disk against its floor."""

from __future__ import annotations

from typing import Any, Final

from nodecache.web.page.markup import Html, tag
from nodecache.web.page.units import count, size

WIDTH: Final = 400


def room(cache: dict[str, Any]) -> Html:
    """Two bars, and what they mean."""
    left = max(0, min(cache["cap"] - cache["bytes"], cache["disk_free"] - cache["floor"]))
    kept = f"{count(cache['blobs'], 'blob')}, {count(cache['manifests'], 'manifest')}"
    if cache["partials"]:
        kept += f", {count(cache['partials'], 'blob')} not whole"
    return tag(
        "div",
        _cache(cache),
        _disk(cache),
        tag("p", f"{kept}. {_words(left)}", class_="note"),
    )


def _words(left: int) -> str:
    if left:
        return f"Room for {size(left)} more before anything has to go."
    return "What was unused longest goes to make room."


def _cache(cache: dict[str, Any]) -> Html:
    scale = max(cache["cap"], cache["bytes"] + cache["reserved"], 1)
    used, reserved = _x(cache["bytes"], scale), _x(cache["reserved"], scale)
    return _meter(
        "Cache",
        f"{size(cache['bytes'])} of {size(cache['cap'])}",
        [
            tag("rect", class_="used", x=0, y=0, width=used, height=14),
            tag("rect", class_="kept", x=used, y=0, width=reserved, height=14),
        ],
        cache["bytes"] / scale,
        f"{size(cache['reserved'])} are spoken for" if cache["reserved"] else None,
    )


def _disk(cache: dict[str, Any]) -> Html:
    free, floor = cache["disk_free"], cache["floor"]
    scale = max(free, 2 * floor, 1)
    low = free <= floor
    return _meter(
        "Disk free",
        f"{size(free)}, floor {size(floor)}",
        [
            tag(
                "rect", class_="low" if low else "free", x=0, y=0, width=_x(free, scale), height=14
            ),
            tag("rect", class_="tick", x=max(0, _x(floor, scale) - 1), y=0, width=2, height=14)
            if floor
            else None,
        ],
        free / scale,
        "at its floor: nothing new is stored" if low else None,
    )


def _x(count: float, scale: float) -> float:
    return round(WIDTH * count / scale, 1)


def _meter(
    name: str, words: str, shapes: list[Html | None], share: float, more: str | None
) -> Html:
    drawing = tag(
        "svg", shapes, viewBox=f"0 0 {WIDTH} 14", preserveAspectRatio="none", aria_hidden="true"
    )
    return tag(
        "div",
        tag("p", tag("span", name), tag("b", words), class_="head"),
        tag(
            "div",
            drawing,
            role="meter",
            aria_label=name,
            aria_valuemin=0,
            aria_valuemax=100,
            aria_valuenow=int(min(1.0, share) * 100),
            aria_valuetext=words,
            class_="bar thick",
        ),
        tag("p", more, class_="facts") if more else None,
        class_="meter",
    )

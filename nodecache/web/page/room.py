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
        tag("p", f"{kept}. {_words(left, cache)}", class_="note"),
    )


def _words(left: int, cache: dict[str, Any]) -> str:
    if left:
        return f"Room for {size(left)} more before anything has to go."
    if cache["disk_free"] <= cache["floor"]:
        return "What is not stored is passed through until the disk has more free."
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
        f"{size(cache['reserved'])} more are spoken for" if cache["reserved"] else "",
    )


def _disk(cache: dict[str, Any]) -> Html:
    """From the left: the cache, what else is on the disk, what is free; the floor at the end."""
    free, floor = cache["disk_free"], cache["floor"]
    total = max(cache["disk_total"], free, 1)
    low = free <= floor
    used = _x(min(cache["bytes"], total - free), total)
    taken, line = _x(total - free, total), _x(total - floor, total)
    facts = [f"floor {size(floor)}, at the mark"] if floor else []
    if low:
        facts.append("reached: nothing new is stored")
    return _meter(
        "Disk",
        f"{size(free)} of {size(total)} free",
        [
            tag("rect", class_="used", x=0, y=0, width=used, height=14),
            tag("rect", class_="other", x=used, y=0, width=max(0, taken - used), height=14),
            tag("rect", class_="low", x=line, y=0, width=max(0, taken - line), height=14),
            tag("rect", class_="tick", x=line - 1, y=0, width=2.5, height=14) if floor else None,
        ],
        (total - free) / total,
        ", ".join(facts),
    )


def _x(count: float, scale: float) -> float:
    return round(WIDTH * count / scale, 1)


def _meter(name: str, words: str, shapes: list[Html | None], share: float, more: str) -> Html:
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

"""Each upstream: whether it answers, and what is left of its rate limit, as a gauge."""

from __future__ import annotations

from typing import Any

from nodecache.web.page.markup import Html, tag
from nodecache.web.page.units import ago, percent, span

_GAUGE = "M10 60A50 50 0 0 1 110 60"


def upstreams(status: dict[str, Any]) -> Html:
    """A list, each with its gauge."""
    down = [
        tag("li", f"{each['origin']} is down too: {each['reason']}") for each in status["also_down"]
    ]
    return tag(
        "div",
        tag("ul", [_upstream(each) for each in status["upstreams"]], class_="upstreams"),
        tag("ul", down, class_="note") if down else None,
        tag("p", "This node is offline: no upstream is asked.", class_="note")
        if status["offline"]
        else None,
    )


def _upstream(seen: dict[str, Any]) -> Html:
    state, words = _state(seen)
    return tag(
        "li",
        tag(
            "div",
            tag("p", tag("b", seen["namespace"]), class_="name"),
            tag("p", tag("span", words, class_=f"state {state}"), class_="said"),
            tag("p", tag("bdi", seen["url"]), class_="facts"),
        ),
        _limit(seen),
    )


def _state(seen: dict[str, Any]) -> tuple[str, str]:
    if seen["up"] is None:
        return "unknown", "not asked yet"
    if not seen["up"]:
        why = f": {seen['reason']}" if seen["reason"] else ""
        return "bad", f"down for {span(seen['since_seconds'])}{why}"
    return "ok", f"answers since {span(seen['since_seconds'])}"


def _limit(seen: dict[str, Any]) -> Html:
    known = seen["rate_limit"]
    if known is None or known["remaining"] is None:
        return tag("p", _refused(seen) or "this node was told no rate limit", class_="facts limit")
    left, most = max(0, known["remaining"]), known["limit"]
    share = min(1.0, left / most) if most else None
    words = f"{left} of {most} pulls left" if most else f"{left} pulls left"
    facts = [_refused(seen), _resets(known), f"seen {ago(known['seen_seconds'])}"]
    return tag(
        "div",
        _gauge(share, left, words),
        tag("p", tag("b", words), class_="said"),
        tag("p", " · ".join(fact for fact in facts if fact), class_="facts"),
        class_="limit",
    )


def _refused(seen: dict[str, Any]) -> str:
    if seen["refused_seconds"] is None:
        return ""
    return f"refused a pull {ago(seen['refused_seconds'])}"


def _resets(known: dict[str, Any]) -> str:
    if known["resets_in_seconds"] is not None:
        return f"reset in {span(known['resets_in_seconds'])}"
    if known["window_seconds"]:
        return f"within {span(known['window_seconds'])}; it names no time of reset"
    return "it names no time of reset"


def _gauge(share: float | None, left: int, words: str) -> Html:
    """Half a ring; without a known limit, an empty one."""
    filled = round(100 * (share or 0.0), 1)
    level = "low" if share is not None and share <= 0.1 else "fine"
    return tag(
        "svg",
        tag(
            "path",
            class_="rest" if share is None or share else "rest used-up",
            d=_GAUGE,
            pathLength=100,
        ),
        tag("path", class_=level, d=_GAUGE, pathLength=100, stroke_dasharray=f"{filled} 200")
        if filled
        else None,
        tag("text", left, x=60, y=56, text_anchor="middle"),
        viewBox="0 0 120 66",
        role="img",
        aria_label=f"Rate limit: {words}" + (f", {percent(share)}" if share is not None else ""),
        class_="gauge",
    )

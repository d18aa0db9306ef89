"""The page: its parts in their order, and what changes of it while one looks.

Everything is made here, on the server, and says the same without JavaScript.
With it, the page asks for its *live* parts every two seconds and puts in those
that changed: there is one way in which each fact is drawn, and one place where
what comes from outside is escaped.
"""

from __future__ import annotations

from typing import Any, Final

import attrs

from nodecache.web.page import flights, lists, peers, plot, room, top, upstreams
from nodecache.web.page.markup import Child, Html, tag

_ICON: Final = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E"
    "%3Crect width='16' height='16' rx='3' fill='%23236b5f'/%3E"
    "%3Cpath d='M3 5h10M3 8h10M3 11h6' stroke='white' stroke-width='1.6'/%3E%3C/svg%3E"
)
_WINDOWS: Final = {"15m": "15 minutes", "1h": "1 hour", "24h": "24 hours"}


@attrs.frozen
class Documents:
    """As ``/api/v1/`` has them; ``peers`` and ``feeds`` are None for a node without any."""

    status: dict[str, Any]
    history: dict[str, Any]
    transfers: dict[str, Any]
    errors: dict[str, Any]
    peers: dict[str, Any] | None
    feeds: dict[str, Any] | None


@attrs.frozen
class Assets:
    """The text of the one style sheet and of the one script; ``release`` names both."""

    style: str
    script: str
    release: str


def page(documents: Documents, assets: Assets) -> str:
    """The whole document."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", top.title(documents.status)),
        tag("link", rel="icon", href=_ICON),
        tag("style", Html(assets.style)),
    )
    body = tag("body", live(documents, assets), tag("script", Html(assets.script)))
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def live(documents: Documents, assets: Assets) -> Html:
    """The body without its script: what is asked for again and again."""
    status = documents.status
    return Html(
        "".join(
            (
                tag(
                    "header",
                    _live("name", top.name(status)),
                    _live("about", top.about(status)),
                    tag("p", tag("span", id="pulse"), id="beat"),
                    tag("noscript", tag("p", "Reload the page to see it anew.")),
                ),
                tag("p", id="silence", role="alert", hidden=True),
                tag(
                    "main",
                    _live("health", top.health(status), role="status"),
                    _live("numbers", top.numbers(status)),
                    _history(documents.history),
                    _columns(documents),
                    id="page",
                    data_release=assets.release,
                    data_title=top.title(status),
                ),
                _foot(shared=documents.peers is not None),
            )
        )
    )


def _columns(documents: Documents) -> Html:
    """What is going on to the left, what came of it to the right; on a phone in this order."""
    status = documents.status
    left = [
        _part("flights", "In flight", flights.flights(documents.transfers)),
        _part("upstreams", "Upstreams", upstreams.upstreams(status)),
        _part("room", "Room", room.room(status["cache"])),
    ]
    right = [_part("images", "Images", lists.images(status))]
    if documents.peers is not None and documents.feeds is not None:
        right.insert(0, _peers(documents.peers, status, documents.feeds))
    errors = _part("errors", "Last errors", lists.errors(documents.errors["errors"]))
    (left if documents.peers is not None else right).append(errors)
    return tag("div", tag("div", left), tag("div", right), class_="columns")


def _part(name: str, heading: str, drawn: Html) -> Html:
    return _section(name, heading, _live(f"{name}-now", drawn))


def _peers(seen: dict[str, Any], status: dict[str, Any], feeds: dict[str, Any]) -> Html:
    return _section(
        "peers",
        "Peers: who feeds whom",
        _live("peers-now", peers.peers(seen, status, feeds)),
        _more("peers-all", "The same in numbers", peers.peers_tables(seen, status, feeds)),
    )


def _history(history: dict[str, Any]) -> Html:
    links = [
        tag(
            "a",
            words,
            href=f"?window={window}",
            id=f"window-{window}",
            aria_current="true" if window == history["window"] else None,
        )
        for window, words in _WINDOWS.items()
    ]
    return _section(
        "history",
        "Where bytes came from",
        tag("nav", links, aria_label="Time that is shown"),
        _live("plot", plot.plot(history)),
        _more("history-all", "The same in numbers", plot.table(history)),
    )


def _section(name: str, heading: str, *children: Child) -> Html:
    return tag("section", tag("h2", heading, id=f"{name}-h"), children, aria_labelledby=f"{name}-h")


def _live(name: str, *children: Child, **attributes: str) -> Html:
    return tag("div", children, id=name, data_live=True, **attributes)


def _more(name: str, words: str, wide: Html) -> Html:
    """Folded away; a wide table scrolls within itself."""
    inner = _live(f"{name}-now", wide)
    scrolls = tag("div", inner, class_="wide", tabindex="0", role="region", aria_label=words)
    return tag("details", tag("summary", words), scrolls, id=name)


def _foot(*, shared: bool) -> Html:
    # Without a slash before them: there may be a proxy that shows the node under a path of its own.
    documents = ["status", "history", "transfers", "errors", *(["peers", "feeds"] * shared)]
    paths = ("metrics", *(f"api/v1/{name}" for name in documents))
    links = [tag("li", tag("a", f"/{path}", href=path)) for path in paths]
    return tag("footer", tag("ul", links), tag("p", "Counts are since the start of the node."))

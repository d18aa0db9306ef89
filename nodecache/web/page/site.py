"""``/``: the status page for a browser, the same facts as plain text for everybody else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import Final

from klein import Klein

from nodecache.watching import Window
from nodecache.web.api import PeersSeenHere, peers_view
from nodecache.web.api_status import Watched, asked_window
from nodecache.web.page.facts import facts
from nodecache.web.page.whole import Assets, Documents, live, page
from nodecache.web.request import GuardedRequest

HTML: Final = "text/html; charset=utf-8"
TEXT: Final = "text/plain; charset=utf-8"

#: Beside the policy itself.
HEADERS: Final = (
    ("Referrer-Policy", "no-referrer"),
    ("X-Frame-Options", "DENY"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Permissions-Policy", "camera=(), geolocation=(), microphone=()"),
)


def read_assets() -> Assets:
    """As they are packaged."""
    here = files("nodecache.web.page")
    style = here.joinpath("page.css").read_text(encoding="utf-8")
    script = here.joinpath("page.js").read_text(encoding="utf-8")
    release = hashlib.sha256((style + script).encode()).hexdigest()[:12]
    return Assets(style, script, release)


def policy(assets: Assets) -> str:
    """Our own style sheet and script by their hash, our own port, and nothing else."""
    return "; ".join(
        (
            "default-src 'none'",
            f"style-src {_hash(assets.style)}",
            f"script-src {_hash(assets.script)}",
            "connect-src 'self'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


class _Page:
    """Answers the two paths."""

    def __init__(self, watched: Watched, peers: Callable[[], PeersSeenHere] | None) -> None:
        self._watched = watched
        self._peers = peers
        self._assets = read_assets()
        self._policy = policy(self._assets)

    def root(self, request: GuardedRequest) -> bytes:
        request.setHeader("Vary", "Accept")
        if wants_html(request.requestHeaders.getRawHeaders("Accept", [])):
            return self._answer(request, page)
        words = facts(self._watched.status(), self._watched.transfers())
        return request.reply(200, words.encode("utf-8", "replace"), TEXT)

    def live(self, request: GuardedRequest) -> bytes:
        return self._answer(request, live)

    def _answer(self, request: GuardedRequest, draw: Callable[[Documents, Assets], str]) -> bytes:
        try:
            window = asked_window(request)
        except ValueError as wrong:
            return request.reply(400, f"{wrong}\n".encode(), TEXT)
        markup = draw(self._documents(window), self._assets)
        request.setHeader("Content-Security-Policy", self._policy)
        for name, value in HEADERS:
            request.setHeader(name, value)
        return request.reply(200, markup.encode("utf-8", "replace"), HTML)

    def _documents(self, window: Window) -> Documents:
        watched = self._watched
        return Documents(
            status=watched.status(),
            history=watched.history(window),
            transfers=watched.transfers(),
            errors=watched.errors(),
            peers=None if self._peers is None else peers_view(self._peers()),
            feeds=watched.feeds(),
        )


def status_page(
    watched: Watched, peers: Callable[[], PeersSeenHere] | None
) -> Callable[[Klein], None]:
    """For ``admin_site(more=...)``: adds ``/`` and ``/page/live``."""
    made = _Page(watched, peers)

    def add(app: Klein) -> None:
        app.route("/", methods=["GET"], endpoint="page")(made.root)
        app.route("/page/live", methods=["GET"], endpoint="live")(made.live)

    return add


def wants_html(accepts: Sequence[str]) -> bool:
    """Whether HTML is named, and not as what is wanted least: browsers do, curl does not."""
    for part in ",".join(accepts).lower().split(","):
        kind, *parameters = (word.strip() for word in part.split(";"))
        if kind in {"text/html", "application/xhtml+xml"}:
            return not any(word.replace(" ", "") in {"q=0", "q=0.0"} for word in parameters)
    return False

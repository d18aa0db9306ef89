"""Where an upstream's redirect may lead (RFC 9110 section 15.4). Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urljoin, urlsplit

from nodecache.failures import UpstreamFailure, UpstreamKind
from nodecache.upstream.urls import origin_of

REDIRECTS = frozenset({301, 302, 303, 307, 308})

#: Headers that are for the host that they were made for, and for no other.
PERSONAL = frozenset({"authorization", "cookie", "proxy-authorization"})

_VISIBLE = re.compile(r"[!-~]+")


def next_url(url: str, location: str | None) -> str:
    """The URL that a redirect of ``url`` leads to. Raises UpstreamFailure(WRONG).

    https may not lead to http, and no URL may hold a login.
    """
    if not location or len(location) > 16 * 1024 or not _VISIBLE.fullmatch(location):
        raise _refused("a redirect names no usable place")
    try:
        target = urljoin(url, location)
        parts = urlsplit(target)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise _refused("a redirect names no usable place") from None
    if parts.scheme not in {"http", "https"} or not host:
        raise _refused("a redirect leads to another scheme")
    if parts.scheme == "http" and urlsplit(url).scheme == "https":
        raise _refused("a redirect leads from https to http")
    if "@" in parts.netloc or "\\" in target:
        raise _refused("a redirect names a login")
    return parts._replace(fragment="").geturl()


def headers_for(url: str, target: str, headers: Mapping[str, str]) -> dict[str, str]:
    """``headers``, made for ``url``, for ``target``: no secret leaves its origin."""
    if origin_of(url) == origin_of(target):
        return dict(headers)
    return {name: value for name, value in headers.items() if name.lower() not in PERSONAL}


def _refused(words: str) -> UpstreamFailure:
    return UpstreamFailure(UpstreamKind.WRONG, f"{words}, which is refused")

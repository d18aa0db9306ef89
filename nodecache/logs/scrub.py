"""A last net under secrets: no event should hold one, yet exceptions quote what they like."""

from __future__ import annotations

import re

_HIDDEN = "[hidden]"
_RULES = (
    # User and password of a URL.
    (re.compile(r"(?<=://)[^/\s@]+@"), f"{_HIDDEN}@"),
    # The query of a URL: signed links and tokens live there.
    (re.compile(r"(\bhttps?://[^\s?#'\"<>]*\?)[^\s'\"<>]+", re.IGNORECASE), rf"\1{_HIDDEN}"),
    # Credentials as headers carry them.
    (re.compile(r"\b(Bearer|Basic)(\s+)[A-Za-z0-9+/._~=-]{6,}", re.IGNORECASE), rf"\1\2{_HIDDEN}"),
    # JSON Web Tokens, wherever they stand.
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"), _HIDDEN),
    # name=value and "name": "value" of what is named for a secret.
    (
        re.compile(
            r"(\b(?:access_token|refresh_token|token|password|passwd|secret|authorization|cookie)"
            r"[\"']?\s*[=:]\s*[\"']?)(?!Bearer\b|Basic\b)[^\s\"'&,;)}]+",
            re.IGNORECASE,
        ),
        rf"\1{_HIDDEN}",
    ),
)


def scrub(text: str) -> str:
    """``text`` without what looks like a password, a token or a signed link."""
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text

"""What identifies the other side of a connection. Pure."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit


def port_of(parts: SplitResult) -> int:
    """The port that a URL means."""
    return parts.port or (443 if parts.scheme == "https" else 80)


def origin_of(url: str) -> str:
    """``https://host:443``: scheme, host and port, always all three."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port_of(parts)}"


def host_of(url: str) -> str:
    """The host for a log line: no port, no path, no query; empty when there is none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""

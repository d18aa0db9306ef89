"""One value of a setting, as a flag, a variable or the file gives it, read and checked.

Each reader takes text or a TOML value and raises ValueError with the rest of
a sentence: its caller puts the key, and ``shown`` the value, before it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import SplitResult, urlsplit

from nodecache.config.settings import SizeSetting, parse_listen
from nodecache.config.units import DURATION_MOST, SIZE_MOST, parse_bytes, parse_duration
from nodecache.reference import is_namespace

_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})
#: What of a URL may stand before its user and password: ``NS=`` and the scheme.
_BEFORE_USER = re.compile(r"(?:[\w.-]+(?::\d+)?=)?(?:[A-Za-z][A-Za-z0-9+.-]*://)?")
_QUERY = re.compile(r"[?#].*", re.DOTALL)
_VISIBLE = re.compile(r"[!-~]+")
_PATTERN = re.compile(r"[a-z0-9._/*?!\[\]-]{1,255}")
_SHOWN = 60  # characters of a bad value that an error line quotes


def masked(text: str) -> str:
    """``text`` without what may be a secret if it is a URL, or was meant to be one.

    A password may hold what ends a user's part in a URL that is well-formed, so all before the
    last ``@`` is hidden, and so is what follows a ``?`` or ``#``; with both, all but the scheme.
    """
    above, at, below = text.rpartition("@")
    if at:
        before = _BEFORE_USER.match(above)
        hidden = f"{before[0] if before else ''}***"
        return hidden if _QUERY.search(text) else f"{hidden}@{below}"
    return _QUERY.sub(lambda found: f"{found[0][0]}***" if found[0][1:] else found[0], text)


def shown(value: object) -> str:
    """``value`` for an error line: short, on one line, and without a secret of a URL."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list | tuple):
        return "a list"
    text = masked(str(value))
    short = text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
    return repr(short) if isinstance(value, str) else short


def exposed(name: str, mode: int) -> str:
    """A warning where a file of secrets, of ``mode``, can be read by every user; else empty."""
    if not mode & 0o004:
        return ""
    return f"{name} can be read by every user (mode {mode & 0o777:04o}): chmod o-r"


def read_text(value: object) -> str:
    """Text that is not empty and has no control characters."""
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise ValueError("is not text, empty, or has control characters")
    return value


def read_texts(value: object) -> tuple[str, ...]:
    """A list of texts, none of them empty."""
    items = value if isinstance(value, list | tuple) else None
    if items is None or not all(isinstance(item, str) for item in items):
        raise ValueError("is not a list of texts")
    return tuple(read_text(item).strip() for item in items)


def read_boolean(value: object) -> bool:
    """True or false, or text that says so."""
    if isinstance(value, bool):
        return value
    word = value.strip().lower() if isinstance(value, str) else ""
    if word not in _TRUE | _FALSE:
        raise ValueError("is neither true nor false")
    return word in _TRUE


def read_duration(value: object) -> float:
    """Seconds: text with a unit, or a number of seconds."""
    if isinstance(value, str):
        return parse_duration(value)
    seconds = value if isinstance(value, int | float) and not isinstance(value, bool) else -1
    if not 0 <= seconds <= DURATION_MOST:
        raise ValueError("is no duration (like 30s, 5m, 1h, 250ms, or 0)")
    return float(seconds)


def read_bytes(value: object) -> int:
    """Bytes: text with a unit, or a whole number of bytes."""
    if isinstance(value, str):
        return parse_bytes(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= SIZE_MOST:
        raise ValueError("is no size (like 20GiB, 500MB, or a number of bytes)")
    return value


def read_size(value: object) -> SizeSetting:
    """A size, or a share of the disk."""
    if isinstance(value, str):
        return SizeSetting.parse(value)
    return SizeSetting(bytes=read_bytes(value))


def read_listen(value: object) -> str:
    """``HOST:PORT``, in the form in which ``parse_listen`` gives it back."""
    return str(parse_listen(read_text(value)))


def one_of(*words: str) -> Callable[[object], str]:
    """A reader that takes one of ``words``."""

    def read(value: object) -> str:
        word = value.strip().lower() if isinstance(value, str) else ""
        if word not in words:
            raise ValueError(f"is not one of {', '.join(words)}")
        return word

    return read


def read_url(value: object) -> str:
    """An http or https URL of a registry, without a slash at the end."""
    url = _split_url(value)
    if url.scheme not in ("http", "https"):
        raise ValueError("is no URL that begins with https:// or http://")
    if "@" in url.netloc or "@" in url.path:
        raise ValueError("holds a user or password; they belong in an account file")
    path = url.path.rstrip("/")
    if path.endswith("/v2"):
        raise ValueError("ends in /v2, which is added to it")
    return f"{url.scheme}://{url.netloc.lower()}{path}"


def read_proxy(value: object) -> str:
    """An http URL of a proxy; it may hold a user and password."""
    url = _split_url(value)
    if url.scheme != "http" or url.path.strip("/"):
        raise ValueError("is no proxy URL like http://host:3128")
    return f"http://{url.netloc}"


def _split_url(value: object) -> SplitResult:
    text = read_text(value).strip()
    if not _VISIBLE.fullmatch(text):
        raise ValueError("has characters that no URL has")
    try:
        url = urlsplit(text)
        host, port = url.hostname, url.port
    except ValueError:
        raise ValueError("is no URL: its host or port is wrong") from None
    if not host or port == 0 or url.netloc.endswith(":"):
        raise ValueError("is no URL with a host")
    if not is_namespace(f"[{host}]" if ":" in host else host):
        raise ValueError("is no URL: its host is wrong")
    if "?" in text or "#" in text:
        raise ValueError("has a query or a fragment")
    return url


def read_host(value: object) -> str:
    """A host, with its port where that is not the scheme's own."""
    host = read_text(value).strip().lower()
    if not is_namespace(host):
        raise ValueError("is no host")
    return host


def read_pattern(value: object) -> str:
    """A shell pattern over repository names."""
    pattern = read_text(value).strip()
    if not _PATTERN.fullmatch(pattern):
        raise ValueError("is no pattern of repository names (lower case, * and ?)")
    return pattern


def read_repository(value: object) -> str:
    """A pattern of repository names that does not cover all owners."""
    pattern = read_pattern(value)
    if pattern[0] in "*?[!":
        raise ValueError("would use the account for everything: name the repositories")
    return pattern

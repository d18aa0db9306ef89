"""What an upstream asks for before it serves: challenges, scopes and tokens.

Challenges: RFC 9110 section 11. Tokens: the Docker registry token protocol, in
which a repository's pull scope is asked of the realm that a challenge names.
An upstream is not trusted to name any realm: see ``realm_allowed``.
"""

from __future__ import annotations

import ipaddress
import json
import math
import re
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final, TypeAlias
from urllib.parse import SplitResult, urlsplit

import attrs

#: Characters of one header line; a longer one is not read.
CHALLENGE_LENGTH: Final = 8192
#: Seconds; the protocol's default, where a token answer names no life.
DEFAULT_LIFE: Final = 60.0


@attrs.frozen
class BearerChallenge:
    """``realm`` is the URL to ask for a token; ``scope`` may name several scopes."""

    realm: str
    service: str | None = None
    scope: str | None = None


@attrs.frozen
class BasicChallenge:
    """User and password are wanted; ``realm`` is a name to show, not a URL."""

    realm: str = ""


Challenge: TypeAlias = BearerChallenge | BasicChallenge

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105  # RFC 9110's word for a word
# A value without quotes may hold what only belongs in quotes (a URL): some registries send that.
_PARAMETER = re.compile(rf'({_TOKEN})[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s",]*)(?=[\s,]|$))')
_SCHEME = re.compile(rf"({_TOKEN})(?=[ \t,]|$)(?:[ \t]+[A-Za-z0-9._~+/-]+=*[ \t]*(?=,|$))?")
_BETWEEN = re.compile(r"[ \t,]+")
_ESCAPED = re.compile(r"\\(.)")


def parse_challenges(headers: Sequence[str]) -> list[Challenge]:
    """The challenges that we can answer, of all ``WWW-Authenticate`` lines, in order.

    Other schemes and junk are left out; never raises.
    """
    return [
        challenge
        for header in headers
        if len(header) <= CHALLENGE_LENGTH
        for scheme, parameters in _schemes(header)
        if (challenge := _challenge(scheme, parameters)) is not None
    ]


def _schemes(header: str) -> list[tuple[str, dict[str, str]]]:
    found: list[tuple[str, dict[str, str]]] = []
    for scheme, name, value in _words(header):
        if scheme:
            found.append((scheme.lower(), {}))
        elif found:
            found[-1][1].setdefault(name.lower(), value)
    return found


def _words(header: str) -> Iterator[tuple[str, str, str]]:
    """Either a scheme, or the name and value of a parameter; junk up to the next comma is skipped.

    A word before an equals sign is a parameter's name, any other a scheme: the
    grammar needs no more, although commas part both challenges and parameters.
    """
    position = 0
    while position < len(header):
        if between := _BETWEEN.match(header, position):
            position = between.end()
        elif parameter := _PARAMETER.match(header, position):
            name, quoted, plain = parameter.groups()
            yield "", name, plain if quoted is None else _ESCAPED.sub(r"\1", quoted)
            position = parameter.end()
        elif scheme := _SCHEME.match(header, position):
            yield scheme[1], "", ""
            position = scheme.end()
        else:
            comma = header.find(",", position)
            position = len(header) if comma < 0 else comma + 1


def _challenge(scheme: str, parameters: dict[str, str]) -> Challenge | None:
    if scheme == "basic":
        return BasicChallenge(parameters.get("realm", ""))
    if scheme == "bearer" and parameters.get("realm"):
        return BearerChallenge(
            parameters["realm"], parameters.get("service"), parameters.get("scope")
        )
    return None


def pull_scope(name: str) -> str:
    """The scope for pulling the repository ``name``."""
    return f"repository:{name}:pull"


# Second-level names under which anyone may register (co.uk and its kind).
_PUBLIC_SECOND_LEVEL: Final = frozenset({"ac", "co", "com", "edu", "gov", "net", "or", "org"})


_HOST = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.?")


def realm_allowed(realm_url: str, upstream_url: str, extra_hosts: Collection[str]) -> bool:
    """Whether a token, and the account's password, may be asked of a realm.

    It may when the realm's host is the upstream's, or below it, or the
    upstream's parent domain or below that (``auth.docker.io`` for
    ``registry-1.docker.io``), or listed in ``extra_hosts`` (``host`` or
    ``host:port``). A parent domain has two labels or more and is not one under
    which anyone may register. Addresses are never parents. An https upstream
    needs an https realm.
    """
    realm, upstream = _split(realm_url), _split(upstream_url)
    if realm is None or upstream is None or (upstream.scheme, realm.scheme) == ("https", "http"):
        return False
    host, trusted = _host(realm), _host(upstream)
    listed = {extra.lower() for extra in extra_hosts}
    if host == trusted or not listed.isdisjoint(_spellings(host, _port(realm))):
        return True
    if _is_address(host) or _is_address(trusted):
        return False
    parent = trusted.partition(".")[2]
    return _is_below(host, trusted) or (
        _is_domain(parent) and (host == parent or _is_below(host, parent))
    )


def _split(url: str) -> SplitResult | None:
    """The parts of an http(s) URL that leaves no doubt about its host."""
    if re.search(r"[^\x21-\x7e]|\\", url):
        return None
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    host = parts.hostname or ""
    if parts.scheme not in {"http", "https"} or "@" in parts.netloc:
        return None
    return parts if _HOST.fullmatch(host) or _is_address(host) else None


def _host(parts: SplitResult) -> str:
    host = (parts.hostname or "").rstrip(".")
    return str(ipaddress.ip_address(host)) if _is_address(host) else host


def _spellings(host: str, port: int) -> set[str]:
    """How a list may name a host and port; an IPv6 address also in brackets."""
    bracketed = f"[{host}]" if ":" in host else host
    return {host, bracketed, f"{bracketed}:{port}"}


def _port(parts: SplitResult) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_domain(host: str) -> bool:
    """Whether everything below ``host`` belongs to one owner, as far as its form tells."""
    labels = host.split(".")
    if len(labels) < 2:
        return False
    return not (len(labels) == 2 and len(labels[1]) == 2 and labels[0] in _PUBLIC_SECOND_LEVEL)


def _is_below(host: str, domain: str) -> bool:
    return _is_domain(domain) and host.endswith(f".{domain}")


@attrs.frozen
class Token:
    """A bearer token; ``expires_at`` is in seconds on the clock of ``parse_token``'s caller."""

    value: str = attrs.field(repr=False)
    expires_at: float


def parse_token(body: bytes, received_at: float) -> Token:
    """The answer of a token server, received at ``received_at`` (wall clock, seconds).

    The life of a token counts from its ``issued_at`` where that is believable:
    not in the future, and not so far back that the token came expired (the two
    clocks differ then). Raises ValueError for an answer without a token that
    can go into a header.
    """
    try:
        answer = json.loads(body)
    except RecursionError:
        raise ValueError("the token answer is nested too deep") from None
    if not isinstance(answer, dict):
        raise ValueError("the token answer is not a JSON object")  # noqa: TRY004  # one error for junk
    value = answer.get("token") or answer.get("access_token")
    if not isinstance(value, str) or not re.fullmatch(r"[\x21-\x7e]+", value):
        raise ValueError("the token answer holds no token")
    life = _seconds(answer.get("expires_in"))
    issued_at = _issued_at(answer.get("issued_at"), received_at)
    expires_at = issued_at + life
    return Token(value, expires_at if expires_at > received_at else received_at + life)


def _seconds(value: object) -> float:
    """A life in seconds, also of a number in quotes; the default for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return DEFAULT_LIFE
    try:
        life = float(value)
    except (ValueError, OverflowError):
        return DEFAULT_LIFE
    return life if math.isfinite(life) and life > 0 else DEFAULT_LIFE


def _issued_at(value: object, received_at: float) -> float:
    """An RFC 3339 time (UTC where it names no zone) in seconds, or the receipt."""
    if not isinstance(value, str):
        return received_at
    try:
        issued = datetime.fromisoformat(value)
    except ValueError:
        return received_at
    if issued.tzinfo is None:
        issued = issued.replace(tzinfo=UTC)
    return min(issued.timestamp(), received_at)

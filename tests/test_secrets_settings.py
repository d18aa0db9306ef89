"""What is said of settings shows no password, also where it stands in what is no good."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodecache.config import load
from nodecache.config.effective import effective
from nodecache.config.values import masked
from nodecache.failures import ConfigError

SECRET = "s3cretpw"
#: Passwords that end a user's part of a URL, or a URL, where nobody meant that.
PASSWORDS = [
    SECRET,
    *(f"{before}{SECRET}" for before in "/?#@: =%&"),
    f"a//{SECRET}",
    f"x={SECRET}",
]
PLACES = [
    "http://user:{}@host:3128",
    "user:{}@host:3128",
    "http:user:{}@host",
    "socks5://user:{}@host",
    "http://user:{}@host:99999",
    "http://user:{}@host/path",
    "http://{}@host:3128",
    "http://host/?key={}",
    "http://host#{}",
    "http://host/a?b=c&key={}&d=@",
]


def said(
    toml: str = "",
    flags: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
) -> str:
    """All that is told of these settings: a complaint, or their values and warnings."""
    try:
        loaded = load(flags or {}, environ or {}, toml or None, "nodecache.toml")
    except ConfigError as error:
        return str(error)
    rows = [f"{row.key} {row.value}" for row in effective(loaded.settings)]
    return "\n".join([*rows, *loaded.warnings, repr(loaded.settings)])


def quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize("place", PLACES)
def test_no_url_of_a_setting_is_told_with_its_password(place: str, password: str) -> None:
    url = place.format(password)
    for key in ("proxy", "url", "mirrors"):
        value = f"[{quoted(url)}]" if key == "mirrors" else quoted(url)
        words = said(f'[upstreams."docker.io"]\n{key} = {value}\n')
        assert SECRET not in words, (key, words)
    for words in (
        said(f"[telemetry]\ntraces = {quoted(url)}\n"),
        said(flags={"upstream": [f"docker.io={url}"]}),
        said(flags={"upstream": [url]}),
        said(environ={"NODECACHE_UPSTREAMS": f"docker.io={url}"}),
    ):
        assert SECRET not in words, words


@pytest.mark.parametrize(
    "toml",
    [
        f'[upstreams."docker.io"]\naccount = "user:{SECRET}"',
        f'[upstreams."docker.io".account]\npassword = "{SECRET}"',
        f'[upstreams."docker.io".account]\nfile = ["{SECRET}"]\nrepositories = ["a/b"]',
        f'peer_secret = "{SECRET}"',
        f'peers = "node"\npeer_secret_file = ["{SECRET}"]',
        f'key = "{SECRET}',
    ],
)
def test_a_secret_in_place_of_its_file_is_not_quoted(toml: str) -> None:
    words = said(toml)
    assert "nodecache.toml" in words
    assert SECRET not in words


def test_a_variable_that_holds_a_secret_and_is_no_setting_is_named_and_not_shown() -> None:
    words = said(environ={"NODECACHE_PEER_SECRET": SECRET, "NODECACHE_PASSWORD": SECRET})
    assert "NODECACHE_PEER_SECRET" in words
    assert SECRET not in words


def test_what_a_url_says_without_a_secret_is_still_shown() -> None:
    assert masked("http://proxy.example:3128") == "http://proxy.example:3128"
    assert masked("docker.io=http://user:pw@host:1") == "docker.io=http://***@host:1"
    assert masked("quay.io:443=user:pw@host") == "quay.io:443=***@host"
    assert masked("http://host/a?key=value") == "http://host/a?***"
    assert masked("http://user:p?w@host:1") == "http://***"
    assert masked("10%") == "10%"
    assert masked("*") == "*"


@given(
    st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20),
    st.sampled_from(["", "docker.io=", "docker.io:443="]),
    st.sampled_from(["", "http://", "https://", "socks5h://"]),
)
def test_whatever_the_password_only_what_stands_around_it_is_shown(
    password: str, listed: str, scheme: str
) -> None:
    shown = masked(f"{listed}{scheme}:{password}@proxy.example:1")
    assert shown in (f"{listed}{scheme}***@proxy.example:1", f"{listed}{scheme}***")

"""The list of upstreams and what the file says about each; no secret is ever quoted."""

from __future__ import annotations

import pytest

from nodecache.config import AccountSettings, Loaded, UpstreamSettings, load
from nodecache.failures import ConfigError

FILE = "nodecache.toml"
HUB_URL = "https://registry-1.docker.io"
HUB = UpstreamSettings("docker.io", HUB_URL)
QUAY = UpstreamSettings("quay.io", "https://quay.io")


def read(toml: str | None = None, **flags: object) -> Loaded:
    return load(flags, {}, toml, FILE)


def listed(*entries: str) -> tuple[UpstreamSettings, ...]:
    return read(upstream=entries).settings.upstreams


def one(toml: str, namespace: str = "docker.io") -> UpstreamSettings:
    """The upstream that a table with the lines ``toml`` makes."""
    loaded = read(f'[upstreams."{namespace}"]\n{toml}')
    (found,) = [u for u in loaded.settings.upstreams if u.namespace == namespace]
    return found


def complaint(toml: str | None = None, **flags: object) -> str:
    with pytest.raises(ConfigError) as caught:
        read(toml, **flags)
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_a_list_replaces_docker_hub() -> None:
    assert listed("quay.io=https://quay.io") == (QUAY,)


def test_a_flag_may_be_repeated_and_may_hold_commas() -> None:
    entries = ("docker.io=https://a.example, quay.io=https://quay.io", "ghcr.io=https://ghcr.io,")
    assert [u.namespace for u in listed(*entries)] == ["docker.io", "quay.io", "ghcr.io"]


def test_a_variable_and_the_file_take_the_list_in_one_text() -> None:
    text = "docker.io=https://registry-1.docker.io,quay.io=https://quay.io"
    assert load({}, {"NODECACHE_UPSTREAMS": text}, None, "").settings.upstreams == (HUB, QUAY)
    assert read(f'upstream = "{text}"').settings.upstreams == (HUB, QUAY)


@pytest.mark.parametrize(
    "name", ["docker.io", "index.docker.io", "registry-1.docker.io", "DOCKER.io"]
)
def test_docker_hub_has_one_name(name: str) -> None:
    assert listed(f"{name}={HUB_URL}") == (HUB,)


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("https://quay.io/", "https://quay.io"),
        ("HTTPS://Quay.IO", "https://quay.io"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("http://[::1]:5000/", "http://[::1]:5000"),
        ("https://host/artifactory/api/docker/hub/", "https://host/artifactory/api/docker/hub"),
    ],
)
def test_urls_lose_their_last_slash_and_hosts_their_capitals(written: str, url: str) -> None:
    assert listed(f"quay.io={written}") == (UpstreamSettings("quay.io", url),)


@pytest.mark.parametrize(
    "url",
    [
        *("", "quay.io", "quay.io:443", "ftp://quay.io", "https://", "https:///x", "//quay.io"),
        *("https://quay.io:99999", "https://quay.io:x", "https://quay.io:", "https://quay.io:0"),
        *("https://[::1", "https://qu ay.io", "https://quay.io?a=b", "https://quay.io#x"),
        *("https://quay.io/v2", "https://quay.io/v2/", "https://ä.example", "https://qu%61y.io"),
        *("https://-quay.io", "https://quay.io?", "https://quay.io\\x"),
    ],
)
def test_what_is_no_url_of_a_registry_is_refused(url: str) -> None:
    assert complaint(upstream=(f"quay.io={url}",)).startswith("--upstream: ")


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (("quay.io",), "--upstream: 'quay.io' is not NS=URL (like docker.io=" + HUB_URL + ")"),
        (("=https://a",), "--upstream: '=https://a' has no namespace (a host, like docker.io) "),
        (("a/b=https://a",), "--upstream: 'a/b=https://a' has no namespace"),
        (("../etc=https://a",), "--upstream: '../etc=https://a' has no namespace"),
        (("a=https://a", "a=https://b"), "--upstream: a is given twice"),
        (
            ("docker.io=https://a,index.docker.io=https://b",),
            "--upstream: docker.io is given twice",
        ),
        ((",",), "--upstream: names no upstream"),
        ((5,), "--upstream: a list is not NS=URL, or a list of them"),
    ],
)
def test_a_wrong_list_is_refused(entries: tuple[object, ...], message: str) -> None:
    assert complaint(upstream=entries).startswith(message)


SECRET = "hunter2"


@pytest.mark.parametrize(
    "toml",
    [
        f'upstream = "docker.io=https://me:{SECRET}@hub.example"',
        f'upstream = "docker.io=https://me:{SECRET}@hub.example:99999"',
        f'upstream = "do cker.io=https://me:{SECRET}@hub.example"',
        f'[upstreams."docker.io"]\nurl = "https://me:{SECRET}@hub.example"',
        f'[upstreams."docker.io"]\nmirrors = ["https://{SECRET}@hub.example"]',
        f'[upstreams."docker.io"]\nproxy = "https://me:{SECRET}@proxy:3128"',
        f'[upstreams."docker.io"]\nproxy = "http://me:{SECRET}@proxy:3128/path"',
    ],
)
def test_a_password_in_a_url_is_refused_or_wrong_and_never_quoted(toml: str) -> None:
    assert SECRET not in complaint(toml)


def test_a_password_of_a_proxy_is_allowed_and_not_shown() -> None:
    upstream = one(f'proxy = "http://me:{SECRET}@proxy:3128/"')
    assert upstream.proxy == f"http://me:{SECRET}@proxy:3128"
    assert SECRET not in repr(upstream)
    assert SECRET not in repr(read(f'[upstreams."docker.io"]\nproxy = "{upstream.proxy}"'))


def test_a_table_says_all_there_is_to_say() -> None:
    upstream = one(
        """
        url = "https://hub.example/"
        mirrors = ["http://mirror-1:5000", "https://mirror-2/"]
        allow = ["library/*", "team/app"]
        deny = ["library/secret"]
        ca_file = "/etc/ca.pem"
        proxy = "http://proxy:3128"
        realm_hosts = ["auth.example", "Login.example:8443"]
        [upstreams."docker.io".account]
        file = "/etc/account"
        repositories = ["team/*"]
        """
    )
    assert upstream == UpstreamSettings(
        namespace="docker.io",
        url="https://hub.example",
        mirrors=("http://mirror-1:5000", "https://mirror-2"),
        account=AccountSettings("/etc/account", ("team/*",)),
        allow=("library/*", "team/app"),
        deny=("library/secret",),
        ca_file="/etc/ca.pem",
        proxy="http://proxy:3128",
        realm_hosts=("auth.example", "login.example:8443"),
    )
    assert upstream.urls == ("http://mirror-1:5000", "https://mirror-2", "https://hub.example")


def test_a_table_for_docker_hub_needs_no_url() -> None:
    assert one('deny = ["x/*"]').url == HUB_URL


def test_a_table_adds_its_namespace_to_the_default_list() -> None:
    loaded = read('[upstreams."quay.io"]\nurl = "https://quay.io"')
    assert loaded.settings.upstreams == (HUB, QUAY)


def test_a_table_adds_its_namespace_to_the_list_of_the_file() -> None:
    loaded = read(
        'upstream = ["quay.io=https://quay.io"]\n[upstreams."ghcr.io"]\nurl = "https://ghcr.io"'
    )
    assert [u.namespace for u in loaded.settings.upstreams] == ["quay.io", "ghcr.io"]


@pytest.mark.parametrize(
    ("lines", "url"), [("", HUB_URL), ('url = "https://hub.example"', "https://hub.example")]
)
def test_a_table_adds_docker_hub_to_a_list_of_the_file_without_it(lines: str, url: str) -> None:
    loaded = read(f'upstream = "quay.io=https://quay.io"\n[upstreams."docker.io"]\n{lines}')
    assert loaded.settings.upstreams == (QUAY, UpstreamSettings("docker.io", url))


def test_a_table_says_more_about_an_entry_of_the_list() -> None:
    toml = 'upstream = "quay.io=https://quay.io"\n[upstreams."quay.io"]\nallow = ["a/*"]'
    (upstream,) = read(toml).settings.upstreams
    assert (upstream.url, upstream.allow) == ("https://quay.io", ("a/*",))


def test_a_list_given_as_a_flag_is_closed_and_a_table_beyond_it_is_warned_of() -> None:
    toml = '[upstreams."quay.io"]\nurl = "https://quay.io"'
    loaded = read(toml, upstream=(f"docker.io={HUB_URL}",))
    assert loaded.settings.upstreams == (HUB,)
    assert loaded.warnings == (
        'nodecache.toml: upstreams."quay.io" is not used: --upstream does not list it',
    )


def test_a_table_beyond_a_closed_list_needs_no_url() -> None:
    loaded = read('[upstreams."quay.io"]\ndeny = ["a/*"]', upstream=(f"docker.io={HUB_URL}",))
    assert loaded.settings.upstreams == (HUB,)


def test_the_url_of_a_flag_wins_over_that_of_the_table_which_keeps_its_say_otherwise() -> None:
    toml = '[upstreams."docker.io"]\nurl = "https://a.example"\ndeny = ["x/*"]'
    (upstream,) = read(toml, upstream=("docker.io=http://b.example:5000",)).settings.upstreams
    assert (upstream.url, upstream.deny) == ("http://b.example:5000", ("x/*",))


def test_two_urls_for_one_namespace_in_one_file_are_refused() -> None:
    toml = 'upstream = "quay.io=https://a"\n[upstreams."quay.io"]\nurl = "https://b"'
    assert complaint(toml).startswith('nodecache.toml: upstreams."quay.io".url: ')


def test_a_namespace_without_a_url_is_refused() -> None:
    message = complaint('[upstreams."quay.io"]\nallow = ["a/*"]')
    assert message == 'nodecache.toml: upstreams."quay.io".url: missing'


def test_a_namespace_without_quotes_is_refused_with_the_reason() -> None:
    message = complaint('[upstreams.docker.io]\nurl = "https://a"')
    assert message.startswith("nodecache.toml: upstreams.docker.io: a namespace needs quotes")


def test_two_tables_for_one_upstream_are_refused() -> None:
    message = complaint('[upstreams."docker.io"]\n[upstreams."index.docker.io"]')
    assert message == 'nodecache.toml: upstreams."index.docker.io": docker.io is given twice'


@pytest.mark.parametrize(
    ("lines", "key"),
    [
        ("url = 5", "url"),
        ("url = 'quay.io'", "url"),
        ("mirrors = 'https://a'", "mirrors"),
        ("mirrors = ['a']", "mirrors"),
        ("mirrors = [5]", "mirrors"),
        ("allow = ['Team/*']", "allow"),
        ("allow = ['']", "allow"),
        ("allow = 'a'", "allow"),
        ("deny = ['a b']", "deny"),
        ("deny = ['a\\u0000']".replace("'", '"'), "deny"),
        ("ca_file = ''", "ca_file"),
        ("ca_file = true", "ca_file"),
        ("proxy = 'socks5://a'", "proxy"),
        ("proxy = 'https://a'", "proxy"),
        ("proxy = 'http://a/b'", "proxy"),
        ("proxy = ''", "proxy"),
        ("realm_hosts = ['https://a']", "realm_hosts"),
        ("realm_hosts = 'a'", "realm_hosts"),
        ("account = 'me:secret'", "account"),
        ("[upstreams.'quay.io'.account]", "account.file"),
        ("account = { file = 'a' }", "account.repositories"),
        ("account = { file = 'a', repositories = [] }", "account.repositories"),
        ("account = { file = 'a', repositories = '*' }", "account.repositories"),
        ("account = { file = 'a', repositories = ['*'] }", "account.repositories"),
        ("account = { file = 'a', repositories = ['*/*'] }", "account.repositories"),
        ("account = { file = 'a', repositories = ['?eam/x'] }", "account.repositories"),
        ("account = { file = 'a', repositories = ['[a-z]*'] }", "account.repositories"),
        ("account = { file = '', repositories = ['a/b'] }", "account.file"),
        ("account = { file = 'a', repositories = ['a/b'], user = 'me' }", "account.user"),
    ],
)
def test_a_wrong_value_in_a_table_is_refused_with_its_key(lines: str, key: str) -> None:
    url = "" if lines.startswith("url") else 'url = "https://quay.io"\n'
    message = complaint(f'[upstreams."quay.io"]\n{url}{lines}')
    assert message.startswith(f'nodecache.toml: upstreams."quay.io".{key}: ')


def test_an_account_on_docker_hub_covers_official_images_by_their_short_names() -> None:
    account = one('account = { file = "a", repositories = ["alpine", "team/*"] }').account
    assert account is not None
    assert account.covers("library/alpine")
    assert account.covers("team/app")
    assert not account.covers("library/busybox")


def test_an_account_that_goes_out_over_plain_http_is_warned_of() -> None:
    account = 'account = { file = "a", repositories = ["team/*"] }'
    for url, warned in (("http://a", 1), ("https://a", 0)):
        loaded = read(f'[upstreams."quay.io"]\nurl = "{url}"\n{account}')
        assert len(loaded.warnings) == warned

"""The settings: every key in every place, who wins, and what one line says when one is wrong."""

from __future__ import annotations

import re
from collections.abc import Mapping

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodecache.config import (
    KEYS,
    AccountSettings,
    Key,
    ListenAddress,
    Loaded,
    Origin,
    Settings,
    SizeSetting,
    Telemetry,
    UpstreamSettings,
    load,
    parse_listen,
    render_table,
)
from nodecache.config.tables import COUNTS
from nodecache.failures import ConfigError
from nodecache.limits import GIB, KIB, MIB, Limits, Timeouts
from nodecache.membership.target import PeerTarget
from nodecache.rules import NameRules

FILE = "nodecache.toml"
HUB = UpstreamSettings("docker.io", "https://registry-1.docker.io")


def given_as(
    flags: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
    toml: str | None = None,
) -> Loaded:
    return load(flags or {}, environ or {}, toml, FILE)


def complaint(
    flags: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
    toml: str | None = None,
) -> str:
    with pytest.raises(ConfigError) as caught:
        given_as(flags, environ, toml)
    message = str(caught.value)
    assert message.isprintable(), "one line"
    assert len(message) < 300
    return message


def test_without_any_setting_the_defaults_hold() -> None:
    loaded = given_as()
    assert loaded.settings == Settings()
    assert loaded.warnings == ()
    assert set(loaded.settings.origins.values()) == {Origin.DEFAULT}


def test_the_defaults_are_what_the_documents_promise() -> None:
    settings = given_as().settings
    assert attrs.asdict(settings, recurse=False, filter=lambda a, _: a.name != "origins") == {
        "data_dir": "./nodecache-data",
        "listen": "localhost:5000",
        "admin_listen": "localhost:5002",
        "upstreams": (HUB,),
        "peers": None,
        "peer_listen": None,
        "node_id": None,
        "node_address": (),
        "zone": "",
        "peer_secret_file": None,
        "max_size": None,
        "min_free": SizeSetting(percent=20),
        "tag_ttl": 60.0,
        "offline": False,
        "log_format": "auto",
        "log_level": "info",
        "sole_registry": False,
        "telemetry": Telemetry(),
        "limits": Limits(),
        "timeouts": Timeouts(),
    }


#: Each key with a value as text, as TOML, and as the setting it becomes.
EVERY: dict[str, tuple[str, str, object]] = {
    "data_dir": ("/var/lib/nodecache", '"/var/lib/nodecache"', "/var/lib/nodecache"),
    "listen": ("[::]:5000", '"[::]:5000"', "[::]:5000"),
    "admin_listen": (":9000", '":9000"', ":9000"),
    "upstream": (
        "quay.io=https://quay.io",
        '["quay.io=https://quay.io"]',
        (UpstreamSettings("quay.io", "https://quay.io"),),
    ),
    "peer_listen": ("[::]:7001", '"[::]:7001"', "[::]:7001"),
    "peers": ("nodecache:7", '"nodecache:7"', PeerTarget("nodecache", 7)),
    "node_id": ("node-1.example", '"node-1.example"', "node-1.example"),
    "node_address": ("10.0.0.1,fd00::1", '["10.0.0.1", "fd00::1"]', ("10.0.0.1", "fd00::1")),
    "zone": ("eu-1a", '"eu-1a"', "eu-1a"),
    "peer_secret_file": ("/secrets/peers", '"/secrets/peers"', "/secrets/peers"),
    "max_size": ("20GiB", '"20GiB"', SizeSetting(bytes=20 * GIB)),
    "min_free": ("15%", '"15%"', SizeSetting(percent=15)),
    "tag_ttl": ("5m", '"5m"', 300.0),
    "offline": ("true", "true", True),
    "log_format": ("console", '"console"', "console"),
    "log_level": ("debug", '"debug"', "debug"),
}

#: The same keys, each with a value that is no good.
WRONG: dict[str, tuple[str, str]] = {
    "data_dir": ("a\0b", '"a\\u0000b"'),
    "listen": ("5000", "5000"),
    "admin_listen": ("localhost:99999", '"localhost:99999"'),
    "upstream": ("quay.io", '["quay.io"]'),
    "peer_listen": ("5001", "5001"),
    "peers": ("node cache", '"node cache"'),
    "node_id": ("node 1", '"node 1"'),
    "node_address": ("localhost", '["localhost"]'),
    "zone": ("eu 1a", '"eu 1a"'),
    "peer_secret_file": ("a\0b", '"a\\u0000b"'),
    "max_size": ("20 cats", '"20 cats"'),
    "min_free": ("101%", '"101%"'),
    "tag_ttl": ("soon", '"soon"'),
    "offline": ("maybe", '"maybe"'),
    "log_format": ("xml", '"xml"'),
    "log_level": ("loud", '"loud"'),
}

#: Settings without which one makes no sense, as flags; these have tests of their own
#: (test_config_sharing.py).
COMPANY: dict[str, dict[str, object]] = {
    "peers": {"peer_secret_file": "/secrets/peers"},
    "peer_listen": {"peers": "nodecache", "peer_secret_file": "/secrets/peers"},
}


def test_the_tables_of_this_test_name_every_key() -> None:
    names = [key.name for key in KEYS]
    assert list(EVERY) == names
    assert list(WRONG) == names


def read(settings: Settings, name: str) -> object:
    return settings.upstreams if name == "upstream" else getattr(settings, name)


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
def test_every_setting_can_be_given_as_flag_as_variable_and_in_the_file(key: Key) -> None:
    text, toml, value = EVERY[key.name]
    company = COMPANY.get(key.name, {})
    ways = {
        Origin.FLAG: given_as(flags={**company, key.name: text}),
        Origin.ENVIRONMENT: given_as(company, environ={key.environment: text}),
        Origin.FILE: given_as(company, toml=f"{key.name} = {toml}"),
    }
    for origin, loaded in ways.items():
        assert read(loaded.settings, key.name) == value
        assert loaded.settings.origins[key.name] is origin
        assert loaded.warnings == ()


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
def test_a_flag_wins_over_a_variable_and_a_variable_over_the_file(key: Key) -> None:
    text, toml, value = EVERY[key.name]
    bad, bad_toml = WRONG[key.name]
    company = COMPANY.get(key.name, {})
    file = f"{key.name} = {bad_toml}"
    flag = given_as({**company, key.name: text}, {key.environment: bad}, file)
    assert read(flag.settings, key.name) == value
    variable = given_as({**company, key.name: None}, {key.environment: text}, file)
    assert read(variable.settings, key.name) == value
    blank = given_as(company, {key.environment: " "}, f"{key.name} = {toml}")
    assert read(blank.settings, key.name) == value


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
def test_a_bad_value_is_refused_in_one_line_that_names_the_key_in_its_place(key: Key) -> None:
    bad, bad_toml = WRONG[key.name]
    assert complaint(flags={key.name: bad}).startswith(f"--{key.name.replace('_', '-')}: ")
    assert complaint(environ={key.environment: bad}).startswith(f"{key.environment}: ")
    assert complaint(toml=f"{key.name} = {bad_toml}").startswith(f"{FILE}: {key.name}: ")


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
@pytest.mark.parametrize("value", ["{}", "[[1]]", "1979-05-27", "-1", "nan", '""', "[]"])
def test_a_value_of_a_wrong_kind_in_the_file_is_refused_with_its_key(key: Key, value: str) -> None:
    if (key.name, value) == ("upstream", '""'):
        value = '","'
    assert complaint(toml=f"{key.name} = {value}").startswith(f"{FILE}: {key.name}: ")


def test_a_long_value_is_quoted_in_part() -> None:
    message = complaint(flags={"tag_ttl": "x" * 1000})
    assert message == f"--tag-ttl: '{'x' * 60}…' is no duration (like 30s, 5m, 1h, 250ms, or 0)"


def test_names_are_the_fixed_ones() -> None:
    assert [(key.flag, key.environment) for key in KEYS] == [
        ("--data-dir", "NODECACHE_DATA_DIR"),
        ("--listen", "NODECACHE_LISTEN"),
        ("--admin-listen", "NODECACHE_ADMIN_LISTEN"),
        ("--upstream", "NODECACHE_UPSTREAMS"),
        ("--peer-listen", "NODECACHE_PEER_LISTEN"),
        ("--peers", "NODECACHE_PEERS"),
        ("--node-id", "NODECACHE_NODE_ID"),
        ("--node-address", "NODECACHE_NODE_ADDRESS"),
        ("--zone", "NODECACHE_ZONE"),
        ("--peer-secret-file", "NODECACHE_PEER_SECRET_FILE"),
        ("--max-size", "NODECACHE_MAX_SIZE"),
        ("--min-free", "NODECACHE_MIN_FREE"),
        ("--tag-ttl", "NODECACHE_TAG_TTL"),
        ("--offline", "NODECACHE_OFFLINE"),
        ("--log-format", "NODECACHE_LOG_FORMAT"),
        ("--log-level", "NODECACHE_LOG_LEVEL"),
    ]


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
def test_the_table_for_the_documents_has_a_line_for_every_setting(key: Key) -> None:
    lines = render_table().splitlines()
    assert len(lines) == 2 + len(KEYS)
    assert [line for line in lines if f"`{key.flag}`" in line and f"`{key.environment}`" in line]


@pytest.mark.parametrize(
    ("word", "value"),
    [
        *(("true", True), ("TRUE", True), ("1", True), ("yes", True), ("on", True)),
        *(
            ("false", False),
            ("0", False),
            ("no", False),
            ("off", False),
            (True, True),
            (False, False),
        ),
    ],
)
def test_truth_has_many_words(word: object, value: bool) -> None:
    assert given_as(flags={"offline": word}).settings.offline is value


def test_numbers_in_the_file_are_seconds_and_bytes() -> None:
    settings = given_as(toml="tag_ttl = 1.5\nmax_size = 1000\nmin_free = 0").settings
    assert (settings.tag_ttl, settings.max_size) == (1.5, SizeSetting(bytes=1000))
    assert settings.min_free == SizeSetting(bytes=0)


def test_the_cap_is_the_smaller_of_a_fifth_of_the_disk_and_100_gib_unless_given() -> None:
    assert Settings().cap(100 * GIB) == 20 * GIB
    assert Settings().cap(1000 * GIB) == 100 * GIB
    assert Settings(max_size=SizeSetting(percent=50)).cap(1000 * GIB) == 500 * GIB
    assert Settings().floor(100 * GIB) == 20 * GIB


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("tag_tll = 3", "nodecache.toml: tag_tll: unknown key (did you mean tag_ttl?)"),
        ("colour = 3", "nodecache.toml: colour: unknown key"),
        ('"a\\nb" = 3', "nodecache.toml: 'a\\nb': unknown key"),
        ("[limit]\nfills = 3", "nodecache.toml: limit: unknown key (did you mean limits?)"),
        ("[limits]\nfils = 3", "nodecache.toml: limits.fils: unknown key (did you mean fills?)"),
        ("[timeouts]\nfills = 3", "nodecache.toml: timeouts.fills: unknown key"),
        ("limits = 3", "nodecache.toml: limits: 3 is not a table"),
        ("timeouts = true", "nodecache.toml: timeouts: true is not a table"),
        ("upstreams = []", "nodecache.toml: upstreams: a list is not a table"),
        (
            '[upstreams."quay.io"]\nurl = "https://quay.io"\ncafile = "x"',
            'nodecache.toml: upstreams."quay.io".cafile: unknown key (did you mean ca_file?)',
        ),
        (
            "[peers]\nx = 1",
            'nodecache.toml: peers: a table is not a table with "names" alone',
        ),
    ],
)
def test_a_file_that_says_something_unknown_is_refused(toml: str, message: str) -> None:
    assert complaint(toml=toml) == message


@pytest.mark.parametrize("toml", ["a = ", "a = 1\na = 2", "[", "\0", "a = " + "[" * 100_000])
def test_what_is_no_toml_is_refused(toml: str) -> None:
    assert complaint(toml=toml).startswith(f"{FILE}: not valid TOML: ")


def test_an_unknown_flag_is_refused() -> None:
    assert complaint(flags={"colour": "red"}) == "--colour: unknown setting"


def test_unknown_variables_are_named_in_a_warning_without_their_values() -> None:
    hint = "(did you mean NODECACHE_TAG_TTL?)"
    loaded = given_as(
        environ={
            "NODECACHE_TAGTTL": "secret",
            "NODECACHE_COLOUR": "secret",
            "NODECACHE_CONFIG": "used elsewhere",
            "PATH": "/bin",
        }
    )
    assert loaded.settings == Settings()
    assert loaded.warnings == (
        "NODECACHE_COLOUR in the environment is ignored: unknown setting",
        f"NODECACHE_TAGTTL in the environment is ignored: unknown setting {hint}",
    )


def test_what_kubernetes_sets_for_a_service_of_our_name_is_one_warning() -> None:
    names = [
        "NODECACHE_PORT",
        "NODECACHE_PORT_5000_TCP",
        "NODECACHE_PORT_5000_TCP_ADDR",
        "NODECACHE_SERVICE_HOST",
        "NODECACHE_SERVICE_PORT",
        "NODECACHE_SERVICE_PORT_MIRROR",
    ]
    (warning,) = given_as(environ=dict.fromkeys(names, "tcp://10.0.0.1:5000")).warnings
    assert warning.startswith(", ".join(names) + " in the environment are ignored")
    assert "Kubernetes" in warning
    assert "10.0.0.1" not in warning


@given(st.text(max_size=30))
def test_no_name_of_a_variable_breaks_its_warning(name: str) -> None:
    for warning in given_as(environ={f"NODECACHE_{name}": "x"}).warnings if name else ():
        assert warning.isprintable()


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("localhost:5000", "localhost", 5000),
        ("127.0.0.1:0", "127.0.0.1", 0),
        ("[::]:5000", "::", 5000),
        ("[fe80::1%eth0]:5000", "fe80::1%eth0", 5000),
        (":5000", "", 5000),
        ("*:5000", "", 5000),
        ("node-1.example:65535", "node-1.example", 65535),
    ],
)
def test_addresses_to_listen_on(text: str, host: str, port: int) -> None:
    address = parse_listen(text)
    assert address == ListenAddress(host, port)
    assert parse_listen(str(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        *("", "localhost", "5000", "localhost:", "localhost:http", "localhost:65536", "::1:5000"),
        *("[::1]", "[::1:5000", "[]:5000", "[localhost]:5000", "[1.2.3.4]:5000", "http://a:1"),
        *("a b:1", "a/b:1", "localhost:5000:", "localhost:-1", "localhost:٣", "-a:1"),
        "user@host:1",
    ],
)
def test_what_is_no_address_to_listen_on_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^(is no HOST:PORT|has )"):
        parse_listen(text)


def test_an_ipv6_address_without_brackets_is_told_what_it_lacks() -> None:
    assert "brackets" in complaint(flags={"listen": "::1:5000"})
    assert "brackets" not in complaint(flags={"listen": "localhost"})


@pytest.mark.parametrize(
    ("mirror", "admin"),
    [
        *(("localhost:5002", None), (":5002", None), ("[::]:5002", "127.0.0.1:5002")),
        *(("0.0.0.0:7", "localhost:7"), ("127.0.0.1:7", ":7")),
    ],
)
def test_the_mirror_and_the_admin_port_must_differ(mirror: str, admin: str | None) -> None:
    message = complaint(flags={"listen": mirror, "admin_listen": admin})
    assert message.startswith("--admin-listen: " if admin else "--listen: ")
    assert "share a port" in message


@pytest.mark.parametrize(
    ("mirror", "admin"), [("localhost:0", "localhost:0"), ("127.0.0.1:7", "127.0.0.2:7")]
)
def test_ports_may_be_equal_where_they_do_not_meet(mirror: str, admin: str) -> None:
    assert given_as(flags={"listen": mirror, "admin_listen": admin}).settings.listen == mirror


def test_limits_and_timeouts_are_set_by_their_names() -> None:
    settings = given_as(
        toml="""
        [limits]
        fills = 3
        manifest_bytes = "8MiB"
        tail = 4096
        hot_manifest_bytes = 0
        sole_registry = true
        [timeouts]
        answer = "5s"
        silence = 2.5
        absent = 0
        """
    ).settings
    assert settings.limits == attrs.evolve(
        Limits(), fills=3, manifest_bytes=8 * MIB, tail=4096, hot_manifest_bytes=0
    )
    assert settings.timeouts == attrs.evolve(Timeouts(), answer=5.0, silence=2.5, absent=0.0)
    assert settings.sole_registry
    assert settings.origins["limits.fills"] is Origin.FILE
    assert settings.origins["timeouts.absent"] is Origin.FILE


@pytest.mark.parametrize("field", attrs.fields(Limits), ids=lambda field: field.name)
def test_every_limit_can_be_set(field: attrs.Attribute[int]) -> None:
    limits = given_as(toml=f"[limits]\n{field.name} = {field.default}").settings.limits
    assert limits == Limits()
    assert complaint(toml=f"[limits]\n{field.name} = -1").startswith(
        f"{FILE}: limits.{field.name}: "
    )
    assert complaint(toml=f"[limits]\n{field.name} = true")
    assert complaint(toml=f"[limits]\n{field.name} = 1.5")


@pytest.mark.parametrize("field", attrs.fields(Timeouts), ids=lambda field: field.name)
def test_every_timeout_can_be_set(field: attrs.Attribute[float]) -> None:
    assert field.default is not None
    toml = f'[timeouts]\n{field.name} = "{round(field.default * 1000)}ms"'
    assert given_as(toml=toml).settings.timeouts == Timeouts()
    for bad in ("-1", "true", '"5 cats"', "nan", "inf", "1e30"):
        where = f"{FILE}: timeouts.{field.name}: "
        assert complaint(toml=f"[timeouts]\n{field.name} = {bad}").startswith(where)


def test_what_counts_things_takes_no_size_and_all_other_limits_are_bytes() -> None:
    for name, default in attrs.asdict(Limits()).items():
        toml = f'[limits]\n{name} = "9KiB"'
        if name in COUNTS:
            assert "whole number" in complaint(toml=toml)
        else:
            assert default >= KIB, f"is {name} a number of bytes?"


@pytest.mark.parametrize(
    "toml",
    [
        *("[timeouts]\nanswer = 0", "[timeouts]\nsilence = '0s'", "[limits]\nfills = 0"),
        *("[limits]\ntail = 0", "[limits]\nmanifest_bytes = '0'", "[timeouts]\nprobe_first = 0"),
    ],
)
def test_a_zero_that_would_disarm_a_promise_is_refused(toml: str) -> None:
    assert re.search(r"more than 0|from 1 to", complaint(toml=toml))


@pytest.mark.parametrize(
    ("toml", "blamed"),
    [
        ("[limits]\njob_wanted = '3MiB'", "limits.job_wanted"),
        ("[limits]\njob_bytes = '100KiB'", "limits.job_bytes"),
        ("[limits]\ndisk_queue = '100KiB'", "limits.disk_queue"),
        ("[limits]\ndisk_queue_node = '3MiB'", "limits.disk_queue_node"),
        ("[timeouts]\nprobe_last = '500ms'", "timeouts.probe_last"),
    ],
)
def test_limits_that_contradict_each_other_are_refused(toml: str, blamed: str) -> None:
    message = complaint(toml=toml)
    assert message.startswith(f"{FILE}: {blamed}: ")
    assert "must not be above" in message


def test_limits_may_be_equal_to_their_bounds() -> None:
    limits = "[limits]\njob_wanted = '4MiB'\njob_bytes = '4MiB'"
    toml = f"{limits}\n[timeouts]\nprobe_first = 3\nprobe_last = 3"
    settings = given_as(toml=toml).settings
    assert settings.limits.job_wanted == settings.limits.job_bytes
    assert settings.timeouts.probe_first == settings.timeouts.probe_last


def test_an_answer_deadline_that_leaves_no_time_to_fall_back_is_warned_of() -> None:
    assert given_as(toml="[timeouts]\nanswer = '25s'").warnings == ()
    (warning,) = given_as(toml="[timeouts]\nanswer = '26s'").warnings
    assert warning.startswith("timeouts.answer")


def test_an_account_covers_the_names_that_it_lists_and_no_others() -> None:
    account = AccountSettings("file", ("team/*", "library/alpine"))
    assert account.covers("team/app")
    assert account.covers("library/alpine")
    assert not account.covers("library/alpine2")
    assert not account.covers("other/team/app")


def test_the_rules_of_an_upstream_are_its_patterns() -> None:
    upstream = UpstreamSettings("quay.io", "https://quay.io", allow=("a/*",), deny=("a/b",))
    assert upstream.rules == NameRules(("a/*",), ("a/b",))

"""What node-config makes of files: merged, taken out again, and never anything of others lost."""

from __future__ import annotations

import json
import tomllib

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from nodecache.runtimes import block, kops
from nodecache.runtimes.daemon_json import MirrorsPart
from nodecache.runtimes.hosts_toml import HostsPart, knows_dial_timeout, parse
from nodecache.runtimes.names import (
    Unusable,
    parse_mirror,
    parse_registry,
    parse_version,
    same_url,
)
from nodecache.runtimes.registries_conf import DropInPart, in_force

MIRROR = "http://127.0.0.1:5000"
HUB = HostsPart("docker.io", MIRROR)

KOPS_HOSTS = """\
[host."https://mirror.example.com"]
  capabilities = ["pull", "resolve"]

[host."https://backup.example.com"]
  capabilities = ["pull", "resolve"]

"""


# Names.


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("docker.io", "docker.io"),
        ("index.docker.io", "docker.io"),
        ("registry-1.docker.io", "docker.io"),
        ("GHCR.io", "ghcr.io"),
        ("harbor.corp:8443", "harbor.corp:8443"),
    ],
)
def test_a_registry_has_one_name(text: str, name: str) -> None:
    assert parse_registry(text) == name


@pytest.mark.parametrize("text", ["https://ghcr.io", "ghcr.io/org", "", "a b", "-x", "a:port"])
def test_what_is_no_registry_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(Unusable, match="like ghcr"):
        parse_registry(text)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("http://127.0.0.1:5000/", "http://127.0.0.1:5000"),
        ("https://Cache.corp", "https://cache.corp"),
        ("http://[::1]:5000", "http://[::1]:5000"),
    ],
)
def test_a_mirror_is_a_url_without_a_path(text: str, url: str) -> None:
    assert parse_mirror(text) == url


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1:5000",
        "ftp://x",
        "http://",
        "http://h:99999",
        "http://h/v2",
        "http://h?a",
        "http://u@h",
        'http://h"x',
        "http://a b",
        "http://[::1",
    ],
)
def test_what_is_no_mirror_is_refused(text: str) -> None:
    with pytest.raises(Unusable, match="like http"):
        parse_mirror(text)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u3", (1, 6, 20)),
        ("containerd github.com/containerd/containerd/v2 2.1.9+unknown", (2, 1, 9)),
        ("containerd://1.7.28", (1, 7, 28)),
        ("v2.2.0-rc.1", (2, 2, 0)),
        ("1.36", (1, 36, 0)),
        ("none", None),
    ],
)
def test_a_version_is_found_in_what_programs_say(
    text: str, version: tuple[int, int, int] | None
) -> None:
    assert parse_version(text) == version


def test_urls_are_the_same_whatever_is_left_out() -> None:
    assert same_url("http://127.0.0.1:5000", "127.0.0.1:5000/")
    assert same_url("https://h/v2", "https://h")
    assert not same_url("http://127.0.0.1:5000", "http://127.0.0.1:5001")


# hosts.toml.


def test_a_new_file_has_the_mirror_and_the_way_around_it() -> None:
    document = tomllib.loads(HUB.merge(None))
    assert document == {
        "server": "https://registry-1.docker.io",
        "host": {MIRROR: {"capabilities": ["pull", "resolve"], "dial_timeout": "1s"}},
    }


def test_the_file_of_all_registries_has_no_server() -> None:
    assert parse(HostsPart("_default", MIRROR).merge(None)).server is None
    assert parse(HostsPart("ghcr.io", MIRROR).merge(None)).server == "https://ghcr.io"


@pytest.mark.parametrize(
    ("version", "known"),
    [
        (None, True),
        ((1, 6, 20), False),
        ((1, 7, 99), False),
        ((2, 0, 5), False),
        ((2, 0, 7), True),
        ((2, 1, 0), True),
        ((2, 2, 1), True),
    ],
)
def test_dial_timeout_is_known_by_the_releases_that_have_it(
    version: tuple[int, int, int] | None, known: bool
) -> None:
    assert knows_dial_timeout(version) is known


def test_without_a_dial_timeout_the_key_is_not_there() -> None:
    assert "dial_timeout" not in HostsPart("docker.io", MIRROR, None).merge(None)


@pytest.mark.parametrize(
    "theirs",
    [
        KOPS_HOSTS,
        'server = "https://registry-1.docker.io"\n' + KOPS_HOSTS,
        "# mine\n\n" + KOPS_HOSTS + "# the end",
        'ca = """\n[host]\n"""\n' + KOPS_HOSTS,
        "ca = [\n  'a',\n  'b',\n]\n" + KOPS_HOSTS,
        'server = "https://x.example"',
        'server = "https://x.example"\r\n[host."https://y"]\r\ncapabilities = ["pull"]\r\n',
        '[host]\n  [host."https://y"]\n    skip_verify = true\n',
        '[host."https://y"]\n[host."https://y".header]\nx = "1"\n',
        "skip_verify = false\n",
    ],
)
def test_our_host_comes_first_and_theirs_are_kept(theirs: str) -> None:
    merged = HUB.merge(theirs)
    assert [host.url for host in parse(merged).hosts] == [
        MIRROR,
        *(host.url for host in parse(theirs).hosts),
    ]
    before, after = tomllib.loads(theirs), tomllib.loads(merged)
    assert {**before.get("host", {}), **after["host"]} == after["host"]
    assert {**after, **{key: before[key] for key in before if key != "host"}} == after
    assert HUB.merge(merged) == merged
    assert HUB.same(theirs, HUB.strip(merged) or "")
    assert HUB.ours(merged)
    assert not HUB.ours(theirs)


@pytest.mark.parametrize(
    ("theirs", "why"),
    [
        ("[host", "no TOML"),
        ('host."https://y".skip_verify = true\n', "can not be merged"),
        ('host = { "https://y" = { skip_verify = true } }\n', "can not be merged"),
        (KOPS_HOSTS + f'[host."{MIRROR}"]\n', "not first"),
        ("host = 3\n", "no table"),
        ("server = 3\n", "no text"),
        ("# begin nodecache\n", "lost its other"),
    ],
)
def test_what_can_not_be_merged_is_said_and_not_tried(theirs: str, why: str) -> None:
    with pytest.raises(Unusable, match=why):
        HUB.merge(theirs)


def test_a_file_that_names_the_mirror_first_by_hand_is_left_alone() -> None:
    theirs = f'[host."{MIRROR}/"]\n  capabilities = ["pull", "resolve"]\n'
    assert HUB.merge(theirs) == theirs
    assert not HUB.ours(theirs)


def test_another_mirror_replaces_ours_alone() -> None:
    other = HostsPart("docker.io", "http://127.0.0.1:6000")
    merged = other.merge(HUB.merge(KOPS_HOSTS))
    assert next(host.url for host in parse(merged).hosts) == "http://127.0.0.1:6000"
    assert MIRROR not in merged
    assert other.same(KOPS_HOSTS, other.strip(merged) or "")


def test_a_change_by_hand_within_our_part_is_seen() -> None:
    merged = HUB.merge(KOPS_HOSTS)
    assert not HUB.edited(merged)
    assert HUB.edited(merged.replace('"1s"', '"5s"'))
    assert not HUB.edited(merged + "# elsewhere\n")


host_urls = st.lists(
    st.from_regex(r"https://[a-z]{1,8}\.example(:[1-9][0-9]{3})?", fullmatch=True), unique=True
)
comments = st.lists(st.sampled_from(["", "# a comment", "   # [host]", "\t"]), max_size=3)


@settings(deadline=None)
@given(host_urls, comments, st.booleans(), st.booleans())
def test_any_file_gets_our_host_first_and_comes_back(
    urls: list[str], lines: list[str], has_server: bool, ends: bool
) -> None:
    server = ['server = "https://s.example"'] if has_server else []
    hosts = [f'[host."{url}"]\nskip_verify = true' for url in urls]
    theirs = "\n".join([*lines, *server, *lines, *hosts]) + ("\n" if ends else "")
    merged = HUB.merge(theirs)
    assert [host.url for host in parse(merged).hosts] == [MIRROR, *urls]
    assert HUB.merge(merged) == merged
    assert HUB.same(HUB.strip(merged) or "", theirs if theirs.strip() else "")


# The block.


@settings(deadline=None)
@given(st.text(alphabet="ab#\n ", max_size=30))
def test_a_block_is_cut_out_of_what_it_was_put_into(rest: str) -> None:
    body = "x = 1\n"
    start = rest if not rest or rest.endswith("\n") else f"{rest}\n"
    assert block.cut(start + block.wrap(body)) == block.Cut(start, body)
    assert block.cut(block.append(rest, body)) == block.Cut(start, body)
    assert block.cut(rest) == block.Cut(rest)


def test_two_blocks_or_half_a_block_are_refused() -> None:
    whole = block.wrap("x = 1\n")
    for text in (whole + whole, whole.partition("# end")[0], "# end nodecache\n" + whole):
        with pytest.raises(Unusable):
            block.cut(text)


# daemon.json.


def test_a_new_daemon_json_has_the_mirror_alone() -> None:
    assert json.loads(MirrorsPart(MIRROR).merge(None)) == {"registry-mirrors": [MIRROR]}


def test_indentation_and_characters_of_a_daemon_json_are_kept() -> None:
    merged = MirrorsPart(MIRROR).merge('{\n\t"data-root": "/srv/größe"\n}')
    assert '\n\t"data-root": "/srv/größe"' in merged


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "no JSON"),
        ("[]", "no JSON object"),
        ('{"registry-mirrors": "x"}', "no list"),
        ('{"registry-mirrors": [1]}', "no list"),
    ],
)
def test_a_daemon_json_that_dockerd_would_refuse_is_refused(text: str, why: str) -> None:
    with pytest.raises(Unusable, match=why):
        MirrorsPart(MIRROR).merge(text)


@settings(deadline=None)
@given(
    st.dictionaries(st.sampled_from(["data-root", "debug", "log-opts"]), st.booleans()),
    st.lists(st.sampled_from(["https://a.example", MIRROR, "https://b.example/"]), unique=True),
)
def test_any_daemon_json_keeps_its_keys_and_comes_back(
    others: dict[str, bool], mirrors: list[str]
) -> None:
    part = MirrorsPart(MIRROR)
    text = json.dumps({**others, **({"registry-mirrors": mirrors} if mirrors else {})})
    merged = json.loads(part.merge(text))
    rest = [one for one in mirrors if one != MIRROR]
    assert merged == {**others, "registry-mirrors": [MIRROR, *rest]}
    assert part.merge(part.merge(text)) == part.merge(text)
    back = part.strip(part.merge(text))
    wanted = {**others, **({"registry-mirrors": rest} if rest else {})}
    assert (json.loads(back) if back else {}) == wanted


# registries.conf.


def test_the_drop_in_names_the_mirror_and_says_that_it_speaks_plain_http() -> None:
    document = tomllib.loads(DropInPart(("docker.io", "ghcr.io"), MIRROR).merge(None))
    assert document == {
        "registry": [
            {
                "prefix": name,
                "location": name,
                "mirror": [{"location": "127.0.0.1:5000", "insecure": True}],
            }
            for name in ("docker.io", "ghcr.io")
        ]
    }


def test_the_drop_in_repeats_what_others_say_of_the_registry() -> None:
    """Because the last file that names a prefix replaces the others."""
    others = """
        [[registry]]
        prefix = "docker.io"
        location = "hub.corp/proxy"
        insecure = true
        [[registry.mirror]]
        location = "mirror.corp"
        pull-from-mirror = "digest-only"
        [[registry.mirror]]
        location = "127.0.0.1:5000"
        """
    there = {"docker.io": in_force([("a.conf", others)])["docker.io"][1]}
    [registry] = tomllib.loads(DropInPart(("docker.io",), MIRROR, there).merge(None))["registry"]
    assert (registry["location"], registry["insecure"]) == ("hub.corp/proxy", True)
    assert registry["mirror"] == [
        {"location": "127.0.0.1:5000", "insecure": True},
        {"location": "mirror.corp", "pull-from-mirror": "digest-only"},
    ]


def test_the_last_file_that_names_a_prefix_counts() -> None:
    text = '[[registry]]\nlocation = "docker.io"\n'
    counted = in_force([("a", text), ("b", text + "blocked = true\n")])
    assert counted["docker.io"][0] == "b"
    assert counted["docker.io"][1].rest == {"blocked": True}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[[registry]", "no TOML"),
        ("registry = 3", "no list"),
        ('[[registry]]\nlocation = "x"\nmirror = "y"\n', "no list"),
    ],
)
def test_a_broken_registries_conf_is_named(text: str, why: str) -> None:
    with pytest.raises(Unusable, match=f"a.conf .*{why}"):
        in_force([("a.conf", text)])


def test_a_person_may_add_to_the_drop_in_and_keeps_it() -> None:
    part = DropInPart(("docker.io",), MIRROR)
    added = part.merge(None) + '\n[[registry]]\nlocation = "quay.io"\nblocked = true\n'
    assert "quay.io" in part.merge(added)
    assert part.merge(part.merge(added)) == part.merge(added)
    assert tomllib.loads(part.strip(added) or "")["registry"] == [
        {"location": "quay.io", "blocked": True}
    ]
    with pytest.raises(Unusable, match="outside"):
        part.merge('[[registry]]\nlocation = "docker.io"\n')


# kops.


@pytest.mark.parametrize("version", [(1, 28, 0), (1, 35, 0), (1, 36, 0), (1, 40, 0)])
def test_a_kops_spec_has_the_mirrors_and_the_kubelets_thresholds(
    version: tuple[int, int, int],
) -> None:
    text = kops.spec(kops.Way.MIRRORS, MIRROR, ("docker.io", "_default", "h:1"), version, "/c")
    assert yaml.safe_load(text)["spec"] == {
        "containerd": {"registryMirrors": {"docker.io": [MIRROR], "*": [MIRROR], "h:1": [MIRROR]}},
        "kubelet": {"imageGCHighThresholdPercent": 75, "imageGCLowThresholdPercent": 70},
    }
    assert ("deprecated" in text) == (version < (1, 36, 0))


def test_a_kops_spec_for_dockerd_is_a_list() -> None:
    text = kops.spec(kops.Way.DOCKER, MIRROR, ("docker.io",), (1, 23, 0), "/c")
    assert yaml.safe_load(text)["spec"]["docker"] == {"registryMirrors": [MIRROR]}


@pytest.mark.parametrize(
    ("version", "plugin"),
    [((1, 35, 0), "io.containerd.grpc.v1.cri"), ((1, 36, 0), "io.containerd.cri.v1.images")],
)
def test_a_kops_spec_can_set_the_folder_alone(version: tuple[int, int, int], plugin: str) -> None:
    text = kops.spec(kops.Way.HOSTS_DIR, MIRROR, (), version, "/etc/containerd/certs.d")
    assert yaml.safe_load(text)["spec"]["containerd"]["configAdditions"] == {
        f'plugins."{plugin}".registry.config_path': "/etc/containerd/certs.d"
    }

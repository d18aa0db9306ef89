"""``nodecache config``: what holds, where it comes from, and no secret of it."""

from __future__ import annotations

import json
import os
import pathlib

import pytest
from click.testing import CliRunner

from nodecache.cli import main
from nodecache.config import Origin, load
from nodecache.config.effective import Effective, effective
from tests.moving_case import MovingCase

FILE = """
tag_ttl = "5m"
[limits]
fills = 7
sole_registry = true
[timeouts]
answer = "8s"
[upstreams."docker.io"]
mirrors = ["https://mirror.example"]
proxy = "http://user:hunter2@proxy:3128"
"""


def rows(file: str = "", **flags: object) -> dict[str, Effective]:
    loaded = load(flags, {"NODECACHE_ZONE": "z1"}, file, "file.toml")
    return {each.key: each for each in effective(loaded.settings)}


def test_each_setting_says_where_it_comes_from() -> None:
    found = rows(FILE, max_size="20GiB")
    for key, value, origin in (
        ("max_size", "20GiB", Origin.FLAG),
        ("zone", "z1", Origin.ENVIRONMENT),
        ("tag_ttl", "5m", Origin.FILE),
        ("min_free", "20%", Origin.DEFAULT),
        ("listen", "localhost:5000", Origin.DEFAULT),
        ("offline", "false", Origin.DEFAULT),
        ("limits.fills", "7", Origin.FILE),
        ("limits.sole_registry", "true", Origin.FILE),
        ("limits.tail", "64KiB", Origin.DEFAULT),
        ("timeouts.answer", "8s", Origin.FILE),
        ('upstreams."docker.io".mirrors', "https://mirror.example", Origin.FILE),
    ):
        assert (found[key].value, found[key].origin) == (value, origin), key
    assert found["zone"].environment == "NODECACHE_ZONE"
    assert rows()["max_size"].value == "the smaller of 20% and 100GiB"
    assert rows()["peer_listen"].value == "off"


def test_no_secret_is_shown() -> None:
    text = json.dumps([each.document() for each in rows(FILE).values()])
    assert "hunter2" not in text
    assert "proxy:3128" in text


def run(*words: str, env: dict[str, str] | None = None) -> tuple[int, str, str]:
    clean = {name: "" for name in os.environ if name.startswith("NODECACHE_")}
    result = CliRunner(env={**clean, **(env or {})}).invoke(main, ["config", *words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def test_the_command_reads_flags_variables_and_the_file(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "file.toml"
    path.write_text(FILE)
    code, out, err = run("--config", str(path), "--max-size", "20GiB", env={"NODECACHE_ZONE": "z1"})
    assert code == 0
    lines = {line.split()[0]: line.rstrip() for line in out.splitlines()}
    assert lines["max_size"].endswith("--max-size")
    assert lines["zone"].endswith("NODECACHE_ZONE")
    assert lines["tag_ttl"].endswith("file")
    assert lines["limits.fills"].endswith("file")
    assert "limits.tail" not in lines
    assert "--all" in err
    assert "hunter2" not in out
    code, out, err = run("--all")
    assert (code, err) == (0, "")
    assert "limits.tail" in out


def test_json_holds_all_of_it() -> None:
    code, out, _ = run("--json")
    assert code == 0
    found = {row["key"]: row for row in json.loads(out)["settings"]}
    assert found["tag_ttl"] == {
        "key": "tag_ttl",
        "value": "1m",
        "origin": "default",
        "environment": "NODECACHE_TAG_TTL",
    }


@pytest.mark.parametrize(
    ("words", "told"),
    [(("--tag-ttl", "soon"), "--tag-ttl"), (("--config", "/nothing/here"), "cannot read")],
)
def test_a_wrong_setting_is_one_line_and_exit_code_2(words: tuple[str, ...], told: str) -> None:
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert told in err
    assert len(err.splitlines()) == 1


def test_a_running_node_that_is_not_there() -> None:
    code, _, err = run("--running", "--admin", "http://127.0.0.1:1")
    assert code == 3
    assert "no node answers" in err


class RunningTests(MovingCase):
    async def test_a_running_node_tells_what_it_was_started_with(self) -> None:
        await self.start(zone="here")
        url = f"http://127.0.0.1:{self.node.admin_port}"
        ran = await self.run_("config", "--running", "--admin", url, "--json")
        self.assertEqual((ran.code, ran.err), (0, ""))
        found = {row["key"]: row["value"] for row in ran.json["settings"]}
        self.assertEqual((found["zone"], found["max_size"]), ("here", "1GiB"))
        self.assertEqual(found["upstream"], f"docker.io={self.hub.url}")

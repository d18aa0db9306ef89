"""Every command of the table, as programs use it: piped, as JSON, with wrong names, no node there.

A command that is new has no row here, and the first test says so.
"""

from __future__ import annotations

import io
import json
import os
import re
import time
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from click.testing import CliRunner
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from nodecache.cli import bench, main
from nodecache.cli.commands import COMMANDS
from nodecache.cli.group import load
from nodecache.events import Level
from nodecache.logs import LogSwitch, LogWriter
from nodecache.service import Node, Surroundings
from tests.moving_case import Ran
from tests.steering_case import NGINX, REDIS, SteeringCase, reactor

MIB = 1 << 20

#: Stands for a folder of the test in what is typed.
FOLDER = "FOLDER"


@attrs.frozen
class Row:
    """One command. ``works`` is a use of it that succeeds where nginx:1.27 and redis:7 are here,
    and ``says`` a pattern of what it prints; None where it lasts until it is ended.

    ``wrong`` is a use with a wrong name, and ``offers`` the next step that is named then.
    ``down``: it needs a node, and says so in the same way where there is none.
    """

    works: tuple[str, ...] | None
    says: str
    wrong: tuple[str, ...]
    offers: str
    down: bool = True
    stderr: bool = False  # what it says goes there


def row(works: str | None, says: str, wrong: str, offers: str, **more: bool) -> Row:
    return Row(works and tuple(works.split()), says, tuple(wrong.split()), offers, **more)  # type: ignore[arg-type]


NEAREST = r"Did you mean nginx:1\.27\?"
ROWS: dict[str, Row] = {
    "serve": row(None, "", "--listen nowhere", "listen", down=False),
    "node-config": row("containerd", r"\[host\.", "docket", "No such command", down=False),
    "completion": row("zsh", "compdef", "tcsh", "'bash', 'zsh', 'fish'", down=False),
    "doctor": row(None, "", "--root /nowhere", "Mount the node's / there", down=False),
    "status": row("", "docker.io", "--admin nowhere", "like http://localhost:5002"),
    "list": row("", r"nginx:1\.27 .* 100%", "ngnix:1.27", NEAREST),
    "show": row("nginx", "layer .* disk", "ngnix:1.27", NEAREST),
    "verify": row("nginx", "all good", "ngnix:1.27", NEAREST),
    "config": row("", "tag_ttl", "--tag-ttl soon", "tag-ttl", down=False),
    "bench": row("--size 8", "one pull", "--mirror nowhere", "--mirror: 'nowhere'"),
    "log-level": row("", "logs what is", "loud", "'debug', 'info'"),
    "pull": row("nginx:1.27", r"nginx:1\.27 .* was here", "nosuch", "Is the name right"),
    "import": row(
        f"{FOLDER}/ok.tar", r"Imported nginx:1\.27", f"{FOLDER}/nothing.tar", "Name a file"
    ),
    "export": row(
        f"redis:7 -o {FOLDER}/new.tar --offline",
        "Exported redis:7",
        f"nosuch -o {FOLDER}/none.tar",
        "Is the name right",
        stderr=True,
    ),
    "purge": row("redis --yes", "Removed 1 image", "ngnix:1.27 --yes", NEAREST),
    "refresh": row("nginx", "unchanged", "ngnix:1.27", NEAREST),
    "pin": row("nginx", "pinned", "ngnix:1.27", NEAREST),
    "unpin": row("nginx", "nginx:1.27: unpinned", "ngnix:1.27", NEAREST),
}

#: Uses with one more wrong thing in them, and the next step that is named.
WRONG = (
    ("show Nginx", "Names are like"),
    ("list Nginx", "Names are like"),
    ("purge 日本 --yes", "Names are like"),
    ("pull Nginx", "Names are like"),
    ("export Nginx -o x.tar", "Names are like"),
    ("pull nginx:1.27 --platform Linux", "'nodecache show IMAGE' shows"),
    ("pull multi:1 --platform linux/s390x", "Choose one that it has with --platform"),
    ("export multi:1 -o x.tar --platform linux/s390x", "Choose one that it has"),
    ("pull ghcr.io/x/y", "Add the registry with --upstream"),
    ("purge", "Name images"),
    ("pull", "Name an image"),
    ("show a b", "show (-h|--help)'"),
    ("list --sort age", "'name', 'size', 'used'"),
    ("purge nginx", "--yes"),
    (f"import {FOLDER}/hostile.tar", "Nothing of it was imported"),
    ("export nginx -o x.tar --offline", "Leave --offline out"),
    ("export nginx:1.27 -o /dev/full", "with -o"),
    ("export nginx:1.27 -o /nowhere/x.tar", "with -o"),
    ("export nginx:1.27 -o /nowhere/x/", "with -o"),
    ("import - --data-dir /nowhere", "--data-dir"),
    ("export nginx:1.27 -o x.tar --data-dir /nowhere", "--data-dir"),
)


def test_every_command_has_its_row() -> None:
    assert list(ROWS) == [entry.name for entry in COMMANDS]


def options_of(name: str) -> set[str]:
    found = load(next(entry for entry in COMMANDS if entry.name == name))
    return {str(param.name) for param in found.params}


def test_whatever_prints_data_prints_it_as_json_too() -> None:
    """What these four print is a text of its own kind: a script, a file, a log."""
    without = {name for name in ROWS if "as_json" not in options_of(name)}
    assert without == {"serve", "node-config", "completion"}


def invoke(environ: dict[str, str], *words: str, stdin: bytes = b"") -> Ran:
    clean = {name: "" for name in os.environ if name.startswith("NODECACHE_")}
    runner = CliRunner(env={**clean, **environ})
    result = runner.invoke(main, list(words), input=stdin, prog_name="nodecache")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Ran(result.exit_code, result.stdout, result.stderr)


def problem_and_next_step(ran: Ran) -> str:
    """Both are there: each in a line, or of a setting, that its value is to be like another."""
    lines = [line for line in ran.err.splitlines() if line.strip()]
    assert ran.out == "", ran
    assert len(lines) >= 2 or "like " in lines[0], ran
    assert lines[0].startswith(("nodecache: ", "Usage: ")), ran
    return " ".join(lines)


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.down])
def test_without_a_node_the_exit_code_is_3_and_the_next_step_is_named(
    name: str, tmp_path: os.PathLike[str]
) -> None:
    folder = os.fspath(tmp_path)
    environ = {"NODECACHE_ADMIN_URL": "http://127.0.0.1:1", "NODECACHE_DATA_DIR": folder}
    with open(os.path.join(folder, "ok.tar"), "wb") as file:
        file.write(bytes(1024))
    used = typed(ROWS[name].works or (), folder)
    # Where nothing is, and where a node was that has ended.
    for _ in range(2):
        for as_json in ((), ("--json",)):
            ran = invoke(environ, name, *used, *as_json)
            assert ran.code == 3, ran
            told = problem_and_next_step(ran)
            assert re.match("nodecache: no node (answers on|keeps its data in) ", told), told
            assert "Start it with 'nodecache serve', or name its " in told
        os.makedirs(os.path.join(folder, "v1", "tmp"), exist_ok=True)
    assert os.listdir(os.path.join(folder, "v1", "tmp")) == []
    assert sorted(os.listdir(folder)) == ["ok.tar", "v1"]


def typed(words: tuple[str, ...], folder: str) -> list[str]:
    return [word.replace(FOLDER, folder) for word in words]


class EveryCommand(SteeringCase):
    """One node for all of them: each is used as its row says."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(bench, "_SECONDS", 0.05)
        self.folder = str(self.data_dir.parent)

    async def run_(self, *words: str, stdin: bytes = b"") -> Ran:
        environ = {
            "NODECACHE_ADMIN_URL": f"http://127.0.0.1:{self.node.admin_port}",
            "NODECACHE_DATA_DIR": str(self.data_dir),
        }
        more = ("--mirror", f"127.0.0.1:{self.node.mirror_port}")
        bench_ = more if words[0] == "bench" and "--mirror" not in words else ()
        run: Callable[..., Ran] = invoke
        return await deferToThread(run, environ, *words, *bench_, stdin=stdin)

    async def start(self, **given: Any) -> Node:
        """With a log, whose level can be set."""
        switch = LogSwitch(LogWriter(io.StringIO(), level=Level.INFO), reactor, self.observe)
        self.addCleanup(switch.stop)
        around = Surroundings(reactor, time.time, self.observe, self.metrics, {}, switch)
        self.node = await Node.start(around, self.settings(**given))
        self.addCleanup(lambda: Deferred.fromCoroutine(self.node.stop("the test is over")))
        return self.node

    async def furnish(self) -> None:
        """The images that the rows are about."""
        await self.start()
        for name, tag in ((NGINX, "1.27"), (REDIS, "7")):
            await self.pull(self.hub.add_image(name, tag, [name.encode() * 100]), tag)
        only = self.hub.add_image("library/multi", None, [b"amd"])
        self.hub.add_index("library/multi", "1", {"amd64": only})
        saved = await self.run_("export", "nginx:1.27", "-o", f"{self.folder}/ok.tar")
        assert saved.code == 0, saved
        with open(f"{self.folder}/hostile.tar", "wb") as file:
            file.write(os.urandom(2048))

    def test_piped_it_says_what_it_should_without_colours_and_nothing_is_cut(
        self,
    ) -> Deferred[None]:
        return Deferred.fromCoroutine(self._piped())

    async def _piped(self) -> None:
        await self.furnish()
        for name, row in ROWS.items():
            if row.works is None:
                continue
            ran = await self.run_(name, *typed(row.works, self.folder))
            assert ran.code in ((0, 1) if name == "bench" else (0,)), (name, ran)
            assert re.search(row.says, ran.err if row.stderr else ran.out), (name, ran)
            assert "\x1b" not in ran.out + ran.err, name
            assert not any(line.endswith(" ") for line in ran.out.splitlines()), name
            if name == "purge":
                await self.run_("pull", "redis:7")

    def test_json_is_one_document_or_one_a_line_that_ends_with_done(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._as_json())

    async def _as_json(self) -> None:
        await self.furnish()
        for name, row in ROWS.items():
            if row.works is None or "as_json" not in options_of(name):
                continue
            ran = await self.run_(name, *typed(row.works, self.folder), "--json")
            assert ran.code in ((0, 1) if name == "bench" else (0,)), (name, ran)
            if ran.out.startswith("{\n"):
                assert isinstance(json.loads(ran.out), dict), name
            else:
                assert ran.lines[-1]["event"] == "done", name
            if name == "purge":
                await self.run_("pull", "redis:7")

    def test_what_is_wrong_is_named_with_the_next_step_and_changes_nothing(
        self,
    ) -> Deferred[None]:
        return Deferred.fromCoroutine(self._wrong())

    async def _wrong(self) -> None:
        await self.furnish()
        before = set(await self.images())
        rows = [((name, *row.wrong), row.offers) for name, row in ROWS.items()]
        rows += [(tuple(words.split()), offers) for words, offers in WRONG]
        # Letters that the terminal's settings do not know reach Python so.
        rows += [((name, "\udcc3\udcbc"), "Names are like") for name in ("show", "pull", "pin")]
        for words, offers in rows:
            ran = await self.run_(*typed(words, self.folder))
            down = "/nowhere" in words and "--data-dir" in words
            assert ran.code in ((3,) if down else (1, 2)), (words, ran)
            if words[0] == "purge" and "--yes" not in words:
                assert offers in ran.err
                continue
            assert re.search(offers, problem_and_next_step(ran)), (words, ran)
        assert set(await self.images()) == before | {"multi:1"}
        assert not os.path.exists("x.tar")
        assert not os.path.exists(f"{self.folder}/none.tar")

"""The commands as a person uses them: in a terminal, piped, with the node down."""

from __future__ import annotations

import itertools
import json
import os
import pathlib
import stat
import subprocess
from collections.abc import Iterator, Mapping

import attrs
import pytest

from tests.system.conftest import Shop
from tests.system.parts import screens
from tests.system.parts.hub import Hub
from tests.system.parts.processes import need_root
from tests.system.parts.terminal import COLUMNS, LINES, Terminal
from tests.system.parts.town import NODECACHE, Town, town_of

#: Set, the screens of docs/command-line.md are written, not compared.
WRITE = "WRITE_SCREENS"


@pytest.fixture(scope="module")
def the_town(world: pathlib.Path, the_hub: Hub, shop: Shop) -> Iterator[Town]:
    with town_of(world / "command-line", the_hub, shop) as town:
        yield town


@pytest.fixture
def town(the_town: Town, hub: Hub) -> Town:
    del hub  # as usual
    the_town.as_usual()
    return the_town


#: Screens of the document, in the order in which a person would see them.
SCENES = (
    ("help", ("--help",)),
    ("status", ("status",)),
    ("cluster", ("status", "--cluster")),
    ("list", ("list",)),
    ("show", ("show", "nginx:1.27")),
    ("verify", ("verify",)),
    ("pin", ("pin", "nginx:1.27")),
    ("purge", ("purge", "acme/*", "--yes")),
    ("pull", ("pull", "acme/tool:2.4")),
    ("refresh", ("refresh", "redis", "nginx")),
    ("unpin", ("unpin", "nginx")),
    ("level", ("log-level",)),
    ("config", ("config", "--data-dir", "/var/lib/nodecache", "--max-size", "40GiB")),
    ("bench", ("bench",)),
    ("export", ("export", "redis:7", "-o", "redis.tar")),
    ("import", ("import", "redis.tar", "--name", "acme/carried:1")),
    ("wrong", ("show", "ngnix:1.27")),
    ("serve", ("serve", "--data-dir", "/var/lib/nodecache")),
    ("setting", ("serve", "--max-size", "much")),
    ("taken", ("serve",)),
    ("runtimes", ("node-config", "--help")),
    ("hosts", ("node-config", "containerd")),
    ("unused", ("doctor",)),
    ("used", ("doctor", "--runtime", "containerd")),
    ("completion", ("completion", "--help")),
)
#: How those end that do not end well.
CODES = {"wrong": (1,), "bench": (0, 1), "setting": (2,), "taken": (2,), "unused": (1,)}
#: Screens with lines that a terminal folds: of logs, of files, and errors of one line.
FOLDED = ("serve", "setting", "taken", "hosts")
#: Findings of doctor about this machine, and their number, are not compared.
ABOUT_THE_NODE = ("containerd", "port", "node", "upstream")


@attrs.frozen
class Scene:
    """What a person sees who types ``words`` on a node; ``given`` and ``env`` make it one."""

    words: tuple[str, ...]
    given: tuple[str, ...] = ()
    env: Mapping[str, str] = attrs.Factory(dict)

    def play(self, town: Town) -> tuple[int, str]:
        """The exit code, and the screen."""
        argv = [*NODECACHE, *self.words, *self.given]
        with Terminal(argv, {**town.env, **self.env}, town.node.folder) as terminal:
            if self.words[0] == "serve":
                terminal.until(lambda seen: "try it:" in seen or "nodecache: " in seen, "a start")
                if terminal.process.poll() is None and "try it:" in terminal.screen:
                    terminal.type("\x03")
            code = terminal.end()
        shown = terminal.screen.replace(str(second(town)), "/var/lib/nodecache")
        typed = " ".join(_quoted(word) for word in self.words)
        return code, f"$ nodecache {typed}\n{shown}"


def second(town: Town) -> pathlib.Path:
    """The data folder of a second node."""
    return town.node.folder / "second"


def _on_this_machine(town: Town, hub: Hub) -> dict[str, Scene]:
    """What some commands are given so that they meet the same everywhere."""
    node, root = town.node, town.node.folder / "root"
    certs = root / "etc" / "containerd" / "certs.d"
    (certs / "docker.io").mkdir(parents=True, exist_ok=True)
    config = f'version = 3\n[{_CRI}]\nconfig_path = "/etc/containerd/certs.d"\n'
    (root / "etc" / "containerd" / "config.toml").write_text(config)
    serve = ("--data-dir", str(second(town)), "--min-free", "1MiB", "--log-format", "console")
    ports = ("--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0")
    doctor = ("--root", str(root), "--mirror", node.url, "--runtime-version", "2.1.6")
    at_home = {"NODECACHE_UPSTREAMS": f"docker.io={hub.url}", **hub.client_env()}
    given = {
        "bench": (("--mirror", f"127.0.0.1:{node.port}"), {}),
        "serve": ((*serve, *ports), {}),
        "taken": ((*serve, *ports, "--listen", f"127.0.0.1:{node.port}"), {}),
        "unused": (doctor, at_home),
        "used": (doctor, at_home),
    }
    return {name: Scene(words, *given.get(name, ())) for name, words in SCENES}


_CRI = "plugins.'io.containerd.cri.v1.images'.registry"


def test_every_screen_fits_and_is_as_the_document_shows_it(town: Town, hub: Hub) -> None:
    seen: dict[str, str] = {}
    for name, scene in _on_this_machine(town, hub).items():
        if name == "used":
            _point(town)
        code, shown = scene.play(town)
        shown = screens.folded(shown) if name in FOLDED else shown
        assert code in CODES.get(name, (0,)), shown
        assert max(map(len, shown.splitlines())) <= COLUMNS, shown
        seen[name] = shown
    assert town.pipe("purge", "acme/carried", "--pinned", "--yes").returncode == 0
    assert len(seen["help"].splitlines()) <= LINES
    if os.environ.get(WRITE):
        screens.write(seen)
    kept = screens.documented()
    assert set(kept) >= set(seen)
    for name, text in seen.items():
        assert essence(name, text) == essence(name, kept[name]), name


def essence(name: str, text: str) -> list[str]:
    """The shape of a screen, without what the machine and other tests have to do with it."""
    if name in FOLDED:
        text = screens.unfolded(text)
    lines = screens.shape(text)
    if name == "cluster":
        return lines[:3]  # what is not well with a node stands below
    if name == "bench":
        # How fast this machine is now, and whether its page cache can be emptied, is not said.
        return [line for line in lines if "N%" in line and not line.startswith("disk, read")]
    if name == "hosts":
        return lines[: lines.index("# end nodecache") + 1]  # this machine's config stands below
    if name in ("used", "unused"):
        return [line for part in _parts(lines) if part[0] in ABOUT_THE_NODE for line in part]
    if name == "status":
        facts = lines[lines.index("") : lines.index("UPSTREAM STATE SINCE PULLS LEFT RESET IN") + 2]
        return [line.partition(" ")[0] for line in facts]
    return lines


def _parts(lines: list[str]) -> Iterator[list[str]]:
    """What doctor says of one thing after the other."""
    for _, part in itertools.groupby(lines[1:], bool):
        yield list(part)


def _point(town: Town) -> None:
    """containerd at the node, as its config says already."""
    certs = town.node.folder / "root" / "etc" / "containerd" / "certs.d"
    words = ("node-config", "containerd", "--certs-dir", str(certs), "--mirror", town.node.url)
    assert town.pipe(*words, "--write").returncode == 0


def _quoted(word: str) -> str:
    return f"'{word}'" if "*" in word else word


def test_in_a_pipe_no_row_is_cut_and_json_is_json(town: Town) -> None:
    for command in ("list", "show nginx:1.27 --digests", "status"):
        piped = town.pipe(*command.split())
        assert piped.returncode == 0, piped.stderr
        assert "\x1b" not in piped.stdout + piped.stderr
    wide = town.pipe("show", "nginx:1.27", "--digests").stdout
    assert all(blob.digest in wide for blob in town.nginx.platform().blobs)
    rows = town.pipe("list").stdout.splitlines()
    assert [row.split()[0] for row in rows[1:]] == [
        "acme/tool:2.4",
        "nginx:1.27",
        "redis:7",
    ]
    for command in ("list", "show redis", "status", "status --cluster"):
        json.loads(town.pipe(*command.split(), "--json").stdout)
    for verb in ("verify", "pin", "unpin", "refresh"):
        lines = town.pipe(verb, "redis", "--json").stdout.splitlines()
        assert json.loads(lines[-1])["event"] == "done", verb


def test_the_figures_are_those_of_the_registry(town: Town) -> None:
    [row] = [
        row
        for row in json.loads(town.pipe("list", "--json").stdout)["images"]
        if row["name"] == "nginx:1.27"
    ]
    mine = town.nginx.platform()
    size = len(town.nginx.manifest.body) + len(mine.body) + sum(b.size for b in mine.all_blobs())
    assert row["digest"] == town.nginx.digest
    assert row["bytes"] == row["bytes_here"] == size


def test_purge_asks_and_takes_no_for_an_answer(town: Town) -> None:
    with town.terminal("purge", "acme/tool") as terminal:
        terminal.until(lambda text: "Remove 1 image? [y/N]:" in text, "the question")
        terminal.type("n\n")
        assert terminal.end() == 1
    assert "nothing was changed" in terminal.screen
    assert "acme/tool:2.4" in town.names()
    with town.terminal("purge", "acme/tool") as terminal:
        terminal.until(lambda text: "[y/N]:" in text, "the question")
        terminal.type("\x03")
        assert terminal.end() == 130
    assert "acme/tool:2.4" in town.names()
    with town.terminal("purge", "acme/tool") as terminal:
        terminal.until(lambda text: "[y/N]:" in text, "the question")
        terminal.type("y\n")
        assert terminal.end() == 0
    assert "acme/tool:2.4" not in town.names()
    for blob in town.tool.platform().blobs:
        hexed = blob.digest.removeprefix("sha256:")
        assert not (town.node.data_dir / "v1" / "blobs" / "sha256" / hexed[:2] / hexed).exists()
    town.pull(town.tool)
    assert "acme/tool:2.4" in town.names()


def test_a_rotten_file_is_found_and_named(town: Town) -> None:
    blob = town.redis.manifest.blobs[1]
    hexed = blob.digest.removeprefix("sha256:")
    path = town.node.data_dir / "v1" / "blobs" / "sha256" / hexed[:2] / hexed
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(bytes(data))
    found = town.pipe("verify", "redis")
    assert found.returncode == 1
    assert f"rotten, removed: blob {blob.digest} of redis:7" in found.stdout
    assert not path.exists()
    town.pull(town.redis)
    assert town.pipe("verify", "redis").returncode == 0


def test_a_pin_outlives_a_kill_and_the_socket_is_the_nodes_alone(town: Town) -> None:
    assert town.pipe("pin", "redis:7").returncode == 0
    socket = town.node.data_dir / "control.sock"
    assert stat.S_IMODE(socket.stat().st_mode) == 0o600
    town.node.kill()
    assert socket.exists()
    down = town.pipe("unpin", "redis:7")
    assert (down.returncode, down.stdout) == (3, "")
    town.node.start()
    row = town.pipe("list", "redis").stdout.splitlines()[1]
    assert row.endswith("pinned")
    assert town.pipe("unpin", "redis:7").stdout.strip() == "redis:7: unpinned"


#: A command as another user types it; what it imports may be in a folder that is root's alone.
AS_NOBODY = """
import encodings.idna, importlib, os
from rich.cells import cell_len
from nodecache.cli import main
from nodecache.cli.commands import COMMANDS
for entry in COMMANDS:
    importlib.import_module(f"nodecache.cli.{entry.module}")
cell_len("\u540d")
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
main(prog_name="nodecache")
"""


def test_another_user_may_look_and_change_nothing(town: Town) -> None:
    need_root()
    for words, code, problem in (
        ("list", 0, ""),
        ("purge redis --yes", 3, "control.sock may not be opened"),
        ("export redis:7 -o -", 3, "no pipe can be made in"),
    ):
        said = subprocess.run(
            [NODECACHE[0], "-c", AS_NOBODY, *words.split()],
            env={**os.environ, **town.env},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert said.returncode == code, said
        assert problem in said.stderr
        assert code == 0 or "the user that runs the node" in said.stderr
    assert "redis:7" in town.names()


def test_with_the_node_down_the_next_step_is_named(the_town: Town) -> None:
    assert the_town.node.stop() == 0
    assert not (the_town.node.data_dir / "control.sock").exists()
    for arguments in (("status",), ("show", "nginx"), ("verify",), ("purge", "nginx", "--yes")):
        said = the_town.pipe(*arguments)
        assert said.returncode == 3, arguments
        problem, next_step = said.stderr.splitlines()
        assert problem.startswith("nodecache: no node answers on"), arguments
        assert "Start it with 'nodecache serve'" in next_step, arguments
    the_town.node.start()


def test_wrong_names_offer_the_nearest(town: Town) -> None:
    for arguments in (("list",), ("purge", "--yes"), ("pin",)):
        said = town.pipe(*arguments, "ngnix:1.27")
        assert said.returncode == 1, arguments
        assert "Did you mean nginx:1.27?" in said.stderr, arguments
    said = town.pipe("lst")
    assert said.returncode == 2
    assert "Did you mean 'list'?" in said.stderr

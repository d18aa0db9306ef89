"""What all commands share: found by name, loaded when named, failing in a way that helps."""

from __future__ import annotations

import os
import pathlib
import socket
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from nodecache.cli import group, main
from nodecache.cli.client import Admin
from nodecache.cli.commands import COMMANDS, TOGETHER, Entry, named
from nodecache.cli.console import ago, bar, percent, size
from nodecache.cli.group import load
from nodecache.cli.problems import CommandError
from nodecache.cli.target import target_of
from tests.system.parts.screens import documented

ROOT = pathlib.Path(__file__).parent.parent

#: A person's terminal.
COLUMNS, LINES = 80, 24
#: What ``config`` says beside its table.
HINT = b"Limits and timeouts that are as usual are shown with --all.\n"


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )


def test_the_help_fits_on_one_screen_and_names_every_command() -> None:
    result = CliRunner().invoke(main, ["--help"], prog_name="nodecache")
    lines = result.output.splitlines()
    assert len(lines) < LINES  # the prompt needs one
    assert max(map(len, lines)) <= COLUMNS
    words = result.output.replace(",", " ").split()
    assert [entry.name for entry in COMMANDS if entry.name not in words] == []


def test_the_help_is_as_the_document_shows_it() -> None:
    """Otherwise paste it there, or run the system tests with WRITE_SCREENS=1."""
    result = CliRunner().invoke(main, ["--help"], prog_name="nodecache")
    assert f"$ nodecache --help\n{result.output.rstrip()}\n" == documented()["help"]


@pytest.mark.parametrize("entry", COMMANDS, ids=lambda entry: entry.name)
def test_every_command_of_the_table_is_there_under_its_name(entry: Entry) -> None:
    assert load(entry).name == entry.name


@pytest.mark.parametrize("entry", COMMANDS, ids=lambda entry: entry.name)
def test_the_help_of_every_command_fits_its_width_and_says_what_it_does(entry: Entry) -> None:
    result = CliRunner().invoke(main, [entry.name, "--help"], prog_name="nodecache")
    assert result.exit_code == 0
    assert f"Usage: nodecache {entry.name}" in result.output
    assert max(map(len, result.output.splitlines())) <= 100
    assert load(entry).help


def test_commands_that_share_a_line_of_the_help_are_commands() -> None:
    for name, first in TOGETHER.items():
        assert (named(name) is None) == (named(first) is None)


@pytest.mark.parametrize("module", ["serve", "commands", "group"])
def test_serve_loads_no_rich(module: str) -> None:
    """The node needs neither tables nor a client; the help of all commands loads none of them."""
    code = (
        f"import sys; import nodecache.cli.{module}; from nodecache.cli import main\n"
        "from click.testing import CliRunner\n"
        "CliRunner().invoke(main, ['--help']); CliRunner().invoke(main, ['serve', '--help'])\n"
        "import nodecache.service\n"
        "sys.exit(str([name for name in sys.modules if name.split('.')[0] == 'rich']))"
    )
    assert python(code).stderr.strip() == "[]"


def test_commands_load_no_reactor() -> None:
    """A command that speaks to the node starts in a moment."""
    names = [entry.module for entry in COMMANDS if entry.name != "serve"]
    code = (
        f"import sys, importlib\nfor name in {names}:\n"
        "    importlib.import_module('nodecache.cli.' + name)\n"
        "sys.exit(str([name for name in sys.modules if name.split('.')[0] == 'twisted']))"
    )
    assert python(code).stderr.strip() == "[]"


def test_a_command_that_is_not_there_offers_the_nearest() -> None:
    result = CliRunner().invoke(main, ["serv"])
    assert result.exit_code == 2
    assert "Did you mean 'serve'?" in result.output


def test_a_command_that_resembles_none_offers_none() -> None:
    result = CliRunner().invoke(main, ["zzzzzz"])
    assert result.exit_code == 2
    assert "There is no command 'zzzzzz'" in result.output
    assert "mean" not in result.output


def test_ctrl_c_is_exit_code_130(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def waits() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(group, "load", lambda _entry: waits)
    result = CliRunner().invoke(main, ["serve"])
    assert result.exit_code == 130
    assert result.output.strip() == "nodecache: interrupted"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_that_asks_this_program(shell: str) -> None:
    result = CliRunner().invoke(main, ["completion", shell])
    assert result.exit_code == 0
    assert f"_NODECACHE_COMPLETE={shell}_complete" in result.output


def test_completion_knows_the_commands() -> None:
    environ = {"_NODECACHE_COMPLETE": "bash_complete", "COMP_WORDS": "nodecache comp"}
    result = subprocess.run(
        [sys.executable, "-c", "from nodecache.cli import main; main(prog_name='nodecache')"],
        env={**os.environ, **environ, "COMP_CWORD": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.stdout.split() == ["plain,completion"]


@pytest.mark.parametrize(
    ("admin", "environ", "url"),
    [
        (None, {}, "http://localhost:5002"),
        (None, {"NODECACHE_ADMIN_LISTEN": "[::]:7"}, "http://localhost:7"),
        (None, {"NODECACHE_ADMIN_LISTEN": "0.0.0.0:7"}, "http://localhost:7"),
        (None, {"NODECACHE_ADMIN_LISTEN": ":7"}, "http://localhost:7"),
        (None, {"NODECACHE_ADMIN_LISTEN": "[fd00::1]:7"}, "http://[fd00::1]:7"),
        (None, {"NODECACHE_ADMIN_LISTEN": "10.0.0.1:7"}, "http://10.0.0.1:7"),
        (None, {"NODECACHE_ADMIN_URL": "http://n:1/"}, "http://n:1"),
        ("http://m:2", {"NODECACHE_ADMIN_URL": "http://n:1"}, "http://m:2"),
    ],
)
def test_the_admin_port_is_found_as_the_node_was_told_to_open_it(
    admin: str | None, environ: dict[str, str], url: str
) -> None:
    assert target_of(admin, None, None, environ).admin_url == url


def test_the_socket_is_in_the_data_folder_of_option_variable_or_file(
    tmp_path: pathlib.Path,
) -> None:
    file = tmp_path / "nodecache.toml"
    file.write_text("data_dir = '/file'\nadmin_listen = 'localhost:9'\n")
    environ = {"NODECACHE_DATA_DIR": "/env"}
    assert target_of(None, "/flag", None, environ).control.path == "/flag/control.sock"
    assert target_of(None, None, None, environ).control.path == "/env/control.sock"
    assert target_of(None, None, str(file), {}).control.path == "/file/control.sock"
    assert target_of(None, None, str(file), {}).admin_url == "http://localhost:9"


def test_a_node_that_stands_still_is_not_said_to_be_down() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(CommandError) as raised:
            Admin(url, timeout=0.1).get("/api/v1/status")
    error = raised.value
    assert error.exit_code == 3
    assert error.problem == f"the node on {url} does not answer (for 0 s)"
    assert error.next_step.startswith("It may be stopped or overloaded")


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (None, "-"),
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (51.3 * 1024**2, "51.3 MiB"),
        (100 * 1024**3, "100 GiB"),
        (1001 * 1024**2, "1.0 GiB"),
        (5000 * 1024**5, "5000 PiB"),
    ],
)
def test_sizes_are_told_in_three_digits_or_so(count: float | None, words: str) -> None:
    assert size(count) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, "-"), (-3, "0 s"), (59.9, "59 s"), (60, "1 min"), (7200, "2 h"), (10**6, "11 d")],
)
def test_times_are_told_in_their_biggest_unit(seconds: float | None, words: str) -> None:
    assert ago(seconds) == words


@pytest.mark.parametrize(
    ("part", "words"), [(None, "-"), (0, "0%"), (0.999, "99%"), (1.0, "100%"), (1.2, "100%")]
)
def test_whole_is_said_of_what_is_whole_only(part: float | None, words: str) -> None:
    assert percent(part) == words


def test_a_bar_is_drawn_within_its_width() -> None:
    assert [len(bar(part).plain) for part in (-1.0, 0.0, 0.5, 1.0, 7.0)] == [20] * 5
    assert len(set(bar(0.5).plain)) == 2


@pytest.mark.parametrize(("encoding", "full"), [("utf-8", "█"), ("latin-1", "#")])
def test_a_terminal_is_shown_only_letters_that_it_has(encoding: str, full: str) -> None:
    code = "from nodecache.cli.console import bar, console; console().print(bar(1.0))"
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert result.stdout.decode(encoding).strip() == full * 20


@pytest.mark.parametrize(
    "words",
    ["--help", "config --all", "config --json", "completion bash", "node-config containerd"],
)
def test_who_reads_no_more_hears_no_traceback(words: str) -> None:
    """As of ``nodecache config | head -1``, when head has ended."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "nodecache", *words.split()],
            stdout=writing,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    finally:
        os.close(writing)
    assert done.returncode == 1
    assert done.stderr in (b"", HINT), done.stderr

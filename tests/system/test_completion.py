"""Completion in real shells: commands, options, and the images that the node has."""

from __future__ import annotations

import os
import pathlib
import subprocess
from collections.abc import Iterator

import pytest

from tests.system.conftest import Shop
from tests.system.parts.hub import Hub
from tests.system.parts.processes import need
from tests.system.parts.terminal import Terminal
from tests.system.parts.town import NODECACHE, Town, town_of

#: What is typed before the tabulator, and what stands there then.
TYPED = (
    ("nodecache sho", "nodecache show"),
    ("nodecache show nginx:", "nodecache show nginx:1.27"),
    ("nodecache verify redis:7 acme/tool:2", "nodecache verify redis:7 acme/tool:2.4"),
)
READY = "all-is-set"
SETUP = {
    "bash": ("--norc", "--noprofile", "-i"),
    "zsh": ("-f", "-i"),
}
LOAD = {
    "bash": "PS1='$ '; bind 'set enable-bracketed-paste off'",
    "zsh": "PS1='$ '; unset zle_bracketed_paste; autoload -Uz compinit; compinit -u -D",
}


def typed(text: str) -> str:
    """What stands behind the prompt."""
    return text.rpartition("\n")[2].removeprefix("$").strip()


@pytest.fixture(scope="module")
def the_town(world: pathlib.Path, the_hub: Hub, shop: Shop) -> Iterator[Town]:
    with town_of(world / "completion", the_hub, shop) as town:
        town.as_usual()
        yield town


@pytest.fixture
def env(the_town: Town, tmp_path: pathlib.Path) -> dict[str, str]:
    """With ``nodecache`` on the path."""
    python, *rest = NODECACHE
    program = tmp_path / "nodecache"
    words = " ".join(f'"{word}"' for word in (python, *rest))
    program.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
    program.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    return {**the_town.env, "PATH": path, "HOME": str(tmp_path), "TERM": "dumb"}


@pytest.mark.parametrize("shell", list(SETUP))
def test_a_tabulator_completes_what_was_typed(shell: str, env: dict[str, str]) -> None:
    need(shell)
    with Terminal([shell, *SETUP[shell]], env) as terminal:
        load = f'{LOAD[shell]}; eval "$(nodecache completion {shell})"'
        terminal.type(f"{load}; echo {READY[:3]}''{READY[3:]}\n")
        # What is typed before the prompt stands is echoed twice.
        terminal.until(
            lambda text: READY in text and text.rpartition("\n")[2].strip() == "$",
            "the shell is ready",
        )
        for before, after in TYPED:
            terminal.type(f"{before}\t")
            terminal.until(lambda text, after=after: typed(text) == after, after)  # type: ignore[misc]
            terminal.type("\x15")  # take the line back
            terminal.until(lambda text: "nodecache" not in typed(text), "the prompt")


def test_fish_completes_it_too_and_says_what_an_option_does(env: dict[str, str]) -> None:
    need("fish")
    for before, after in TYPED:
        asked = f"nodecache completion fish | source; complete -C {before!r}"
        found = subprocess.run(
            ["fish", "--no-config", "-c", asked],
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout
        words = [line.split("\t") for line in found.splitlines()]
        assert after.split()[-1] in [each[0] for each in words], (before, found)
        if after.endswith("show"):
            assert words == [["show", "One image: its manifests and blobs, what is here."]]

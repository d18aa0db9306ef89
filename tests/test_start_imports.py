"""What a node loads when it starts: nothing that it does not use."""

from __future__ import annotations

import subprocess
import sys

import pytest

#: Packages and modules, with all below them, that only other commands, other settings or
#: the development need.
UNUSED = (
    "hypothesis",
    "importlib.metadata",
    "jinja2",
    "markdown_it",
    "multiprocessing",
    "nodecache.runtimes",
    "nodecache.steering.called",
    "nodecache.steering.exporting",
    "nodecache.steering.importing",
    "nodecache.steering.unpacking",
    "nodecache.tracing",
    "opentelemetry",
    "pip",
    "pkg_resources",
    "playwright",
    "pygments",
    "pytest",
    "requests",
    "rich",
    "setuptools",
    "sqlite3",
    "tarfile",
    "treq",
    "twisted.conch",
    "twisted.trial",
    "unittest",
    "yaml",
)
#: Of the commands, what this one is made of.
COMMANDS = {"commands", "group", "problems", "serve"}

_SCRIPT = """
import sys
from nodecache.cli import main
try:
    main(["serve", "--help"], standalone_mode=False)
finally:
    from nodecache.service import run
    sys.stderr.write("\\n".join(sys.modules))
"""


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    """The modules of a process that was about to start a node."""
    argv = [sys.executable, "-c", _SCRIPT]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    return set(done.stderr.split("\n"))


@pytest.mark.parametrize("name", UNUSED)
def test_serve_does_not_load_it(loaded: set[str], name: str) -> None:
    assert [each for each in loaded if each == name or each.startswith(f"{name}.")] == []


def test_serve_loads_no_other_command(loaded: set[str]) -> None:
    named = {each.split(".")[2] for each in loaded if each.startswith("nodecache.cli.")}
    assert named == COMMANDS


def test_the_list_is_looked_at(loaded: set[str]) -> None:
    """What serve does use is found, so that what is not found is not there."""
    assert {"nodecache.service.node", "twisted.web.server", "klein", "prometheus_client"} <= loaded

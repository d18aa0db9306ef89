"""The image, built by the Dockerfile under a real dockerd, and run as anybody may run it."""

from __future__ import annotations

import json
import pathlib
import re
import subprocess
import sys

import pytest

import nodecache
from tests.system.kube.docker import Docker
from tests.system.kube.image import NAME, SOURCE, USER
from tests.system.parts.processes import CommandFailed

#: What the image may add to its base; it is printed.
MOST = 100_000_000


def test_what_the_image_adds_to_its_base_is_small(
    the_image: Docker, capsys: pytest.CaptureFixture[str]
) -> None:
    built = the_image.built
    assert built is not None
    added = built.size - built.base_size
    with capsys.disabled():
        whole, base = built.size / 1e6, built.base_size / 1e6
        print(
            f"\nimage: {whole:.0f} MB, of which the base is {base:.0f} and ours {added / 1e6:.0f}"
        )
    assert 10_000_000 < added < MOST


def test_it_is_not_root_and_has_no_health_check(the_image: Docker) -> None:
    config = the_image.inspect(NAME)["Config"]
    assert config["User"] == f"{USER}:{USER}"
    assert "Healthcheck" not in config
    assert config["Entrypoint"] == ["/opt/nodecache/bin/nodecache"]
    assert config["Cmd"] == ["serve"]
    assert config["Labels"]["org.opencontainers.image.version"] == nodecache.__version__
    assert config["Labels"]["org.opencontainers.image.revision"] == "0123456789abcdef"


def test_nothing_of_the_build_reaches_it(the_image: Docker) -> None:
    """No pip, no index and no certificate of the machine that built it."""
    config = the_image.inspect(NAME)["Config"]
    assert not [one for one in config["Env"] if one.startswith("PIP_")]
    history = the_image("history", "--no-trunc", "--format", "{{.CreatedBy}}", NAME)
    assert "PIP_" not in history
    for module in ("pip", "setuptools"):
        with pytest.raises(CommandFailed, match="No module named"):
            python(the_image, f"import {module}")


def python(docker: Docker, program: str, *options: str) -> str:
    words = ("--rm", "--network", "none", "--read-only", "--cap-drop=ALL", *options)
    inside = ("--entrypoint", "/opt/nodecache/bin/python", NAME, "-I", "-c", program)
    return docker("run", *words, *inside)


def test_it_says_its_version_with_a_read_only_root_and_no_capability(the_image: Docker) -> None:
    words = ("run", "--rm", "--network", "none", "--read-only", "--cap-drop=ALL")
    assert nodecache.__version__ in the_image(*words, NAME, "--version")


COMPILING = """\
import importlib.machinery, sys
made, compiled = [], importlib.machinery.SourceFileLoader.source_to_code
def compiling(self, data, path, **more):
    made.append(path)
    return compiled(self, data, path, **more)
importlib.machinery.SourceFileLoader.source_to_code = compiling
import nodecache.cli.serve, nodecache.service
print(sorted(made), len(sys.modules) > 500)
"""


def test_a_start_compiles_nothing(the_image: Docker) -> None:
    """Neither of ours nor of the standard library, which the base has as text alone."""
    assert python(the_image, COMPILING).strip() == "[] True"


INSTALLED = """\
import importlib.metadata, json
print(json.dumps({one.name.lower(): one.version for one in importlib.metadata.distributions()}))
"""


def test_what_is_installed_is_what_the_lock_and_the_sbom_name(
    the_image: Docker, tmp_path: pathlib.Path
) -> None:
    installed = {
        name.replace("_", "-").replace(".", "-"): version
        for name, version in json.loads(python(the_image, INSTALLED)).items()
    }
    assert installed.pop("nodecache") == nodecache.__version__
    lock = (SOURCE / "requirements.lock").read_text()
    assert installed == dict(re.findall(r"^(\S+)==(\S+) \\$", lock, re.MULTILINE))
    file = tmp_path / "sbom.json"
    tool = pathlib.Path(sys.executable).with_name("cyclonedx-py")
    words = [
        "requirements",
        "requirements.lock",
        "--output-reproducible",
        "--output-format",
        "JSON",
    ]
    subprocess.run([tool, *words, "--output-file", file], cwd=SOURCE, check=True)
    named = {one["name"]: one for one in json.loads(file.read_text())["components"]}
    assert {name: one["version"] for name, one in named.items()} == installed
    for one in named.values():
        assert one["externalReferences"][0]["hashes"]


def test_without_a_volume_it_serves_from_its_own_folder(the_image: Docker) -> None:
    """docker run, with nothing else said."""
    ran = the_image("run", "--detach", "--network", "none", NAME)
    try:
        ready = (
            "import time, urllib.request as r\n"
            "for _ in range(300):\n"
            "    try: print(r.urlopen('http://127.0.0.1:5002/readyz').status); break\n"
            "    except OSError: time.sleep(0.1)\n"
            "print(r.urlopen('http://127.0.0.1:5000/v2/').status)\n"
        )
        told = the_image("exec", ran, "/opt/nodecache/bin/python", "-I", "-c", ready)
        assert told.split() == ["200", "200"]
        the_image("stop", "--time", "30", ran)
        assert the_image.inspect(ran)["State"]["ExitCode"] == 0
    finally:
        the_image("rm", "--force", ran)


def test_a_root_that_can_not_be_written_is_said_in_one_line(the_image: Docker) -> None:
    with pytest.raises(CommandFailed, match=r"data folder /var/lib/nodecache: .*Read-only"):
        the_image("run", "--rm", "--network", "none", "--read-only", NAME)

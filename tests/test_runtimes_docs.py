"""docs/runtimes.md and docs/kops.md say what the code does."""

from __future__ import annotations

import ast
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from nodecache.runtimes import kops
from nodecache.runtimes.names import DEFAULT_MIRROR

ROOT = pathlib.Path(__file__).parent.parent
HUB = ("docker.io",)
CERTS = "/etc/containerd/certs.d"


def texts(node: ast.expr) -> Iterator[str]:
    """What the first argument of a finding may be; ``{name}`` is CRI-O or podman."""
    if isinstance(node, ast.Constant):
        yield str(node.value)
    elif isinstance(node, ast.IfExp):
        yield from texts(node.body)
        yield from texts(node.orelse)
    elif isinstance(node, ast.JoinedStr):
        rest = "".join(str(part.value) for part in node.values if isinstance(part, ast.Constant))
        yield from (f"{name}{rest}" for name in ("crio", "podman"))


def findings() -> set[tuple[str, str]]:
    """Code and severity of every finding that the code makes."""
    return {
        (code, node.func.id)
        for path in (ROOT / "nodecache" / "runtimes").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args
        if node.func.id in {"ok", "note", "warning", "problem"}
        for code in texts(node.args[0])
    }


def documented() -> set[tuple[str, str]]:
    text = (ROOT / "docs" / "runtimes.md").read_text().partition("## What doctor finds")[2]
    rows = re.findall(r"^\| (`.*`) \| (\w+) \|", text, re.MULTILINE)
    return {
        (code, severity) for codes, severity in rows for code in re.findall(r"`([^`]+)`", codes)
    }


def test_every_finding_is_documented_with_its_severity() -> None:
    assert documented() == findings()
    assert len(findings()) > 60


def specs() -> list[dict[str, Any]]:
    text = (ROOT / "docs" / "kops.md").read_text()
    return [yaml.safe_load(part) for part in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]


@pytest.mark.parametrize(
    ("place", "way", "version"),
    [
        (0, kops.Way.DOCKER, (1, 23, 0)),
        (1, kops.Way.MIRRORS, (1, 36, 0)),
        (2, kops.Way.HOSTS_DIR, (1, 35, 0)),
    ],
)
def test_the_specs_of_the_document_are_those_that_are_printed(
    place: int, way: kops.Way, version: tuple[int, int, int]
) -> None:
    printed = kops.spec(way, DEFAULT_MIRROR, HUB, version, CERTS)
    assert specs()[place] == yaml.safe_load(printed)


@pytest.mark.parametrize("name", ["kops.md", "runtimes.md"])
def test_links_between_documents_lead_somewhere(name: str) -> None:
    """Anchors of operations.md are left out: its parts come and go with what is measured."""
    text = (ROOT / "docs" / name).read_text()
    for target, anchor in re.findall(r"\]\(([a-z]*\.?m?d?)#?([a-z0-9-]*)\)", text):
        other = ROOT / "docs" / (target or name)
        assert other.exists(), target
        heads = re.findall(r"^#+ (.*)$", other.read_text(), re.MULTILINE)
        slugs = {re.sub(r"[^a-z0-9 -]", "", head.lower()).replace(" ", "-") for head in heads}
        assert not anchor or target == "operations.md" or anchor in slugs, (target, anchor)

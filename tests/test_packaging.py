"""What the package says of itself: one version, and oldest dependencies that are tried."""

from __future__ import annotations

import ast
import pathlib
import re

import nodecache

ROOT = pathlib.Path(__file__).parent.parent


def lower_bounds() -> dict[str, str]:
    """The oldest version of each dependency, as setup.py names it."""
    tree = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    [wanted] = [
        ast.literal_eval(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.keyword) and node.arg == "install_requires"
    ]
    [traces] = [
        ast.literal_eval(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "OTEL"
    ]
    wanted += traces
    bounds = (
        re.fullmatch(r"([\w.-]+)(?:\[\w+\])?>=([\d.]+)(?:,<[\d.]+)?", each) for each in wanted
    )
    return {match[1].lower(): match[2] for match in bounds if match}


def pinned() -> dict[str, str]:
    """What the matrix installs where it says oldest."""
    text = (ROOT / "constraints-oldest.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    exact = (line.partition(";")[0].strip().split("==") for line in lines)
    return {name.lower(): version for name, version in exact}


def padded(version: str) -> tuple[int, ...]:
    numbers = [int(number) for number in version.split(".")]
    return tuple(numbers + [0] * (3 - len(numbers)))


def test_the_oldest_versions_are_the_ones_that_the_matrix_runs() -> None:
    bounds = {name: padded(version) for name, version in lower_bounds().items()}
    assert bounds == {name: padded(version) for name, version in pinned().items()}
    assert "twisted" in bounds


def test_the_version_is_said_once() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", nodecache.__version__)
    assert nodecache.__version__ not in (ROOT / "setup.py").read_text(encoding="utf-8")


def test_types_are_shipped() -> None:
    assert (ROOT / "nodecache" / "py.typed").exists()

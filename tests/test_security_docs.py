"""docs/security.md names tests: each of them exists, and claims stand beside them."""

from __future__ import annotations

import pathlib
import re

ROOT = pathlib.Path(__file__).parent.parent
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def named() -> list[tuple[str, str]]:
    return NAMED.findall((ROOT / "docs" / "security.md").read_text(encoding="utf-8"))


def test_each_test_that_a_claim_names_exists() -> None:
    missing = [
        f"{file}::{name}"
        for file, name in named()
        if f"def {name}(" not in (ROOT / file).read_text(encoding="utf-8")
    ]
    assert missing == []
    assert len(named()) > 30


def test_the_ports_of_the_document_are_those_of_the_image() -> None:
    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    exposed = re.search(r"^EXPOSE (.*)$", (ROOT / "Dockerfile").read_text("utf-8"), re.MULTILINE)
    assert exposed is not None
    assert set(exposed[1].split()) == set(re.findall(r"^\| \w+, (\d+) \|", text, re.MULTILINE))


def test_the_policy_names_the_release_that_is_supported() -> None:
    version = re.search(r'"(\d+\.\d+)\.', (ROOT / "nodecache" / "__init__.py").read_text("utf-8"))
    assert version is not None
    assert f"{version[1]}.x" in (ROOT / "SECURITY.md").read_text(encoding="utf-8")

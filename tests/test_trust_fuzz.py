"""Every parser is fed what no one should send (tests/trust/fuzz.py), a little in each run."""

from __future__ import annotations

import ast
import pathlib
import re
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, seed, settings

import nodecache
from tests.trust.fuzz import TARGETS, Target, mutations

SEED = 9
EXAMPLES = 60


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_a_parser_holds(target: Target) -> None:
    runs = 0

    @seed(SEED)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(mutations(target))
    def feed(data: bytes) -> None:
        nonlocal runs
        runs += 1
        target.check(data)

    feed()
    print(f"{target.name}: {runs} runs")
    assert runs >= EXAMPLES // 2


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_the_good_inputs_are_held_to_the_same(target: Target) -> None:
    for data in target.seeds:
        target.check(data)


#: How parsers are called here.
PARSER: Final = re.compile(
    r"(parse|read|decode|judge)_.+|parse|decode|decoded|from_json|.+_from_(bytes|json)"
)
#: So called, and no parser of a text.
OTHERS: Final = {
    "read_cached": "gives bytes of a blob",
    "read_file": "gives bytes of a file",
    "read_whole": "gives bytes of a stream",
    "read_marker": "its file holds one number, and the store's tests break it",
    "read_settings": "names the file that the target of settings is about",
    "read_certificates": "OpenSSL's",
    "read_assets": "of our own package",
}


def parsers() -> Iterator[tuple[str, str]]:
    """File and name of each."""
    for path in sorted(pathlib.Path(nodecache.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            # One that can wait gets something, and does not parse it.
            name = node.name if isinstance(node, ast.FunctionDef) else ""
            if PARSER.fullmatch(name) and name not in OTHERS:
                yield str(path), name


def test_every_parser_is_fed_by_a_target() -> None:
    """Seen as it is called: a parser that is added has to get a row, or a reason."""
    called: set[tuple[str, str]] = set()

    def see(frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            called.add((frame.f_code.co_filename, frame.f_code.co_name))

    before = sys.getprofile()
    try:
        for target in TARGETS:
            for data in target.seeds:
                sys.setprofile(see)  # anew: one that meets the end of the stack is taken away
                target.check(data)
    finally:
        sys.setprofile(before)
    every = list(parsers())
    assert len(every) > 50
    missing = [each for each in every if each not in called]
    assert not missing, "\n".join(f"{path}: {name}" for path, name in missing)


def test_a_parser_that_breaks_is_found() -> None:
    """Or none of the above would prove anything."""

    def breaks(data: bytes) -> None:
        assert b"!" not in data

    @settings(max_examples=2000, deadline=None, database=None)
    @given(mutations(Target("breaks", breaks, (b"a good input!",))))
    def feed(data: bytes) -> None:
        breaks(data)

    with pytest.raises(AssertionError):
        feed()

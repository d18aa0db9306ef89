"""The documents say what the code does: generated parts are up to date, links lead somewhere."""

from __future__ import annotations

import importlib.util
import pathlib
import re
import types

import pytest

from nodecache.config import load

ROOT = pathlib.Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def renderer() -> types.ModuleType:
    spec = importlib.util.spec_from_file_location("docs_render", ROOT / "docs" / "render.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", renderer().DOCUMENTS)
def test_generated_parts_are_up_to_date(name: str) -> None:
    """Otherwise run ``make docs``."""
    text = (ROOT / name).read_text(encoding="utf-8")
    assert renderer().rendered(text) == text


def test_each_generated_part_has_its_place() -> None:
    render = renderer()
    placed = {
        part
        for name in render.DOCUMENTS
        for part in render.parts_of((ROOT / name).read_text(encoding="utf-8"))
    }
    assert placed == set(render.PARTS)


def test_a_part_that_is_out_of_date_is_found() -> None:
    stale = "<!-- begin answers -->\n\n| old |\n\n<!-- end answers -->"
    assert renderer().rendered(stale) != stale


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(document: pathlib.Path) -> None:
    text = document.read_text(encoding="utf-8")
    targets = [target for target in re.findall(r"\]\(([^)#]+)", text) if "://" not in target]
    missing = [target for target in targets if not (document.parent / target).exists()]
    assert missing == []


def test_the_sample_of_the_settings_file_is_read_without_a_complaint() -> None:
    blocks = re.findall(r"```toml\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    [sample] = [block for block in blocks if "[upstreams." in block]
    loaded = load({}, {}, sample, "sample.toml")
    assert loaded.warnings == ()
    [hub] = loaded.settings.upstreams
    assert hub.mirrors
    assert hub.account is not None
    assert hub.account.repositories == ("acme/*",)

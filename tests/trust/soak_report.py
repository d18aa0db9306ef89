"""Writes the soak's part of docs/reliability.md."""

from __future__ import annotations

import json
import pathlib
import time
from collections.abc import Iterable, Iterator
from typing import Any, Final

import attrs

from tests.trust.report import mark
from tests.trust.soak import STEADY, Found
from tests.trust.soak_judge import FEWEST
from tests.trust.soak_load import NO_ROOM

NAME: Final = "soak"


def keep(found: Found, seed: int, folder: pathlib.Path, path: pathlib.Path) -> int:
    """Into a file of ``folder``, the document ``path`` and the terminal; 1 where it failed."""
    date = time.strftime("%Y-%m-%d")
    kept = {"seed": seed, "date": date, "found": attrs.asdict(found)}
    (folder / f"{NAME}.soak.json").write_text(json.dumps(kept, indent=1))
    text = "\n".join(lines(found, seed, date))
    print(text)
    mark(path, NAME, text)
    return 1 if found.problems else 0


def lines(found: Found, seed: int, date: str) -> Iterator[str]:
    """Of the part, in Markdown."""
    yield "## Soak\n"
    yield (
        f"{date}, seed {seed}: {found.seconds / 60:.0f} minutes on four nodes in network namespaces"
        f" of one machine of two cores, which other work shared. {found.cycles} cycles, in each of"
        f" which upstream was away, a black hole and slow, and a node was replaced under load."
        f" `make soak` runs it for an hour; CI for about a minute.\n"
    )
    yield "| | |\n|---|---|"
    for name, value in _happened(found):
        yield f"| {name} | {value} |"
    yield (
        "\nAt rest, three times a cycle, nothing may be under way, and what a node needs is read."
        " *Growth* is the median of the slopes between every two of these readings in the last two"
        " thirds of the run, times its length; *most* is of all readings, under load too. Memory,"
        f" descriptors and threads are those of the {STEADY} nodes that ran from the first second"
        " to the last; disk is that of all, since it outlives their processes. Less than"
        f" {FEWEST} readings in that stretch count as a failure, and what grows by less than is"
        " allowed is not found.\n"
    )
    yield (
        "| | node | first | last | growth (allowed) | most (allowed) | readings |"
        "\n|---|---|---|---|---|---|---|"
    )
    yield from _table(found.verdicts)
    yield f"\nProblems: {'; '.join(found.problems) or 'none'}."


def _happened(found: Found) -> Iterable[tuple[str, object]]:
    did, got = found.did, found.got
    yield "things that clients did", f"{sum(did.values()):,}"
    names = {
        "pull": "pulls of whole images",
        "ranged": "ranges",
        "hang_up": "hung up in a body",
        "moving_tag": "tags that move",
        "listing": "lists",
        "nothing": "blobs that are nowhere",
    }
    yield "of these", "; ".join(f"{name}: {did.get(key, 0):,}" for key, name in names.items())
    yield "body bytes, each compared", f"{found.bytes / 1e9:.1f} GB"
    refused = got.get("refused or broken off", 0)
    yield (
        "refused or broken off while something was broken; while nothing was",
        (f"{refused - found.calm_failures:,}; {found.calm_failures}"),
    )
    yield (
        "ranges of blobs that there was no room for, in calm weather: a 404 is right",
        got.get(NO_ROOM, 0),
    )
    yield "wrong bodies", found.wrong_bodies
    yield "evictions; tags moved", f"{found.evicted:,}; {found.tags_moved:,}"
    yield "nodes replaced; of these at a new address", f"{found.replaced}; {found.moved}"


def _table(verdicts: Iterable[dict[str, Any]]) -> Iterator[str]:
    for one in verdicts:
        rule = one["rule"]
        yield (
            f"| {rule['name']} | {one['of'].partition(' ')[0]} | {one['first']:.1f} |"
            f" {one['last']:.1f} | {one['growth']:+.1f} ({rule['grows']:g}) |"
            f" {one['most']:.1f} ({rule['ceiling']:g}) | {one['readings']} |"
        )

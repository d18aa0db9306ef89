"""Writes docs/reliability.md from the files that the parts of a run have left."""

from __future__ import annotations

import json
import pathlib
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from tests.trust import abuse_report
from tests.trust.cells import NEVER_STALE, ONE_OF_MANY, Cell, cells
from tests.trust.faults import CUTS
from tests.trust.shapes import BLOBS, Expect, Leg, State

HEAD: Final = """\
# What happens when something breaks

This page is written by `make trust`. Every fault below was caused, on every way that a node asks
others, with a whole node over loopback, its timeouts shortened: with nothing cached (*cold*),
with a fresh copy (*warm*), with a copy that has to be checked (*stale*), and with three clients in
the middle of the same fetch (*in flight*). In every cell it was also checked that no complete
wrong body was sent, that the answer came in time, that an event and a metric name the cause, that
the node is itself again once the fault is over, and that nothing was left behind: no descriptor,
timer, socket, thread, temporary file or reserved byte, and accounts that equal the disk.

What a client is answered is the same for all faults, so the table only says which of these it is:

| word | cold | stale | in flight |
|---|---|---|---|
| whole | 200, the right bytes | 200, fresh | 200, the right bytes |
| 404 | 404: the runtime asks elsewhere | 200, what is here, and a `Warning` | a manifest: 404; \
a blob: broken off |
| 503 | 503: the runtime asks elsewhere | 200, what is here, and a `Warning` | 503 |
| broken off | 200, and the connection ends before the last bytes (or 404) | | broken off |
| whole or broken off | one of the two, never a whole body of wrong bytes | | one of the two |
| slow | as slow as upstream's bytes, for as long as they come | | as slow |

Warm, every cell is *whole*, and upstream is not asked. Where a peer has the fault, another is
asked, or upstream, so that every cell is *whole*; but for lies whose checksums and signature are
right, which only the digest of the whole body tells: such a body breaks off, and the next try is
whole. A part of a blob that is here already is sent in any case.
"""


def write(folder: pathlib.Path, path: pathlib.Path) -> int:
    """Returns 1 where anything failed, else 0."""
    parts = {one.stem: json.loads(one.read_text()) for one in sorted(folder.glob("*.json"))}
    shares = [part for name, part in parts.items() if name.startswith("matrix")]
    found = {each["name"]: each for part in shares for each in part["found"]}
    sections: dict[str, Iterable[str] | None] = {
        "The matrix": _matrix(found, shares) if shares else None,
        "Crashes": _crash(parts["crash"]) if "crash" in parts else None,
        ABUSE: abuse_report.lines(parts["abuse"]) if "abuse" in parts else None,
        "Parsers": _fuzz(parts["fuzz"]) if _fuzzed(parts.get("fuzz")) else None,
    }
    text = [HEAD]
    for name, lines in sections.items():
        # What was not run this time stays as it was.
        made = section(path, name) if lines is None else "\n".join(lines)
        text.append((made or f"## {name}\n\nNot run.").rstrip() + "\n")
    text += marked(path)
    path.write_text("\n".join(text).rstrip() + "\n", encoding="utf-8")
    failed = [name for name, each in found.items() if each["problems"]]
    failed += parts.get("crash", {}).get("found", {}).get("problems", [])
    failed += abuse_report.problems_of(parts.get("abuse"))
    failed += [each["target"] for each in _fuzzed(parts.get("fuzz")) if each["exit"]]
    print(f"{path}: {len(found)} cells; failed: {failed or 'none'}")
    return 1 if failed else 0


ABUSE: Final = "Hostile clients and peers"


def section(path: pathlib.Path, name: str) -> str:
    """What the document has of it now; empty where there is nothing."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    _, heading, rest = text.partition(f"## {name}\n")
    end = re.search(r"^(## |<!-- begin )", rest, re.MULTILINE)
    return heading + (rest[: end.start()] if end else rest)


#: A part of the document that another measurement writes, and this one leaves as it is.
_MARKED: Final = re.compile(r"<!-- begin (\w+) -->\n.*?<!-- end \1 -->\n", re.DOTALL)


def marked(path: pathlib.Path) -> list[str]:
    """The marked parts of the document as it is now; none where there is no document."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [match[0] for match in _MARKED.finditer(text)]


def mark(path: pathlib.Path, name: str, body: str) -> None:
    """Put ``body`` into the document as the part ``name``: in its place, or at the end."""
    text = path.read_text(encoding="utf-8")
    part = f"<!-- begin {name} -->\n\n{body.strip()}\n\n<!-- end {name} -->\n"
    before = next((old for old in marked(path) if old.startswith(f"<!-- begin {name} -->")), None)
    made = text.replace(before, part) if before else f"{text.rstrip()}\n\n{part}"
    path.write_text(made, encoding="utf-8")


def _matrix(found: Mapping[str, Any], shares: list[Any]) -> Iterable[str]:
    every = list(cells())
    ran = [cell for cell in every if cell.name in found]
    failed = [cell for cell in ran if found[cell.name]["problems"]]
    again = sum(found[cell.name]["attempts"] > 1 for cell in ran) - len(failed)
    when = f"{shares[0]['date']}, seed {shares[0]['seed']}" if shares else "never"
    longest = max((found[cell.name]["seconds"] for cell in ran), default=0)
    yield "## The matrix\n"
    yield (
        f"{when}: {len(every)} cells, of which {sum(c.why_not is not None for c in every)} are"
        f" left out, for the reasons below; {len(ran)} ran, {len(ran) - len(failed)} hold"
        f" ({again} of them only when they were run again, alone: the machine was busy, and"
        f" their times are short). The longest took {longest:.0f} s.\n"
    )
    yield "| fault | " + " | ".join(leg.value for leg in Leg) + " |"
    yield "|---|" + "---|" * len(Leg)
    rows: dict[str, list[Cell]] = {}
    for cell in every:
        name = "cut at each 64th of the body" if cell.fault in CUTS[1:] else cell.fault.name
        rows.setdefault(name, []).append(cell)
    reasons: list[str] = [NEVER_STALE, ONE_OF_MANY]
    for name, row in rows.items():
        shown = [_shown([c for c in row if c.leg is leg], found, reasons) for leg in Leg]
        yield f"| {name} | " + " | ".join(shown) + " |"
    yield ""
    yield from (f"{number}. {reason}." for number, reason in enumerate(reasons, 1))
    yield ""
    yield "[1] holds for all blobs *stale*, and [2] for all cuts but *cold*."
    yield f"Failed: {_named(failed)}.\n"


def _named(failed: list[Cell]) -> str:
    return ", ".join(f"{c.fault.name} at {c.leg.value} {c.state.value}" for c in failed) or "none"


def _shown(row: list[Cell], found: Mapping[str, Any], reasons: list[str]) -> str:
    """What a cold client gets, or why there is no such cell."""
    [first, *_] = [cell for cell in row if cell.state is State.COLD]
    if first.why_not is not None:
        if first.why_not not in reasons:
            reasons.append(first.why_not)
        return f"[{reasons.index(first.why_not) + 1}]"
    missing = [cell for cell in row if cell.why_not is None and cell.name not in found]
    failed = [cell for cell in row if found.get(cell.name, {}).get("problems")]
    word = "slow" if first.expect is Expect.SLOW else first.expect.value
    if first.leg in BLOBS and first.expect is Expect.AWAY:
        word = Expect.ABSENT.value
    return f"{word}{' (not run)' if missing else ''}{' **failed**' if failed else ''}"


def _crash(part: Any) -> Iterable[str]:
    yield "## Crashes\n"
    tally = part["found"]
    yield (
        f"{part['date']}, seed {part['seed']}: {tally['rounds']} rounds on one data folder. In each"
        f" a real process was killed (`SIGKILL`) at a random moment, under pulls with a cap so"
        f" small that it evicts, tags that move, and orders over the control socket (imports,"
        f" purges, pins), or within the fill of a large blob; and of the files written within the"
        f" last second some were then cut short or blanked ({tally['damaged']} in all). After each"
        f" start every blob on disk was asked for, without upstream, and then some with it.\n"
    )
    yield "| | |\n|---|---|"
    yield f"| requests; whole bodies, each compared | {tally['requests']}; {tally['whole']} |"
    yield f"| damaged copies that the node found and dropped | {tally['corrupt_found']} |"
    orders = tally["orders"]
    done = ", ".join(f"{count} {verb}" for verb, count in sorted(orders["done"].items()))
    yield f"| orders carried out; cut by a kill | {done}; {orders['cut']} |"
    yield f"| imports that were done before a kill, and whole after it | {orders['kept']} |"
    fills = tally["fills_cut"]
    yield f"| evictions, and fills under way, at the kills | {tally['evicted']}; {fills} |"
    yield (
        f"| large blobs taken up again; whole segments that were not fetched again |"
        f" {tally['resumed']}; {tally['segments_kept']} |"
    )
    yield (
        f"| longest look through the folder at a start; until it answered, interpreter included |"
        f" {tally['slowest_scan']:.2f} s; {tally['slowest_start']:.1f} s (on a busy machine) |"
    )
    yield (
        f"| most that a start read before it answered, of how many files; each byte at most once |"
        f" {tally['most_read'] / 2**20:.1f} MiB, {tally['most_files']} |"
    )
    yield f"| rounds with a wrong byte, wrong accounts, or a defect | {len(tally['problems'])} |\n"
    yield from (f"- {problem}" for problem in tally["problems"])


def _fuzzed(part: Any) -> list[Any]:
    return [] if part is None else list(part["found"])


def _fuzz(part: Any) -> Iterable[str]:
    yield "## Parsers\n"
    runs = sum(each["runs"] for each in part["found"])
    yield (
        f"{part['date']}, seed {part['seed']}: {runs:,} runs under atheris, driven by coverage."
        f" Each target holds more than that nothing is raised: tests/trust/fuzz.py.\n"
    )
    yield "| parser | runs | |\n|---|---|---|"
    for each in part["found"]:
        outcome = "holds" if each["exit"] == 0 else "**broke**"
        yield f"| {each['target']} | {each['runs']:,} | {outcome} |"

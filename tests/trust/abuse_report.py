"""What came of the abuse, as a part of docs/reliability.md."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tests.trust.abuse_ground import Port

HEAD = """\
Each of these was done to each port of a whole node, in one write or over time, while another
client was served there. The numbers are the statuses that came, in order, before the node closed
the connection; *closed* is that it closed it without a word, when the time for a request was over.
What stands behind a refused request was never read as another one. After each row no connection,
request or unsigned byte was held any more. Whom the process dialled was heard from the
interpreter's audit of its sockets: none but the hosts of the settings, and no name was looked up.
"""


def problems_of(part: Any) -> list[str]:
    """Of all rows and crowds."""
    if part is None:
        return []
    crowds = [problem for each in part["found"]["crowds"] for problem in each["problems"]]
    return [*part["found"]["problems"], *crowds]


def lines(part: Any) -> Iterable[str]:
    """The section."""
    found = part["found"]
    rows, broken = found["rows"], problems_of(part)
    yield "## Hostile clients and peers\n"
    yield HEAD
    yield (
        f"{part['date']}: {sum(len(row['answers']) for row in rows)} rows, of {len(rows)} kinds;"
        f" {len(broken)} were answered otherwise than they have to be. In the middle of them the"
        f" process was larger by {found['grown'] / 2**20:.0f} MiB at the most, clients and Hub"
        f" included, and had {found['most']} sockets more; afterwards {found['left']}.\n"
    )
    ports = [port.value for port in Port]
    yield "| what | " + " | ".join(ports) + " |"
    yield "|---|" + "---|" * len(ports)
    for row in rows:
        name = row["name"].replace("|", "\\|")
        yield f"| {name} | " + " | ".join(row["answers"].get(port, "") for port in ports) + " |"
    yield ""
    yield from _crowds(found["crowds"])
    yield from (f"- {problem}" for problem in broken)


def _crowds(crowds: list[Any]) -> Iterable[str]:
    if not crowds:
        return
    yield (
        "Thousands of connections to a process of its own, first from one address, then from a"
        " hundred, every second with half a request; then all of them reset at once. One that"
        " was there before was served in the crowd, and one that came later afterwards.\n"
    )
    yield (
        "| port | connections | most of one address; of all | descriptors of the node; left |"
        " memory that the crowd took; that was kept |"
    )
    yield "|---|---|---|---|---|"
    for each in crowds:
        yield (
            f"| {each['port']} | {each['connections']:,} |"
            f" {each['most_of_one']}; {each['most_of_all']} |"
            f" {each['descriptors']}; {each['descriptors_after']} |"
            f" {each['grown'] / 2**20:.0f} MiB; {each['kept'] / 2**20:.0f} MiB |"
        )
    yield ""

"""What commands there are: the table that ``nodecache --help`` is made of.

A command is a line here and a module. The line is read without importing the
module, so that ``nodecache serve`` loads no more than it needs.
"""

from __future__ import annotations

from typing import Final

import attrs

#: Exit codes; 0 is done, and 2 (usage, settings) is click's own.
EXIT_FAILED: Final = 1
EXIT_UNREACHABLE: Final = 3
EXIT_INTERRUPTED: Final = 130


@attrs.frozen
class Entry:
    """``module`` is one of this package; ``attribute`` is the click command in it."""

    section: str
    name: str
    module: str
    attribute: str
    summary: str


#: In the order of the help: by section, as a person meets them.
COMMANDS: Final[tuple[Entry, ...]] = (
    Entry("Run", "serve", "serve", "serve", "Start the mirror on this node."),
    Entry("Run", "node-config", "node_config", "node_config", "Point a runtime at the mirror."),
    Entry("Run", "doctor", "doctor", "doctor", "Check this node: is the mirror used?"),
    Entry("Run", "completion", "completion", "completion", "Print the completion of a shell."),
)

#: Commands that share a line of the help with the one before them.
TOGETHER: Final = {"unpin": "pin", "export": "import"}


def named(name: str) -> Entry | None:
    """The command of this name."""
    return next((entry for entry in COMMANDS if entry.name == name), None)

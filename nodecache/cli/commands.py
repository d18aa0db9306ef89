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
    Entry("Run", "completion", "completion", "completion", "Print the completion of a shell."),
    Entry("Run", "doctor", "doctor", "doctor", "Check this node: is the mirror used?"),
    Entry("See", "status", "status", "status", "How this node is; --cluster: all of them."),
    Entry("See", "list", "list_images", "list_images", "Images that are here, sizes, last use."),
    Entry("See", "show", "show", "show", "One image: its manifests and blobs, what is here."),
    Entry("See", "verify", "verify", "verify", "Read again and compare with the digests."),
    Entry("See", "config", "config", "config", "The settings, and where each comes from."),
    Entry("See", "bench", "bench", "bench", "Is the cache as fast as it should be here?"),
    Entry("See", "log-level", "log_level", "log_level", "Show or set what the node logs."),
    Entry("Images", "pull", "pull", "pull", "Fetch images before they are asked for."),
    Entry(
        "Images", "import", "import_images", "import_images", "Carry images in and out by archive."
    ),
    Entry("Images", "export", "export_images", "export_images", "Write images to an archive."),
    Entry("Images", "purge", "purge", "purge", "Remove images by name, pattern or age."),
    Entry("Images", "refresh", "refresh", "refresh", "Ask upstream now what a tag means."),
    Entry("Images", "pin", "pin", "pin", "Keep images from eviction, and let them go."),
    Entry("Images", "unpin", "pin", "unpin", "Let images go again when room is short."),
)

#: Commands that share a line of the help with the one before them.
TOGETHER: Final = {"unpin": "pin", "export": "import"}


def named(name: str) -> Entry | None:
    """The command of this name."""
    return next((entry for entry in COMMANDS if entry.name == name), None)

"""The command line. Each command lives in a module of its own, imported when it is named.

Exit codes: 0 done; 1 what was asked for failed or is not there; 2 wrong usage
or settings; 3 the node can not be reached; 130 interrupted.
"""

from __future__ import annotations

from nodecache.cli.group import main

__all__ = ["main"]

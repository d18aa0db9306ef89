"""What an asker is told."""

from __future__ import annotations

from typing import TypeAlias

import attrs


@attrs.frozen
class Ticket:
    """One asker's place for one ``key``, with a ``number`` of its own."""

    number: int
    key: str
    asker: str


@attrs.frozen
class Admitted:
    """Send it now; ``Admission.finished`` ends it."""

    ticket: Ticket


@attrs.frozen
class Queued:
    """It waits in line, until ``finished`` of another returns the ticket, or ``given_up``."""

    ticket: Ticket


@attrs.frozen
class Referred:
    """Not here, not now. ``peers``, at most four, have it or are getting it, the best first.

    Whoever finds it at none of them comes again after ``retry`` seconds.
    """

    peers: tuple[str, ...]
    retry: float


Answer: TypeAlias = Admitted | Queued | Referred

"""Whom to ask for a segment, one question after the other; pure.

Theory of operation
===================

A ``Search`` is made for one segment (or manifest) and told who ranks first for
its key. It is asked for the ``next`` step, and told what came of it::

    next ─> Ask ──> bytes: done, the search is dropped
     │       └────> answered(refusal) or failed(failure), then next again
     ├───> Pause ─> wait, then next again
     ├───> Upstream   the end: nobody among the peers gives it
     └───> Refused    the end: upstream itself was asked, and has it not

**Order.** First, up to three peers known to hold bytes of the blob, so that not
all ask the owner for everything; then the owner and its two stand-ins, who may
fetch for us; then upstream. Who is an owner asks the others only whether they
have it: nobody forwards, so no question can go in a circle.

**A peer that lives is asked again.** "I am fetching it" and "others have it"
are both answers of a living peer: we wait as long as it says, follow its
referrals, and come back to it.

**Not yet.** A peer that is getting it gives what it has a block of, and nothing
before. It may keep us waiting for that block (``Ask.wait``); when it has not
come by then, it names nobody, and the next one is asked later each time.

**It ends.** What counts is bounded: seconds of silence, seconds without hope,
seconds at all, referrals in a row, questions at all. A peer that failed is not
asked again in the same search. Past any bound comes upstream.
"""

from nodecache.sourcing.breadth import segments_at_a_time
from nodecache.sourcing.candidates import RANKED
from nodecache.sourcing.deputies import Deputy, deputy_of, has_deputies, ranks_of
from nodecache.sourcing.holders import Holders
from nodecache.sourcing.search import Search
from nodecache.sourcing.steps import Ask, Pause, Refused, SearchBudget, Step, Upstream

__all__ = [
    "RANKED",
    "Ask",
    "Deputy",
    "Holders",
    "Pause",
    "Refused",
    "Search",
    "SearchBudget",
    "Step",
    "Upstream",
    "deputy_of",
    "has_deputies",
    "ranks_of",
    "segments_at_a_time",
]

"""Who is sent what, now: the sender's side of sharing; pure.

Theory of operation
===================

A sender gives few transfers of one thing (``key``) at a time, and few in all:
what it sends to four it sends to each with a quarter of its link, and those
four can pass it on while they still receive it. So whoever comes next is named
somebody who has it or is getting it, and the tree grows by those who ask,
without anybody planning it::

    ask ──> Admitted: send, then ``finished``
     ├────> Referred: ask those, or come again in ``retry`` seconds
     └────> Queued:   wait until ``finished`` of another names the ticket, or ``given_up``

Waiting in line is for those to whom nobody can be named, and for those who come
back in vain from whom was named. In simulation (docs/simulation.md) a line
before any referral made a herd nearly three times slower: who waits here holds
up what another could send at once.

Whoever is referred counts as somebody who is getting it, and is named to those
who come later: one sender can so lay out a tree of thousands, without sending
more than its share. Nothing here is exact, and nothing needs to be: a peer
that has it not says so, and the asker comes back.
"""

from nodecache.admission.admission import Admission
from nodecache.admission.answers import Admitted, Answer, Queued, Referred, Ticket
from nodecache.admission.pace import Pace
from nodecache.admission.urgency import is_urgent

__all__ = ["Admission", "Admitted", "Answer", "Pace", "Queued", "Referred", "Ticket", "is_urgent"]

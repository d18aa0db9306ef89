"""A second sender for what another peer brings already, but later."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from nodecache.failures import PeerFailure, PeerKind
from nodecache.peerwire.answers import UpstreamAbsent
from nodecache.seams import BlobBody
from nodecache.sharing.findings import Findings
from nodecache.sharing.questions import Quest, Questions
from nodecache.sharing.tools import Tools
from nodecache.sourcing import Search

#: So many known holders are asked, and those that they name.
_HOLDERS: Final = 4


class Beside:
    """Asks who has it and nobody else: the bytes come in any case."""

    def __init__(self, tools: Tools, questions: Questions, findings: Findings) -> None:
        self._tools = tools
        self._questions = questions
        self._findings = findings

    async def fetch(self, peer: str, quest: Quest) -> BlobBody | None:
        """From another than ``peer``; None when nobody has it, and a place, until the deadline."""
        out = self._findings.broken(quest.segment) | {peer}
        slow = self._tools.cluster.view().behind
        holders = self._findings.holders.best(_HOLDERS, without=out | slow)
        if not holders:
            return None
        body = await self._questions.follow(self._search(holders, out, quest), quest)
        return None if isinstance(body, UpstreamAbsent) else body

    def _search(self, holders: Sequence[str], out: frozenset[str], quest: Quest) -> Search:
        now = self._tools.clock.seconds()
        left = quest.deadline.remaining(now)
        search = self._questions.among(holders, seconds=left, longest=left)
        for each in out:
            search.failed(each, PeerFailure(each, PeerKind.CUT, "it had its chance"), now)
        return search

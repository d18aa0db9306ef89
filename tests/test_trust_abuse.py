"""What no client and no peer should do, done to every port of a whole node (tests/trust/abuse.py).

Every row of the table that docs/reliability.md shows is caused, and its answer compared; each
time another client is served meanwhile, and afterwards nothing is left of it.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
from typing import Any, cast

import pytest
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import DNSLookupError
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase

from tests.trust import report
from tests.trust.abuse import shapes
from tests.trust.abuse_acts import ACTS
from tests.trust.abuse_dials import dials
from tests.trust.abuse_ground import Ground, Port
from tests.trust.abuse_run import Row, _note, abuse

reactor = cast(Any, _reactor)

#: A hundred and fifty rows, some of which wait for timeouts of a second or two.
pytestmark = pytest.mark.timeout(300)


class Abuse(TestCase):
    timeout = 280

    def test_every_row_is_answered_as_it_has_to_be(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._every_row())

    async def _every_row(self) -> None:
        outcome = await abuse(reactor)
        assert outcome.problems == []
        assert len(outcome.rows) == len(shapes()) + len(ACTS)


class Dials(TestCase):
    """Or a node that is led astray would go unseen."""

    timeout = 60

    def test_a_dial_to_a_stranger_and_a_look_up_are_seen(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._seen())

    async def _seen(self) -> None:
        ground = Ground(reactor)
        await ground.open()
        try:
            for lead in (self._to_a_stranger, self._to_ourselves, self._by_name):
                with pytest.raises(AssertionError), ground.only_named():
                    await lead(ground)
            with ground.only_named():
                await ground.serves(Port.MIRROR)
            await ground.at_rest()
        finally:
            await ground.close()

    async def _to_a_stranger(self, ground: Ground) -> None:
        await _connect("127.0.0.9", 9)

    async def _to_ourselves(self, ground: Ground) -> None:
        await _connect("127.0.0.1", ground.number(Port.ADMIN))

    async def _by_name(self, ground: Ground) -> None:
        with contextlib.suppress(DNSLookupError):
            await reactor.resolve("nowhere.invalid")


async def _connect(host: str, port: int) -> None:
    try:
        made: Any = await TCP4ClientEndpoint(reactor, host, port).connect(
            Factory.forProtocol(Protocol)
        )
    except Exception:
        return
    made.transport.abortConnection()


def test_what_was_heard_outside_is_not_kept() -> None:
    with dials() as first:
        pass
    with dials() as second:
        pass
    assert first.connected == second.connected == []


def test_no_two_rows_have_one_name() -> None:
    names = [*(shape.id for shape in shapes()), *(act.name for act in ACTS)]
    assert len(set(names)) == len(names)


def test_a_wrong_answer_is_a_problem() -> None:
    row = Row("a row")
    _note(row, Port.PEER, "200", "401")
    assert row.problems


def test_a_part_that_was_not_run_stays_in_the_document(tmp_path: pathlib.Path) -> None:
    document = tmp_path / "reliability.md"
    document.write_text(
        "# Old\n\n## Crashes\n\nof yesterday\n\n## Parsers\n\nof last week\n\n"
        "<!-- begin soak -->\n\nof an hour\n\n<!-- end soak -->\n"
    )
    found = {"problems": [], "rows": [], "grown": 0, "most": 0, "left": 0, "crowds": []}
    part = {"date": "2026-11-26", "seed": 1, "found": found}
    (tmp_path / "abuse.json").write_text(json.dumps(part))
    assert report.write(tmp_path, document) == 0
    text = document.read_text()
    for kept in ("of yesterday", "of last week", "of an hour"):
        assert text.count(kept) == 1
    assert "## Hostile clients and peers" in text
    report.write(tmp_path, document)
    assert document.read_text() == text

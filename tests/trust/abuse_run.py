"""Does every abuse to every port of one node, and looks whether it is still itself afterwards."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from nodecache.limits import MIB
from tests.fakes_client import until
from tests.trust.abuse import Shape, shapes
from tests.trust.abuse_acts import ACTS, Act
from tests.trust.abuse_ground import APP, Ground, Port, answer, good, resident, sockets, together

#: Bytes by which the process may have grown in the middle of a row, and sockets that it may
#: have more then: for each port those of the abuse and of who is served, at both of their ends,
#: and some of the Hub's.
GROWTH: Final = 64 * MIB
SOCKETS: Final = 64
#: Seconds for one row, on a busy machine. A row that hangs is a stall, and fails.
PATIENCE: Final = 60.0


@attrs.define
class Row:
    """An abuse by port; ``problems`` say where another answer came than has to."""

    name: str
    answers: dict[str, str] = attrs.Factory(dict)
    problems: list[str] = attrs.Factory(list)


@attrs.define
class Outcome:
    """``grown`` is in bytes: the most, in the middle of rows; ``most`` so in sockets.

    ``left`` are sockets too many when all is over.
    """

    rows: list[Row] = attrs.Factory(list)
    grown: int = 0
    most: int = 0
    left: int = 0
    problems: list[str] = attrs.Factory(list)


async def abuse(reactor: Any, told: Callable[[Row], None] = lambda _: None) -> Outcome:
    """All shapes, then all acts."""
    ground, outcome = Ground(reactor), Outcome()
    await ground.open()
    try:
        await _warm(ground)
        before, open_before = resident(), sockets()

        def look() -> None:
            outcome.grown = max(outcome.grown, resident() - before)
            outcome.most = max(outcome.most, sockets() - open_before)

        for each in [*shapes(), *ACTS]:
            row = await (_shape if isinstance(each, Shape) else _act)(ground, each, look)
            outcome.rows.append(row)
            told(row)
            await ground.at_rest()
        look()
        await _judge(ground, outcome, open_before)
    finally:
        await ground.close()
    return outcome


async def _warm(ground: Ground) -> None:
    client = await ground.send(
        Port.MIRROR, good(Port.MIRROR, f"/v2/{APP}/blobs/{ground.big}", close=True)
    )
    await client.hung_up()
    assert answer(client) == "200"
    for port in Port:
        await ground.serves(port)
    await ground.at_rest()


async def _shape(ground: Ground, shape: Any, look: Callable[[], None]) -> Row:
    row = Row(shape.id)

    async def one(port: Port) -> None:
        client = await ground.connect(port)
        client.send(shape.make(port))
        # Another one is served, whatever this one does.
        await ground.serves(port)
        look()
        await client.hung_up()
        _note(row, port, answer(client), shape.expected(port))

    await _in_time(ground, row, [one(port) for port in Port if shape.expected(port) is not None])
    return row


async def _act(ground: Ground, act: Any, look: Callable[[], None]) -> Row:
    row = Row(act.name)

    async def one(port: Port) -> None:
        acting = Deferred.fromCoroutine(act.run(ground, port))
        await ground.serves(port)
        look()
        _note(row, port, await acting, act.expected(port))

    await _in_time(ground, row, [one(port) for port in act.ports])
    return row


def _note(row: Row, port: Port, found: str, expected: str) -> None:
    row.answers[port.value] = found
    if found != expected:
        row.problems.append(f"{row.name} at {port.value}: {found}, and not {expected}")


async def _in_time(ground: Ground, row: Row, work: list[Awaitable[None]]) -> None:
    done = Deferred.fromCoroutine(together(work))
    try:
        await done.addTimeout(PATIENCE, ground.reactor)
    except Exception as error:
        row.problems.append(f"{row.name}: {error!r}")


async def _judge(ground: Ground, outcome: Outcome, open_before: int) -> None:
    """Descriptors are as they were, but for kept connections to upstream, which end."""
    near = ground.site(Port.PEER)
    assert near.held() == (0, 0, 0)
    give_up = ground.reactor.seconds() + PATIENCE
    while (left := sockets() - open_before) > 0 and ground.reactor.seconds() < give_up:
        await deferLater(ground.reactor, 0.1)
    outcome.left = max(0, left)
    if left > 0:
        outcome.problems.append(f"{left} sockets are left")
    if outcome.grown > GROWTH or outcome.most > SOCKETS:
        outcome.problems.append(f"{outcome.grown} bytes and {outcome.most} sockets more at a time")
    outcome.problems += [problem for row in outcome.rows for problem in row.problems]
    await until(ground.reactor, lambda: ground.filling() == 0)


__all__ = ["Act", "Outcome", "Row", "abuse"]

"""How faults are brought about: changes to answers, and things done to whole sites."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Final

import attrs

from nodecache.upstream import guard
from tests.fakes_http import Bytes, Change, Plan, Seen, answer, no_length, without_header
from tests.fakes_http import no_range as no_range  # noqa: PLC0414 - one place to look
from tests.fakes_http import shifted as _shifted
from tests.trust.shapes import Arrange, Leg

#: About as many bytes of a peer's answer are its headers.
PEER_HEAD: Final = 400
#: Where a redirect leads that is refused for its address.
PRIVATE: Final = "http://127.0.0.2:{port}/x"

Lift = Callable[[], Awaitable[None]]

shifted = _shifted(5)


# Changes to one answer.


def cut_share(share: int) -> Change:
    """Cut off after ``share`` 64ths of what is sent."""
    return lambda plan: attrs.evolve(plan, cut_at=share * plan.body.size // 64)


def stall_half(plan: Plan) -> Plan:
    return attrs.evolve(plan, stall_at=plan.body.size // 2)


def half_of_it(plan: Plan) -> Plan:
    return attrs.evolve(plan, body=Bytes(plan.body.read(0, plan.body.size // 2)))


def one_wrong_byte(plan: Plan) -> Plan:
    data = plan.body.read(0, plan.body.size)
    place = len(data) * 3 // 4
    wrong = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
    return attrs.evolve(plan, body=Bytes(wrong))


def inflated(size: int) -> Change:
    """As many bytes, all the more of them spaces; JSON stays JSON."""

    def change(plan: Plan) -> Plan:
        data = plan.body.read(0, plan.body.size)
        return attrs.evolve(plan, body=Bytes(data + b" " * (size - len(data))))

    return change


def bare(plan: Plan) -> Plan:
    return no_length(without_header("Docker-Content-Digest")(plan))


def huge_headers(plan: Plan) -> Plan:
    """Four megabytes of lines, and then all is well."""
    body = plan.body.read(0, plan.body.size)
    lines = b"".join(b"X-Padding-%d: " % n + b"x" * 8000 + b"\r\n" for n in range(500))
    kind = f"Content-Type: {plan.media_type}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    return attrs.evolve(plan, raw=b"HTTP/1.1 200 OK\r\n" + lines + kind + body)


# What is done to all answers of a leg, or to its site. Each takes the ground (``ground.py``).


async def refuse(ground: Any) -> Lift:
    """Nobody listens."""
    if ground.leg is Leg.PEER:
        where = ground.liar.address
        await ground.liar.stop()

        async def again() -> None:
            ground.liar.listen(ground.reactor, where.port)

        return again
    await ground.site.stop()

    async def start() -> None:
        ground.site.start()

    return start


async def black_hole(ground: Any) -> Lift:
    """A port whose queue is full: what comes is dropped."""
    lift = await refuse(ground)
    hole = socket.socket()
    hole.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    hole.bind(("127.0.0.1", ground.port))
    hole.listen(0)
    waiting = []
    for _ in range(4):
        dialled = socket.socket()
        dialled.setblocking(False)
        dialled.connect_ex(("127.0.0.1", ground.port))
        waiting.append(dialled)

    async def close() -> None:
        for each in (*waiting, hole):
            each.close()
        await lift()

    return close


def _on_the_wire(act: Callable[[Any], None]) -> Arrange:
    """Instead of an answer something is done to the connections of the site."""

    async def arrange(ground: Any) -> Lift:
        def later(plan: Any) -> Any:
            ground.later(lambda: _each(act, ground.connections()))
            return attrs.evolve(plan, silent=True)

        lift: Lift = ground.change(later)
        return lift

    return arrange


def _each(act: Callable[[Any], None], transports: list[Any]) -> None:
    for transport in transports:
        act(transport)


reset: Final = _on_the_wire(lambda transport: transport.abortConnection())
headers_stall: Final = _on_the_wire(
    lambda transport: transport.write(b"HTTP/1.1 200 OK\r\nContent-Type: appl")
)


def certificate(hosts: tuple[str, ...], life_days: int) -> Arrange:
    async def arrange(ground: Any) -> Lift:
        async def show(tls: Any) -> None:
            await ground.site.stop()
            ground.site.tls = tls
            ground.site.start()

        honest = ground.site.tls
        await show(ground.authority.listener(*hosts, life=timedelta(days=life_days)))
        return lambda: show(honest)

    return arrange


async def lookup_fails(ground: Any) -> Lift:
    return await _lost(ground, silent=False)


async def lookup_silent(ground: Any) -> Lift:
    return await _lost(ground, silent=True)


async def _lost(ground: Any, *, silent: bool) -> Lift:
    name = ground.site.public_host
    places = ground.names.places.pop(name)
    if silent:
        ground.names.silent.add(name)
    await ground.site._factory.abort_all()

    async def found() -> None:
        ground.names.silent.discard(name)
        ground.names.places[name] = places

    return found


def unauthorised(realm: str) -> Arrange:
    async def arrange(ground: Any) -> Lift:
        where = realm.format(tokens=ground.hub.tokens.url)
        challenge = f'Bearer realm="{where}",service="x",scope="repository:library/app:pull"'
        refused = answer(401, b"{}", WWW_Authenticate=challenge)
        lift: Lift = ground.change(refused, logins=True)
        return lift

    return arrange


def redirected(target: str) -> Arrange:
    """A target with ``{here}`` leads on and on."""

    async def arrange(ground: Any) -> Lift:
        count = iter(range(1000))
        trap = _Trap()
        if target == PRIVATE:
            trap.set(ground)

        def change(plan: Plan) -> Plan:
            here = f"{ground.site.url}/loop{next(count)}"
            location = target.format(here=here, port=trap.port)
            return answer(301, b"elsewhere", Location=location)(plan)

        lift = ground.change(change, also=_is_loop, logins=True)

        async def end() -> None:
            await lift()
            trap.spring()

        return end

    return arrange


def _is_loop(seen: Seen) -> bool:
    return seen.path.startswith("/loop")


class _Trap:
    """A port at an address that counts as private (see ``only_loopback_is_public``)."""

    port = 0

    def __init__(self) -> None:
        self._socket: socket.socket | None = None

    def set(self, ground: Any) -> None:
        self._socket = socket.socket()
        self._socket.setblocking(False)
        self._socket.bind(("127.0.0.2", 0))
        self._socket.listen(1)
        self.port = self._socket.getsockname()[1]
        ground.undo.append(self.spring)

    def spring(self) -> None:
        """Asserts that nobody came."""
        if self._socket is None:
            return
        trap, self._socket = self._socket, None
        try:
            trap.accept()[0].close()
        except BlockingIOError:
            return
        finally:
            trap.close()
        raise AssertionError("the private address was dialled")


def only_loopback_is_public(ground: Any) -> None:
    """Docker Hub's double is not private then; another address of this machine is."""
    judge = guard.is_private
    guard.is_private = lambda address: address != "127.0.0.1"

    def undo() -> None:
        guard.is_private = judge

    ground.undo.append(undo)

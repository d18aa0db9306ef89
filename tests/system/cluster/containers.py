"""Real runtimes in a node's namespace: the mirror first, then the Hub over plain http."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import attrs

from tests.system.cluster.member import MIRROR, Member
from tests.system.cluster.netns import Namespace
from tests.system.parts.runtimes import Containerd, Runtime, Setup, Skopeo
from tests.system.parts.userlands import System, Userland


@attrs.frozen
class Inside:
    """A userland as a namespace sees it."""

    userland: Userland
    namespace: Namespace

    @property
    def name(self) -> str:
        return self.userland.name

    def argv(self, words: Sequence[str]) -> list[str]:
        return self.namespace.argv(self.userland.argv(words))

    def need(self, *programs: str) -> None:
        self.userland.need(*programs)


def _setup(member: Member, name: str, userland: Userland | None, *, fall_back: bool) -> Setup:
    inside = Inside(userland or System(), member.station.namespace)
    folder = member.node.folder / name
    # No proxy of the machine may stand between, and the real Docker Hub is out of reach.
    env = {"HTTP_PROXY": "", "HTTPS_PROXY": "", "http_proxy": "", "https_proxy": ""}
    return Setup(folder, inside, MIRROR, env, (member.hub,) if fall_back else ())


@contextlib.contextmanager
def running(runtime: Runtime) -> Iterator[None]:
    try:
        runtime.start()
        yield
    finally:
        runtime.stop()


@contextlib.contextmanager
def containerd_in(
    member: Member, userland: Userland | None = None, *, fall_back: bool = True
) -> Iterator[Containerd]:
    """A containerd of its own, stopped in the end."""
    name = userland.name if userland else "c"
    made = Containerd(_setup(member, name, userland, fall_back=fall_back))
    with running(made):
        yield made


def skopeo_in(member: Member, userland: Userland | None = None) -> Skopeo:
    """skopeo has no process; its only way out is the mirror."""
    made = Skopeo(_setup(member, "s", userland, fall_back=False))
    made.start()
    return made

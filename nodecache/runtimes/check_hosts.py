"""What the hosts.toml files that containerd reads make of the mirror."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from nodecache.reference import DOCKER_HUB
from nodecache.runtimes.containerd import Found, look_up
from nodecache.runtimes.facts import ContainerdFacts
from nodecache.runtimes.findings import Finding, note, ok, problem, warning
from nodecache.runtimes.hosts_toml import Host, HostsFile, knows_dial_timeout
from nodecache.runtimes.names import DOCKER_HUB_SERVER, same_url

_SUBJECT: Final = "containerd"
_WRITE: Final = "nodecache node-config containerd --write"


def missing(registry: str, mirror: str, why: str) -> Finding:
    """The mirror is not named for a registry."""
    return problem(
        "containerd-mirror-missing",
        _SUBJECT,
        f"{registry} is not pulled through {mirror}: {why}",
        "Every node fetches it for itself, from the registry.",
        f"Run '{_WRITE} --registry {registry}'; no restart is needed.",
    )


def check_hosts(
    facts: ContainerdFacts, mirror: str, registries: tuple[str, ...]
) -> Iterator[Finding]:
    """For each registry: the file that counts, our host in it, and the way around it."""
    for registry in registries:
        found = look_up(registry, facts.dirs)
        if found is None:
            looked = " and ".join(one.path for one in facts.dirs)
            why = f"no folder for it, nor _default, is in {looked or 'config_path'}"
            yield missing(registry, mirror, why)
        elif found.problem:
            yield problem(
                "containerd-hosts-unreadable",
                _SUBJECT,
                f"{found.place}/hosts.toml {found.problem}",
                f"containerd logs an error and asks {registry} itself.",
                "Mend the file, or remove it and write it anew with 'nodecache node-config'.",
            )
        else:
            yield from _registry(registry, mirror, found, facts)


def _registry(
    registry: str, mirror: str, found: Found, facts: ContainerdFacts
) -> Iterator[Finding]:
    hosts = found.hosts or HostsFile()
    place = next((at for at, one in enumerate(hosts.hosts) if same_url(one.url, mirror)), None)
    if place is None:
        hidden = "" if found.is_default else " (and hides _default)"
        absent = "is not there" if found.hosts is None else "does not name it"
        yield missing(registry, mirror, f"{found.place}/hosts.toml {absent}{hidden}")
        return
    if place > 0:
        what = f"{registry}: {hosts.hosts[0].url} is asked before {mirror}"
        yield note("containerd-not-first", _SUBJECT, what, "It is used when that one fails.")
    faults = list(_host(hosts.hosts[place], f"{found.place}/hosts.toml"))
    if not any(one.severity.needs_action for one in faults):
        yield ok("containerd-used", _SUBJECT, f"{registry} is pulled through {mirror}")
    yield from faults
    yield from _fallback(registry, mirror, found, hosts)
    if hosts.hosts[place].dial_timeout is None and knows_dial_timeout(facts.version):
        yield note(
            "containerd-dial-timeout",
            _SUBJECT,
            f"{found.place}/hosts.toml sets no dial_timeout",
            "A port that swallows packets costs 30 s for each request, instead of 1 s.",
            f"Run '{_WRITE}' (containerd knows it since 2.1.0 and 2.0.7).",
        )


def _host(host: Host, file: str) -> Iterator[Finding]:
    """What the mirror is asked for, and how."""
    if not host.can("pull") or not host.can("resolve"):
        yield problem(
            "containerd-capabilities",
            _SUBJECT,
            f"{file} gives the mirror the capabilities {', '.join(host.capabilities or ())}",
            "Without 'resolve' it is not asked what a tag means, without 'pull' for no layer.",
            "Say capabilities = ['pull', 'resolve'].",
        )
    elif host.can("push"):
        yield warning(
            "containerd-push",
            _SUBJECT,
            f"{file} lets containerd push to the mirror, which is read-only",
            "Pushes from this node fail.",
            "Say capabilities = ['pull', 'resolve'].",
        )
    yield from _address(host, file)


def _address(host: Host, file: str) -> Iterator[Finding]:
    """How the mirror is reached."""
    if host.override_path:
        yield problem(
            "containerd-override-path",
            _SUBJECT,
            f"{file} sets override_path for the mirror",
            "It is asked without /v2, and answers 404 to everything.",
            "Take override_path out.",
        )
    if host.tls and host.url.startswith("http://"):
        yield note(
            "containerd-tls",
            _SUBJECT,
            f"{file} sets TLS keys for a mirror that speaks plain HTTP",
            "TLS is tried first, at the cost of a connection for each request.",
            "Take ca, client and skip_verify out.",
        )
    if urlsplit(host.url).hostname == "localhost":
        yield note(
            "containerd-localhost",
            _SUBJECT,
            f"{file} names the mirror as localhost",
            "That may be ::1, where no hostPort leads.",
            "Write 127.0.0.1.",
        )


def _fallback(registry: str, mirror: str, found: Found, hosts: HostsFile) -> Iterator[Finding]:
    """Without a ``server`` containerd asks the registry itself, last."""
    server = hosts.server
    file = f"{found.place}/hosts.toml"
    if server is None or same_url(server, _home(registry)):
        yield ok("containerd-fallback", _SUBJECT, f"{registry} itself is asked when it fails")
    elif same_url(server, mirror):
        yield problem(
            "containerd-no-fallback",
            _SUBJECT,
            f"{file} names the mirror as its server too",
            "When the mirror does not answer, pulls fail.",
            f"Say server = {_home(registry)!r}, or take the line out.",
        )
    elif found.is_default or (registry == DOCKER_HUB and same_url(server, "https://docker.io")):
        yield problem(
            "containerd-wrong-fallback",
            _SUBJECT,
            f"{file} says server = {server!r}, which does not answer for {registry}",
            "When the mirror does not answer, pulls fail.",
            "Take the line out." if found.is_default else f"Say server = {DOCKER_HUB_SERVER!r}.",
        )
    else:
        what = f"{registry}: {server} is asked when the mirror fails, not {registry} itself"
        yield note("containerd-other-fallback", _SUBJECT, what)


def _home(registry: str) -> str:
    return DOCKER_HUB_SERVER if registry == DOCKER_HUB else f"https://{registry}"

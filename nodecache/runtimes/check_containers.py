"""Is the mirror really used by CRI-O or podman?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from nodecache.runtimes.facts import ContainersFacts
from nodecache.runtimes.findings import Finding, note, ok, problem, warning
from nodecache.runtimes.names import Unusable, same_url
from nodecache.runtimes.registries_conf import Registry, in_force


def check_containers(
    facts: ContainersFacts, mirror: str, registries: tuple[str, ...]
) -> list[Finding]:
    """Findings on registries.conf and its drop-ins."""
    name = facts.runtime
    if facts.problem:
        means = f"What {name} does can not be told."
        return [problem(f"{name}-unreadable", name, facts.problem, means, "Run as root.")]
    try:
        counted = in_force(facts.files)
    except Unusable as error:
        means = f"{name} pulls nothing with it."
        return [problem(f"{name}-invalid", name, str(error), means, "Mend the file.")]
    return [
        finding
        for registry in registries
        for finding in (
            *_registry(name, registry, counted.get(registry), mirror),
            *_within(name, registry, counted, mirror),
        )
    ]


def _within(
    name: str, registry: str, counted: Mapping[str, tuple[str, Registry]], mirror: str
) -> Iterator[Finding]:
    """Longer prefixes win over the registry's own entry."""
    location = urlsplit(mirror).netloc
    for prefix, (file, there) in counted.items():
        named = any(same_url(_location(one), location) for one in there.mirrors)
        if prefix.startswith(f"{registry}/") and not named:
            what = f"{file} has an entry of its own for {prefix}"
            yield note(f"{name}-longer-prefix", name, what, "It is not pulled through the mirror.")


def _registry(
    name: str, registry: str, counted: tuple[str, Registry] | None, mirror: str
) -> Iterator[Finding]:
    location = urlsplit(mirror).netloc
    file, there = counted or ("", Registry(registry, registry))
    place = next(
        (at for at, one in enumerate(there.mirrors) if same_url(_location(one), location)), None
    )
    if place is None:
        why = f"{file} says nothing of it" if counted else "no file names the registry"
        yield problem(
            f"{name}-mirror-missing",
            name,
            f"{registry} is not pulled through {mirror}: {why}",
            "Every node fetches it for itself, from the registry.",
            f"Run 'nodecache node-config {name} --write --registry {registry}'"
            + (", then 'systemctl reload crio'." if name == "crio" else "."),
        )
        return
    faults = list(_mirror(name, file, there, there.mirrors[place], mirror))
    if not any(one.severity.needs_action for one in faults):
        yield ok(f"{name}-used", name, f"{registry} is pulled through {mirror}")
    yield from faults
    if place > 0:
        what = f"{registry}: {_location(there.mirrors[0])} is asked before {mirror}"
        yield note(f"{name}-not-first", name, what, "It is used when that one fails.")
    yield _fallback(name, file, registry, there, location)


def _location(mirror: Mapping[str, Any]) -> str:
    return str(mirror.get("location", ""))


def _mirror(
    name: str, file: str, registry: Registry, table: Mapping[str, Any], mirror: str
) -> Iterator[Finding]:
    if mirror.startswith("http://") and not table.get("insecure"):
        yield problem(
            f"{name}-insecure",
            name,
            f"{file} does not say insecure = true for the mirror",
            "It is asked by TLS only, which it does not speak.",
            "Say insecure = true under its [[registry.mirror]].",
        )
    only = str(table.get("pull-from-mirror", "all"))
    if registry.rest.get("mirror-by-digest-only") or only == "digest-only":
        yield warning(
            f"{name}-digest-only",
            name,
            f"{file} lets only images named by digest be pulled from the mirror",
            "Images named by a tag are fetched from the registry by every node.",
            "Take mirror-by-digest-only and pull-from-mirror out.",
        )


def _fallback(name: str, file: str, registry: str, there: Registry, location: str) -> Finding:
    if same_url(there.location, location):
        return problem(
            f"{name}-no-fallback",
            name,
            f"{file} says location = {there.location!r}, the mirror itself",
            "When the mirror does not answer, pulls fail.",
            f"Say location = {registry!r}.",
        )
    return ok(f"{name}-fallback", name, f"{there.location} is asked when it fails")

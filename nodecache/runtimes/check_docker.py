"""Is the mirror really used by this dockerd?"""

from __future__ import annotations

import itertools
from typing import Final

from nodecache.runtimes.daemon_json import KEY, mirrors_of, parse
from nodecache.runtimes.facts import DockerFacts
from nodecache.runtimes.findings import Finding, note, ok, problem
from nodecache.runtimes.names import Unusable, same_url

_SUBJECT: Final = "dockerd"
_FLAG: Final = "--registry-mirror"


def mirror_flags(words: tuple[str, ...]) -> tuple[str, ...]:
    """The mirrors that a command line names."""
    found = [word.partition("=")[2] for word in words if word.startswith(f"{_FLAG}=")]
    pairs = itertools.pairwise(words)
    return (*found, *(value for word, value in pairs if word == _FLAG))


def check_docker(facts: DockerFacts, mirror: str) -> list[Finding]:
    """Findings on the file and the flags, which must not say the same thing twice."""
    if facts.problem:
        means = "What dockerd does can not be told."
        return [problem("docker-unreadable", _SUBJECT, facts.problem, means, "Run as root.")]
    try:
        document = parse(facts.text or "")
        in_file = mirrors_of(document)
    except Unusable as error:
        return [
            problem(
                "docker-invalid",
                _SUBJECT,
                f"{facts.file} {error}",
                "dockerd does not start with it.",
                "Mend the file.",
            )
        ]
    in_flags = mirror_flags(facts.flags)
    if in_flags and KEY in document:
        return [_twice(facts)]
    return _used(facts, in_file or in_flags, mirror)


def _twice(facts: DockerFacts) -> Finding:
    return problem(
        "docker-both",
        _SUBJECT,
        f"{facts.flags_from or 'the command line'} has {_FLAG}, and {facts.file} {KEY!r}",
        "dockerd refuses to start with both.",
        "Keep one: on kops the flag, which spec.docker.registryMirrors makes; "
        "'nodecache node-config docker --remove' takes the mirror out of the file.",
    )


def _used(facts: DockerFacts, mirrors: tuple[str, ...], mirror: str) -> list[Finding]:
    if not any(same_url(one, mirror) for one in mirrors):
        named = f"only {', '.join(mirrors)}" if mirrors else "no mirror"
        return [
            problem(
                "docker-mirror-missing",
                _SUBJECT,
                f"{facts.file} and the command line name {named}",
                "Every node fetches from Docker Hub for itself.",
                "Run 'nodecache node-config docker --write', then 'systemctl reload docker'. "
                "On kops: spec.docker.registryMirrors.",
            )
        ]
    found = [
        ok("docker-used", _SUBJECT, f"docker.io is pulled through {mirror}"),
        ok("docker-fallback", _SUBJECT, "Docker Hub itself is asked when it fails"),
    ]
    if not same_url(mirrors[0], mirror):
        what = f"{mirrors[0]} is asked before {mirror}"
        found.append(note("docker-not-first", _SUBJECT, what, "It is used when that one fails."))
    return found

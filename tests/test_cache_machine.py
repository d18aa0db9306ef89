"""A tag through any sequence of changes, failures, evictions and restarts, beside a model."""

from __future__ import annotations

from typing import Any

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from twisted.python.failure import Failure as Raised

from nodecache.events import Source
from nodecache.failures import Failure
from nodecache.reference import Digest
from tests.fakes_cache import (
    ALPINE,
    FULL,
    LATEST,
    CacheTestCase,
    digest_of,
    image,
    upstream_failures,
)

NAMES = ["one", "two", "three"]
MANIFESTS = [image(name) for name in NAMES]
FAILURES = dict(upstream_failures())
FAILED = sorted(FAILURES)


class TagMachine(RuleBasedStateMachine):
    """The model: what upstream said at what time, and when it was last in trouble."""

    def __init__(self) -> None:
        super().__init__()
        self.case = CacheTestCase()
        self.case.setUp()
        # Every layer is here: completeness has tests of its own.
        self.case.store.blobs = {digest_of(name.encode()): b"" for name in NAMES}
        self.history: list[tuple[float, Digest]] = []
        self.trouble_at = float("-inf")
        self.checked_at = 0.0

    @initialize(manifest=st.sampled_from(MANIFESTS))
    def publish_first(self, manifest: Any) -> None:
        self.publish(manifest)

    @rule(manifest=st.sampled_from(MANIFESTS))
    def publish(self, manifest: Any) -> None:
        self.case.hub.has(ALPINE, LATEST, manifest)
        self.history.append((self.case.clock.seconds(), manifest.digest))

    @rule(method=st.sampled_from(["HEAD", "GET"]), name=st.sampled_from(FAILED))
    def break_upstream(self, method: str, name: str) -> None:
        self.case.hub.failures[method] = FAILURES[name]

    @rule()
    def take_upstream_down(self) -> None:
        self.case.hub.remembered = FAILURES["down"]

    @rule()
    def mend_upstream(self) -> None:
        self.case.hub.failures.clear()
        self.case.hub.remembered = None

    @rule(offline=st.booleans())
    def switch(self, offline: bool) -> None:
        self.case.cache.policy = attrs.evolve(self.case.cache.policy, offline=offline)

    @rule(seconds=st.sampled_from([1.0, 3.0, 11.0, 59.0, 61.0, 100_000.0]))
    def wait(self, seconds: float) -> None:
        self.case.clock.advance(seconds)

    @rule(methods=st.sets(st.sampled_from(["write_manifest", "write_tag"])))
    def fill_disk(self, methods: set[str]) -> None:
        self.case.store.broken = dict.fromkeys(methods, FULL)

    @rule()
    def restart(self) -> None:
        offline = self.case.cache.policy.offline
        self.case.cache = self.case.make_cache()
        self.switch(offline)

    @rule(manifest=st.sampled_from(MANIFESTS))
    def evict(self, manifest: Any) -> None:
        self.case.store.manifests.pop(manifest.digest, None)

    @rule(manifest=st.sampled_from(MANIFESTS), head=st.booleans())
    def ask_by_digest(self, manifest: Any, head: bool) -> None:
        try:
            result = self.answer(manifest.digest, head)
        except Failure:
            assert manifest.digest not in self.case.store.manifests
            # Its absence is remembered, also when a tag comes to mean it within that time.
            self.trouble_at = self.case.clock.seconds()
        else:
            assert (result.digest, result.media_type) == (manifest.digest, manifest.media_type)
            assert result.body in ({None, manifest.body} if head else {manifest.body})

    @rule(head=st.booleans())
    def ask(self, head: bool) -> None:
        available = self.is_available()
        try:
            result = self.answer(LATEST, head)
        except Failure:
            assert not available, "what was cached must stay available"
            assert self.is_in_trouble(), "a failure although upstream answers"
            return
        assert head or result.body is not None
        if result.source is Source.STALE:
            assert result.warning, "a stale answer must say so"
            assert self.is_in_trouble(), "stale although upstream answers"
        else:
            assert result.digest in self.meanings(), "an old meaning without a warning"

    def answer(self, reference: Any, head: bool) -> Any:
        """One HEAD and one GET are the most that it may cost."""
        self.case.hub.asked.clear()
        answers: list[Any] = []
        self.case.start(self.case.manifest(reference, head=head)).addBoth(answers.append)
        (answer,) = answers
        asked = [line.split()[0] for line in self.case.hub.asked]
        assert asked in ([], ["HEAD"], ["GET"], ["HEAD", "GET"])
        if isinstance(answer, Raised):
            answer.raiseException()
        return answer

    def is_available(self) -> bool:
        entry = self.case.entry()
        return entry is not None and Digest.parse(entry.digest) in self.case.store.manifests

    def meanings(self) -> set[Digest]:
        """What the tag meant at any time within its time to live."""
        since = self.case.clock.seconds() - self.case.tag_ttl
        before = [digest for at, digest in self.history if at <= since]
        return {digest for at, digest in self.history if at > since} | set(before[-1:])

    def is_in_trouble(self) -> bool:
        """Now, or so shortly ago that a failure is remembered."""
        return self.case.clock.seconds() - self.trouble_at < self.case.timeouts.absent

    @invariant()
    def note_trouble(self) -> None:
        hub = self.case.hub
        if hub.failures or hub.remembered or self.case.cache.policy.offline:
            self.trouble_at = self.case.clock.seconds()

    @invariant()
    def checks_only_advance(self) -> None:
        entry = self.case.entry()
        if entry is not None:
            assert entry.checked_at >= self.checked_at
            self.checked_at = entry.checked_at


TagMachine.TestCase.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)
TestTagMachine = TagMachine.TestCase

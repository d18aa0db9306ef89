"""What the administrator changes of tags, beside all that changes them anyway."""

from __future__ import annotations

import attrs

from nodecache.cache.keeping import Refreshed
from nodecache.failures import OfflineMiss, StoreFailure, UpstreamFailure
from nodecache.freshness import TagEntry
from tests.fakes_cache import ALPINE, FULL, LATEST, CacheTestCase, digest_of, image

OLD, NEW = image("old"), image("new")
KEY = (ALPINE, LATEST)


def pinned(entry: TagEntry) -> TagEntry:
    return attrs.evolve(entry, pinned=True)


class KeepingTests(CacheTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.hub.has(ALPINE, LATEST, OLD)
        self.now(self.manifest())
        self.asked()

    # Changes.

    def test_a_change_is_written(self) -> None:
        changed = self.now(self.cache.keeping.change(KEY, pinned))
        assert changed == self.entry()
        assert changed.pinned

    def test_a_tag_that_is_not_here_is_not_changed(self) -> None:
        del self.store.tag_entries[KEY]
        assert self.now(self.cache.keeping.change(KEY, pinned)) is None
        assert self.entry() is None

    def test_what_stays_as_it_is_is_not_written(self) -> None:
        self.store.calls.clear()
        self.now(self.cache.keeping.change(KEY, lambda entry: entry))
        assert "write_tag" not in self.store.calls

    def test_a_disk_that_does_not_take_it_is_told_to_who_gave_the_order(self) -> None:
        self.store.broken["write_tag"] = FULL
        self.refused(self.cache.keeping.change(KEY, pinned), StoreFailure)
        self.store.broken.clear()
        self.now(self.cache.keeping.change(KEY, pinned))

    def test_a_change_waits_for_a_write_under_way_and_loses_nothing_of_it(self) -> None:
        self.hub.has(ALPINE, LATEST, NEW)
        self.clock.advance(self.tag_ttl)
        self.store.held["write_tag"].holding = True
        pulling = self.start(self.manifest())
        changing = self.start(self.cache.keeping.change(KEY, pinned))
        self.assertNoResult(changing)
        self.store.held["write_tag"].release()
        self.successResultOf(pulling)
        self.successResultOf(changing)
        entry = self.entry()
        assert entry is not None
        assert (entry.digest, entry.pinned) == (str(NEW.digest), True)

    def test_two_changes_at_once_are_both_made(self) -> None:
        self.store.held["write_tag"].holding = True
        first = self.start(self.cache.keeping.change(KEY, pinned))
        second = self.start(
            self.cache.keeping.change(KEY, lambda entry: attrs.evolve(entry, imported=True))
        )
        self.store.held["write_tag"].release()
        self.successResultOf(first)
        self.successResultOf(second)
        entry = self.entry()
        assert entry is not None
        assert (entry.pinned, entry.imported) == (True, True)

    def test_a_change_that_fails_does_not_fail_the_next_one(self) -> None:
        self.store.held["write_tag"].holding = True
        self.store.broken["write_tag"] = FULL
        first = self.start(self.cache.keeping.change(KEY, pinned))
        second = self.start(self.cache.keeping.change(KEY, lambda entry: entry))
        self.store.held["write_tag"].release()
        self.failureResultOf(first, StoreFailure)
        self.successResultOf(second)

    def test_hanging_up_does_not_stop_a_write(self) -> None:
        self.store.held["write_tag"].holding = True
        changing = self.start(self.cache.keeping.change(KEY, pinned))
        changing.addErrback(lambda _: None)
        changing.cancel()
        self.store.held["write_tag"].release()
        entry = self.entry()
        assert entry is not None
        assert entry.pinned

    def test_a_tag_that_was_removed_does_not_come_back_out_of_memory(self) -> None:
        self.hub.has(ALPINE, LATEST, NEW)
        self.clock.advance(self.tag_ttl)
        self.store.broken["write_tag"] = FULL
        self.now(self.manifest())  # its newer meaning waits in memory
        self.store.broken.clear()

        async def drop() -> None:
            del self.store.tag_entries[KEY]

        self.now(self.cache.keeping.remove(KEY, drop))
        self.now(self.cache.keeping.change(KEY, pinned))
        assert self.entry() is None

    # Refreshing.

    def refresh(self) -> Refreshed:
        found = self.now(self.cache.keeping.refresh(KEY))
        assert isinstance(found, Refreshed)
        return found

    def test_a_fresh_tag_is_asked_for_all_the_same(self) -> None:
        found = self.refresh()
        assert not found.changed
        assert len(self.asked()) == 1  # a HEAD told all

    def test_a_new_meaning_is_brought_and_kept(self) -> None:
        self.hub.has(ALPINE, LATEST, NEW)
        found = self.refresh()
        assert found.changed
        assert found.after.digest == str(NEW.digest)
        entry = self.entry()
        assert entry is not None
        assert entry.digest == str(NEW.digest)
        assert NEW.digest in self.store.manifests

    def test_a_tag_that_was_never_here_is_brought(self) -> None:
        del self.store.tag_entries[KEY]
        found = self.refresh()
        assert found.before is None
        assert found.changed

    def test_an_imported_tag_gives_way_and_keeps_its_pin(self) -> None:
        self.now(
            self.cache.keeping.change(
                KEY, lambda entry: attrs.evolve(entry, imported=True, pinned=True)
            )
        )
        self.hub.has(ALPINE, LATEST, NEW)
        self.refresh()
        entry = self.entry()
        assert entry is not None
        assert (entry.digest, entry.imported, entry.pinned) == (str(NEW.digest), False, True)
        assert self.now(self.manifest()).digest == NEW.digest

    def test_an_imported_tag_stays_where_upstream_does_not_answer(self) -> None:
        self.now(self.cache.keeping.change(KEY, lambda entry: attrs.evolve(entry, imported=True)))
        self.go_offline()
        self.refused(self.cache.keeping.refresh(KEY), OfflineMiss)
        entry = self.entry()
        assert entry is not None
        assert entry.imported

    def test_an_absence_that_is_remembered_does_not_answer(self) -> None:
        del self.hub.manifests[ALPINE.name, LATEST]
        self.store.blobs[digest_of(b"old")] = b"old"
        self.clock.advance(self.tag_ttl)
        self.now(self.manifest())
        self.asked()
        self.refused(self.cache.keeping.refresh(KEY), UpstreamFailure)
        assert self.asked()
        self.hub.has(ALPINE, LATEST, NEW)
        assert self.refresh().changed

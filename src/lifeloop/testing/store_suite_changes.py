"""The contract of a store about what came since: whoever keeps a state up to date asks this.

Subclass ``ChangesContract`` as ``StoreContract``, with a fixture ``store_url``.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from lifeloop.events.records import STORED_EVENT_SCHEMA, Event
from lifeloop.store import open_store
from lifeloop.store.sql_store import SqlStore
from lifeloop.testing.store_suite import LINE, NOW, ODD_IDS, VIEW, event_rows

MANY = 1_203
"""More people than one statement asks for."""


def did(store: SqlStore, *events: Event) -> int:
    """Store events and return the newest sequence number."""
    assert store.append(event_rows(*events), received_us=NOW).accepted == len(events)
    return store.last_seq()


def view(name: str, user: str | None = None, device: str | None = None) -> Event:
    """Return a view of its own id by a user or a device."""
    return replace(VIEW, event_id=name, user_id=user, anonymous_id=device)


def ids(frame: pl.DataFrame) -> list[str]:
    """Return the event ids of a frame, sorted."""
    return sorted(frame["event_id"].to_list())


class ChangesContract:
    """What every store promises of ``changes`` and ``events_of``. Needs ``store_url``."""

    @pytest.fixture
    def store(self, store_url: str, tmp_path: Path) -> Iterator[SqlStore]:
        """An empty, open store."""
        store = open_store(store_url, keys=tmp_path)
        yield store
        store.close()

    def test_an_empty_store_has_no_changes(self, store: SqlStore) -> None:
        came = store.changes(after_seq=0)
        assert (came.events.height, came.people, came.before) == (0, (), 0)
        assert came.events.schema == STORED_EVENT_SCHEMA
        assert store.events_of(["nobody"], seq=came.seq).is_empty()
        assert store.events_of([], seq=came.seq).schema == STORED_EVENT_SCHEMA

    def test_only_what_came_since_is_told(self, store: SqlStore) -> None:
        first = did(store, view("a1", "ada"), view("b1", "bob"))
        came = store.changes(after_seq=0)
        assert (ids(came.events), came.people, came.before, came.seq) == (
            ["a1", "b1"],
            (),
            0,
            first,
        )
        second = did(store, view("a2", "ada"))
        came = store.changes(after_seq=first)
        assert (ids(came.events), came.before, came.seq) == (["a2"], 2, second)
        again = store.changes(after_seq=second)
        assert (again.events.height, again.people, again.before) == (0, (), 3)

    def test_a_link_names_both_sides_and_moves_the_events(self, store: SqlStore) -> None:
        before = did(store, view("v1", None, "phone"), view("a1", "ada"), view("b1", "bob"))
        store.identify("phone", "ada", received_us=NOW)
        did(store, view("v2", None, "phone"))
        came = store.changes(after_seq=before)
        assert came.people == ("ada", "anon:phone")
        assert ids(came.events) == ["v2"]
        assert came.events["user_id"].to_list() == ["ada"]
        assert ids(store.events_of(["ada"], seq=came.seq)) == ["a1", "v1", "v2"]
        assert store.events_of(["anon:phone"], seq=came.seq).is_empty()
        assert ids(store.events_of(["ada"], seq=before)) == ["a1"]  # as known before the link
        assert ids(store.events_of(["anon:phone"], seq=before)) == ["v1"]

    def test_a_replaced_line_names_its_owner_and_counts_once(self, store: SqlStore) -> None:
        line = replace(LINE, user_id="ada", event_id="line")
        before = did(store, line, view("b1", "bob"))
        store.append(event_rows(replace(line, value=2.0)), received_us=NOW)
        came = store.changes(after_seq=before)
        assert came.people == ("ada",)
        kept = store.events_of(["ada"], seq=came.seq)
        assert kept["value"].to_list() == [2.0]
        assert store.events_of(["ada"], seq=before)["value"].to_list() == [line.value]

    def test_an_erasure_shows_in_how_many_are_left(self, store: SqlStore) -> None:
        seq = did(store, view("a1", "ada"), view("a2", "ada"), view("b1", "bob"))
        assert store.changes(after_seq=seq).before == 3
        store.erase("ada", at_us=NOW)
        assert store.changes(after_seq=seq).before == 1
        assert store.events_of(["ada"], seq=store.last_seq()).is_empty()

    def test_histories_are_those_of_the_snapshot(self, store: SqlStore) -> None:
        people = [*ODD_IDS, *(f"u{k}" for k in range(MANY))]
        seq = did(store, *(view(f"e{k}", user) for k, user in enumerate(people)))
        asked = people[::2]
        found = store.events_of(asked, seq=seq)
        order = ["user_id", "t_us", "seq"]
        whole = store.snapshot().events.filter(pl.col("user_id").is_in(asked))
        assert_frame_equal(found.sort(order), whole.sort(order))
        assert found.height == len(asked)

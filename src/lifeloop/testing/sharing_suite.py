"""The contract of what a service asks of a store beyond its walks; every store passes it."""

import threading
from collections.abc import Iterator

import polars as pl
import pytest

from lifeloop.contracts import Decision
from lifeloop.events.records import EVENT_SCHEMA, ITEM_SCHEMA, Event, Item, frame_of
from lifeloop.store import open_store
from lifeloop.store.sql_store import SqlStore

NOW = 1_700_000_000_000_000


def rows(*events: Event) -> pl.DataFrame:
    """Return events as the store takes them."""
    frame = frame_of(events, EVENT_SCHEMA)
    return frame.with_columns(pl.lit(NOW, dtype=pl.Int64).alias("t_us"))


class SharingContract:
    """Subclass with a fixture ``store_url`` that names an empty database of its own."""

    @pytest.fixture
    def store(self, store_url: str) -> Iterator[SqlStore]:
        held = open_store(store_url)
        yield held
        held.close()

    def test_what_one_process_keeps_another_one_reads(
        self, store: SqlStore, store_url: str
    ) -> None:
        body = {"roles": ["read"], "名": "é", "n": 1.5}
        store.kept.put("key", "a/b", body, at_us=2)
        store.kept.put("key", "first", {}, at_us=1)
        store.kept.put("job", "a/b", {"other": True}, at_us=1)
        other = open_store(store_url)
        assert other.kept.get("key", "a/b") == body
        assert list(other.kept.every("key")) == ["first", "a/b"]
        other.kept.put("key", "a/b", {"new": 1}, at_us=3)
        assert store.kept.get("key", "a/b") == {"new": 1}
        assert other.kept.drop("key", "a/b")
        assert not other.kept.drop("key", "a/b")
        assert store.kept.get("key", "a/b") is None
        assert store.kept.get("job", "a/b") == {"other": True}
        other.close()

    def test_a_lock_is_held_by_one_and_freed_with_it(self, store: SqlStore, store_url: str) -> None:
        other = open_store(store_url)
        with store.exclusive("train") as mine:
            assert mine
            with other.exclusive("train") as theirs:
                assert not theirs
            with other.exclusive("other") as another:
                assert another

        def fail() -> None:
            with other.exclusive("train") as theirs:
                assert theirs
                raise RuntimeError

        with pytest.raises(RuntimeError):
            fail()
        with store.exclusive("train", wait_s=1.0) as mine:
            assert mine
        other.close()

    def test_a_lock_can_be_waited_for_and_writes_go_on_meanwhile(self, store: SqlStore) -> None:
        order: list[str] = []
        entered = threading.Event()

        def second() -> None:
            entered.wait(5)
            with store.exclusive("items", wait_s=10.0) as held:
                assert held
                order.append("second")

        thread = threading.Thread(target=second)
        thread.start()
        with store.exclusive("items") as held:
            assert held
            entered.set()
            store.append(rows(Event(type="view", user_id="u")), received_us=NOW)
            order.append("first")
        thread.join()
        assert order == ["first", "second"]

    def test_items_that_changed_are_told_as_they_are_now(self, store: SqlStore) -> None:
        def put(*items: Item) -> None:
            store.put_items(frame_of(items, ITEM_SCHEMA), received_us=NOW)

        assert store.head().items_seq == 0
        put(Item(item_id="a", price=1.0), Item(item_id="b"))
        before = store.head().items_seq
        assert before == store.last_seq()
        store.append(rows(Event(type="view", user_id="u")), received_us=NOW)
        assert store.head().items_seq == before
        put(Item(item_id="a", price=2.0))
        put(Item(item_id="a", price=3.0), Item(item_id="c"))
        changed = {item.item_id: item.price for item in store.items_since(before)}
        assert changed == {"a": 3.0, "c": None}
        assert store.items_since(store.head().items_seq) == []
        assert [item.item_id for item in store.newest_items(2)] == ["c", "a"]
        assert store.catalogue()["price"].to_list() == [3.0, None, None]
        assert store.catalogue(seq=before)["item_id"].to_list() == ["a", "b"]

    def test_every_row_of_a_write_is_told_its_outcome(self, store: SqlStore) -> None:
        def event(event_id: str, kind: str = "view") -> Event:
            return Event(type=kind, user_id="u", event_id=event_id)

        first = store.append(rows(event("1"), event("1"), event("2")), received_us=NOW)
        assert first.outcomes == ("accepted", "duplicate", "accepted")
        mixed = (event("2"), Event(type="", user_id="u"), event("3"), event("2", "cart"))
        again = store.append(rows(*mixed), received_us=NOW)
        assert again.outcomes == ("duplicate", "missing_type", "accepted", "accepted")
        assert len(again.event_ids) == 3

    def test_slates_are_found_by_their_requests(self, store: SqlStore) -> None:
        made = [_decision(f"r{n}") for n in range(3)]
        threads = [threading.Thread(target=store.log_decision, args=(d,)) for d in made]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        store.log_decision(made[0])
        assert store.decided(["r2", "nothing", "r0"]) == [made[2], None, made[0]]
        assert store.counts()["decisions"] == 3


def _decision(request_id: str) -> Decision:
    return Decision(
        request_id=request_id,
        user_id="u",
        t_us=NOW,
        surface="s",
        bundle=None,
        seq=0,
        stage=None,
        policy={},
        rng_seed=1,
        candidate_ids=("a",),
        candidate_scores=(1.0,),
        slate_ids=("a",),
        propensities=None,
        level="cached",
    )

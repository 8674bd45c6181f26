"""The contract of a store, as tests: every system of record passes the same ones.

Subclass ``StoreContract`` in a test module and give it a fixture ``store_url`` that names an
empty database of its own::

    class TestSqlite(StoreContract):
        @pytest.fixture
        def store_url(self, tmp_path: Path) -> str:
            return f"sqlite:///{tmp_path / 'store.db'}"
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from lifeloop.contracts import UNTIMED, Decision, IngestReport, QuarantinedRow
from lifeloop.errors import BundleError, IdentityRefused, InputError, StoreError
from lifeloop.events.records import (
    EVENT_SCHEMA,
    ITEM_SCHEMA,
    STORED_EVENT_SCHEMA,
    USER_SCHEMA,
    Event,
    Item,
    User,
    frame_of,
)
from lifeloop.store import open_store
from lifeloop.store.sql_store import SqlStore

NOW = 1_700_000_000_000_000
DAY = 86_400_000_000
ODD_IDS = (
    "a/b",
    "用户;1",
    "007",
    "7",
    "x" * 300,
    "🦊🐾",
    'it\'s "quoted" -- %s ? :p',
    "a\nb\tc",
    " lead",
    "Ünï",
    "e\u0301",  # e and a combining accent: not the same id as the next
    "\u00e9",
    "{}",
    "[1]",
    "1e5",
)
"""Ids that other systems change on the way: case I9."""


def event_rows(*events: Event, flag: str | None = None) -> pl.DataFrame:
    """Return events as the frame that ``append`` takes; the event time is the stated time."""
    frame = frame_of(events, EVENT_SCHEMA)
    return frame.with_columns(t_us=pl.col("occurred_us"), flag=pl.lit(flag, dtype=pl.String))


def decision(request_id: str, *, seq: int = 1) -> Decision:
    """Return a slate of two out of three candidates."""
    return Decision(
        request_id=request_id,
        user_id="u",
        t_us=NOW,
        surface="home",
        bundle="b1",
        seq=seq,
        stage="retention",
        policy={"temperature": 0.1, "rules": ["stock"]},
        rng_seed=2**62 + 1,
        candidate_ids=("a", "b", "用户;1"),
        candidate_scores=(0.1 + 0.2, 1e-300, -2.5),
        slate_ids=("b", "a"),
        propensities=(1 / 3, 0.5),
        level="model",
        context={"hour": 7},
    )


def _counts(report: IngestReport) -> tuple[int, int, int]:
    return report.accepted, report.duplicate, report.rejected


VIEW = Event(type="view", user_id="u", item_id="i", occurred_us=NOW)
LINE = Event(
    type="purchase",
    user_id="u",
    item_id="i",
    occurred_us=NOW,
    event_id="E",
    order_id="O",
    value=1.0,
)


class StoreContract:
    """What every store promises. Needs a fixture ``store_url``."""

    @pytest.fixture
    def store(self, store_url: str) -> Iterator[SqlStore]:
        """An empty, open store."""
        store = open_store(store_url)
        yield store
        store.close()

    # ------------------------------------------------------------ events: which are kept

    def test_five_identical_events_without_an_id_are_five_events(self, store: SqlStore) -> None:
        report = store.append(event_rows(*[VIEW] * 5), received_us=NOW)
        assert _counts(report) == (5, 0, 0)
        assert len(set(report.event_ids)) == 5
        for _ in range(5):
            assert store.append(event_rows(VIEW), received_us=NOW).accepted == 1
        assert len(store.histories(["u"])[0]) == 10

    def test_an_event_delivered_twice_is_one_event_and_one_duplicate(self, store: SqlStore) -> None:
        assert _counts(store.append(event_rows(LINE), received_us=NOW)) == (1, 0, 0)
        later = replace(LINE, sent_us=NOW + DAY, source="webhook")  # transport, not content
        report = store.append(event_rows(later), received_us=NOW + DAY)
        assert _counts(report) == (0, 1, 0)
        assert report.event_ids == ("E",)
        held = store.snapshot().events
        assert held["event_id"].to_list() == ["E"]
        assert held["received_us"].to_list() == [NOW]
        assert held["source"].to_list() == [None]

    def test_a_duplicate_inside_one_batch_is_counted(self, store: SqlStore) -> None:
        report = store.append(event_rows(LINE, VIEW, LINE, LINE), received_us=NOW)
        assert _counts(report) == (2, 2, 0)
        assert report.event_ids[0] == report.event_ids[2] == report.event_ids[3] == "E"
        assert store.counts()["events"] == 2

    @pytest.mark.parametrize("together", [True, False])
    def test_one_id_on_two_different_events_keeps_both(
        self, store: SqlStore, together: bool
    ) -> None:
        first = replace(VIEW, event_id="E")
        second = replace(first, item_id="other")
        third = replace(LINE, order_id="O2")
        batches: list[tuple[Event, ...]] = [(first, second, third)]
        if not together:
            batches = [(first,), (second,), (third,)]
        reports = [store.append(event_rows(*rows), received_us=NOW) for rows in batches]
        total = sum(reports[1:], reports[0])
        assert _counts(total) == (3, 0, 0)
        assert [(r.reason, r.count) for r in total.flagged] == [("conflict", 2)]
        held = store.snapshot().events.sort("seq")
        assert held["event_id"][0] == "E"
        assert held["event_id"].n_unique() == 3
        assert held["event_id"].to_list() == list(total.event_ids)
        assert held["refers_to"].to_list() == [None, "E", "E"]
        assert held["flag"].to_list() == [None, "conflict", "conflict"]
        assert held["item_id"].to_list() == ["i", "other", "i"]

    def test_replaying_conflicts_and_versions_stores_nothing(self, store: SqlStore) -> None:
        rows = [LINE, replace(LINE, value=2.0), replace(LINE, order_id="P"), VIEW, LINE]
        rows = [r if r.event_id else replace(r, event_id="V") for r in rows]
        first = store.append(event_rows(*rows), received_us=NOW)
        assert _counts(first) == (4, 1, 0)
        seq = store.last_seq()
        for order in (rows, rows[::-1], [rows[1]], [rows[2], rows[2]]):
            again = store.append(event_rows(*order), received_us=NOW + DAY)
            assert _counts(again) == (0, len(order), 0)
            assert set(again.event_ids) <= set(first.event_ids)
        assert store.last_seq() == seq

    def test_an_export_that_names_the_new_ids_is_all_duplicates(self, store: SqlStore) -> None:
        store.append(event_rows(LINE, replace(LINE, value=2.0)), received_us=NOW)
        held = store.snapshot().events
        out = held.select(*EVENT_SCHEMA, "t_us")
        both = pl.concat([event_rows(LINE).drop("flag"), out])
        assert _counts(store.append(both, received_us=NOW)) == (0, 2, 0)

    def test_a_changed_order_line_stands_in_for_the_earlier_one(self, store: SqlStore) -> None:
        seqs = []
        for value in (1.0, 2.0, 3.0):
            report = store.append(event_rows(replace(LINE, value=value)), received_us=NOW)
            assert report.accepted == 1
            seqs.append(store.last_seq())
        for seq, value in zip(seqs, (1.0, 2.0, 3.0), strict=True):
            assert store.histories(["u"], seq=seq)[0].value.tolist() == [value]
            assert store.snapshot(seq=seq).events["value"].to_list() == [value]
        held = store.snapshot().events
        assert held["flag"].to_list() == ["version"]
        assert held["refers_to"].to_list() == ["E"]
        assert store.counts()["events"] == 3  # nothing is forgotten

    def test_versions_inside_one_batch_follow_each_other(self, store: SqlStore) -> None:
        rows = [replace(LINE, value=float(v)) for v in (1, 2, 1, 3)]
        report = store.append(event_rows(*rows), received_us=NOW)
        assert _counts(report) == (3, 1, 0)
        assert store.histories(["u"])[0].value.tolist() == [3.0]
        assert store.histories(["u"], seq=2)[0].value.tolist() == [2.0]

    def test_lines_of_one_order_are_separate_events(self, store: SqlStore) -> None:
        rows = [replace(LINE, event_id=f"E{n}", item_id=f"i{n}") for n in range(9)]
        assert store.append(event_rows(*rows), received_us=NOW).accepted == 9
        assert store.append(event_rows(*rows), received_us=NOW).duplicate == 9
        assert len(store.histories(["u"])[0]) == 9

    def test_a_changed_line_may_move_to_another_user(self, store: SqlStore) -> None:
        store.append(event_rows(LINE), received_us=NOW)
        store.append(event_rows(replace(LINE, user_id="w")), received_us=NOW)
        u, w = store.histories(["u", "w"])
        assert (len(u), len(w)) == (0, 1)

    def test_a_flag_that_came_with_the_event_stays(self, store: SqlStore) -> None:
        report = store.append(event_rows(LINE, flag="future"), received_us=NOW)
        assert [(r.reason, r.count) for r in report.flagged] == [("future", 1)]
        store.append(event_rows(replace(LINE, value=2.0), flag="future"), received_us=NOW)
        assert store.snapshot().events["flag"].to_list() == ["future,version"]

    def test_rows_that_cannot_be_kept_are_counted_told_and_quarantined(
        self, store: SqlStore
    ) -> None:
        bad = [
            replace(VIEW, type=""),
            replace(VIEW, user_id=None),
            replace(VIEW, value=float("nan")),
            replace(VIEW, rating=float("inf")),
            replace(VIEW, text="a\0b"),
        ]
        report = store.append(event_rows(VIEW, *bad), received_us=NOW)
        assert _counts(report) == (1, 0, 5)
        assert {r.reason: (r.count, r.lines) for r in report.reasons} == {
            "missing_type": (1, (2,)),
            "missing_user_id": (1, (3,)),
            "bad_number": (2, (4, 5)),
            "nul_character": (1, (6,)),
        }
        assert len(report.event_ids) == 1
        kept = store.quarantined()
        assert sorted(row.reason for row in kept) == sorted(
            ["missing_type", "missing_user_id", "bad_number", "bad_number", "nul_character"]
        )
        assert next(r.raw["text"] for r in kept if r.reason == "nul_character") == "a\0b"

    def test_a_frame_without_the_columns_of_an_event_is_refused(self, store: SqlStore) -> None:
        with pytest.raises(InputError, match=r"missing.*t_us"):
            store.append(event_rows(VIEW).drop("t_us"), received_us=NOW)
        with pytest.raises(InputError, match=r"unknown.*colour"):
            store.append(event_rows(VIEW).with_columns(colour=pl.lit("red")), received_us=NOW)
        with pytest.raises(InputError, match="another type"):
            store.append(event_rows(VIEW).with_columns(value=pl.lit("dear")), received_us=NOW)
        assert store.last_seq() == 0

    def test_an_empty_frame_changes_nothing(self, store: SqlStore) -> None:
        assert store.append(event_rows(), received_us=NOW) == IngestReport()
        assert store.put_items(frame_of([], ITEM_SCHEMA), received_us=NOW) == IngestReport()
        assert store.last_seq() == 0

    def test_ids_are_told_for_small_writes_only(self, store: SqlStore) -> None:
        assert len(store.append(event_rows(*[VIEW] * 10_000), received_us=NOW).event_ids) == 10_000
        assert store.append(event_rows(*[VIEW] * 10_001), received_us=NOW).event_ids == ()

    @pytest.mark.parametrize("n", [3, 30_000])
    def test_everything_comes_back_as_it_went_in(self, store: SqlStore, n: int) -> None:
        odd = [
            Event(
                type=f"t{k % 3}",
                user_id=ODD_IDS[k % len(ODD_IDS)],
                anonymous_id=None if k % 2 else ODD_IDS[(k + 1) % len(ODD_IDS)],
                occurred_us=None if k % 7 == 0 else NOW + k,
                sent_us=NOW if k == n - 1 else None,  # a column that begins with nothing
                event_id=f"{ODD_IDS[k % len(ODD_IDS)]}#{k}",
                item_id=ODD_IDS[(k + 2) % len(ODD_IDS)],
                value=[0.1 + 0.2, 1e-300, -1.5, 3.0, None][k % 5],
                quantity=float(k),
                position=k if k % 2 else None,
                text="第" * (k % 4) or None,
                is_bot=[True, False, None][k % 3],
                context={"k": k, "词": "x"} if k == n - 2 else {},
            )
            for k in range(n)
        ]
        frame = event_rows(*odd)
        assert store.append(frame, received_us=NOW).accepted == n
        held = store.snapshot().events
        assert held.schema == pl.Schema(STORED_EVENT_SCHEMA)
        out = held.sort("seq").select(EVENT_SCHEMA.keys())
        assert out.equals(frame.select(EVENT_SCHEMA.keys()))
        assert held["received_us"].unique().to_list() == [NOW]

    def test_odd_ids_are_found_and_never_confused(self, store: SqlStore) -> None:
        rows = [replace(VIEW, user_id=i, item_id=i, event_id=i) for i in ODD_IDS]
        assert store.append(event_rows(*rows), received_us=NOW).accepted == len(ODD_IDS)
        store.put_users(frame_of([User(user_id=i) for i in ODD_IDS], USER_SCHEMA), received_us=1)
        store.put_items(
            frame_of([Item(item_id=i, title=i) for i in ODD_IDS], ITEM_SCHEMA), received_us=1
        )
        for i, history in zip(ODD_IDS, store.histories(ODD_IDS), strict=True):
            assert (history.user_id, history.item_id) == (i, (i,))
        assert [user.user_id if user else None for user in store.users(ODD_IDS)] == list(ODD_IDS)
        assert [item.title if item else None for item in store.items(ODD_IDS)] == list(ODD_IDS)
        assert sorted(store.snapshot().items["item_id"]) == sorted(ODD_IDS)

    # ------------------------------------------------------------ time, order, knowledge

    def test_ties_keep_arrival_order_and_no_time_comes_first(self, store: SqlStore) -> None:
        times = [NOW, NOW - 5, None, NOW, None, NOW - 5]
        rows = [replace(VIEW, occurred_us=t, item_id=f"i{n}") for n, t in enumerate(times)]
        store.append(event_rows(*rows), received_us=NOW)
        history = store.histories(["u"])[0]
        assert history.item_id == ("i2", "i4", "i1", "i5", "i0", "i3")
        assert history.t_us.tolist() == [UNTIMED, UNTIMED, NOW - 5, NOW - 5, NOW, NOW]
        assert store.snapshot().events["item_id"].to_list() == list(history.item_id)
        assert store.histories(["u"], limit=3)[0].item_id == ("i5", "i0", "i3")
        assert store.histories(["u"], limit=0)[0].item_id == ()
        with pytest.raises(InputError, match="negative"):
            store.histories(["u"], limit=-1)

    def test_events_of_the_moment_asked_and_later_are_invisible(self, store: SqlStore) -> None:
        rows = [replace(VIEW, occurred_us=t) for t in (None, NOW - 1, NOW, NOW + 1)]
        store.append(event_rows(*rows), received_us=NOW)
        assert store.histories(["u"], as_of_us=NOW)[0].t_us.tolist() == [UNTIMED, NOW - 1]
        assert store.snapshot(as_of_us=NOW).events["t_us"].to_list() == [None, NOW - 1]
        assert len(store.histories(["u"])[0]) == 4

    def test_what_came_later_is_unknown_at_an_earlier_seq(self, store: SqlStore) -> None:
        store.append(event_rows(VIEW), received_us=NOW)
        before = store.last_seq()
        store.append(event_rows(replace(VIEW, occurred_us=NOW - DAY)), received_us=NOW)
        assert len(store.histories(["u"], seq=before)[0]) == 1
        assert store.snapshot(seq=before).events.height == 1
        assert store.snapshot().events.height == 2
        assert store.snapshot(seq=10**12).seq == store.last_seq()

    def test_a_backfill_keeps_its_own_time(self, store: SqlStore) -> None:
        year = 365 * DAY
        store.append(event_rows(replace(VIEW, occurred_us=NOW - year)), received_us=NOW)
        held = store.snapshot().events
        assert held["t_us"].to_list() == [NOW - year]
        assert held["received_us"].to_list() == [NOW]
        assert store.last_event_us() == NOW - year

    def test_the_oldest_and_the_newest_event_time_are_kept(self, store: SqlStore) -> None:
        assert store.last_event_us() is None
        store.append(event_rows(replace(VIEW, occurred_us=None)), received_us=NOW)
        assert (store.first_event_us(), store.last_event_us()) == (None, None)
        for t in (NOW, NOW - 5, NOW + 5, NOW):
            store.append(event_rows(replace(VIEW, occurred_us=t)), received_us=NOW)
        assert (store.first_event_us(), store.last_event_us()) == (NOW - 5, NOW + 5)

    @pytest.mark.parametrize("seed", range(3))
    def test_a_shuffled_log_gives_the_same_state(self, store: SqlStore, seed: int) -> None:
        rng = random.Random(seed)
        rows = [
            Event(
                type=rng.choice(["view", "purchase"]),
                user_id=f"u{rng.randrange(4)}",
                item_id=f"i{rng.randrange(6)}",
                occurred_us=NOW + n,
                event_id=f"e{n}",
            )
            for n in range(60)
        ]
        rows += rng.sample(rows, 20)  # delivered twice
        shuffled = rng.sample(rows, len(rows))
        for start in range(0, len(shuffled), 17):
            store.append(event_rows(*shuffled[start : start + 17]), received_us=NOW)
        held = store.snapshot().events
        wanted = frame_of(rows[:60], EVENT_SCHEMA).sort("user_id", "occurred_us")
        assert held.select(EVENT_SCHEMA.keys()).equals(wanted)

    def test_histories_agree_with_the_snapshot(self, store: SqlStore) -> None:
        rng = random.Random(7)
        for _ in range(4):
            rows = [
                Event(
                    type="view",
                    user_id=rng.choice(["a", "b", None]),
                    anonymous_id=rng.choice(["x", "y"]),
                    occurred_us=rng.choice([None, NOW + rng.randrange(9)]),
                    item_id=str(rng.random()),
                    order_id=rng.choice([None, "o"]),
                    event_id=f"e{rng.randrange(30)}",
                )
                for _ in range(40)
            ]
            store.append(event_rows(*rows), received_us=NOW)
            if store.last_seq() > 60 and store.person_of("x") == "anon:x":
                store.identify("x", "a", received_us=NOW)
        seqs = [10, 50, 100, store.last_seq()]
        for seq, as_of in [(s, t) for s in seqs for t in (None, NOW + 4)]:
            frame = store.snapshot(seq=seq, as_of_us=as_of).events
            people = ["a", "b", "anon:x", "anon:y"]
            for who, h in zip(
                people, store.histories(people, seq=seq, as_of_us=as_of), strict=True
            ):
                mine = frame.filter(pl.col("user_id") == who)
                assert h.seq.tolist() == mine["seq"].to_list()
                assert list(h.item_id) == mine["item_id"].to_list()

    def test_unknown_users_have_an_empty_history(self, store: SqlStore) -> None:
        store.put_users(frame_of([User(user_id="known")], USER_SCHEMA), received_us=NOW)
        nobody, known = store.histories(["nobody", "known"])
        assert (nobody.known, len(nobody)) == (False, 0)
        assert (known.known, len(known)) == (True, 0)
        assert store.histories([]) == []
        assert store.histories(["known"], seq=0)[0].known is False

    # ------------------------------------------------------------ identity

    def test_a_link_joins_the_visitors_events_to_the_user(self, store: SqlStore) -> None:
        visit = Event(type="view", anonymous_id="v", occurred_us=NOW - 1)
        store.append(event_rows(visit, VIEW), received_us=NOW)
        assert len(store.histories(["anon:v"])[0]) == 1
        assert store.person_of("v") == "anon:v"
        before = store.last_seq()
        report = store.identify("v", "u", received_us=NOW)
        assert (report.status, report.events, report.seq) == ("linked", 1, before + 1)
        store.append(event_rows(replace(visit, occurred_us=NOW + 1)), received_us=NOW)
        assert store.person_of("v") == "u"
        assert store.histories(["u"])[0].t_us.tolist() == [NOW - 1, NOW, NOW + 1]
        assert store.histories(["u"], limit=2)[0].t_us.tolist() == [NOW, NOW + 1]
        ghost = store.histories(["anon:v"])[0]
        assert (ghost.known, len(ghost)) == (False, 0)
        assert store.snapshot().events["user_id"].to_list() == ["u"] * 3
        # and as it was known before the link
        assert store.person_of("v", seq=before) == "anon:v"
        assert store.histories(["u"], seq=before)[0].t_us.tolist() == [NOW]
        assert store.histories(["anon:v"], seq=before)[0].known
        assert store.snapshot(seq=before).events["user_id"].to_list() == ["anon:v", "u"]

    def test_the_same_link_again_is_already_there(self, store: SqlStore) -> None:
        first = store.identify("v", "u", received_us=NOW)
        again = store.identify("v", "u", received_us=NOW + 1)
        assert (again.status, again.seq) == ("already", first.seq)
        assert store.counts()["links"] == 1
        assert store.histories(["u"])[0].known
        assert store.identify("w", "u", received_us=NOW).status == "linked"  # a second device

    def test_a_visitor_is_never_given_to_a_second_user(self, store: SqlStore) -> None:
        store.identify("v", "u", received_us=NOW)
        seq = store.last_seq()
        with pytest.raises(IdentityRefused, match="already linked"):
            store.identify("v", "w", received_us=NOW + 1)
        assert store.last_seq() == seq
        assert store.person_of("v") == "u"
        (row,) = store.identity_audit()
        assert (row["anonymous_id"], row["user_id"], row["linked_to"], row["reason"]) == (
            "v",
            "w",
            "u",
            "linked_to_another",
        )

    @pytest.mark.parametrize("how", ["events", "profile", "link"])
    def test_two_known_users_never_merge(self, store: SqlStore, how: str) -> None:
        if how == "events":
            store.append(event_rows(replace(VIEW, user_id="other")), received_us=NOW)
        elif how == "profile":
            store.put_users(frame_of([User(user_id="other")], USER_SCHEMA), received_us=NOW)
        else:
            store.identify("device", "other", received_us=NOW)
        links = store.counts()["links"]
        with pytest.raises(IdentityRefused, match="never merge"):
            store.identify("other", "u", received_us=NOW)
        assert store.identity_audit()[0]["reason"] == "two_known_users"
        assert store.counts()["links"] == links
        # A device that sends the account's id as its own is that account.
        assert store.identify("other", "other", received_us=NOW).status == "linked"

    @pytest.mark.parametrize(
        "name", ["null", "NULL", " Undefined ", "anonymous", "0", "", "  ", "none", "NaN"]
    )
    def test_a_placeholder_is_nobody(self, store: SqlStore, name: str) -> None:
        for pair in ((name, "u"), ("v", name)):
            with pytest.raises(IdentityRefused, match="placeholder"):
                store.identify(*pair, received_us=NOW)
        assert store.counts()["links"] == 0
        assert [row["reason"] for row in store.identity_audit()] == ["placeholder_id"] * 2

    def test_a_user_cannot_be_called_like_a_visitor(self, store: SqlStore) -> None:
        with pytest.raises(IdentityRefused, match="anon:"):
            store.identify("v", "anon:w", received_us=NOW)

    def test_an_explicit_user_wins_over_the_link(self, store: SqlStore) -> None:
        store.identify("shared", "u", received_us=NOW)
        rows = [replace(VIEW, anonymous_id="shared", user_id=who) for who in (None, "guest7", "u")]
        store.append(event_rows(*rows), received_us=NOW)
        assert [len(h) for h in store.histories(["u", "guest7"])] == [2, 1]
        assert sorted(store.snapshot().events["user_id"]) == ["guest7", "u", "u"]

    # ------------------------------------------------------------ users and items

    def test_items_have_versions_and_reads_take_the_one_known(self, store: SqlStore) -> None:
        seqs = []
        prices: Sequence[float | None] = (1.0, 2.0, None, 1.0)
        for price in prices:
            rows = frame_of([Item(item_id="i", title="t", price=price)], ITEM_SCHEMA)
            assert _counts(store.put_items(rows, received_us=NOW)) == (1, 0, 0)
            assert _counts(store.put_items(rows, received_us=NOW)) == (0, 1, 0)
            seqs.append(store.last_seq())
        for seq, price in zip(seqs, prices, strict=True):
            (item,) = store.items(["i"], seq=seq)
            assert item is not None
            assert item.price == price
            assert store.snapshot(seq=seq).items["price"].to_list() == [price]
        assert store.items(["i", "absent"], seq=0) == [None, None]
        assert store.counts()["items"] == 1

    def test_every_field_of_items_and_users_comes_back(self, store: SqlStore) -> None:
        item = Item(
            item_id="i",
            title="标题",
            description="d",
            categories=("a, b", 'c"d', ""),
            brand="b",
            price=0.1 + 0.2,
            cost=1e-9,
            list_price=3.0,
            url="https://x.test/?q=1",
            image="i.png",
            audio="a.wav",
            stock=0.0,
            parent_id="p",
            kind="product",
            language="zh",
            provider_id="v",
            available_from_us=NOW,
            available_until_us=NOW + 1,
            attributes={"词": [1, 2.5, None, {"x": True}]},
        )
        user = User(
            user_id="u",
            created_us=NOW,
            channel="ads",
            consent={"personalisation": False},
            attributes={"age": "36", "n": 1},
        )
        store.put_items(frame_of([item, Item(item_id="bare")], ITEM_SCHEMA), received_us=NOW)
        store.put_users(frame_of([user, User(user_id="bare")], USER_SCHEMA), received_us=NOW)
        assert store.items(["bare", "i"]) == [Item(item_id="bare"), item]
        assert store.users(["u", "none", "bare"]) == [user, None, User(user_id="bare")]
        held = store.snapshot()
        assert held.items.schema == pl.Schema(ITEM_SCHEMA)
        assert held.users.schema == pl.Schema(USER_SCHEMA)
        assert held.items.filter(item_id="i")["categories"].to_list() == [list(item.categories)]

    def test_versions_inside_one_frame_follow_each_other(self, store: SqlStore) -> None:
        rows = [Item(item_id="i", price=p) for p in (1.0, 1.0, 2.0, 1.0)]
        rows.insert(1, Item(item_id="j", price=5.0))
        assert _counts(store.put_items(frame_of(rows, ITEM_SCHEMA), received_us=1)) == (4, 1, 0)
        assert [i.price if i else None for i in store.items(["i", "j"])] == [1.0, 5.0]

    def test_the_order_of_json_keys_is_not_a_change(self, store: SqlStore) -> None:
        frame = frame_of([User(user_id="u")], USER_SCHEMA)
        for text, accepted in (('{"a":1,"b":2}', 1), ('{ "b": 2, "a": 1 }', 0), ('{"a":1}', 1)):
            rows = frame.with_columns(attributes=pl.lit(text))
            assert store.put_users(rows, received_us=NOW).accepted == accepted

    def test_items_that_cannot_be_kept_are_quarantined(self, store: SqlStore) -> None:
        rows = frame_of([Item(item_id=i) for i in ("", "bad", "list", "nan", "ok")], ITEM_SCHEMA)
        rows = rows.with_columns(
            attributes=pl.Series([None, "{", "[1]", None, None], dtype=pl.String),
            price=pl.Series([None, None, None, float("nan"), None], dtype=pl.Float64),
        )
        report = store.put_items(rows, received_us=NOW)
        assert _counts(report) == (1, 0, 4)
        assert {r.reason: r.lines for r in report.reasons} == {
            "missing_item_id": (1,),
            "bad_json": (2, 3),
            "bad_number": (4,),
        }
        assert {(row.kind, row.reason) for row in store.quarantined()} == {
            ("item", "missing_item_id"),
            ("item", "bad_json"),
            ("item", "bad_number"),
        }

    def test_json_that_is_no_text_is_quarantined(self, store: SqlStore) -> None:
        rows = frame_of([Item(item_id=i) for i in ("half", "nul")], ITEM_SCHEMA)
        half, nul = r'{"a":"\ud800"}', r'{"a":"\u0000"}'
        rows = rows.with_columns(attributes=pl.Series([half, nul], dtype=pl.String))
        report = store.put_items(rows, received_us=NOW)
        assert [(r.reason, r.lines) for r in report.reasons] == [("bad_json", (1,))]
        assert store.quarantined()[0].raw["attributes"] == half
        (item,) = store.items(["nul"])
        assert item is not None
        assert item.attributes == {"a": "\0"}

    def test_a_source_with_odd_characters_is_quarantined_too(self, store: SqlStore) -> None:
        store.append(event_rows(replace(VIEW, source="a\0b")), received_us=NOW)
        store.quarantine([QuarantinedRow("event", "x", {"n": 1}, source="\ud800")], received_us=NOW)
        assert [row.source for row in store.quarantined()] == ["a\ufffdb", "?"]
        assert store.quarantined()[0].raw["source"] == "a\0b"

    # ------------------------------------------------------------ quarantine, decisions, bundles

    def test_quarantine_keeps_rows_as_they_came_until_released(self, store: SqlStore) -> None:
        rows = [
            QuarantinedRow("event", "bad_time", {"t": "30 Feb", "n": 1}, source="a.csv", line=n)
            for n in (2, 3)
        ]
        rows.append(QuarantinedRow("item", "bad_json", {"x": "\ud800", "词": None}))
        store.quarantine(rows, received_us=NOW)
        held = store.quarantined()
        assert len({r.key for r in held}) == 3
        assert [replace(r, quarantine_id=None, received_us=None, key=None) for r in held] == rows
        assert [r.line for r in store.quarantined(reason="bad_time", limit=1)] == [2]
        ids = [r.quarantine_id for r in held if r.quarantine_id is not None]
        assert store.release(ids[:2]) == 2
        assert store.release(ids[:2]) == 0
        assert [r.quarantine_id for r in store.quarantined()] == ids[2:]

    def test_the_same_bad_line_is_kept_once_and_bad_calls_each(self, store: SqlStore) -> None:
        line = QuarantinedRow("event", "bad_time", {"t": "x"}, source="a.csv", line=2)
        call = QuarantinedRow("event", "bad_time", {"t": "x"}, source="api")
        for _ in range(2):
            store.quarantine([line, call, line], received_us=NOW)
        assert store.counts()["quarantined"] == 3

    def test_decisions_come_back_exactly_by_the_seq_they_saw(self, store: SqlStore) -> None:
        logged = [decision(f"r{n}", seq=seq) for n, seq in enumerate([5, 3, 9, 5])]
        logged[1] = replace(logged[1], propensities=None, stage=None, bundle=None, slate_ids=())
        for row in logged:
            store.log_decision(row)
        assert list(store.decisions()) == [logged[n] for n in (1, 0, 3, 2)]
        assert [d.request_id for d in store.decisions(from_seq=4, to_seq=5)] == ["r0", "r3"]
        assert list(store.decisions(from_seq=10)) == []
        assert list(store.newest_decisions(3)) == [logged[n] for n in (2, 3, 0)]
        assert list(store.newest_decisions(2, to_seq=4)) == [logged[1]]
        assert list(store.newest_decisions(0)) == []
        assert store.counts()["decisions"] == 4

    def test_many_decisions_come_page_by_page(self, store: SqlStore) -> None:
        with store.bulk():
            for n in range(1001):
                store.log_decision(decision(f"r{n}", seq=n // 400))
        found = store.decisions()
        assert next(found).request_id == "r0"
        store.log_decision(decision("late", seq=0))  # a read under way does not block a write
        assert sum(1 for d in found if d.request_id != "late") == 1000

    def test_a_decision_is_logged_once_and_never_changed(self, store: SqlStore) -> None:
        store.log_decision(decision("r"))
        store.log_decision(decision("r"))
        with pytest.raises(StoreError, match="another slate"):
            store.log_decision(replace(decision("r"), slate_ids=("a", "b")))
        with pytest.raises(StoreError, match="another slate"):
            store.log_decision(replace(decision("r"), seq=99))
        assert list(store.decisions()) == [decision("r")]

    def test_a_decision_with_a_score_that_is_no_number_is_refused(self, store: SqlStore) -> None:
        with pytest.raises(InputError, match="not finite"):
            store.log_decision(replace(decision("r"), candidate_scores=(float("nan"), 1.0, 2.0)))
        assert store.counts()["decisions"] == 0

    def test_a_decision_may_hold_numpy_numbers(self, store: SqlStore) -> None:
        scores: Any = tuple(np.array([0.5, 0.25, 0.125], dtype=np.float32))
        store.log_decision(replace(decision("r"), candidate_scores=scores))
        assert next(store.decisions()).candidate_scores == (0.5, 0.25, 0.125)

    def test_bundles_are_published_swapped_and_rolled_back(self, store: SqlStore) -> None:
        assert store.active_bundle() is None
        assert store.bundles() == []
        store.publish("b1", {"ndcg": 0.1}, at_us=1)
        store.publish("b2", {"ndcg": 0.2}, at_us=2)
        assert store.active_bundle() == "b2"
        store.activate("b1", at_us=3)
        assert store.active_bundle() == "b1"
        assert store.activations() == [("b1", 1), ("b2", 2), ("b1", 3)]
        assert [(b["bundle"], b["active"], b["manifest"]) for b in store.bundles()] == [
            ("b2", False, {"ndcg": 0.2}),
            ("b1", True, {"ndcg": 0.1}),
        ]

    def test_an_unpublished_bundle_cannot_be_activated(self, store: SqlStore) -> None:
        store.publish("b1", {}, at_us=1)
        with pytest.raises(BundleError, match="b1"):
            store.activate("b9", at_us=2)
        assert store.active_bundle() == "b1"

    def test_a_published_bundle_never_changes(self, store: SqlStore) -> None:
        store.publish("b1", {"a": 1}, at_us=1)
        store.publish("b1", {"a": 1}, at_us=2)  # repeated after a lost answer
        with pytest.raises(BundleError, match="another manifest"):
            store.publish("b1", {"a": 2}, at_us=3)
        assert store.activations() == [("b1", 1)]

    # ------------------------------------------------------------ the store as a whole

    def test_counts_and_types(self, store: SqlStore) -> None:
        empty = ("events", "users", "items", "links", "decisions", "quarantined")
        assert store.counts() == dict.fromkeys(empty, 0)
        assert store.event_types() == {}
        store.append(event_rows(VIEW, VIEW, replace(VIEW, type="buy")), received_us=NOW)
        assert store.counts()["events"] == 3
        assert store.event_types() == {"view": 2, "buy": 1}

    def test_an_empty_store_has_an_empty_snapshot(self, store: SqlStore) -> None:
        held = store.snapshot()
        assert held.events.schema == pl.Schema(STORED_EVENT_SCHEMA)
        assert (held.events.height, held.users.height, held.items.height) == (0, 0, 0)
        assert held.seq == 0

    def test_reads_never_write(self, store: SqlStore) -> None:
        store.append(event_rows(VIEW), received_us=NOW)
        before = store.counts(), store.last_seq()
        store.histories(["nobody", "anon:x"])
        store.users(["nobody"])
        store.items(["nothing"])
        store.snapshot()
        list(store.decisions())
        assert (store.counts(), store.last_seq()) == before

    def test_everything_is_there_after_reopening(self, store_url: str) -> None:
        store = open_store(store_url)
        with store.bulk():
            store.append(event_rows(VIEW, LINE, replace(LINE, value=2.0)), received_us=NOW)
        store.put_items(frame_of([Item(item_id="i")], ITEM_SCHEMA), received_us=NOW)
        store.identify("v", "u", received_us=NOW)
        store.log_decision(decision("r"))
        store.quarantine([QuarantinedRow("event", "bad", {})], received_us=NOW)
        store.publish("b1", {}, at_us=1)
        before = (
            store.snapshot().events,
            store.counts(),
            store.last_seq(),
            store.last_event_us(),
            store.active_bundle(),
        )
        store.close()
        again = open_store(store_url)
        events = again.snapshot().events
        assert events.equals(before[0])
        assert (again.counts(), again.last_seq()) == before[1:3]
        assert (again.last_event_us(), again.active_bundle()) == before[3:]
        assert again.append(event_rows(LINE), received_us=NOW).duplicate == 1
        assert again.append(event_rows(VIEW), received_us=NOW).accepted == 1
        assert again.last_seq() == before[2] + 1
        again.close()

    def test_a_block_that_fails_keeps_what_was_acknowledged(self, store: SqlStore) -> None:
        def import_that_breaks() -> None:
            with store.bulk():
                store.append(event_rows(LINE), received_us=NOW)
                raise RuntimeError("the file ends here")

        with pytest.raises(RuntimeError, match="ends here"):
            import_that_breaks()
        assert store.counts()["events"] == 1
        assert store.append(event_rows(VIEW), received_us=NOW).accepted == 1

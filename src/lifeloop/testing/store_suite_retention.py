"""The contract of retention, over every store: what is old goes, everywhere, and stays away.

Subclass ``RetentionContract`` as ``StoreContract``, with a fixture ``store_url``.
"""

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from lifeloop.contracts import Cutoffs, Expired, QuarantinedRow
from lifeloop.store import expiring, open_store
from lifeloop.store.sql_store import SqlStore
from lifeloop.testing.store_suite import DAY, LINE, NOW, VIEW, decision, event_rows
from lifeloop.testing.store_suite_lake import ZONE, live, same

CUT = Cutoffs(events_us=NOW + 2 * DAY)


class RetentionContract:
    """What retention promises on every store. Needs a fixture ``store_url``."""

    @pytest.fixture
    def store(self, store_url: str, tmp_path: Path) -> Iterator[SqlStore]:
        """A store with events of five days, untimed ones, and changed order lines."""
        store = open_store(store_url, keys=tmp_path)
        rng = random.Random(8)
        for _ in range(4):
            live(store, rng)
        yield store
        store.close()

    def test_a_dry_run_counts_and_changes_nothing(self, store: SqlStore) -> None:
        before = store.snapshot()
        told = store.expiring(CUT)
        assert told.events > 0
        assert same(store.snapshot(), before)
        assert store.expiring(Cutoffs()) == Expired()

    @pytest.mark.parametrize("at_once", [7, 50_000])
    def test_what_is_older_goes_and_all_else_is_as_it_was(
        self, store: SqlStore, at_once: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(expiring, "AT_ONCE", at_once)
        before = store.snapshot()
        counts = store.counts()
        told = store.expiring(CUT)
        assert store.expire(CUT, at_us=NOW) == told
        after = store.snapshot()
        stays = pl.coalesce("t_us", "received_us") >= CUT.events_us
        assert after.events.equals(before.events.filter(stays))
        assert after.users.equals(before.users)
        assert after.items.equals(before.items)
        assert store.counts() == counts | {"events": counts["events"] - told.events}
        head = store.head()
        assert head.first_event_us == after.events["t_us"].min()
        assert head.last_event_us == after.events["t_us"].max()
        assert store.expire(CUT, at_us=NOW) == Expired()
        failed = [f for f in store.check(now_us=NOW + 9 * DAY) if f.severity == "failure"]
        assert failed == []

    def test_an_old_file_does_not_bring_them_back(self, store: SqlStore) -> None:
        store.expire(CUT, at_us=NOW)
        held = store.counts()
        old = replace(VIEW, event_id="old", occurred_us=NOW)
        new = replace(VIEW, event_id="new", occurred_us=NOW + 3 * DAY)
        report = store.append(event_rows(old, new), received_us=NOW + 3 * DAY)
        assert report.outcomes == ("expired", "accepted")
        assert (report.accepted, report.rejected) == (1, 1)
        assert [(r.reason, r.lines) for r in report.reasons] == [("expired", (1,))]
        assert store.counts()["quarantined"] == held["quarantined"]
        # a shorter keeping refuses more; a longer one does not open what was closed
        store.expire(Cutoffs(events_us=NOW - DAY), at_us=NOW)
        assert store.append(event_rows(old), received_us=NOW).rejected == 1

    def test_a_line_whose_newer_version_expired_does_not_come_back(self, store: SqlStore) -> None:
        late = replace(LINE, event_id="X", order_id="X", occurred_us=NOW + 9 * DAY)
        store.append(event_rows(late), received_us=NOW + 9 * DAY)
        store.append(event_rows(replace(late, occurred_us=NOW)), received_us=NOW + 9 * DAY)
        store.expire(CUT, at_us=NOW)
        assert "X" not in store.snapshot().events["order_id"].to_list()

    def test_the_lake_forgets_what_has_expired(
        self, store: SqlStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(expiring, "AT_ONCE", 11)
        lake = store.lake(str(tmp_path / "lake"), zone=ZONE)
        lake.extend()
        live(store, random.Random(9))
        assert lake.extend().files > lake.compact().files
        live(store, random.Random(10))  # not in the lake yet
        store.expire(CUT, at_us=NOW)
        assert any("expired" in f.said for f in lake.check())
        assert lake.extend().rewritten > 0
        assert same(lake.snapshot(), store.snapshot())
        assert [f.severity for f in lake.check()] == ["ok"]
        oldest = [
            pl.read_parquet(path).select(pl.coalesce("t_us", "received_us").min()).item()
            for path in (tmp_path / "lake" / "events").rglob("*.parquet")
        ]
        assert min(oldest) >= (CUT.events_us or 0)
        whole = store.lake(str(tmp_path / "lake"), zone=ZONE)
        whole.rebuild()
        assert same(whole.snapshot(), store.snapshot())

    def test_decisions_refused_rows_and_audit_have_days_of_their_own(self, store: SqlStore) -> None:
        store.log_decision(decision("old"))
        store.log_decision(replace(decision("new"), t_us=NOW + DAY))
        for at in (NOW, NOW + DAY):
            row = QuarantinedRow("event", "bad", {"at": at})
            store.quarantine([row], received_us=at)
        cut = NOW + 1
        told = store.expire(Cutoffs(decisions_us=cut, quarantine_us=cut, audit_us=cut), at_us=NOW)
        assert told == Expired(decisions=1, quarantined=1)
        assert [d.request_id for d in store.decisions()] == ["new"]
        assert [row.raw for row in store.quarantined()] == [{"at": NOW + DAY}]
        assert store.counts()["events"] > 0

    def test_everything_may_expire_and_the_store_goes_on(self, store: SqlStore) -> None:
        seq = store.last_seq()
        store.expire(Cutoffs(events_us=NOW + 99 * DAY), at_us=NOW)
        assert store.counts()["events"] == 0
        assert store.head().first_event_us is None
        later = replace(VIEW, event_id="later", occurred_us=NOW + 100 * DAY)
        assert store.append(event_rows(later), received_us=NOW + 100 * DAY).accepted == 1
        assert store.last_seq() == seq + 1
        assert store.head().first_event_us == NOW + 100 * DAY

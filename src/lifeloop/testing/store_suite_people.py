"""The contract of a store about people: their aliases, what is held about them, their erasure.

Subclass ``PeopleContract`` as ``StoreContract``, with a fixture ``store_url``.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from lifeloop.contracts import QuarantinedRow
from lifeloop.errors import IdentityRefused, InputError, StoreError
from lifeloop.events.records import USER_SCHEMA, Event, User, frame_of
from lifeloop.store import open_store
from lifeloop.store.secret import FILE, VARIABLE
from lifeloop.store.sql_store import SqlStore
from lifeloop.testing.store_suite import DAY, LINE, NOW, VIEW, decision, event_rows

ADA, VISITOR = "ada@example.org/用户", "device-of-ada"
ADA_ROW = Event(type="view", user_id=ADA, occurred_us=NOW, event_id="of-ada")


def fill(store: SqlStore, *, with_ada: bool = True) -> None:
    """Store what Ada did among what others did, in an order that mixes them."""

    def theirs(*events: Event) -> None:
        kept = [e for e in events if with_ada or (e.user_id != ADA and not _visit(e))]
        store.append(event_rows(*kept), received_us=NOW)

    if with_ada:
        ada = User(user_id=ADA, attributes={"born": 1815})
        store.put_users(frame_of([ada], USER_SCHEMA), received_us=NOW)
    store.put_users(frame_of([User(user_id="bob")], USER_SCHEMA), received_us=NOW)
    visit = Event(type="view", anonymous_id=VISITOR, occurred_us=NOW - 5, event_id="visit")
    theirs(visit, replace(VIEW, user_id="bob", event_id="b1"), ADA_ROW)
    if with_ada:
        store.identify(VISITOR, ADA, received_us=NOW)
    line = replace(LINE, user_id=ADA, event_id="line")
    theirs(line, replace(line, value=2.0), replace(LINE, user_id="bob", event_id="b2"))
    theirs(replace(VIEW, user_id="bob", anonymous_id=VISITOR, event_id="shared"))
    theirs(replace(VIEW, user_id="cy", referrer_id=ADA, event_id="referred"))
    store.log_decision(decision("r-bob"))
    if with_ada:
        store.log_decision(replace(decision("r-ada"), user_id=ADA))
        store.log_decision(replace(decision("r-visit"), user_id=f"anon:{VISITOR}"))
        bad = {"customer": ADA, "t": "30 Feb"}
        store.quarantine([QuarantinedRow("event", "bad_time", bad, line=2)], received_us=NOW)
        with pytest.raises(IdentityRefused):
            store.identify(VISITOR, "bob", received_us=NOW)
    store.quarantine([QuarantinedRow("event", "bad_time", {"customer": "bob"})], received_us=NOW)


def _visit(event: Event) -> bool:
    return event.user_id is None and event.anonymous_id == VISITOR


class PeopleContract:
    """What every store promises about people. Needs a fixture ``store_url``."""

    @pytest.fixture
    def keys(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """The folder of the key."""
        monkeypatch.delenv(VARIABLE, raising=False)
        folder = tmp_path / "keys"
        folder.mkdir()
        return folder

    @pytest.fixture
    def store(self, store_url: str, keys: Path) -> Iterator[SqlStore]:
        """An empty, open store."""
        store = open_store(store_url, keys=keys)
        yield store
        store.close()

    # ------------------------------------------------------------ erasure

    def test_after_an_erasure_nothing_names_the_person(self, store: SqlStore) -> None:
        fill(store)
        report = store.erase(ADA, at_us=NOW)
        assert asdict(report) == {
            "user_id": ADA,
            "visitors": 1,
            "seq": store.last_seq(),
            "events": 4,
            "profiles": 1,
            "links": 1,
            "decisions": 2,
            "quarantined": 1,
            "audited": 1,
            "cleaned": 2,
        }
        backend = store._backend
        from lifeloop.store.tables import metadata

        with backend.read() as con:
            for table in metadata.sorted_tables:
                for row in con.execute(table.select()):
                    told = str([bytes(v) if isinstance(v, memoryview) else v for v in row])
                    for name in (ADA, VISITOR, json.dumps(ADA)[1:-1]):
                        assert name not in told, f"{table.name} still holds {name}"
        held = store.held(ADA)
        assert {name: rows for name, rows in held.items() if rows} == {"user_id": ADA}
        assert store.histories([ADA, f"anon:{VISITOR}"])[0].known is False

    def test_others_are_as_if_the_erased_had_never_been(self, store: SqlStore) -> None:
        fill(store)
        store.erase(ADA, at_us=NOW)
        left = store.snapshot()
        tidy = ["event_id", "user_id", "item_id", "type", "value", "t_us"]
        events = left.events.select(tidy)
        quarantined = [row.raw for row in store.quarantined()]
        decided = [d.request_id for d in store.decisions()]
        store.erase("bob", at_us=NOW)
        store.erase("cy", at_us=NOW)
        assert store.counts() | {"items": 0} == dict.fromkeys(store.counts(), 0) | {
            "decisions": store.counts()["decisions"]
        }
        assert events["event_id"].to_list() == ["b1", "b2", "shared", "referred"]
        assert left.events["referrer_id"].to_list() == [None] * 4
        assert left.events["anonymous_id"].to_list() == [None] * 4
        assert left.users["user_id"].to_list() == ["bob"]
        assert quarantined == [{"customer": "bob"}]
        assert decided == ["r-bob"]

    def test_a_reimport_is_refused_as_erased_and_counted(self, store: SqlStore) -> None:
        fill(store)
        store.erase(ADA, at_us=NOW)
        before = store.counts(), store.last_seq()
        rows = [
            ADA_ROW,
            replace(ADA_ROW, event_id="new", occurred_us=NOW + DAY),
            Event(type="view", anonymous_id=VISITOR, occurred_us=NOW),
            replace(VIEW, user_id="bob", event_id="b1"),
            replace(ADA_ROW, value=float("nan")),
        ]
        report = store.append(event_rows(*rows), received_us=NOW)
        assert (report.accepted, report.duplicate, report.rejected) == (0, 1, 4)
        assert {r.reason: r.lines for r in report.reasons} == {
            "erased": (1, 2, 3),
            "bad_number": (5,),
        }
        assert report.outcomes == ("erased",) * 3 + ("duplicate", "bad_number")
        profile = frame_of([User(user_id=ADA), User(user_id="bob")], USER_SCHEMA)
        told = store.put_users(profile, received_us=NOW)
        assert (told.accepted, told.duplicate, told.rejected) == (0, 1, 1)
        assert told.reasons[0].reason == "erased"
        for pair in ((VISITOR, "dora"), ("fresh", ADA)):
            with pytest.raises(IdentityRefused, match="erased"):
                store.identify(*pair, received_us=NOW)
        row = QuarantinedRow("event", "bad_time", {"user": {"id": "x", "email": ADA}}, line=9)
        store.quarantine([row], received_us=NOW)
        assert (store.counts(), store.last_seq()) == before
        assert len(store.identity_audit()) == 0

    def test_a_slate_for_the_erased_is_logged_without_a_name(self, store: SqlStore) -> None:
        fill(store)
        store.erase(ADA, at_us=NOW)
        store.log_decision(replace(decision("later"), user_id=ADA))
        (slate,) = store.decided(["later"])
        assert slate is not None
        assert (slate.user_id, slate.context) == ("erased", {})
        assert slate.propensities == decision("later").propensities

    def test_a_slate_of_another_keeps_its_name_beside_the_erased(self, store: SqlStore) -> None:
        fill(store)
        store.erase(ADA, at_us=NOW)
        for person in ("cy", "anon:somebody"):
            store.log_decision(replace(decision(f"r-{person}"), user_id=person))
            store.log_decision(replace(decision(f"r-{person}"), user_id=person))
        store.log_decision(replace(decision("r-late"), user_id=f"anon:{VISITOR}"))
        told = {d.request_id: d.user_id for d in store.decisions()}
        assert told["r-cy"] == "cy"
        assert told["r-anon:somebody"] == "anon:somebody"
        assert told["r-late"] == "erased"

    def test_a_shared_device_goes_on_without_its_name(self, store: SqlStore) -> None:
        fill(store)
        store.erase(ADA, at_us=NOW)
        row = replace(VIEW, user_id="bob", anonymous_id=VISITOR, event_id="later")
        assert store.append(event_rows(row), received_us=NOW).accepted == 1
        assert store.append(event_rows(row), received_us=NOW).duplicate == 1
        held = store.snapshot().events.filter(event_id="later")
        assert held["anonymous_id"].to_list() == [None]

    def test_a_line_that_moved_to_the_erased_does_not_come_back(self, store: SqlStore) -> None:
        store.append(event_rows(LINE), received_us=NOW)
        store.append(event_rows(replace(LINE, user_id=ADA)), received_us=NOW)
        store.erase(ADA, at_us=NOW)
        assert store.snapshot().events.height == 0
        assert store.counts()["events"] == 1

    def test_one_may_be_erased_before_they_come_and_twice(self, store: SqlStore) -> None:
        for _ in range(2):
            report = store.erase(ADA, at_us=NOW)
            assert (report.events, report.profiles) == (0, 0)
        assert store.append(event_rows(ADA_ROW), received_us=NOW).rejected == 1

    def test_a_visitor_alone_can_be_erased_and_a_linked_one_only_as_the_user(
        self, store: SqlStore
    ) -> None:
        visit = Event(type="view", anonymous_id="v", occurred_us=NOW)
        store.append(event_rows(visit), received_us=NOW)
        assert store.erase("anon:v", at_us=NOW).events == 1
        assert store.append(event_rows(visit), received_us=NOW).rejected == 1
        store.identify("w", "u", received_us=NOW)
        with pytest.raises(IdentityRefused, match="linked to a user"):
            store.erase("anon:w", at_us=NOW)

    def test_without_its_key_the_store_takes_nothing_in(
        self, store: SqlStore, store_url: str, keys: Path, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        store.erase(ADA, at_us=NOW)
        key = keys / FILE
        assert key.stat().st_mode & 0o777 == 0o600
        text = key.read_text()
        key.unlink()
        with pytest.raises(StoreError, match=f"missing.*{VARIABLE}"):
            store.append(event_rows(VIEW), received_us=NOW)
        monkeypatch.setenv(VARIABLE, "another key that is long enough, and yet not it")
        with pytest.raises(StoreError, match="not the one"):
            store.append(event_rows(VIEW), received_us=NOW)
        monkeypatch.setenv(VARIABLE, text.strip())
        assert store.append(event_rows(ADA_ROW, VIEW), received_us=NOW).rejected == 1
        monkeypatch.delenv(VARIABLE)
        key.write_text(text)
        key.chmod(0o644)
        with pytest.raises(StoreError, match="chmod 600"):
            store.append(event_rows(VIEW), received_us=NOW)

    def test_a_short_id_takes_no_refused_row_of_another(self, store: SqlStore) -> None:
        rows: list[dict[str, Any]] = [
            {"user_id": 8, "quantity": 7},
            {"user": "7", "quantity": 1},
            {"客户": 7},
        ]
        store.quarantine([QuarantinedRow("event", "bad", row) for row in rows], received_us=NOW)
        assert store.erase("7", at_us=NOW).quarantined == 2
        assert [row.raw for row in store.quarantined()] == rows[:1]

    # ------------------------------------------------------------ what is held

    def test_everything_that_is_held_is_told_and_is_json(self, store: SqlStore) -> None:
        fill(store)
        held = json.loads(json.dumps(store.held(ADA), ensure_ascii=False, allow_nan=False))
        assert [row["event_id"] for row in held["events"]][:3] == ["visit", "of-ada", "line"]
        assert len(held["events"]) == 4  # the superseded line too
        assert held["events"][1]["occurred_at"].startswith("2023-11-14T22:13:20")
        assert held["profile"][0]["attributes"] == {"born": 1815}
        assert [row["anonymous_id"] for row in held["aliases"]] == [VISITOR]
        assert {row["request_id"] for row in held["decisions"]} == {"r-ada", "r-visit"}
        assert held["refused_rows"][0]["row"] == {"customer": ADA, "t": "30 Feb"}
        assert held["refused_links"][0]["reason"] == "linked_to_another"
        assert [row["event_id"] for row in store.held("bob")["events"]] == ["b1", "b2", "shared"]

    # ------------------------------------------------------------ identity

    def test_a_user_has_aliases_of_many_kinds_known_from_their_seq_on(
        self, store: SqlStore
    ) -> None:
        kinds: dict[Any, str] = {
            "device": "d1",
            "mail_hash": "a" * 64,
            "openid": "oGZUI0egBJY1zhBYw2KhdUfwVJJE",
            "unionid": "o6_bmasdasdsad6_2sgVt7hMZOPfL",
            "account": "crm-7",
        }
        seqs = [
            store.identify(alias, "u", received_us=NOW, kind=kind).seq
            for kind, alias in kinds.items()
        ]
        assert {a.kind: a.alias for a in store.aliases("u")} == kinds
        assert [a.seq for a in store.aliases("u", seq=seqs[1])] == seqs[:2]
        for alias in kinds.values():
            store.append(
                event_rows(Event(type="view", anonymous_id=alias, occurred_us=NOW)), received_us=NOW
            )
        assert len(store.histories(["u"])[0]) == len(kinds)

    def test_dangerous_merges_are_refused_and_audited(
        self, store: SqlStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from lifeloop.store import identity

        with pytest.raises(IdentityRefused, match="hash"):
            store.identify("ada@example.org", "u", received_us=NOW, kind="mail_hash")
        store.identify("union-1", "u", received_us=NOW, kind="unionid")
        with pytest.raises(IdentityRefused, match="UnionID"):
            store.identify("union-2", "u", received_us=NOW, kind="unionid")
        monkeypatch.setattr(identity, "MOST", 3)
        for n in range(2):
            store.identify(f"d{n}", "u", received_us=NOW)
        with pytest.raises(IdentityRefused, match="aliases"):
            store.identify("d9", "u", received_us=NOW)
        assert store.identify("d1", "u", received_us=NOW).status == "already"
        told = [row["reason"] for row in store.identity_audit()]
        assert told == ["not_a_hash", "second_unionid", "too_many_aliases"]
        assert "ada@" not in str(store.identity_audit())
        with pytest.raises(InputError, match="unknown kind"):
            store.identify("x", "u", received_us=NOW, kind="shoe size")  # type: ignore[arg-type]

    def test_the_first_name_of_a_visitor_stays_when_they_sign_in(self, store: SqlStore) -> None:
        visit = Event(type="view", anonymous_id="v", occurred_us=NOW)
        store.append(event_rows(visit), received_us=NOW)
        assert store.first_name("anon:v") == "anon:v"
        store.identify("v", "u", received_us=NOW)
        store.append(event_rows(VIEW), received_us=NOW)
        store.identify("w", "u", received_us=NOW)
        assert {store.first_name(p) for p in ("anon:v", "u", "anon:w")} == {"anon:v"}

    def test_a_known_user_keeps_their_own_name_on_a_new_device(self, store: SqlStore) -> None:
        store.append(event_rows(VIEW), received_us=NOW)
        store.identify("v", "u", received_us=NOW)
        assert {store.first_name(p) for p in ("anon:v", "u")} == {"u"}
        assert store.first_name("nobody") == "nobody"

"""Identify calls of other systems' exports link a visitor's past to the user."""

import json
from pathlib import Path
from typing import Any

from lifeloop import Lifeloop

DEVICE = "018daf23-89b3-7cf8-a4f1-94064c96df90"
AT = "2024-03-01T09:00:00Z"


def log(path: Path, *records: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    return path


def segment(kind: str, n: int, **given: Any) -> dict[str, Any]:
    return {"type": kind, "messageId": f"m{n}", "timestamp": AT, **given}


def posthog(name: str, n: int, who: str, **properties: Any) -> dict[str, Any]:
    return {
        "uuid": f"e{n}", "event": name, "distinct_id": who, "person_id": "x", "timestamp": AT,
        "properties": properties,
    }  # fmt: skip


def test_segment_identify_and_alias_calls_link_the_past_of_a_visitor(tmp_path: Path) -> None:
    viewed = {"event": "Product Viewed", "properties": {"product_id": "p1"}}
    path = log(
        tmp_path / "log.json",
        segment("track", 1, anonymousId="a1", **viewed),
        segment("identify", 2, anonymousId="a1", userId="ada", traits={}),
        segment("identify", 3, anonymousId="a1", userId="ada", traits={}),
        segment("track", 4, anonymousId="old", **viewed),
        segment("alias", 5, previousId="old", userId="ada"),
        segment("track", 6, anonymousId="a9", **viewed),
        segment("identify", 7, userId="bob", traits={}),
        segment("identify", 8, anonymousId="a1", userId="bob", traits={}),
        segment("identify", 9, anonymousId="null", userId="bob", traits={}),
    )
    with Lifeloop.open(tmp_path / "shop", scenario="ecommerce") as loop:
        reports = loop.import_preset("segment", [path])
        assert {a.alias for a in loop.store.aliases("ada")} == {"a1", "old"}
        views = loop.store.histories(["ada"])[0].type
        assert list(views).count("view") == 2
        assert loop.store.aliases("bob") == []
        (_, report) = reports[-1]
        assert "2 visitors were linked to users, 0 were already" in report.notes
        assert [(r.reason, r.count) for r in report.flagged if r.reason == "link_refused"] == [
            ("link_refused", 2)
        ]
        told = [row["reason"] for row in loop.store.identity_audit()]
        assert sorted(told) == ["linked_to_another", "placeholder_id"]
        again = loop.import_preset("segment", [path])
        assert any("0 visitors were linked to users, 2 were" in n for n in again[-1][1].notes)


def test_posthog_identify_links_and_never_merges_two_known_users(tmp_path: Path) -> None:
    path = log(
        tmp_path / "events.jsonl",
        posthog("Product Viewed", 1, DEVICE, **{"$device_id": DEVICE, "product_id": "p1"}),
        posthog("$identify", 2, "ada", **{"$anon_distinct_id": DEVICE, "$device_id": DEVICE}),
        posthog("Product Viewed", 3, "bob", **{"$user_id": "bob", "product_id": "p1"}),
        posthog("$create_alias", 4, "ada", alias="ada-of-the-crm"),
        posthog("$merge_dangerously", 5, "ada", alias="bob"),
    )
    with Lifeloop.open(tmp_path / "shop", scenario="ecommerce") as loop:
        loop.import_preset("posthog", [path])
        assert {a.alias for a in loop.store.aliases("ada")} == {DEVICE, "ada-of-the-crm"}
        assert "view" in loop.store.histories(["ada"])[0].type
        assert [row["reason"] for row in loop.store.identity_audit()] == ["two_known_users"]
        assert len(loop.store.histories(["bob"])[0]) == 1


def test_addresses_of_an_export_are_linked_under_their_hash(tmp_path: Path) -> None:
    path = log(
        tmp_path / "log.json",
        segment("page", 1, anonymousId="a1"),
        segment("identify", 2, anonymousId="a1", userId="ada@example.org", traits={}),
    )
    with Lifeloop.open(tmp_path / "shop", scenario="ecommerce") as loop:
        loop.import_preset("segment", [path], hash_emails=True)
        hashed = loop.pseudonym("ada@example.org")
        assert [a.alias for a in loop.store.aliases(hashed)] == ["a1"]
        assert len(loop.store.histories([hashed])[0]) == 2

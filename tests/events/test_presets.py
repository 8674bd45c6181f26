"""Exports as the documentation of each system shows them, read to rows of ours."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from lifeloop import Lifeloop, Scenario
from lifeloop.arrival import opened_preset, preview
from lifeloop.errors import InputError
from lifeloop.events import read
from lifeloop.events.presets import preset_names

SCENARIO = Scenario.load("ecommerce")
Rows = dict[str, list[dict[str, Any]]]


def rows(name: str, *paths: Path) -> Rows:
    """Return every sound row by kind; a refused one fails the test."""
    found: Rows = {"user": [], "item": [], "event": []}
    with opened_preset(name, list(paths), scenario=SCENARIO) as export:
        for part in export.parts:
            for batch in read(part.path, part.kind, options=part.options):
                assert not batch.rejected, batch.rejected
                found[part.kind] += [
                    {k: v for k, v in row.items() if v is not None}
                    for row in batch.frame.iter_rows(named=True)
                ]
    return found


def jsonl(path: Path, *records: Any) -> Path:
    text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")
    return path


def picked(found: list[dict[str, Any]], *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row.get(name) for name in names) for row in found]


ORDER = {
    "type": "track",
    "event": "Order Completed",
    "messageId": "m2",
    "userId": "u1",
    "anonymousId": "a1",
    "timestamp": "2024-03-01T10:00:00.000Z",
    "context": {"userAgent": "Mozilla/5.0", "ip": "1.2.3.4", "campaign": {"source": "mail"}},
    "properties": {
        "order_id": "o1",
        "revenue": 25.0,
        "currency": "EUR",
        "products": [
            {"product_id": "p1", "name": "Tea", "price": 10, "quantity": 2, "brand": "Leaf"},
            {"product_id": "p2", "name": "Mug", "price": 5, "quantity": 1, "position": 2},
        ],
    },
}


def test_segment_orders_become_lines_and_their_total_is_not_repeated(tmp_path: Path) -> None:
    viewed = {
        "type": "track", "event": "Product Viewed", "messageId": "m1", "anonymousId": "a1",
        "timestamp": "2024-03-01T09:00:00Z", "properties": {"product_id": "p1", "price": 10},
    }  # fmt: skip
    page = {"type": "page", "name": "Home", "messageId": "m0", "anonymousId": "a1",
            "timestamp": "2024-03-01T08:00:00Z", "properties": {"url": "x.example"}}  # fmt: skip
    known = {"type": "identify", "messageId": "m3", "userId": "u1", "anonymousId": "a1",
             "timestamp": "2024-03-01T09:59:00Z",
             "traits": {"plan": "gold", "createdAt": "2024-01-01T00:00:00Z"}}  # fmt: skip
    found = rows("segment", jsonl(tmp_path / "log.json.gz", page, viewed, known, ORDER))
    events = picked(
        found["event"], "type", "user_id", "anonymous_id", "item_id", "value", "order_id"
    )
    assert events == [
        ("visit", None, "a1", None, None, None),
        ("view", None, "a1", "p1", None, None),
        ("identify", "u1", "a1", None, None, None),
        ("purchase", "u1", "a1", "p1", 20.0, "o1"),
        ("purchase", "u1", "a1", "p2", 5.0, "o1"),
    ]
    assert [r["event_id"] for r in found["event"]] == ["m0", "m1", "m3", "m2:1", "m2:2"]
    context = json.loads(found["event"][3]["context"])
    assert context["userAgent"] == "Mozilla/5.0"
    assert "ip" not in json.dumps(context), "what lifeloop does not use is not taken"
    assert picked(found["item"], "item_id", "title", "price", "brand") == [
        ("p1", "Tea", 10.0, "Leaf"), ("p2", "Mug", 5.0, None),
    ]  # fmt: skip
    (user,) = found["user"]
    assert (user["user_id"], user["created_us"]) == ("u1", 1_704_067_200_000_000)
    assert json.loads(user["attributes"])["traits"]["plan"] == "gold"


POSTHOG = [
    {"uuid": "e1", "event": "$pageview", "distinct_id": "018daf23-89b3-7cf8-a4f1-94064c96df90",
     "person_id": "x", "timestamp": "2024-03-01T09:00:00.123Z",
     "properties": {"$device_id": "018daf23-89b3-7cf8-a4f1-94064c96df90", "$session_id": "s1",
                    "$raw_user_agent": "Mozilla/5.0", "$current_url": "https://x.example/"}},
    {"uuid": "e2", "event": "Product Added", "distinct_id": "ada", "person_id": "x",
     "timestamp": "2024-03-01T09:01:00Z",
     "properties": {"$device_id": "018daf23-89b3-7cf8-a4f1-94064c96df90", "$user_id": "ada",
                    "product_id": "p1", "name": "Tea", "price": 10, "quantity": 1}},
    {"uuid": "e3", "event": "Order Completed", "distinct_id": "ada", "person_id": "x",
     "timestamp": "2024-03-01T09:02:00Z",
     "properties": {"order_id": "o1", "products": [{"sku": "p1", "price": 10, "quantity": 3}]}},
]  # fmt: skip


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_posthog_tells_devices_from_people(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"events.{form}"
    if form == "jsonl":
        jsonl(path, *POSTHOG)
    else:  # properties are a text there
        flat = [{**r, "properties": json.dumps(r["properties"])} for r in POSTHOG]
        pl.DataFrame(flat).with_columns(pl.col("timestamp").str.to_datetime(time_zone="UTC")
                                        ).write_parquet(path)  # fmt: skip
    found = rows("posthog", path)
    device = "018daf23-89b3-7cf8-a4f1-94064c96df90"
    events = picked(
        found["event"], "event_id", "type", "user_id", "anonymous_id", "item_id", "value"
    )
    assert events == [
        ("e1", "visit", None, device, None, None),
        ("e2", "add_to_cart", "ada", device, "p1", 10.0),
        ("e3", "purchase", "ada", None, "p1", 30.0),
    ]
    assert found["event"][0]["occurred_us"] == 1_709_283_600_123_000
    assert found["event"][0]["session_id"] == "s1"
    assert picked(found["item"], "item_id", "title") == [("p1", "Tea")]


SHOPIFY_CSV = """\
Name,Email,Financial Status,Paid at,Currency,Subtotal,Total,Created at,Lineitem quantity,Lineitem name,Lineitem price,Lineitem sku,Cancelled at,Refunded Amount,Source,Id
#1001,ada@example.org,paid,2024-03-01 10:00:05 +0100,EUR,25.00,29.90,2024-03-01 10:00:00 +0100,2,Tea,10.00,TEA-1,,0.00,web,1
#1001,,,,,,,,1,Mug,5.00,MUG-1,,,,
#1002,bo@example.org,partially_refunded,2024-03-02 11:00:00 +0100,EUR,10.00,10.00,2024-03-02 11:00:00 +0100,1,Tea,10.00,TEA-1,,4.00,web,2
#1003,cy@example.org,voided,,EUR,10.00,10.00,2024-03-03 11:00:00 +0100,1,Tea,10.00,TEA-1,,0.00,web,3
"""  # noqa: E501


def test_shopify_orders_csv_fills_the_order_down_and_knows_refunds(tmp_path: Path) -> None:
    path = tmp_path / "orders_export_1.csv"
    path.write_text(SHOPIFY_CSV, encoding="utf-8")
    found = rows("shopify", path)["event"]
    assert picked(found, "type", "user_id", "order_id", "item_id", "value", "currency") == [
        ("purchase", "ada@example.org", "#1001", "TEA-1", 20.0, "EUR"),
        ("purchase", "ada@example.org", "#1001", "MUG-1", 5.0, "EUR"),
        ("purchase", "bo@example.org", "#1002", "TEA-1", 10.0, "EUR"),
        ("refund", "bo@example.org", "#1002", None, 4.0, "EUR"),
    ]
    assert found[1]["occurred_us"] == found[0]["occurred_us"] == 1_709_283_600_000_000


SHOPIFY_JSON = {
    "orders": [
        {
            "id": 450789469,
            "created_at": "2024-03-01T10:00:00-05:00",
            "currency": "USD",
            "financial_status": "partially_refunded",
            "customer": {"id": 207119551, "email": "bob@example.org"},
            "line_items": [
                {"id": 1, "sku": "TEA-1", "title": "Tea", "price": "10.00", "quantity": 2},
                {"id": 2, "sku": "", "variant_id": 77, "title": "Mug", "price": "5.00",
                 "quantity": 1},
            ],
            "refunds": [
                {
                    "created_at": "2024-03-05T10:00:00-05:00",
                    "refund_line_items": [
                        {"line_item_id": 1, "quantity": 1, "subtotal": 10.0,
                         "line_item": {"sku": "TEA-1"}, "restock_type": "return"}
                    ],
                }
            ],
        }
    ]
}  # fmt: skip


def test_shopify_orders_json_give_lines_and_refunds_of_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "orders.json"
    path.write_text(json.dumps(SHOPIFY_JSON, indent=1), encoding="utf-8")
    found = rows("shopify", path)
    names = ("type", "user_id", "order_id", "line_id", "item_id", "value")
    assert picked(found["event"], *names) == [
        ("purchase", "207119551", "450789469", "1", "TEA-1", 20.0),
        ("purchase", "207119551", "450789469", "2", "77", 5.0),
        ("refund", "207119551", "450789469", "1", "TEA-1", 10.0),
    ]
    assert picked(found["item"], "item_id", "title", "price") == [
        ("TEA-1", "Tea", 10.0), ("77", "Mug", 5.0),
    ]  # fmt: skip


def test_one_order_webhook_delivered_twice_is_one_order(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "hooks.jsonl", SHOPIFY_JSON["orders"][0], SHOPIFY_JSON["orders"][0])
    with Lifeloop.open(tmp_path / "shop", scenario="ecommerce") as loop:
        parts = loop.import_preset("shopify", [path])
        reports = {p.options.default_type or p.kind: report for p, report in parts}
        assert (reports["purchase"].accepted, reports["purchase"].duplicate) == (2, 2)
        assert (reports["refund"].accepted, reports["refund"].duplicate) == (1, 1)


def test_shopify_products_and_customers(tmp_path: Path) -> None:
    (tmp_path / "products.csv").write_text(
        "Handle,Title,Body (HTML),Vendor,Type,Tags,"
        "Variant SKU,Variant Price,Variant Inventory Qty\n"
        "tea,Green tea,<p>Good</p>,Leaf,Drinks,green,TEA-S,5.00,3\n"
        "tea,,,,,,TEA-L,9.00,0\n",
        encoding="utf-8",
    )
    (tmp_path / "customers.csv").write_text(
        "Customer ID,First Name,Last Name,Email,Accepts Email Marketing,Total Spent,Tags\n"
        "'207119551,Bob,Stone,bob@example.org,yes,30.00,vip\n",
        encoding="utf-8",
    )
    found = rows("shopify", tmp_path)
    assert picked(found["item"], "item_id", "title", "brand", "price", "stock", "parent_id") == [
        ("TEA-S", "Green tea", "Leaf", 5.0, 3.0, "tea"),
        ("TEA-L", "Green tea", "Leaf", 9.0, 0.0, "tea"),
    ]
    (user,) = found["user"]
    assert user["user_id"] == "207119551"
    assert "Bob" not in json.dumps(user), "names of people are not needed"


def test_gorse_csv_and_json(tmp_path: Path) -> None:
    (tmp_path / "feedback.csv").write_text(
        "feedback_type,user_id,item_id,time_stamp\n"
        'star,ada,"vuejs:vue",2022-02-24T00:00:00Z\nread,bo,"a/b",2022-02-25 01:02:03 +0000 UTC\n',
        encoding="utf-8",
    )
    jsonl(
        tmp_path / "items.jsonl",
        {"ItemId": "vuejs:vue", "IsHidden": False, "Categories": ["js", "ui"], "Comment": "Vue",
         "Timestamp": "2020-02-02T20:20:02Z", "Labels": {"topics": ["web"]}},
        {"ItemId": "old", "IsHidden": True, "Categories": [], "Labels": []},
    )  # fmt: skip
    (tmp_path / "users.csv").write_text("user_id,labels\nada,python|web\n", encoding="utf-8")
    found = rows("gorse", tmp_path)
    assert picked(found["event"], "type", "user_id", "item_id", "occurred_us") == [
        ("favourite", "ada", "vuejs:vue", 1_645_660_800_000_000),
        ("view", "bo", "a/b", 1_645_750_923_000_000),
    ]
    assert picked(found["item"], "item_id", "title", "categories", "stock") == [
        ("vuejs:vue", "Vue", ["js", "ui"], None),
        ("old", None, None, 0.0),
    ]
    assert json.loads(found["user"][0]["attributes"]) == {"labels": ["python", "web"]}


def test_movielens_csv(tmp_path: Path) -> None:
    (tmp_path / "movies.csv").write_text(
        'movieId,title,genres\n1,"Toy Story (1995)",Adventure|Animation\n', encoding="utf-8"
    )
    (tmp_path / "ratings.csv").write_text(
        "userId,movieId,rating,timestamp\n1,1,4.0,964982703\n", encoding="utf-8"
    )
    (tmp_path / "tags.csv").write_text(
        "userId,movieId,tag,timestamp\n2,1,pixar,1445714994\n", encoding="utf-8"
    )
    (tmp_path / "links.csv").write_text("movieId,imdbId,tmdbId\n1,0114709,862\n", encoding="utf-8")
    found = rows("movielens", tmp_path)
    assert picked(found["event"], "type", "item_id", "rating", "text") == [
        ("rating", "1", 4.0, None), ("tag", "1", None, "pixar"),
    ]  # fmt: skip
    assert found["item"][0]["categories"] == ["Adventure", "Animation"]


def test_the_old_movielens_archive(shared_data: Callable[[str], Path]) -> None:
    found = rows("movielens", shared_data("ml-100k"))
    assert len(found["event"]) == 100_000
    assert len(found["item"]) == 1_682


def test_retailrocket_takes_the_newest_property_of_each_item(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text(
        "timestamp,visitorid,event,itemid,transactionid\n"
        "1433221332117,257597,view,355908,\n1439694000000,2,transaction,1000,234\n",
        encoding="utf-8",
    )
    (tmp_path / "item_properties_part1.csv").write_text(
        "timestamp,itemid,property,value\n1435460400000,1000,categoryid,1338\n"
        "1441508400000,1000,available,0\n1441508400000,1000,888,1116713 960601 n277.200\n",
        encoding="utf-8",
    )
    (tmp_path / "item_properties_part2.csv").write_text(
        "timestamp,itemid,property,value\n1433041200000,1000,available,1\n", encoding="utf-8"
    )
    (tmp_path / "category_tree.csv").write_text(
        "categoryid,parentid\n1338,1278\n", encoding="utf-8"
    )
    found = rows("retailrocket", tmp_path)
    assert picked(found["event"], "type", "user_id", "item_id", "order_id", "occurred_us") == [
        ("view", "257597", "355908", None, 1_433_221_332_117_000),
        ("purchase", "2", "1000", "234", 1_439_694_000_000_000),
    ]
    assert picked(found["item"], "item_id", "stock", "categories") == [
        ("1000", 0.0, ["1278", "1338"])
    ]


@pytest.mark.parametrize(
    ("name", "n", "n_items", "purchases"),
    [
        ("zh_taobao_userbehavior_raw", 4_321, 3_276, 77),
        ("zh_taobao_userbehavior_named", 40_000, 165, 32_000),
    ],
)
def test_taobao_logs_real_files(
    shared_data: Callable[[str], Path], name: str, n: int, n_items: int, purchases: int
) -> None:
    found = rows("taobao", shared_data(name))
    assert (len(found["event"]), len(found["item"])) == (n, n_items)
    assert sum(row["type"] == "purchase" for row in found["event"]) == purchases


def test_taobao_in_gb18030_is_the_same(shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    path = shared_data("zh_taobao_userbehavior_named") / "UserBehavior.csv.gz"
    text = gzip.decompress(path.read_bytes()).decode("utf-8")
    lines = "".join(text.splitlines(keepends=True)[:500])
    (tmp_path / "a.csv").write_text(lines, encoding="utf-8")
    (tmp_path / "b.csv").write_bytes(lines.encode("gb18030"))
    first, second = (rows("taobao", tmp_path / name) for name in ("a.csv", "b.csv"))
    assert first == second
    assert any("电子产品" in row["categories"] for row in first["item"])


def test_a_dry_run_shows_ten_rows_and_what_is_missing(shared_data: Callable[[str], Path]) -> None:
    path = shared_data("zh_taobao_userbehavior_raw")
    with opened_preset("taobao", [path], scenario=SCENARIO) as export:
        found = [preview(part, scenario=SCENARIO) for part in export.parts]
    events = found[-1]
    assert len(events.rows) == 10
    assert events.seen == 4_321
    assert set(events.missing) == {"value", "order_id"}
    assert events.unknown_types == ()
    json.dumps([one.to_dict() for one in found], allow_nan=False)


def exported(name: str, folder: Path, n: int) -> Path:
    """Write ``n`` events as the documentation of a system shows them."""
    day = "2024-03-%02dT10:00:00Z"
    us = 1_709_283_600
    if name == "segment":
        return jsonl(folder / "log.jsonl", *[
            {"type": "track", "event": "Product Viewed", "messageId": f"m{k}", "userId": f"u{k}",
             "timestamp": day % (k + 1), "properties": {"product_id": f"p{k}"}} for k in range(n)
        ])  # fmt: skip
    if name == "posthog":
        return jsonl(folder / "events.jsonl", *[
            {"uuid": f"e{k}", "event": "Product Viewed", "distinct_id": f"ada{k}",
             "timestamp": day % (k + 1), "properties": {"$user_id": f"ada{k}", "product_id": "p"}}
            for k in range(n)
        ])  # fmt: skip
    tables: dict[str, tuple[str, str, Callable[[int], str]]] = {
        "gorse": ("feedback.csv", "feedback_type,user_id,item_id,time_stamp",
                  lambda k: f"read,u{k},p{k},{day % (k + 1)}"),
        "movielens": ("ratings.csv", "userId,movieId,rating,timestamp",
                      lambda k: f"{k + 1},{k + 1},4.0,{us + k}"),
        "retailrocket": ("events.csv", "timestamp,visitorid,event,itemid,transactionid",
                         lambda k: f"{us + k}000,{k + 1},view,{k + 1},"),
        "shopify": ("orders_export_1.csv", SHOPIFY_CSV.splitlines()[0],
                    lambda k: f"#{k},u{k}@example.org,paid,,EUR,10.00,10.00,2024-03-01 10:00:00 "
                              f"+0100,1,Tea,10.00,TEA-1,,0.00,web,{k}"),
        "taobao": ("UserBehavior.csv", "", lambda k: f"{k + 1},{k + 1},{k + 1},pv,{us + k}"),
    }  # fmt: skip
    file, head, line = tables[name]
    lines = [head] * bool(head) + [line(k) for k in range(n)]
    (folder / file).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / file


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_shows_ten_parsed_rows_and_what_is_missing(name: str, tmp_path: Path) -> None:
    path = exported(name, tmp_path, 12)
    with opened_preset(name, [path], scenario=SCENARIO) as export:
        found = [preview(part, scenario=SCENARIO) for part in export.parts]
    (events,) = [one for one in found if one.kind == "event" and one.seen]
    assert (events.seen, len(events.rows), events.refused) == (12, 10, {})
    for row in events.rows:
        assert {"user_id", "type", "item_id", "occurred_us"} <= set(row)
        assert row["occurred_us"].startswith("2024-03-")
    if name == "shopify":
        assert {row["type"] for row in events.rows} == {"purchase"}
        assert events.missing == {}
        assert "12 ids are e-mail addresses" in " ".join(events.notes)
    elif SCENARIO.order_types:
        assert "orders" in events.missing


def test_an_unknown_preset_and_a_foreign_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("colour,size\nred,1\n", encoding="utf-8")
    with pytest.raises(InputError, match="did you mean 'shopify'"):
        rows("shoppify", tmp_path / "x.csv")
    for name in preset_names():
        with pytest.raises(InputError, match=r"no file is an export.*colour"):
            rows(name, tmp_path / "x.csv")


def test_a_path_in_a_mapping_reaches_any_nested_order(tmp_path: Path) -> None:
    from lifeloop.events import ReadOptions

    record = {
        "buyer": {"ref": {"no": "u9"}}, "orderNumber": "7", "placed": "2024-03-01T00:00:00Z",
        "cart": {"entries": [{"art": "x", "qty": 2, "unitPrice": 3}, {"art": "y", "qty": 1}]},
    }  # fmt: skip
    path = jsonl(tmp_path / "own.jsonl", record)
    mapping = {
        "user_id": "buyer.ref.no", "item_id": "cart.entries[].art", "occurred_at": "placed",
        "quantity": "cart.entries[].qty",
    }  # fmt: skip
    options = ReadOptions(mapping=mapping, default_type="purchase")
    (batch,) = read(path, "event", options=options)
    found = [
        {k: v for k, v in r.items() if v is not None} for r in batch.frame.iter_rows(named=True)
    ]
    assert picked(found, "user_id", "item_id", "order_id", "quantity", "value") == [
        ("u9", "x", "7", 2.0, 6.0), ("u9", "y", "7", 1.0, None),
    ]  # fmt: skip

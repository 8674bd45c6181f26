"""Any lifecycle table by name from a real store: what callers enumerate, ask and get."""

import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import narwhals as nw
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from lifeloop import Lifeloop
from lifeloop import lifecycle as lc
from lifeloop.charts import LANGUAGES, words
from lifeloop.contracts import Table
from lifeloop.errors import InputError
from lifeloop.lifecycle.request import rule_text
from lifeloop.simulate import world, write_world
from lifeloop.tables import TABLES, Source, compute, describe, read_source, table_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lifeloop]:
    folder = tmp_path_factory.mktemp("shop")
    made = world(n_users=150, n_items=60, days=120, seed=9)
    files = write_world(made, folder / "data")
    with Lifeloop.open(folder / "shop", scenario="ecommerce") as opened:
        opened.import_items(files["items"])
        opened.import_users(files["users"])
        opened.import_events(files["events"])
        yield opened


@pytest.fixture(scope="module")
def source(loop: Lifeloop) -> Source:
    return read_source(loop.store, loop.scenario, moment=loop.moment())


def ask(source: Source, name: str, **asked: Any) -> Table:
    return table_of(source, name, **asked)


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("name", list(TABLES))
def test_every_table_is_json_with_a_heading_for_every_column(
    source: Source, name: str, lang: str
) -> None:
    table = ask(source, name, grain="week", lang=lang)
    body = json.loads(json.dumps(table.to_json(), allow_nan=False))
    assert body["title"] == words(lang).title(name) != name
    assert words(lang).help(name)
    assert body["as_of"]
    assert body["zone"] == "UTC"
    if body["reason"] is not None:
        assert body["rows"] == []
        return
    assert body["rows"]
    assert list(body["rows"][0]) == [c["name"] for c in body["columns"]]
    known = words(lang).catalogue["columns"]
    assert [c["name"] for c in body["columns"] if c["name"] not in known] == []


def test_the_simulated_shop_shows_nearly_every_table(source: Source) -> None:
    silent = {name: ask(source, name).reason for name in TABLES}
    allowed = {"referrals", "satisfaction"}
    if find_spec("lifelines") is None:  # the extra [survival]
        allowed.add("churn_effects")
    assert {name for name, reason in silent.items() if reason} <= allowed


@pytest.mark.parametrize("name", list(TABLES))
def test_the_users_behind_a_table_come_the_same_way(source: Source, name: str) -> None:
    table = ask(source, name, members=True, grain="month")
    if table.reason is None:
        assert "user_id" in table.rows.columns
    assert not any("incomplete" in note for note in table.notes)


def test_a_table_is_what_the_function_returns_under_the_scenario(
    loop: Lifeloop, source: Source
) -> None:
    got = compute(loop.source, "retention", grain="week", kind="bracket", brackets="1-2,3-4")
    want = lc.retention(
        source.events,
        kind="bracket",
        brackets=[(1, 2), (3, 4)],
        grain="week",
        as_of=source.moment.as_of_us,
        burn_in_days=28,
        passive=loop.scenario.passive_types,
    )
    assert_frame_equal(got.rows, want)
    assert {c.name: c.kind for c in got.columns}["rate"] == "share"


def test_text_and_values_mean_the_same(source: Source) -> None:
    text = ask(source, "retention", start="2025-01-20", max_offset="3", by="channel")
    value = ask(source, "retention", start=date(2025, 1, 20), max_offset=3, by=["channel"])
    assert_frame_equal(text.rows, value.rows)


def test_a_filter_is_by_event_user_or_item(source: Source) -> None:
    web = ask(source, "traffic", where={"channel": "web"}, grain="month")
    want = lc.traffic(
        source.events,
        where=nw.col("channel") == "web",
        grain="month",
        as_of=source.moment.as_of_us,
        passive=source.scenario.passive_types,
    )
    assert_frame_equal(web.rows, want)
    category = str(source.items["categories"].list.first().drop_nulls().sort()[0])
    orders = ask(source, "orders", where={"category": category}, grain="month")
    ids = source.items.filter(pl.col("categories").list.first() == category)["item_id"].to_list()
    lines = source.events.filter(
        pl.col("type") == "purchase",
        pl.col("item_id").is_in(ids),
        ~pl.col("is_bot").fill_null(False),
    )
    assert orders.rows["gross"].sum() == pytest.approx(lines["value"].sum(), rel=1e-9)


def test_users_split_by_the_category_of_their_first_purchase(source: Source) -> None:
    split = ask(source, "orders", by="category", grain="month")
    whole = ask(source, "orders", grain="month")
    assert split.rows["category"].n_unique() > 1
    assert split.rows["orders"].sum() == whole.rows["orders"].sum()
    first = (
        source.events.filter(pl.col("type") == "purchase")
        .sort("t_us")
        .group_by("user_id", maintain_order=True)
        .first()
    )
    user, item = first.select("user_id", "item_id").row(0)
    category = source.items.filter(pl.col("item_id") == item)["categories"][0][0]
    members = ask(source, "orders", by="category", grain="month", members=True)
    assert set(members.rows.filter(pl.col("user_id") == user)["category"]) == {category}


@pytest.mark.parametrize(
    ("name", "asked", "told"),
    [
        ("retentoin", {}, "did you mean 'retention'"),
        ("retention", {"kind": "weekly"}, "nday, unbounded, bracket"),
        ("retention", {"max_offset": "two"}, "a whole number"),
        ("retention", {"max_offset": 2.5}, "a whole number"),
        ("retention", {"brackets": "1-"}, "1-7,8-14"),
        ("retention", {"within_days": 3}, "has no option 'within_days'"),
        ("sessions", {"gap_minutes": "nan"}, "a number"),
        ("traffic", {"start": "2025-02-30"}, "YYYY-MM-DD"),
        ("traffic", {"start": "2025-03-02", "end": "2025-03-01"}, "end is before start"),
        ("traffic", {"by": "shoe_size"}, "neither the events nor the users"),
        ("traffic", {"by": "user_id"}, "cannot split"),
        ("traffic", {"where": {"shoe_size": "44"}}, "neither events nor users nor items"),
        ("traffic", {"grain": "year"}, "unknown grain"),
        ("traffic", {"lang": "fr"}, "en, zh"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_words(
    source: Source, name: str, asked: dict[str, Any], told: str
) -> None:
    with pytest.raises(InputError, match=told):
        ask(source, name, **asked)


def test_what_the_log_cannot_show_has_a_reason_in_both_languages(source: Source) -> None:
    bare = replace(source, events=source.events.filter(pl.col("type") != "sign_up"))
    table = ask(bare, "activation")
    assert table.reason == "no sign-ups: the log holds no event of type sign_up"
    assert table.rows.is_empty()
    assert ask(bare, "activation", lang="zh").reason == "没有注册：日志中没有 sign_up 类型的事件"
    quiet = replace(source, events=source.events.filter(pl.col("type").str.starts_with("v")))
    told = ask(quiet, "satisfaction", lang="zh").reason
    assert told == "没有回答：日志中没有 csat 或 nps 类型的事件"
    nothing = replace(source, events=source.events.clear(), log_start=None)
    for name in TABLES:
        assert ask(nothing, name).reason == "no event has a time"


def test_notes_say_what_was_left_out(source: Source) -> None:
    notes = " ".join(ask(source, "growth_accounting", grain="week").notes)
    assert "existing, not new" in notes
    assert "rows are incomplete" in notes
    marked = source.events.with_columns(is_bot=pl.int_range(pl.len()) < 5)
    assert any(
        n.startswith("5 events flagged as of bots")
        for n in ask(replace(source, events=marked, untimed=2), "traffic").notes
    )
    assert (
        "2 events without a time are left out" in ask(replace(source, untimed=2), "traffic").notes
    )


def test_the_catalogues_have_the_same_keys() -> None:
    en, zh = (words(lang).catalogue for lang in LANGUAGES)
    for part in ("kinds", "titles", "help", "columns", "values", "notes"):
        assert en[part].keys() == zh[part].keys(), part


def test_every_rule_is_told_in_chinese(source: Source) -> None:
    d = source.definitions
    rules = {"no_history", "no_timed_events"}
    for stage, orders, gap, own, contract in itertools.product(
        lc.SHOWN, (0, 1, 9), (None, 3, 40), (0, 6), (None, 20_000)
    ):
        if gap is None and stage != "acquisition":
            continue
        facts = {"orders": orders, "own_gaps": own, "at_risk_after_days": 9, "key_actions": 2}
        rules.add(
            rule_text(stage, facts, d, gap=gap, contract_end=contract, back=20_001, p_alive=0.25)
        )
    assert len({rule.partition(":")[0] for rule in rules}) == 14
    rules |= set(ask(source, "stages").rows["rule"].to_list())
    told = {rule: words("zh").rule(rule) for rule in rules}
    assert not [text for text in told.values() if re.search("[A-Za-z]", text)]
    for rule, text in told.items():  # every number of the rule is in the sentence
        assert set(re.findall(r"\d+(?:\.\d+)?", rule)) <= set(re.findall(r"\d+(?:\.\d+)?", text))
    assert words("en").rule("silent: 5 > 4 days") == "silent: 5 > 4 days"
    shown = ask(source, "stages", lang="zh").rows["rule"].to_list()
    assert shown == [told[rule] for rule in ask(source, "stages").rows["rule"].to_list()]


def test_the_list_of_tables_is_complete_and_described() -> None:
    for lang in LANGUAGES:
        listed = describe(lang)
        assert [row["name"] for row in listed] == list(TABLES)
        assert all(row["title"] and row["help"] for row in listed)
    json.dumps(describe(), allow_nan=False)


def test_a_table_refuses_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds NaN"):
        Table(name="t", title="t", columns=(), rows=pl.DataFrame({"x": [float("nan")]}))

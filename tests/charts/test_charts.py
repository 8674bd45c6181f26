"""Every picture is drawn from its table in both languages; nothing is cut silently."""

import json
import re
import struct
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import Any

import numpy as np
import polars as pl
import pytest

from lifeloop.charts import LANGUAGES, chart, drawn, png, words
from lifeloop.charts.draw import has_chinese_font
from lifeloop.charts.look import stripes
from lifeloop.config import Scenario
from lifeloop.contracts import Snapshot
from lifeloop.errors import InputError
from lifeloop.events.records import ITEM_SCHEMA, STORED_EVENT_SCHEMA, USER_SCHEMA
from lifeloop.moment import Moment
from lifeloop.tables import TABLES, Source, source_of, table_of

pytestmark = pytest.mark.slow

PICTURES = [name for name in drawn() if name != "churn_effects" or find_spec("lifelines")]
"""Cox's effects need the extra [survival]: without it there is nothing to draw."""

MEAN_LENGTHS = ("length_mean_s", "length_mean_nonzero_s")
START = datetime(2025, 1, 6, tzinfo=UTC)
DAY_US = 86_400_000_000
START_US = int(START.timestamp()) * 1_000_000
KINDS = ["visit", "sign_up", "add_to_cart", "purchase", "refund", "csat", "nps"]


@pytest.fixture(scope="module")
def source() -> Source:
    rng = np.random.default_rng(5)
    n = 3000
    scenario = Scenario.load({"extends": "ecommerce", "name": "shop", "time": {"burn_in_days": 7}})
    kinds = rng.choice(KINDS, n)
    events = pl.DataFrame(
        {
            "seq": np.arange(n),
            "event_id": [f"e{k}" for k in range(n)],
            "user_id": [f"u{k}" for k in (rng.pareto(1.0, n) * 25).astype(int) % 250],
            "t_us": START_US + np.sort(rng.integers(0, 120 * DAY_US, n)),
            "type": kinds,
            "order_id": [f"o{k}" for k in rng.integers(0, 400, n)],
            "value": rng.gamma(2.0, 9.0, n),
            "rating": np.where(kinds == "csat", rng.integers(1, 6, n), rng.integers(0, 11, n)),
            "referrer_id": [f"u{k}" if k < 40 else None for k in rng.integers(0, 400, n)],
            "channel": rng.choice(np.array(["web", "app", "store"]), n),
        }
    )
    schema = STORED_EVENT_SCHEMA
    events = events.select(
        pl.col(name).cast(kind) if name in events.columns else pl.lit(None, dtype=kind).alias(name)
        for name, kind in schema.items()
    )
    as_of_us = START_US + 120 * DAY_US
    snapshot = Snapshot(
        events, pl.DataFrame(schema=USER_SCHEMA), pl.DataFrame(schema=ITEM_SCHEMA), as_of_us, n
    )
    return source_of(snapshot, scenario, moment=Moment(as_of_us, "test"))


def marks(part: Any) -> Iterator[dict[str, Any]]:
    """Yield every unit of a specification."""
    for key in ("layer", "vconcat"):
        for inner in part.get(key, ()):
            yield from marks(inner)
    if "mark" in part:
        yield part


def values(spec: dict[str, Any], unit: dict[str, Any]) -> list[dict[str, Any]]:
    data = unit.get("data") or spec["data"]
    found: list[dict[str, Any]] = data.get("values") or spec["datasets"][data["name"]]
    return found


def test_every_table_but_none_has_a_picture() -> None:
    assert set(drawn()) == set(TABLES)


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("name", PICTURES)
def test_every_picture_is_drawn_in_both_languages(source: Source, name: str, lang: str) -> None:
    spec = chart(table_of(source, name, grain="week", lang=lang), lang=lang)
    json.dumps(spec, allow_nan=False)
    assert spec["title"]["text"] == words(lang).title(name)
    if lang == "zh" and not has_chinese_font():
        with pytest.raises(InputError, match="fonts-noto-cjk"):
            png(spec)
        return
    image = png(spec, scale=1.0)
    assert image.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", image[16:24])
    assert width > 200
    assert height > 150


@pytest.mark.parametrize("name", PICTURES)
def test_a_split_table_is_drawn_too(source: Source, name: str) -> None:
    spec = chart(table_of(source, name, grain="month", by="channel"))
    assert png(spec, scale=1.0).startswith(b"\x89PNG")


def test_bars_of_growth_add_up_to_the_table(source: Source) -> None:
    table = table_of(source, "growth_accounting", grain="month")
    spec = chart(table)
    bars = next(u for u in marks(spec) if u["mark"] == {"type": "bar"} or u["mark"] == "bar")
    heights: dict[str, int] = {}
    for row in values(spec, bars):
        heights[row["part"]] = heights.get(row["part"], 0) + row["high"] - row["low"]
    for name in ("returning", "resurrecting", "new", "dormant"):
        assert heights.get(name, 0) == table.rows[name].sum()


def test_incomplete_periods_are_striped_and_only_those(source: Source) -> None:
    table = table_of(source, "traffic", grain="week")
    spec = chart(table)
    striped = [u for u in marks(spec) if "gradient" in json.dumps(u["mark"])]
    (unit,) = striped
    late = table.rows.filter(pl.col("partial"))["period"].to_list()
    assert late
    opened = sorted(row["open"][:10] for row in values(spec, unit))
    assert opened == [str(day) for day in late]
    assert "striped" in spec["title"]["subtitle"]


def test_stripes_reach_the_far_corner() -> None:
    for width, height in ((12.0, 300.0), (40.0, 22.0), (680.0, 300.0)):
        fill = stripes(width, height)
        x, y = fill["x2"], fill["y2"]
        assert (x + y) / (x * x + y * y) <= 1 + 1e-9  # where the corner (1, 1) falls


def test_a_heat_map_shows_every_cell_it_names(source: Source) -> None:
    table = table_of(source, "retention", grain="week")
    spec = chart(table)
    cells = next(u for u in marks(spec) if "color" in u["encoding"] and "rect" in str(u["mark"]))
    shown = values(spec, cells)
    want = table.rows.filter(pl.col("n") > 0)
    assert len(shown) == want.height
    assert sum(row["rate"] for row in shown) == pytest.approx(want["rate"].sum())


@pytest.mark.parametrize("lang", LANGUAGES)
def test_a_picture_of_cohorts_says_what_it_counts(source: Source, lang: str) -> None:
    said = words(lang)
    for kind, cohort in (("nday", "first"), ("unbounded", "recurring"), ("bracket", "first")):
        for name in ("retention", "retention_curve"):
            table = table_of(source, name, grain="week", kind=kind, cohort=cohort, lang=lang)
            told = chart(table, lang=lang)["title"]["subtitle"]
            for note in (f"kind_{kind}", f"cohort_{cohort}", "by_week"):
                assert said.note(note) in told
    value = table_of(source, "observed_ltv", grain="month", entry="order", lang=lang)
    told = chart(value, lang=lang)["title"]["subtitle"]
    assert said.note("entry_order") in told
    assert said.note("by_month") in told


@pytest.mark.parametrize("kind", ["nday", "unbounded"])
def test_cells_that_may_change_are_striped_dark_ones_in_white(source: Source, kind: str) -> None:
    table = table_of(source, "retention", grain="week", kind=kind)
    spec = chart(table)
    striped = [u for u in marks(spec) if "gradient" in json.dumps(u["mark"])]
    shown = [
        ("255,255,255" in json.dumps(unit["mark"]), row)
        for unit in striped
        for row in values(spec, unit)
    ]
    assert all(white == row["deep"] for white, row in shown)
    late = table.rows.filter(pl.col("n") > 0)
    late = late.filter(pl.col("partial") | pl.col("censored")) if kind == "unbounded" else (
        late.filter(pl.col("partial"))
    )  # fmt: skip
    assert len(shown) == late.height > 0
    note = "hatched_censored" if kind == "unbounded" else "hatched"
    assert words("en").note(note) in spec["title"]["subtitle"]


@pytest.mark.parametrize("grain", ["day", "week", "month"])
def test_a_date_on_the_axis_is_the_first_day_of_its_period(source: Source, grain: Any) -> None:
    table = table_of(source, "traffic", grain=grain)
    spec = chart(table)
    axis = next(u for u in marks(spec) if "line" in str(u["mark"]))["encoding"]["x"]["axis"]
    half = int(axis["labelExpr"].split(" - ")[1].split(",")[0])
    form = axis["labelExpr"].split("'")[1]
    ticks = json.loads(axis["values"]["expr"])
    told = [datetime.fromtimestamp((v - half) / 1000, UTC).strftime(form) for v in ticks]
    periods = [day.strftime(form) for day in table.rows["period"].to_list()]
    step = -(-len(periods) // 9)
    assert told == periods[::step]


def test_the_picture_of_moves_has_no_stripes_and_says_so(source: Source) -> None:
    told = chart(table_of(source, "transitions", grain="week"))["title"]["subtitle"]
    assert words("en").note("hatched") not in told
    assert words("en").note("unfinished") in told


def test_what_does_not_fit_is_said(source: Source) -> None:
    spec = chart(table_of(source, "retention", grain="day"))
    assert "of" in spec["title"]["subtitle"]
    assert "cohorts, offsets to 26" in spec["title"]["subtitle"]


def test_ribbons_are_as_tall_as_the_moves(source: Source) -> None:
    table = table_of(source, "transitions", grain="month")
    spec = chart(table)
    bands = next(u for u in marks(spec) if "area" in str(u["mark"]))
    first: dict[str, float] = {}
    for row in values(spec, bands):
        first.setdefault(row["move"], row["y2"] - row["y"])
    total = table.rows["n"].sum()
    room = {side: 1 - 0.02 * (table.rows[side].n_unique() - 1) for side in ("from", "to")}
    n = {
        f"{before or 'first_seen'}→{after}": k
        for before, after, k in table.rows.group_by("from", "to").agg(pl.col("n").sum()).iter_rows()
    }
    assert first.keys() == n.keys()
    for move, tall in first.items():
        assert tall == pytest.approx(room["from"] * n[move] / total)


def test_what_cannot_be_drawn_says_why(source: Source) -> None:
    with pytest.raises(InputError, match="with members"):
        chart(table_of(source, "traffic", members=True))
    empty = table_of(source, "orders", where={"type": "visit"})
    late = table_of(source, "transitions", start="2030-01-01", end="2030-01-02")
    with pytest.raises(InputError, match="nothing to draw"):
        chart(late)
    assert png(chart(empty)).startswith(b"\x89PNG")


def test_a_table_that_counts_nobody_is_refused_in_words(source: Source) -> None:
    table = table_of(source, "retention", grain="week")
    bare = replace(table, rows=table.rows.with_columns(n=pl.lit(0, dtype=pl.Int64)))
    with pytest.raises(InputError, match="nobody to draw for 'retention'"):
        chart(bare)


@pytest.mark.parametrize("lang", LANGUAGES)
def test_a_picture_does_not_grow_with_the_number_of_people_it_leaves_out(
    source: Source, lang: str
) -> None:
    table = table_of(source, "churn_risk", lang=lang)
    ids = [f"{'long ' * 50}{n}" for n in range(table.rows.height)]
    rows = table.rows.with_columns(
        user_id=pl.Series(ids),
        value_at_risk=pl.when(pl.int_range(pl.len()) < 20).then("value_at_risk"),
    )
    spec = chart(replace(table, rows=rows), lang=lang)
    assert f"{table.rows.height - 26}" in spec["title"]["subtitle"]  # how many are not named
    assert len(spec["title"]["subtitle"]) < 400
    few = chart(replace(table, rows=rows.head(22)), lang=lang)["title"]["subtitle"]
    assert few.count("…") == 2


def test_labels_of_time_are_no_numbers_that_a_page_would_misread(source: Source) -> None:
    for name in ("traffic", "growth_accounting", "stage_counts"):
        text = json.dumps(chart(table_of(source, name, grain="week")))
        assert '"values": {"expr": "[' in text


def lengths_where(source: Source, known: pl.Expr, grain: Any) -> str:
    """Return the picture of sessions whose mean lengths are known only there, as text."""
    table = table_of(source, "sessions", grain=grain)
    lengths = [pl.when(known).then(60.0).alias(name) for name in MEAN_LENGTHS]
    return json.dumps(chart(replace(table, rows=table.rows.with_columns(lengths))))


def test_a_line_is_not_drawn_across_periods_without_a_value(source: Source) -> None:
    third = pl.int_range(pl.len()) == 3
    for known, runs in ((pl.lit(value=True), {0}), (~third, {0, 1})):
        told = lengths_where(source, known, "week")
        assert {int(value) for value in re.findall(r'"run": (\d+)', told)} == runs
        assert '"detail": {"field": "run"' in told


def test_a_value_alone_between_periods_without_one_is_a_point(source: Source) -> None:
    fortieth = pl.int_range(pl.len()) == 40
    assert '"type": "point"' in lengths_where(source, fortieth, "day")
    assert '"type": "point"' not in lengths_where(source, pl.lit(value=True), "day")


@pytest.mark.parametrize("lang", LANGUAGES)
def test_a_split_picture_says_by_what_and_which_measure(source: Source, lang: str) -> None:
    said = words(lang)
    for name, measure in (("orders", "net"), ("traffic", "visitors"), ("active_users", "mau")):
        table = table_of(source, name, grain="month", by="channel", lang=lang)
        told = chart(table, lang=lang)["title"]["subtitle"]
        assert said.note("split", by=said.column("channel")) in told
        assert said.column(measure) in told
    for name in ("stages", "transitions", "rfm"):
        table = table_of(source, name, by="channel", lang=lang)
        assert said.note("summed") in chart(table, lang=lang)["title"]["subtitle"]


@pytest.mark.parametrize("name", ["orders", "retention_curve", "active_day_histogram"])
def test_two_attributes_make_one_segment_for_each_combination(source: Source, name: str) -> None:
    table = table_of(source, name, grain="month", by="channel,type")
    spec = chart(table)
    want = {f"{c} · {t}" for c, t in table.rows.select("channel", "type").unique().iter_rows()}
    legend = next(
        u["encoding"]["color"]["scale"]["domain"] for u in marks(spec) if "color" in u["encoding"]
    )
    assert set(legend) <= want
    assert len(legend) > 3


def test_brackets_of_a_curve_are_named_and_not_placed_on_a_scale(source: Source) -> None:
    spec = chart(table_of(source, "retention_curve", grain="day", kind="bracket"))
    line = next(u for u in marks(spec) if "line" in str(u["mark"]))
    assert line["encoding"]["x"]["sort"] == ["1–7", "8–14", "15–30"]
    assert [row["offset"] for row in values(spec, line)] == ["1–7", "8–14", "15–30"]


def test_colours_of_value_reach_as_far_as_nearly_all_users_do(source: Source) -> None:
    table = table_of(source, "observed_ltv", grain="week")
    cells = next(u for u in marks(chart(table)) if "rect" in str(u["mark"]))
    top = cells["encoding"]["color"]["scale"]["domain"][1]
    later = table.rows.filter(pl.col("age") > 0, pl.col("ltv").is_not_null())
    reached, whole = (
        rows["n"].to_numpy().sum() for rows in (later.filter(pl.col("ltv") <= top), later)
    )
    below = float(reached / whole)
    assert 0.97 < below <= 1


def test_nothing_is_called_cut_where_everything_fits(source: Source) -> None:
    told = chart(table_of(source, "retention", grain="week", by="channel"))["title"]["subtitle"]
    assert "newest" not in told

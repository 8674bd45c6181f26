"""Every function on every engine, and what must hold for all of them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import narwhals as nw
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from lifeloop import lifecycle as lc
from lifeloop.errors import InputError
from lifeloop.testing.lifecycle_functions import FUNCTIONS, TYPES

START = datetime(2024, 2, 20, tzinfo=UTC)
DAY_US = 86_400_000_000
ORIGIN_US = int(START.timestamp()) * 1_000_000
AS_OF = START + timedelta(days=60, hours=7)

EVERY = sorted(FUNCTIONS)


def log(seed: int, n: int = 400, users: int = 25) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    kind = rng.choice(np.array(TYPES), n)
    rating = np.where(rng.random(n) < 0.1, np.nan, rng.integers(-1, 12, n).astype(float))
    return pl.DataFrame(
        {
            "event_id": [f"e{i}" if i % 7 else None for i in range(n)],
            "seq": np.arange(n),
            "user_id": [f"u{u}" for u in (rng.pareto(1.0, n) * 4).astype(int) % users],
            "t_us": ORIGIN_US + np.sort(rng.integers(0, 58 * DAY_US, n) // 60_000_000 * 60_000_000),
            "type": kind,
            "order_id": [f"o{k}" if k < 60 else None for k in rng.integers(0, 80, n)],
            "value": [
                None if v % 10 == 0 else v / 100 for v in rng.integers(-200, 2000, n).tolist()
            ],
            "rating": rating,
            "referrer_id": [f"u{k}" if k < users else None for k in rng.integers(0, 200, n)],
            "is_bot": rng.choice(np.array([True, False, None]), n, p=[0.05, 0.9, 0.05]).tolist(),
            "channel": rng.choice(np.array(["web", "app", None]), n).tolist(),
        },
        schema_overrides={"value": pl.Float64, "is_bot": pl.Boolean},
    )


def on_duckdb(frame: pl.DataFrame) -> Any:
    connection = duckdb.connect()
    connection.register("events", frame.to_arrow())
    return connection.table("events")


@pytest.mark.parametrize(
    "options", [{}, {"grain": "week", "zone": "US/Pacific"}, {"by": "channel"}]
)
@pytest.mark.parametrize("name", EVERY)
def test_polars_and_duckdb_give_the_same_table(name: str, options: dict[str, Any]) -> None:
    events = log(1)
    options = {"as_of": AS_OF, **options}
    function = FUNCTIONS[name]
    want = function(events, **options)
    assert want.height > 0
    assert_frame_equal(function(on_duckdb(events), **options), want, abs_tol=0, rel_tol=1e-9)
    lazy = function(events.lazy(), **options)
    assert_frame_equal(lazy, want, abs_tol=0, rel_tol=1e-12)


@pytest.mark.parametrize("name", [n for n in EVERY if n not in ("stages", "rfm")])
def test_the_users_behind_the_cells_are_the_same_on_duckdb(name: str) -> None:
    events = log(2)
    function = FUNCTIONS[name]
    want = function(events, as_of=AS_OF, members=True)
    assert want.height > 0
    assert_frame_equal(function(on_duckdb(events), as_of=AS_OF, members=True), want)


@pytest.mark.parametrize("name", EVERY)
def test_no_value_is_nan_and_every_null_has_its_reason(name: str) -> None:
    for events in (log(3), log(3).head(1), log(3, n=40).filter(pl.col("type") == "impression")):
        table = FUNCTIONS[name](events, as_of=AS_OF)
        for column, kind in table.schema.items():
            if kind.is_float():
                assert not table[column].is_nan().any(), column
        reasons = [c for c in table.columns if c.endswith("reason")]
        if "rate" in table.columns:
            assert reasons
            assert (table["rate"].is_null() == table["reason"].is_not_null()).all()


@pytest.mark.parametrize("name", EVERY)
@settings(max_examples=2, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_bots_and_untimed_events_are_as_if_they_were_not_there(name: str, seed: int) -> None:
    events = log(seed, n=120)
    clean = events.filter(~pl.col("is_bot").fill_null(value=False))
    untimed = events.head(9).with_columns(
        t_us=pl.lit(None, dtype=pl.Int64), event_id="x" + pl.col("seq").cast(pl.String)
    )
    want = FUNCTIONS[name](clean, as_of=AS_OF)
    assert_frame_equal(FUNCTIONS[name](pl.concat([events, untimed]), as_of=AS_OF), want)


SPLIT = {
    "growth_accounting": ["new", "returning", "resurrecting", "dormant"],
    "active_users": ["dau", "wau", "mau"],
    "activity_states": list(lc.STATES),
    "signup_conversion": ["users", "n", "converted"],
    "activation": ["users", "n", "converted"],
    "conversion": ["users", "n", "converted"],
    "traffic": ["visitors", "sessions"],
    "sessions": ["sessions", "visitors", "zero_length"],
    "orders": ["orders", "buyers", "net", "refunds_paid", "repeat_n", "unmatched_refunds"],
    "satisfaction": ["csat_n", "satisfied", "nps_n", "promoters", "refused"],
    "referrals": ["n", "referrers"],
}


@pytest.mark.parametrize("name", sorted(SPLIT))
def test_segments_add_up_to_the_whole(name: str) -> None:
    events = log(4)
    whole = FUNCTIONS[name](events, as_of=AS_OF, grain="week")
    split = FUNCTIONS[name](events, as_of=AS_OF, grain="week", by="channel")
    assert set(split["channel"].unique()) <= {"web", "app", "(none)"}
    summed = split.group_by("period").agg(pl.col(SPLIT[name]).sum()).sort("period")
    assert_frame_equal(summed, whole.select("period", *SPLIT[name]), rel_tol=1e-9)


def test_a_segment_can_come_from_the_users_and_a_filter_from_the_events() -> None:
    events = log(5)
    users = pl.DataFrame({"user_id": ["u0", "u1", "u1"], "country": ["DE", "FR", "FR"]})
    split = lc.traffic(events, as_of=AS_OF, grain="month", by="country", users=users)
    assert set(split["country"].unique()) == {"DE", "FR", "(none)"}
    of_u0 = lc.traffic(events, as_of=AS_OF, grain="month", where=nw.col("user_id") == "u0")
    de = split.filter(pl.col("country") == "DE")
    assert de["sessions"].sum() == of_u0["sessions"].sum()
    assert split["small"].all()


@pytest.mark.parametrize("name", EVERY)
def test_no_events_give_an_empty_table_with_the_same_columns(name: str) -> None:
    nothing = FUNCTIONS[name](log(1).clear(), as_of=AS_OF)
    something = FUNCTIONS[name](log(1), as_of=AS_OF)
    assert nothing.columns == something.columns
    if name == "active_day_histogram":  # the thirty rows are always there
        assert nothing["n"].sum() == 0
    else:
        assert nothing.is_empty()


@pytest.mark.parametrize("name", ["orders", "observed_ltv", "rfm"])
def test_money_of_two_currencies_is_refused(name: str) -> None:
    events = log(1).with_columns(
        currency=pl.when(pl.col("seq") < 200).then(pl.lit("USD")).otherwise(pl.lit("EUR"))
    )
    with pytest.raises(InputError, match="several currencies"):
        FUNCTIONS[name](events, as_of=AS_OF)
    only = FUNCTIONS[name](events, as_of=AS_OF, where=nw.col("currency") == "EUR")
    assert only.height > 0


def test_times_in_nanoseconds_are_refused() -> None:
    with pytest.raises(InputError, match="outside the calendar"):
        lc.traffic(log(1).with_columns(t_us=pl.col("t_us") * 1000))

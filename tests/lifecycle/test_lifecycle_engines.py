"""Every function on every engine, and what must hold for all of them."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
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
from lifeloop.events.records import EVENT_SCHEMA
from lifeloop.store import open_store

START = datetime(2024, 2, 20, tzinfo=UTC)
DAY_US = 86_400_000_000
ORIGIN_US = int(START.timestamp()) * 1_000_000
AS_OF = START + timedelta(days=60, hours=7)
DEFINITIONS = lc.StageDefinitions(joins=("sign_up",), activates=("cart",), burn_in_days=3)
TYPES = ["visit", "sign_up", "cart", "purchase", "refund", "csat", "nps", "impression"]

FUNCTIONS: dict[str, Callable[..., pl.DataFrame]] = {
    "active_users": lc.active_users,
    "active_day_histogram": lc.active_day_histogram,
    "activity_states": lc.activity_states,
    "growth_accounting": lc.growth_accounting,
    "retention_nday": lc.retention,
    "retention_unbounded": lambda e, **o: lc.retention(e, kind="unbounded", **o),
    "retention_bracket": lambda e, **o: lc.retention(
        e, kind="bracket", brackets=[(0, 2), (3, 9)], **o
    ),
    "retention_recurring": lambda e, **o: lc.retention(e, cohort="recurring", **o),
    "signup_conversion": lc.signup_conversion,
    "activation": lambda e, **o: lc.activation(e, activates=["cart"], times=2, **o),
    "conversion": lc.conversion,
    "orders": lambda e, **o: lc.orders(e, repeat_within_days=10, **o),
    "observed_ltv": lambda e, **o: lc.observed_ltv(e, margin=0.3, **o),
    "observed_ltv_order": lambda e, **o: lc.observed_ltv(e, entry="order", **o),
    "rfm": lc.rfm,
    "sessions": lc.sessions,
    "traffic": lc.traffic,
    "satisfaction": lc.satisfaction,
    "referrals": lambda e, **o: lc.referrals(e, activates=["cart"], **o),
    "transitions": lambda e, **o: lc.transitions(e, definitions=DEFINITIONS, **o),
    "stages": lambda e, **o: lc.stages(e, definitions=DEFINITIONS, **o),
    "stage_counts": lambda e, **o: lc.stage_counts(e, definitions=DEFINITIONS, **o),
    "return_rates": lc.return_rates,
    "retention_curve": lc.retention_curve,
}
EVERY = sorted(FUNCTIONS)


def log(seed: int, n: int = 400, users: int = 25) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    kind = rng.choice(TYPES, n)
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
@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_shuffling_the_log_changes_nothing(name: str, seed: int) -> None:
    events = log(seed, n=120)
    want = FUNCTIONS[name](events, as_of=AS_OF)
    shuffled = events.sample(fraction=1.0, shuffle=True, seed=seed)
    assert_frame_equal(FUNCTIONS[name](shuffled, as_of=AS_OF), want)


@pytest.mark.parametrize("name", EVERY)
@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 10_000), cut=st.integers(1, 57))
def test_a_future_event_changes_nothing_as_of_now(name: str, seed: int, cut: int) -> None:
    events = log(seed, n=120)
    now = START + timedelta(days=cut)
    past = events.filter(pl.col("t_us") < ORIGIN_US + cut * DAY_US)
    want = FUNCTIONS[name](past, as_of=now)
    assert_frame_equal(FUNCTIONS[name](events, as_of=now), want)


@pytest.mark.parametrize("name", EVERY)
@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_replaying_the_log_changes_nothing(name: str, seed: int) -> None:
    events = log(seed, n=120).with_columns(event_id="e" + pl.col("seq").cast(pl.String))
    want = FUNCTIONS[name](events, as_of=AS_OF)
    assert_frame_equal(FUNCTIONS[name](pl.concat([events, events]), as_of=AS_OF), want)


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


@pytest.mark.parametrize("name", [n for n in EVERY if n != "stages"])
def test_an_empty_period_is_zeros_with_reasons(name: str) -> None:
    window = {"start": date(2023, 1, 1), "end": date(2023, 1, 3), "as_of": AS_OF}
    table = FUNCTIONS[name](log(1), **window)
    numbers = [c for c, k in table.schema.items() if k == pl.Int64 and c not in ("offset", "age")]
    counts = [c for c in numbers if c not in ("active_days", "offset_to", "from")]
    assert table.select(pl.col(counts).fill_null(0).sum()).row(0) == (0,) * len(counts)


@pytest.mark.parametrize("name", EVERY)
def test_all_events_at_one_instant(name: str) -> None:
    events = log(6, n=60).with_columns(t_us=pl.lit(ORIGIN_US))
    assert FUNCTIONS[name](events, as_of=AS_OF).height > 0


@pytest.mark.parametrize("name", [n for n in EVERY if n not in ("retention_recurring",)])
def test_the_years_1969_and_2101(name: str) -> None:
    far = [int(datetime(y, 7, 1, tzinfo=UTC).timestamp()) * 1_000_000 for y in (1969, 2101)]
    events = log(7, n=80).with_columns(t_us=pl.Series(far * 40))
    options = {"grain": "month", "zone": "US/Pacific", "as_of": datetime(2101, 8, 1, tzinfo=UTC)}
    table = FUNCTIONS[name](events, **options)
    assert table.height > 0


@pytest.mark.parametrize("name", EVERY)
def test_bad_options_are_refused_in_words(name: str) -> None:
    function = FUNCTIONS[name]
    with pytest.raises(InputError, match="did you mean 'Europe/Berlin'"):
        function(log(1), zone="Europe/Berln")
    with pytest.raises(InputError, match="needs a time zone"):
        function(log(1), as_of=datetime(2024, 3, 1))  # noqa: DTZ001
    with pytest.raises(InputError, match="column 't_us' is missing"):
        function(log(1).drop("t_us"))
    with pytest.raises(InputError, match="end is before start"):
        function(log(1), start=date(2024, 3, 2), end=date(2024, 3, 1))
    if name != "stages":
        with pytest.raises(InputError, match="unknown grain"):
            function(log(1), grain="year")
    with pytest.raises(InputError, match="unknown week_start"):
        function(log(1), week_start="Mon")
    with pytest.raises(InputError, match="neither the events nor the users or items"):
        function(log(1), by="shoe_size")
    with pytest.raises(TypeError, match="unknown options \\['zonne'\\]"):
        function(log(1), zonne="UTC")


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


def stored(events: pl.DataFrame, url: str, *, devices: bool) -> pl.DataFrame:
    """Write a log to a real store and read it back; ``devices``: a third of it anonymously."""
    rows = events.with_columns(
        event_id=pl.format("e{}", "seq"), occurred_us="t_us", rating=pl.col("rating").fill_nan(None)
    )
    device = pl.lit(devices) & (pl.col("seq") % 3 == 0)
    rows = rows.with_columns(
        anonymous_id=pl.when(device).then(pl.format("{}-phone", "user_id")),
        user_id=pl.when(~device).then("user_id"),
    )
    rows = rows.with_columns(
        pl.lit(None, dtype=kind).alias(name)
        for name, kind in EVENT_SCHEMA.items()
        if name not in rows.columns
    )
    store = open_store(url)
    received_us = ORIGIN_US + 100 * DAY_US
    with store.bulk():
        report = store.append(rows.select(*EVENT_SCHEMA, "t_us"), received_us=received_us)
    assert report.accepted == events.height
    for phone in rows["anonymous_id"].drop_nulls().unique().sort():
        before = store.snapshot().events["user_id"].n_unique()
        store.identify(phone, phone.removesuffix("-phone"), received_us=received_us)
        assert store.snapshot().events["user_id"].n_unique() <= before
    read = store.snapshot().events
    store.close()
    return read


@pytest.mark.parametrize("seed", [8, 21])
def test_a_log_written_under_two_ids_and_identified_equals_the_log_written_with_one(
    tmp_path: Path, seed: int
) -> None:
    events = log(seed, n=300, users=12)
    one = stored(events, f"sqlite:///{tmp_path / 'one.db'}", devices=False)
    two = stored(events, f"sqlite:///{tmp_path / 'two.db'}", devices=True)
    assert two["anonymous_id"].drop_nulls().len() == 100
    for name in EVERY:
        want = FUNCTIONS[name](one, as_of=AS_OF)
        assert_frame_equal(FUNCTIONS[name](two, as_of=AS_OF), want)
    unlinked = two.with_columns(user_id=pl.coalesce("anonymous_id", "user_id"))
    assert (
        max(lc.active_users(unlinked, as_of=AS_OF)["mau"].drop_nulls().to_list()) > 12
    )  # the log does need merging

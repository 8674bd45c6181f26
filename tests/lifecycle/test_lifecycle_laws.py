"""Laws that hold for every lifecycle function on every log, on random logs."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from lifeloop import lifecycle as lc
from lifeloop.events.records import EVENT_SCHEMA
from lifeloop.store import open_store
from lifeloop.tables import TABLES
from lifeloop.tables.valued import VALUED
from lifeloop.testing.lifecycle_functions import (
    DAY_US,
    DEFINITIONS,
    FUNCTIONS,
    START,
    START_US,
    TYPES,
    Row,
    log_of,
    public_functions,
)

EVERY = sorted(FUNCTIONS)
LAST = 45
AS_OF = START + timedelta(days=LAST + 5, hours=7)
ROWS = st.tuples(
    st.integers(0, 5),
    st.integers(0, LAST),
    st.sampled_from([0, 10, 29, 30, 59, 720, 1410, 1439]),
    st.sampled_from([*TYPES, "visit", "purchase"]),
    st.sampled_from([None, 0, 0, 1, 2]),
    st.sampled_from([None, -2.0, 0.0, 0.1, 9.99, 20.0]),
    st.sampled_from([None, -1.0, 0.0, 1.0, 3.5, 4.0, 5.0, 8.0, 9.0, 11.0]),
    st.sampled_from([None, None, 0, 1, 2]),
    st.sampled_from([None, False, False, False, True]),
)
LOGS = st.lists(ROWS, max_size=40)
OPTIONS = st.fixed_dictionaries(
    {
        "grain": st.sampled_from(["day", "week", "month"]),
        "zone": st.sampled_from(["UTC", "US/Pacific", "Asia/Shanghai"]),
        "week_start": st.sampled_from(["monday", "sunday"]),
        "by": st.sampled_from([(), (), "channel"]),
        "burn_in_days": st.sampled_from([0, 0, 5]),
        "lateness_hours": st.sampled_from([0.0, 72.0]),
    }
)


def test_every_public_function_is_held_to_the_laws() -> None:
    named = {name.split(":")[0] for name in FUNCTIONS}
    assert named == public_functions()
    assert named == set(TABLES) - {spec.name for spec in VALUED}
    assert {name.split(":")[0] for name in COUNTED} == named


@pytest.mark.parametrize("name", EVERY)
@settings(max_examples=6, deadline=None)
@given(rows=LOGS, options=OPTIONS, random=st.randoms(use_true_random=False))
def test_shuffling_the_log_changes_nothing(
    name: str, rows: list[Row], options: dict[str, Any], random: Any
) -> None:
    events = log_of(rows)
    order = list(range(len(rows)))
    random.shuffle(order)
    want = FUNCTIONS[name](events, as_of=AS_OF, **options)
    assert_frame_equal(FUNCTIONS[name](events[order], as_of=AS_OF, **options), want)


@pytest.mark.parametrize("name", EVERY)
@settings(max_examples=6, deadline=None)
@given(rows=LOGS, options=OPTIONS, cut=st.integers(0, LAST * 24))
def test_a_future_event_changes_nothing_as_of_now(
    name: str, rows: list[Row], options: dict[str, Any], cut: int
) -> None:
    events = log_of(rows)
    now = START + timedelta(hours=cut)
    past = events.filter(pl.col("t_us") < START_US + cut * DAY_US // 24)
    want = FUNCTIONS[name](past, as_of=now, **options)
    assert_frame_equal(FUNCTIONS[name](events, as_of=now, **options), want)


@pytest.mark.parametrize("name", EVERY)
@settings(max_examples=6, deadline=None)
@given(rows=LOGS, options=OPTIONS)
def test_replaying_the_log_changes_nothing(
    name: str, rows: list[Row], options: dict[str, Any]
) -> None:
    events = log_of(rows)
    want = FUNCTIONS[name](events, as_of=AS_OF, **options)
    twice = pl.concat([events, events])
    assert_frame_equal(FUNCTIONS[name](twice, as_of=AS_OF, **options), want)


@settings(max_examples=25, deadline=None)
@given(rows=LOGS, options=OPTIONS)
def test_active_users_are_new_returning_or_resurrecting(
    rows: list[Row], options: dict[str, Any]
) -> None:
    events = log_of(rows)
    flows = lc.growth_accounting(events, as_of=AS_OF, **options)
    active = pl.col("new") + pl.col("returning") + pl.col("resurrecting")
    visits = lc.traffic(events, as_of=AS_OF, **options)
    assert flows.select(active).to_series().to_list() == visits["visitors"].to_list()
    if options["grain"] == "day":
        users = lc.active_users(events, as_of=AS_OF, **options)
        assert users["dau"].to_list() == visits["visitors"].to_list()
    before = active.shift(1).over(options["by"]) if options["by"] else active.shift(1)
    change = flows.select(
        active - before.fill_null(0) - pl.col("new") - pl.col("resurrecting") - pl.col("dormant")
    )
    assert change.to_series().unique().to_list() in ([0], [])


@settings(max_examples=25, deadline=None)
@given(rows=LOGS, options=OPTIONS)
def test_states_and_stages_partition_the_users(rows: list[Row], options: dict[str, Any]) -> None:
    events = log_of(rows)
    people = events.filter(~pl.col("is_bot").fill_null(value=False))
    asked: dict[str, Any] = {"as_of": AS_OF, **options}
    placed = lc.stages(events, definitions=DEFINITIONS, **asked)
    assert sorted(placed["user_id"]) == sorted(set(people["user_id"]))
    active = people.filter(~pl.col("type").is_in(["impression", "refund"]))
    for table, known, now in (
        (lc.activity_states(events, members=True, **asked), active, "activity"),
        (
            lc.stage_counts(events, definitions=DEFINITIONS, members=True, **asked),
            people,
            "stage",
        ),
    ):
        assert not table.select("period", "user_id").is_duplicated().any()
        label = "state" if now == "activity" else "stage"
        last = table.filter(pl.col("period") == pl.col("period").max())
        assert set(last["user_id"]) == set(known["user_id"])
        both = last.join(placed.select("user_id", seen=now), on="user_id")
        if options["burn_in_days"] == DEFINITIONS.burn_in_days or now == "stage":
            assert both[label].to_list() == both["seen"].to_list()


def stored(events: pl.DataFrame, path: Path, devices: list[bool]) -> pl.DataFrame:
    """Write a log to a real store and read it back, the events of ``devices`` anonymously."""
    device = pl.Series("device", devices[: len(events)], dtype=pl.Boolean)
    rows = events.with_columns(device, occurred_us="t_us").with_columns(
        anonymous_id=pl.when("device").then(pl.format("{}-phone", "user_id")),
        user_id=pl.when(~pl.col("device")).then("user_id"),
    )
    rows = rows.with_columns(
        pl.lit(None, dtype=kind).alias(name)
        for name, kind in EVENT_SCHEMA.items()
        if name not in rows.columns
    )
    store = open_store(f"sqlite:///{path}")
    received_us = START_US + 100 * DAY_US
    with store.bulk():
        report = store.append(rows.select(*EVENT_SCHEMA, "t_us"), received_us=received_us)
    assert report.accepted == events.height
    for phone in rows["anonymous_id"].drop_nulls().unique().sort():
        store.identify(phone, phone.removesuffix("-phone"), received_us=received_us)
    read = store.snapshot().events
    store.close()
    return read


@settings(max_examples=3, deadline=None)
@given(rows=st.lists(ROWS, min_size=1, max_size=40), devices=st.lists(st.booleans(), min_size=40))
def test_a_merged_identity_equals_the_log_written_with_one_id(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Row], devices: list[bool]
) -> None:
    events, folder = log_of(rows), tmp_path_factory.mktemp("merged")
    one = stored(events, folder / "one.db", [False] * 40)
    two = stored(events, folder / "two.db", devices)
    assert two["anonymous_id"].count() == sum(devices[: len(rows)])
    for name in EVERY:
        want = FUNCTIONS[name](one, as_of=AS_OF)
        assert_frame_equal(FUNCTIONS[name](two, as_of=AS_OF), want)


# -------------------------------------------------------------------- counts equal their members

LABEL = pl.col("user_id").n_unique()


def of(column: str, *values: str) -> pl.Expr:
    return pl.col(column).is_in(values).sum()


def by_label(column: str, names: Any) -> dict[str, pl.Expr]:
    return {name: of(column, name) for name in names}


def net(*what: str) -> pl.Expr:
    return pl.col("net").filter(pl.col("what").is_in(what)).sum()


WITHIN = {
    "users": pl.len(),
    "n": of("status", "converted", "not_converted"),
    "converted": of("status", "converted"),
}
FLOWS = by_label("state", ["new", "returning", "resurrecting"])
ANSWERS = by_label("answer", ["satisfied", "refused"])
COUNTED: dict[str, tuple[list[str], dict[str, pl.Expr]]] = {
    "active_users": (["period"], by_label("measure", ["dau", "wau", "mau"])),
    "active_day_histogram": (["active_days"], {"n": LABEL}),
    "activity_states": (["period"], by_label("state", lc.STATES)),
    "growth_accounting": (["period"], {**FLOWS, "dormant": -of("state", "dormant").cast(int)}),
    "retention": (["cohort", "offset"], {"retained": LABEL}),
    "retention:unbounded": (["cohort", "offset"], {"retained": LABEL}),
    "retention:bracket": (["cohort", "offset", "offset_to"], {"retained": LABEL}),
    "retention:recurring": (["cohort", "offset"], {"retained": LABEL}),
    "retention_curve": (["offset"], {"retained": pl.len()}),
    "signup_conversion": (["period"], WITHIN),
    "activation": (["period"], WITHIN),
    "conversion": (["period"], WITHIN),
    "orders": (
        ["period"],
        {
            "orders": of("what", "order"),
            "buyers": pl.col("user_id").filter(pl.col("what") == "order").n_unique(),
            "refunded_orders": of("what", "refunded_order"),
            "net": net("order", "refunded_order"),
            "refunds_paid": -net("refund"),
            "unmatched_refunds": of("what", "unmatched_refund"),
            "unmatched_amount": -net("unmatched_refund"),
            "repeat_n": of("repeat", "converted", "not_converted"),
            "repeat_buyers": of("repeat", "converted"),
        },
    ),
    "observed_ltv": (["cohort", "age"], {}),
    "observed_ltv:order": (["cohort", "age"], {}),
    "rfm": (["user_id"], {}),
    "sessions": (
        ["period"],
        {
            "sessions": pl.len(),
            "visitors": LABEL,
            "zero_length": (pl.col("length_s") == 0).sum(),
            "length_mean_s": pl.col("length_s").mean(),
        },
    ),
    "traffic": (["period"], {"visitors": LABEL}),
    "satisfaction": (
        ["period"],
        {
            **ANSWERS,
            "csat_n": of("answer", "satisfied", "unsatisfied"),
            "nps_n": of("answer", "promoter", "passive", "detractor"),
            "promoters": of("answer", "promoter"),
            "detractors": of("answer", "detractor"),
        },
    ),
    "referrals": (["period"], {"n": LABEL, "referrers": of("status", "referrer")}),
    "return_rates": (["period", "measure"], {"n": pl.len(), "returned": pl.col("returned").sum()}),
    "stages": (["user_id"], {}),
    "churn_rate": (["period"], {"n": pl.len(), "churned": of("status", "churned")}),
    "stage_counts": (["period"], by_label("stage", lc.SHOWN)),
    "transitions": (["period", "from", "to"], {"n": pl.len()}),
}
"""What the rows of a cell have in common, and each column of it counted from its members."""


@pytest.mark.parametrize("name", EVERY)
@settings(max_examples=8, deadline=None)
@given(rows=LOGS, options=OPTIONS)
def test_counts_equal_their_members(name: str, rows: list[Row], options: dict[str, Any]) -> None:
    events, by = log_of(rows), ["channel"] if options["by"] else []
    table = FUNCTIONS[name](events, as_of=AS_OF, **options)
    members = FUNCTIONS[name](events, as_of=AS_OF, members=True, **options)
    keys, cells = [*by, *COUNTED[name][0]], COUNTED[name][1]
    if name.startswith("observed_ltv"):
        table, members, cells = money_of_cohorts(table, members, by)
    if "offset_to" in keys:  # the cohort itself stands beside its brackets
        members = members.filter(pl.col("offset").is_not_null())
    if not cells:
        assert_frame_equal(members, table)
        return
    found = members.group_by(keys).agg(**cells)
    both = table.select(*keys, *cells).join(
        found, on=keys, how="full", coalesce=True, nulls_equal=True, suffix=" of members"
    )
    for column in cells:
        counted = both[column].fill_null(0).cast(float).to_list()
        assert counted == pytest.approx(both[f"{column} of members"].fill_null(0).to_list())


def money_of_cohorts(
    table: pl.DataFrame, members: pl.DataFrame, by: list[str]
) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, pl.Expr]]:
    """Return both with what each age adds in place of what has been earned by then."""
    added = pl.col("value").diff()
    first = pl.col("value")
    cohort = [*by, "cohort"]
    table = table.with_columns(value=pl.coalesce(added.over(cohort), first)).with_columns(
        n=pl.when(pl.col("age") == 0).then("n").otherwise(0)
    )
    members = members.with_columns(value=pl.coalesce(added.over([*cohort, "user_id"]), first))
    whole = {"n": (pl.col("age") == 0).sum(), "value": pl.col("value").sum()}
    return table, members, whole


@pytest.mark.parametrize("kind", ["nday", "unbounded", "bracket"])
@settings(max_examples=10, deadline=None)
@given(rows=LOGS, options=OPTIONS)
def test_a_cohort_is_among_its_members(kind: Any, rows: list[Row], options: dict[str, Any]) -> None:
    asked: dict[str, Any] = {"kind": kind, "brackets": [(1, 2)], "as_of": AS_OF, **options}
    table = lc.retention(log_of(rows), **asked)
    members = lc.retention(log_of(rows), members=True, **asked)
    begun = pl.col("offset").is_null() if kind == "bracket" else pl.col("offset") == 0
    keys = ["channel", "cohort"] if options["by"] else ["cohort"]
    sizes = members.filter(begun).group_by(keys).agg(size=LABEL)
    cohorts = table.select(*keys, "n").unique()
    both = cohorts.join(sizes, on=keys, how="left").fill_null(0)
    assert both["n"].to_list() == both["size"].to_list()


def test_the_log_of_the_laws_has_what_every_function_counts() -> None:
    rows: list[Row] = [
        (u, d, 720, kind, 0, 1.0 if kind == "refund" else 9.99, 5.0, (u + 1) % 6, False)
        for u in range(6)
        for d in range(0, LAST, 7)
        for kind in TYPES
    ]
    for name in EVERY:
        table = FUNCTIONS[name](log_of(rows), as_of=AS_OF)
        numbers = table.select(pl.selectors.numeric())
        assert numbers.select(pl.all().abs().sum()).transpose().to_series().sum() > 0, name

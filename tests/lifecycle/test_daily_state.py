"""The materialised daily state, kept up piece by piece, equals a full run."""

from datetime import UTC, datetime, timedelta
from typing import Any

import narwhals as nw
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from lifeloop import lifecycle as lc
from lifeloop.errors import InputError
from lifeloop.lifecycle.daily import Daily, applied, build, change
from lifeloop.lifecycle.daily.change import late

START = datetime(2024, 3, 1, tzinfo=UTC)
START_US = int(START.timestamp()) * 1_000_000
DAY_US = 86_400_000_000
ZONE = "Europe/Berlin"
D = lc.StageDefinitions(
    joins=("sign_up",), activates=("cart",), activate_times=2, ends=("end",), burn_in_days=3
)
KINDS = ["visit", "visit", "sign_up", "cart", "purchase", "purchase", "refund", "end", "impression"]
EVENTS = st.lists(
    st.tuples(
        st.integers(0, 5),  # user
        st.integers(0, 100),  # day
        st.integers(0, 3),  # quarter of the day
        st.sampled_from(KINDS),
        st.integers(0, 2),  # order of the user
        st.integers(-2, 9),  # money
    ),
    max_size=60,
)


def frame(rows: list[Any], *, first: int = 0) -> pl.DataFrame:
    columns = list(zip(*rows, strict=True)) or [()] * 6
    user, day, quarter, kind, order, money = columns
    return pl.DataFrame(
        {
            "event_id": [f"e{first + k}" for k in range(len(rows))],
            "user_id": [f"u{u}" for u in user],
            "t_us": [
                START_US + d * DAY_US + q * DAY_US // 4 + k
                for k, (d, q) in enumerate(zip(day, quarter, strict=True))
            ],
            "type": list(kind),
            "order_id": [None if o == 2 else f"o{o}" for o in order],
            "value": [None if m < 0 else float(m) for m in money],
        },
        schema={
            "event_id": pl.String,
            "user_id": pl.String,
            "t_us": pl.Int64,
            "type": pl.String,
            "order_id": pl.String,
            "value": pl.Float64,
        },
    )


def same(got: Daily, events: pl.DataFrame) -> None:
    """Assert that a kept state and the events answer alike, whoever asks."""
    as_of = START + timedelta(days=130)
    options: dict[str, Any] = {"zone": ZONE, "as_of": as_of}
    full = build(events, definitions=D, zone=ZONE)
    for name in ("days", "orders", "path", "people"):
        keys = {
            "days": ["user_id", "day"],
            "orders": ["user_id", "order_id", "order_key"],
            "path": ["user_id", "begin"],
            "people": ["user_id"],
        }[name]
        kept, want = (
            getattr(d, name)
            .with_columns(user_id=d.users["user_id"].gather(getattr(d, name)["ix"]))
            .drop("ix")
            .sort(keys, nulls_last=True)
            for d in (got, full)
        )
        assert_frame_equal(kept, want)
    for function in (
        lc.active_users,
        lc.growth_accounting,
        lc.activity_states,
        lc.return_rates,
        lc.active_day_histogram,
        lc.retention,
        lc.retention_curve,
    ):
        assert_frame_equal(
            function(got, passive=D.passive, **options),
            function(events, passive=D.passive, **options),
        )
    for staged in (lc.stages, lc.stage_counts, lc.transitions, lc.churn_rate):
        assert_frame_equal(
            staged(got, definitions=D, **options), staged(events, definitions=D, **options)
        )
    assert_frame_equal(
        lc.transitions(got, definitions=D, members=True, **options),
        lc.transitions(events, definitions=D, members=True, **options),
    )


@settings(max_examples=15, deadline=None)
@given(EVENTS)
def test_the_daily_state_answers_as_the_events_do(rows: list[Any]) -> None:
    events = frame(rows)
    same(build(events, definitions=D, zone=ZONE), events)


@settings(max_examples=25, deadline=None)
@given(EVENTS, st.integers(0, 100), st.integers(0, 100))
def test_day_after_day_equals_a_full_run(rows: list[Any], one: int, two: int) -> None:
    rows = sorted(rows, key=lambda r: (r[1], r[2]))
    events = frame(rows)
    at = pl.col("t_us") - START_US
    first, second = sorted((one, two))
    parts = [
        events.filter(at < first * DAY_US),
        events.filter(at >= first * DAY_US, at < second * DAY_US + DAY_US // 2),
        events.filter(at >= second * DAY_US + DAY_US // 2, at >= first * DAY_US),
    ]
    daily = build(parts[0], definitions=D, zone=ZONE)
    for part in parts[1:]:
        assert late(daily, part) == set()
        daily = applied(daily, change(daily, part))
    same(daily, pl.concat(parts))


@settings(max_examples=25, deadline=None)
@given(EVENTS, EVENTS)
def test_late_events_redo_only_their_users(rows: list[Any], more: list[Any]) -> None:
    known, new = frame(rows), frame(more, first=1000)
    daily = build(known, definitions=D, zone=ZONE)
    redo = late(daily, new)
    both = pl.concat([known, new])
    histories = both.filter(pl.col("user_id").is_in(list(redo)))
    delta = change(daily, new, redo=redo, histories=histories)
    same(applied(daily, delta), both)
    touched = set(pl.concat([daily.users, delta.new_users])["user_id"].gather(delta.people["ix"]))
    assert touched <= set(new["user_id"])


@settings(max_examples=15, deadline=None)
@given(EVENTS, st.integers(0, 5), st.integers(0, 5))
def test_a_merge_and_an_erasure_redo_only_their_users(
    rows: list[Any], visitor: int, gone: int
) -> None:
    events = frame(rows)
    daily = build(events, definitions=D, zone=ZONE)
    merged = events.with_columns(pl.col("user_id").replace(f"u{visitor}", "u0"))
    pair = {f"u{visitor}", "u0"}
    histories = merged.filter(pl.col("user_id") == "u0")
    daily = applied(daily, change(daily, events.clear(), redo=pair, histories=histories))
    same(daily, merged)
    rest = merged.filter(pl.col("user_id") != f"u{gone}")
    daily = applied(daily, change(daily, events.clear(), redo={f"u{gone}"}))
    same(daily, rest)
    assert daily.days.filter(
        daily.users["user_id"].gather(daily.days["ix"]) == f"u{gone}"
    ).is_empty()


def test_what_days_cannot_answer_is_refused() -> None:
    events = frame([(0, 1, 0, "visit", 0, 1), (0, 5, 0, "purchase", 0, 1)])
    daily = build(events, definitions=D, zone=ZONE)
    with pytest.raises(InputError, match="days, not events"):
        lc.active_users(daily, zone="UTC")
    with pytest.raises(InputError, match="days, not events"):
        lc.active_users(daily, zone=ZONE, where=nw.col("type") == "visit")
    with pytest.raises(InputError, match="days, not events"):
        lc.orders(daily, zone=ZONE)
    with pytest.raises(InputError, match="days, not events"):
        lc.sessions(daily, zone=ZONE)
    with pytest.raises(InputError, match="later events than as_of"):
        lc.active_users(daily, zone=ZONE, as_of=START)
    with pytest.raises(InputError, match="other definitions"):
        lc.stages(daily, zone=ZONE, definitions=lc.StageDefinitions())

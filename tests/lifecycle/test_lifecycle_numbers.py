"""The numbers of spec/lifecycle.md section 3 that belong to lifecycle/, and hand counts."""

import inspect
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from lifeloop import lifecycle as lc
from lifeloop.errors import InputError

FOREVER = datetime(2030, 1, 1, tzinfo=UTC)


def us(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


def events(rows: list[tuple[Any, ...]], *names: str) -> pl.DataFrame:
    """Rows of (user, moment, type, and the columns named)."""
    columns = ["user_id", "t_us", "type", *names]
    return pl.DataFrame(
        [dict(zip(columns, (r[0], us(r[1]), *r[2:]), strict=True)) for r in rows],
        infer_schema_length=None,
    )


def views(days: dict[str, list[str]], hour: str = "12:00") -> pl.DataFrame:
    return events([(u, f"{day}T{hour}", "view") for u, ds in days.items() for day in ds])


# ------------------------------------------------------------------ growth accounting

PEOPLE = {
    "p1": [f"2020-01-{d}" for d in (11, 12, 13, 15, 17, 19)],
    "p2": ["2020-01-09", "2020-01-12"],
    "p3": ["2020-01-12"],
    "p4": ["2020-01-15"],
}
WINDOW: dict[str, Any] = {
    "start": date(2020, 1, 12),
    "end": date(2020, 1, 19),
    "as_of": FOREVER,
}


def flows(table: pl.DataFrame) -> dict[str, list[int]]:
    return {n: table[n].to_list() for n in ("new", "returning", "resurrecting", "dormant")}


def test_growth_accounting_of_posthog() -> None:
    table = lc.growth_accounting(views(PEOPLE), **WINDOW)
    assert table.columns == ["period", "new", "returning", "resurrecting", "dormant", "partial"]
    assert flows(table) == {
        "new": [1, 0, 0, 1, 0, 0, 0, 0],
        "returning": [1, 1, 0, 0, 0, 0, 0, 0],
        "resurrecting": [1, 0, 0, 1, 0, 1, 0, 1],
        "dormant": [0, -2, -1, 0, -2, 0, -1, 0],
    }
    assert table["period"].to_list() == [date(2020, 1, d) for d in range(12, 20)]
    assert not table["partial"].any()


def test_growth_accounting_counts_local_days() -> None:
    late = views(PEOPLE).with_columns(
        t_us=pl.when((pl.col("user_id") == "p1") & (pl.col("t_us") == us("2020-01-11T12:00")))
        .then(us("2020-01-11T23:00"))
        .when((pl.col("user_id") == "p1") & (pl.col("t_us") == us("2020-01-12T12:00")))
        .then(us("2020-01-12T01:00"))
        .otherwise("t_us")
    )
    assert flows(lc.growth_accounting(late, **WINDOW)) == flows(
        lc.growth_accounting(views(PEOPLE), **WINDOW)
    )
    assert flows(lc.growth_accounting(late, zone="US/Pacific", **WINDOW)) == {
        "new": [1, 0, 0, 1, 0, 0, 0, 0],
        "returning": [0] * 8,
        "resurrecting": [1, 1, 0, 1, 0, 1, 0, 1],
        "dormant": [-1, -2, -1, 0, -2, 0, -1, 0],
    }


def test_a_day_of_23_hours_is_one_day() -> None:
    table = lc.growth_accounting(
        views({"p": ["2025-03-09"]}),
        zone="US/Pacific",
        start=date(2025, 3, 8),
        end=date(2025, 3, 11),
        as_of=FOREVER,
    )
    assert table["new"].to_list() == [0, 1, 0, 0]
    assert table["dormant"].to_list() == [0, 0, -1, 0]
    assert table["period"].n_unique() == 4


def test_a_user_first_seen_in_the_burn_in_is_not_new_and_the_sum_still_holds() -> None:
    table = lc.growth_accounting(
        views(PEOPLE), burn_in_days=4, as_of=FOREVER, end=date(2020, 1, 16)
    )
    by_day = dict(zip(table["period"].dt.day().to_list(), table.rows(named=True), strict=True))
    # the log starts on the 9th: p2 (9th), p1 (11th), p3 (12th) are existing, p4 (15th) is new
    assert {d: r["new"] for d, r in by_day.items() if r["new"]} == {15: 1}
    assert by_day[12]["returning"] + by_day[12]["resurrecting"] == 3


def test_a_period_is_partial_until_its_end_and_lateness_have_passed() -> None:
    world = views({"u": ["2024-03-01"]})
    for hours, partial in ((71, True), (72, False)):
        as_of = datetime(2024, 3, 2, tzinfo=UTC) + timedelta(hours=hours)
        table = lc.growth_accounting(world, end=date(2024, 3, 1), as_of=as_of)
        assert table["partial"].to_list() == [partial]
    week = lc.growth_accounting(
        world, grain="week", end=date(2024, 3, 1), as_of=datetime(2024, 3, 6, tzinfo=UTC)
    )
    assert week.select("period", "partial").row(0) == (date(2024, 2, 26), True)


@pytest.mark.parametrize(("start", "monday"), [("monday", "2024-02-26"), ("sunday", "2024-02-25")])
def test_weeks_start_on_the_configured_day(start: Any, monday: str) -> None:
    table = lc.growth_accounting(
        views({"u": ["2024-03-02"]}), grain="week", week_start=start, as_of=us("2024-03-03T00:00")
    )
    assert table["period"].to_list() == [date.fromisoformat(monday)]


# ------------------------------------------------------------------ retention

TWO = {
    "1": [f"2024-01-0{1 + d}" for d in (0, 1, 2, 5, 6)],
    "2": [f"2024-01-0{1 + d}" for d in (1, 2, 3, 6)],
}
WEEK: dict[str, Any] = {"end": date(2024, 1, 7), "as_of": FOREVER}


def triangle(table: pl.DataFrame, column: str = "retained") -> list[list[Any]]:
    cohorts = table.group_by("cohort", maintain_order=True).agg(column)
    return [list(row) for row in cohorts[column]]


def test_recurring_retention_of_posthog() -> None:
    assert triangle(lc.retention(views(TWO), cohort="recurring", **WEEK)) == [
        [1, 1, 1, 0, 0, 1, 1],
        [2, 2, 1, 0, 1, 2],
        [2, 1, 0, 1, 2],
        [1, 0, 0, 1],
        [0, 0, 0],
        [1, 1],
        [2],
    ]


def test_first_time_retention_is_another_question() -> None:
    table = lc.retention(views(TWO), **WEEK)
    assert triangle(table)[:3] == [[1, 1, 1, 0, 0, 1, 1], [1, 1, 1, 0, 0, 1], [0, 0, 0, 0, 0]]
    assert triangle(table, "n")[:3] == [[1] * 7, [1] * 6, [0] * 5]


def test_unbounded_retention_is_active_at_k_or_later_and_flags_the_tail() -> None:
    table = lc.retention(views(TWO), kind="unbounded", cohort="recurring", **WEEK)
    assert triangle(table)[3] == [1, 1, 1, 1]
    until_5 = lc.retention(
        views(TWO), kind="unbounded", end=date(2024, 1, 5), as_of=us("2024-01-06T00:00")
    )
    assert triangle(until_5)[0] == [1, 1, 1, 0, 0]
    assert until_5["censored"].all()
    long_after = lc.retention(views(TWO), kind="unbounded", max_offset=2, **WEEK)
    assert not long_after["censored"].any()


def test_bracket_retention_is_active_anywhere_in_it() -> None:
    table = lc.retention(
        views(TWO), kind="bracket", brackets=[(1, 2), (3, 5)], cohort="recurring", **WEEK
    )
    assert triangle(table) == [[1, 1], [2, 2], [1, 2], [0, 1], [0], [1]]
    # the second bracket of the fourth of January needs the ninth: complete long before 2030
    assert not table["partial"].any()
    early = lc.retention(
        views(TWO),
        kind="bracket",
        brackets=[(1, 2), (3, 5)],
        end=date(2024, 1, 7),
        as_of=us("2024-01-11T00:00"),
    )
    assert triangle(early, "partial") == [
        [False, False],
        [False, False],
        [False, True],
        [False, True],
        [False],
        [True],
    ]


def test_the_mean_curve_weighs_cohorts_by_their_users_and_keeps_those_at_zero() -> None:
    world = views(
        {
            **{f"a{i}": ["2024-01-01", "2024-01-02"] for i in range(3)},
            "b": ["2024-01-02"],
            "c": ["2024-01-04", "2024-01-05"],
        }
    )
    curve = lc.retention_curve(world, end=date(2024, 1, 5), as_of=FOREVER)
    day1 = curve.row(1, named=True)
    # 3 of 3 + 0 of 1 + 1 of 1; the cohort of January 3 is empty and out
    assert (day1["cohorts"], day1["retained"], day1["n"]) == (3, 4, 5)
    assert day1["rate"] == pytest.approx(0.8)


def test_a_cohort_of_one_has_an_interval_and_an_empty_one_a_reason() -> None:
    table = lc.retention(views(TWO), **WEEK)
    one = table.row(0, named=True)
    assert (one["rate"], one["rate_high"], one["small"]) == (1.0, 1.0, True)
    assert one["rate_low"] == pytest.approx(0.206549314, abs=1e-9)
    empty = table.filter(pl.col("n") == 0).row(0, named=True)
    assert (empty["rate"], empty["reason"]) == (None, "no users in the cohort")


def test_a_table_nobody_can_read_is_refused() -> None:
    with pytest.raises(InputError, match="longer grain"):
        lc.retention(views({"u": ["1969-01-01", "2101-01-01"]}), as_of=us("2101-02-01T00:00"))


def test_wrong_kinds_cohorts_and_brackets_are_refused() -> None:
    for wrong in (
        {"kind": "weekly"},
        {"cohort": "second"},
        {"kind": "bracket", "brackets": [(3, 1)]},
        {"kind": "bracket", "brackets": []},
        {"max_offset": -1},
    ):
        with pytest.raises(InputError):
            lc.retention(views(TWO), **wrong)


# ------------------------------------------------------------------ seven states


def test_seven_states_of_the_specification() -> None:
    first = date(2024, 1, 1)
    world = views({"u": [str(first + timedelta(days=d)) for d in (0, 1, 9, 45)]})
    want = ["new", "current", *["at_risk_wau"] * 6, "at_risk_mau", "reactivated"]
    want += ["at_risk_wau"] * 6 + ["at_risk_mau"] * 23 + ["dormant"] * 6 + ["resurrected"]
    window: dict[str, Any] = {"end": first + timedelta(days=45), "as_of": FOREVER}
    assert lc.activity_states(world, members=True, **window)["state"].to_list() == want
    wide = lc.activity_states(world, **window)
    shown = [next(s for s in lc.STATES if row[s]) for row in wide.iter_rows(named=True)]
    assert shown == want
    # and the state beside the stage is the same, day by day
    definitions = lc.StageDefinitions(burn_in_days=0)
    for k, state in enumerate(want):
        as_of = us(str(first + timedelta(days=k + 1)) + "T00:00")
        placed = lc.stages(world, definitions=definitions, as_of=as_of)
        assert placed["activity"].to_list() == [state], k


def test_return_rates_count_who_comes_back_tomorrow() -> None:
    world = views({"a": ["2024-01-01", "2024-01-02"], "b": ["2024-01-01"], "c": ["2024-01-02"]})
    table = lc.return_rates(world, end=date(2024, 1, 2), as_of=us("2024-01-06T00:00"))
    cells = {(r["period"].day, r["measure"]): r for r in table.iter_rows(named=True)}
    assert (cells[1, "nurr"]["n"], cells[1, "nurr"]["returned"]) == (2, 1)
    assert cells[1, "nurr"]["value"] == 0.5
    assert not cells[1, "nurr"]["partial"]
    assert cells[2, "curr"]["n"] == 1
    assert cells[2, "curr"]["partial"]  # the 3rd of January is complete on the 7th
    assert cells[1, "surr"]["reason"] == "no users in this state"


# ------------------------------------------------------------------ hand counts


def test_stickiness_is_mean_dau_over_mau() -> None:
    world = views(
        {
            "a": [str(date(2024, 1, 1) + timedelta(days=d)) for d in range(30)],
            "b": ["2024-01-30"],
            "c": ["2024-01-01"],
        }
    )
    last = lc.active_users(world, as_of=us("2024-01-31T00:00")).row(-1, named=True)
    assert (last["dau"], last["wau"], last["mau"]) == (2, 2, 3)
    assert last["stickiness"] == pytest.approx((32 / 30) / 3)
    histogram = lc.active_day_histogram(world, as_of=us("2024-01-31T00:00"))
    assert {r[0]: r[1] for r in histogram.rows() if r[1]} == {1: 2, 30: 1}


def test_stickiness_of_nobody_is_null_with_a_reason() -> None:
    table = lc.active_users(
        views({"a": ["2024-01-01"]}), start=date(2024, 3, 1), end=date(2024, 3, 1), as_of=FOREVER
    )
    assert table.row(0, named=True)["stickiness"] is None
    assert table.row(0, named=True)["reason"] == "nobody was active in the last 30 days"


def test_sessions_open_at_a_gap_or_after_a_day_and_are_not_cut_at_midnight() -> None:
    rows = [
        ("a", "2024-01-01T10:00", "view"),
        ("a", "2024-01-01T10:29", "view"),  # 29 minutes: same
        ("a", "2024-01-01T10:59", "view"),  # 30 minutes: new, of length 0
        ("b", "2024-01-01T23:50", "view"),
        ("b", "2024-01-02T00:10", "view"),  # over midnight: one session of the 1st
        *[("bot", f"2024-01-0{3 + m // 1440}T{m % 1440 // 60:02}:{m % 60:02}", "view")
          for m in range(0, 2880, 20)],  # two days without a pause: two sessions of a day
    ]  # fmt: skip
    world = events(rows)
    table = lc.sessions(world, as_of=FOREVER, end=date(2024, 1, 4))
    assert table["sessions"].to_list() == [3, 0, 1, 1]
    first = table.row(0, named=True)
    assert first["length_mean_s"] == pytest.approx((29 * 60 + 0 + 20 * 60) / 3)
    assert first["length_mean_nonzero_s"] == pytest.approx((29 * 60 + 20 * 60) / 2)
    assert (first["zero_length"], first["zero_share"]) == (1, pytest.approx(1 / 3))
    assert table.row(1, named=True)["reason"] == "no sessions"
    members = lc.sessions(world, as_of=FOREVER, members=True)
    of_bot = members.filter(pl.col("user_id") == "bot")
    assert of_bot["events"].to_list() == [72, 72]
    assert (of_bot["length_s"] < 24 * 3600).all()
    mobile = lc.sessions(world, gap_minutes=5, as_of=FOREVER, end=date(2024, 1, 1))
    assert mobile["sessions"].to_list() == [4]


def test_events_of_one_instant_are_in_one_session() -> None:
    rows = [("u", f"2024-01-01T1{hour}:00", "view") for hour in range(8) for _ in range(3)]
    members = lc.sessions(events(rows), as_of=FOREVER, members=True)
    assert members["events"].to_list() == [3] * 8
    table = lc.sessions(events(rows), as_of=FOREVER, end=date(2024, 1, 1))
    assert table.select("sessions", "zero_length").row(0) == (8, 8)


def test_a_session_of_exactly_a_day_opens_the_next() -> None:
    half_hours = [("u", f"2024-01-01T{m // 60:02}:{m % 60:02}", "view") for m in range(0, 1440, 20)]
    world = events([*half_hours, ("u", "2024-01-02T00:00", "view")])
    members = lc.sessions(world, as_of=FOREVER, members=True)
    assert members["events"].to_list() == [72, 1]


def test_who_is_still_inside_the_window_is_neither_success_nor_failure() -> None:
    world = events(
        [
            ("quick", "2024-01-01T09:00", "visit"),
            ("quick", "2024-01-02T09:00", "sign_up"),
            ("slow", "2024-01-01T09:00", "visit"),
            ("slow", "2024-01-09T09:00", "sign_up"),  # day 8 of 7
            ("edge", "2024-01-01T09:00", "visit"),
            ("edge", "2024-01-08T23:00", "sign_up"),  # day 7 of 7
            ("fresh", "2024-01-09T09:00", "visit"),
            ("fresh", "2024-01-09T10:00", "sign_up"),
        ]
    )
    table = lc.signup_conversion(
        world, within_days=7, grain="month", as_of=datetime(2024, 1, 12, tzinfo=UTC)
    )
    row = table.row(0, named=True)
    assert (row["users"], row["n"], row["converted"], row["partial"]) == (4, 3, 2, True)
    assert row["rate"] == pytest.approx(2 / 3)


def test_a_visitor_with_an_account_is_out_of_signup_conversion() -> None:
    world = events([("old", "2024-01-05T09:00", "visit"), ("new", "2024-01-05T09:00", "visit")])
    users = pl.DataFrame(
        {"user_id": ["old", "new"], "created_us": [us("2023-05-01T00:00"), us("2024-01-05T10:00")]}
    )
    table = lc.signup_conversion(
        world, users=users, grain="month", as_of=FOREVER, end=date(2024, 1, 31)
    )
    assert table["users"].to_list() == [1]


def test_an_action_before_sign_up_counts_towards_activation() -> None:
    world = events(
        [
            ("u", "2024-01-01T09:00", "cart"),
            ("u", "2024-01-05T09:00", "sign_up"),
            ("u", "2024-01-06T09:00", "cart"),
            ("v", "2024-01-05T09:00", "sign_up"),
            ("v", "2024-01-06T09:00", "cart"),
        ]
    )
    table = lc.activation(
        world, activates=["cart"], times=2, grain="month", as_of=FOREVER, end=date(2024, 1, 31)
    )
    assert table.select("n", "converted").row(0) == (2, 1)


SHOP = events(
    [
        ("a", "2024-01-01T09:00", "purchase", "1", 10.0),
        ("a", "2024-01-01T09:00", "purchase", "1", 20.0),
        ("a", "2024-02-03T09:00", "refund", "1", -5.0),
        ("b", "2024-01-02T09:00", "purchase", "2", 40.0),
        ("b", "2024-01-20T09:00", "refund", "2", 40.0),
        ("b", "2024-01-22T09:00", "purchase", "3", 7.0),
        ("b", "2024-01-22T19:00", "purchase", "4", 8.0),
        ("c", "2024-01-09T09:00", "refund", "lost", 9.0),
        ("d", "2024-01-09T09:00", "visit", None, None),
        ("a", "2024-02-10T09:00", "purchase", "5", 0.0),
    ],
    "order_id",
    "value",
)


def test_orders_by_hand() -> None:
    table = lc.orders(SHOP, grain="month", as_of=FOREVER, end=date(2024, 2, 29))
    january, february = table.iter_rows(named=True)
    # order 1 net 25, order 2 refunded in full, orders 3 and 4
    assert (january["orders"], january["buyers"], january["refunded_orders"]) == (3, 2, 1)
    assert (january["gross"], january["given_back"], january["net"]) == (85.0, 45.0, 40.0)
    assert january["aov"] == pytest.approx(40 / 3)
    assert january["frequency"] == pytest.approx(3 / 2)
    # cash goes out on the refund's own day: 40 + the lost 9 in January, 5 in February
    assert (january["refunds_paid"], february["refunds_paid"]) == (49.0, 5.0)
    assert (january["unmatched_refunds"], january["unmatched_amount"]) == (1, 9.0)
    # b bought twice on one day only: not a repeat buyer; a's order of nothing is none
    assert (january["repeat_n"], january["repeat_buyers"], january["repeat_rate"]) == (2, 0, 0.0)
    assert (february["orders"], february["aov"]) == (0, None)
    assert february["reason"] == "no orders with net > 0"


def test_observed_ltv_counts_those_who_spent_nothing_and_refunds_on_the_order_day() -> None:
    table = lc.observed_ltv(SHOP, grain="month", margin=0.5, as_of=FOREVER, end=date(2024, 2, 29))
    # a, b, d were first active in January; c only had a refund and was never active
    january = table.filter(pl.col("cohort") == date(2024, 1, 1))
    assert january["n"].to_list() == [3, 3]
    assert january["value"].to_list() == [20.0, 20.0]
    assert january["ltv"].to_list() == pytest.approx([20 / 3, 20 / 3])


def test_rfm_meets_the_input_contract_of_buy_till_you_die_models() -> None:
    bought = [
        ("1", "01-01", 1), ("1", "02-06", 2), ("2", "01-01", 2), ("3", "01-01", 3),
        ("3", "01-02", 1), ("3", "01-05", 5), ("4", "01-16", 6), ("4", "02-02", 3),
        ("4", "02-05", 3), ("5", "01-16", 3), ("5", "01-17", 1), ("5", "01-18", 8),
        ("6", "02-02", 5),
    ]  # fmt: skip
    world = events(
        [(u, f"2015-{day}T10:00", "purchase", float(v)) for u, day, v in bought], "value"
    )
    table = lc.rfm(world, as_of=datetime(2015, 2, 8, tzinfo=UTC))
    assert table.select("x", "t_x", "T", "repeat_value").rows() == [
        (1, 36, 37, 2.0),
        (0, 0, 37, 0.0),
        (2, 4, 37, 3.0),
        (2, 20, 22, 3.0),
        (2, 2, 22, 4.5),
        (0, 0, 5, 0.0),
    ]
    assert table["frequency"].to_list() == [2, 1, 3, 3, 3, 1]
    # recency 1 37 33 2 20 5 days, ranked from the longest: 6 1 2 5 3 4; ceil(5 * rank / 6)
    assert table["r"].to_list() == [5, 1, 2, 5, 3, 4]
    # frequency: two share rank 2, one has 3, three share 6
    assert table["f"].to_list() == [3, 2, 5, 5, 5, 2]


def test_one_voice_per_user_and_ninety_days() -> None:
    answers = [
        ("a", "2024-01-01T09:00", "nps", 0),
        ("a", "2024-01-05T09:00", "nps", 10),  # replaces the 0
        ("b", "2024-01-02T09:00", "nps", 8),
        ("c", "2024-01-02T09:00", "nps", 6),
        ("d", "2024-01-03T09:00", "nps", 11),  # refused
        ("d", "2024-01-03T09:00", "csat", 4.5),  # refused
        ("a", "2024-01-03T09:00", "csat", 4),
        ("b", "2024-01-03T09:00", "csat", 3),
    ]
    world = events(answers, "rating")
    table = lc.satisfaction(world, grain="month", as_of=FOREVER, end=date(2024, 5, 31))
    january = table.row(0, named=True)
    assert (january["nps_n"], january["promoters"], january["detractors"]) == (3, 1, 1)
    assert january["nps"] == 0.0
    assert (january["csat_n"], january["csat"], january["refused"]) == (2, 0.5, 2)
    assert january["small"]
    # 90 days from January 5 end on April 3: in April only nobody speaks any more
    assert table["nps_n"].to_list() == [3, 3, 3, 0, 0]
    assert table.row(3, named=True)["nps_reason"] == "no answers in the last 90 days"
    march = lc.satisfaction(world, end=date(2024, 4, 4), start=date(2024, 4, 3), as_of=FOREVER)
    assert march["nps_n"].to_list() == [1, 0]


def test_only_an_activated_referee_counts_and_nobody_refers_themselves() -> None:
    world = events(
        [
            ("boss", "2024-01-01T09:00", "visit", None),
            ("selfie", "2024-01-01T09:00", "cart", "selfie"),
            ("friend", "2024-01-01T09:00", "sign_up", "boss"),
            ("boss", "2024-01-02T09:00", "visit", None),
            ("friend", "2024-01-02T19:00", "cart", None),
            ("idle", "2024-01-02T09:00", "sign_up", "selfie"),
        ],
        "referrer_id",
    )
    table = lc.referrals(world, activates=["cart"], as_of=FOREVER, end=date(2024, 1, 2))
    assert table.select("n", "referrers").rows() == [(3, 0), (3, 1)]
    members = lc.referrals(world, activates=["cart"], as_of=FOREVER, members=True)
    assert members.filter(pl.col("status") == "referrer")["user_id"].to_list() == ["boss"]


def test_transitions_carry_date_from_to_and_the_rule() -> None:
    world = events(
        [
            ("u", "2024-01-01T09:00", "visit"),
            ("u", "2024-01-02T09:00", "sign_up"),
            ("u", "2024-03-01T09:00", "purchase"),
        ]
    )
    definitions = lc.StageDefinitions(joins=("sign_up",), burn_in_days=0)
    moves = lc.transitions(
        world, definitions=definitions, members=True, as_of=us("2024-03-10T00:00")
    )
    assert moves.select("date", "from", "to", "rule").rows() == [
        (date(2024, 1, 1), None, "acquisition", "seen"),
        (date(2024, 1, 2), "acquisition", "activation", "joined"),
        (date(2024, 1, 24), "activation", "at_risk", "silent: 22 > 21 days"),
        (date(2024, 2, 1), "at_risk", "churned", "silent: 30 >= 30 days"),
        (date(2024, 3, 1), "churned", "resurrected", "came_back: on 2024-03-01, shown 7 days"),
        (date(2024, 3, 8), "resurrected", "conversion", "orders: 1 >= 1"),
    ]
    table = lc.transitions(
        world, definitions=definitions, grain="month", as_of=us("2024-03-10T00:00")
    )
    assert table.select("n").sum().item() == 6


def test_observable_says_why() -> None:
    definitions = lc.StageDefinitions(
        joins=("sign_up",), activates=("cart",), orders=("purchase",), passive=("refund",)
    )
    why = lc.observable(
        {"purchase": 9, "refund": 1},
        definitions,
        first_us=us("2024-01-01T00:00"),
        last_us=us("2024-01-20T00:00"),
    )
    assert why["conversion"] is None
    assert why["loyalty"] is None
    assert why["acquisition"] == "no visits: nobody can be seen before their first purchase"
    assert why["activation"] == "no sign-ups: the log holds no event of type sign_up"
    assert "no key actions" in str(why["retention"])
    assert "existing, not new" in str(why["new"])
    assert "nobody can have been silent for 30 days" in str(why["churned"])
    full = lc.observable(
        {"visit": 1, "sign_up": 1, "cart": 1, "purchase": 1},
        definitions,
        first_us=us("2023-01-01T00:00"),
        last_us=us("2024-01-20T00:00"),
    )
    assert set(full.values()) == {None}
    assert "no event has a time" in str(lc.observable({"visit": 1}, definitions)["new"])
    bare = lc.observable({}, lc.StageDefinitions(orders=()))
    assert "names no orders" in str(bare["loyalty"])


def test_the_names_of_the_issue_are_there() -> None:
    names = (
        "sessions traffic signup_conversion activation active_users growth_accounting "
        "activity_states stages transitions retention conversion orders referrals satisfaction "
        "observed_ltv rfm"
    )
    for name in names.split():
        function = getattr(lc, name)
        kinds = [p.kind for p in inspect.signature(function).parameters.values()]
        assert kinds[0] is inspect.Parameter.POSITIONAL_OR_KEYWORD
        assert inspect.Parameter.POSITIONAL_OR_KEYWORD not in kinds[1:], name

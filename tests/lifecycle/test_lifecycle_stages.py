"""The stage of every user: against the specification written out day by day."""

import math
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifeloop.config import Scenario
from lifeloop.contracts import UNTIMED, History
from lifeloop.lifecycle import StageDefinitions, churn_rate, stage_of, stages, transitions
from lifeloop.lifecycle.predictions import predicted

START = date(2024, 1, 1)
DEFINITIONS = StageDefinitions(
    joins=("sign_up",),
    activates=("cart",),
    activate_times=2,
    passive=("sent", "refund"),
    ends=("cancel",),
    burn_in_days=3,
)
TYPES = [
    "view",
    "view",
    "view",
    "sign_up",
    "cart",
    "purchase",
    "purchase",
    "refund",
    "sent",
    "cancel",
]


def us(day: int, hour: float = 12.0) -> int:
    moment = datetime(START.year, START.month, START.day, tzinfo=UTC)
    return int((moment + timedelta(days=day, hours=hour)).timestamp() * 1e6)


def frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(
        rows,
        schema={
            "user_id": pl.String,
            "t_us": pl.Int64,
            "type": pl.String,
            "order_id": pl.String,
            "value": pl.Float64,
            "is_bot": pl.Boolean,
        },
    )


def row(user: str, day: int, kind: str = "view", **more: Any) -> dict[str, Any]:
    return {"user_id": user, "t_us": us(day), "type": kind, **more}


def history(user: str, rows: list[dict[str, Any]]) -> History:
    rows = sorted(rows, key=lambda r: UNTIMED if r["t_us"] is None else r["t_us"])
    n = len(rows)
    return History(
        user_id=user,
        known=True,
        type=tuple(r["type"] for r in rows),
        item_id=(None,) * n,
        t_us=np.array([UNTIMED if r["t_us"] is None else r["t_us"] for r in rows], dtype=np.int64),
        value=np.array([math.nan if r.get("value") is None else r["value"] for r in rows]),
        quantity=np.full(n, math.nan),
        rating=np.full(n, math.nan),
        order_id=tuple(r.get("order_id") for r in rows),
        text=(None,) * n,
        is_bot=np.array([bool(r.get("is_bot")) for r in rows], dtype=bool),
        seq=np.arange(n),
    )


# ------------------------------------------------------------------ the specification, naively


def naive(rows: list[dict[str, Any]], today: int, d: StageDefinitions) -> tuple[str, str | None]:
    """Return (product stage, overlay) of one user on one day, by walking every day."""
    rows = [r for r in rows if r["t_us"] is not None and not r.get("is_bot")]
    log = [(int((r["t_us"] - us(0, 0)) // 86_400_000_000), r) for r in rows]
    active = sorted({day for day, r in log if r["type"] not in d.passive and day <= today})
    ends = {day for day, r in log if r["type"] in d.ends}

    def last_active(day: int) -> int | None:
        return max((a for a in active if a <= day), default=None)

    def is_churned(day: int) -> bool:
        last = last_active(day)
        if any(e <= day and (last is None or e >= last) for e in ends):
            return True
        return last is not None and day - last >= d.churned_gap_days

    def resurrected(day: int) -> bool:
        return any(
            a in active and last_active(a - 1) is not None and is_churned(a - 1)
            for a in range(day - d.resurrected_days + 1, day + 1)
        )

    def at_risk(day: int) -> bool:
        last = last_active(day)
        if last is None:
            return False
        known = [a for a in active if a <= day]
        gaps = sorted(b - a for a, b in pairwise(known))
        limit = d.at_risk_gap_days
        if len(gaps) >= 5:
            limit = gaps[math.ceil(round(0.9 * len(gaps), 9)) - 1]
        return day - last > limit

    orders: dict[Any, list[dict[str, Any]]] = {}
    for day, r in log:
        if r["type"] in (*d.orders, *d.refunds) and day <= today:
            orders.setdefault(r.get("order_id") or r["t_us"], []).append(r)
    standing = 0
    for lines in orders.values():
        paid = [r for r in lines if r["type"] in d.orders]
        back = [r for r in lines if r["type"] in d.refunds]
        cents = sum(round(100 * r["value"]) for r in paid if r.get("value") is not None)
        cents -= sum(abs(round(100 * r["value"])) for r in back if r.get("value") is not None)
        unknown = all(r.get("value") is None for r in lines)
        standing += bool(paid) and (cents > 0 or (unknown and not back))
    last = last_active(today)
    product = "acquisition"
    if any(r["type"] in d.joins and day <= today for day, r in log):
        product = "activation"
    if sum(r["type"] in d.activates and day <= today for day, r in log) >= d.activate_times:
        product = "retention"
    if standing >= 1:
        product = "conversion"
    if standing >= d.loyal_orders and last is not None and today - last <= d.active_within_days:
        product = "loyalty"
    if is_churned(today):
        return product, "churned"
    if resurrected(today):
        return product, "resurrected"
    return product, "at_risk" if at_risk(today) else None


USER_ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "day": st.integers(0, 120),
            "type": st.sampled_from(TYPES),
            "order_id": st.sampled_from(["a", "b", "c", None]),
            "value": st.sampled_from([10.0, 10.1, 20.2, 30.3, 0.0, -5.0, None]),
            "is_bot": st.sampled_from([False, False, False, None, True]),
        }
    ),
    max_size=40,
)


def expand(user: str, drawn: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"user_id": user, "t_us": us(r["day"]) + 1000 * k} | {k2: r[k2] for k2 in r if k2 != "day"}
        for k, r in enumerate(drawn)
    ]


@settings(max_examples=80, deadline=None)
@given(users=st.lists(USER_ROWS, min_size=1, max_size=4), today=st.integers(0, 130))
def test_stages_equal_the_specification_walked_day_by_day(
    users: list[list[dict[str, Any]]], today: int
) -> None:
    logs = {f"u{i}": expand(f"u{i}", rows) for i, rows in enumerate(users)}
    events = frame([r for rows in logs.values() for r in rows])
    got = stages(events, definitions=DEFINITIONS, as_of=us(today + 1, 0), log_start=START)
    placed = {r["user_id"]: r for r in got.to_dicts()}
    visible = {
        u
        for u, rows in logs.items()
        if any(r["t_us"] < us(today + 1, 0) and not r["is_bot"] for r in rows)
    }
    assert set(placed) == visible
    for user in visible:
        want_product, want_overlay = naive(logs[user], today, DEFINITIONS)
        result = placed[user]
        assert (result["product_stage"], result["overlay"]) == (want_product, want_overlay)
        assert result["stage"] == (want_overlay or want_product)
        day = today
        while day > 0 and _shown(logs[user], day - 1) == result["stage"]:
            day -= 1
        assert result["since"] == START + timedelta(days=max(day, _first(logs[user])))


def _first(rows: list[dict[str, Any]]) -> int:
    days = [(r["t_us"] - us(0, 0)) // 86_400_000_000 for r in rows if not r["is_bot"]]
    return int(min(days))


def _shown(rows: list[dict[str, Any]], day: int) -> str:
    product, overlay = naive(rows, day, DEFINITIONS)
    return overlay or product


@settings(max_examples=80, deadline=None)
@given(
    drawn=USER_ROWS,
    today=st.integers(0, 130),
    numbers=st.lists(
        st.tuples(st.sampled_from([None, 0.3, 0.55, 0.7]), st.sampled_from([None, 0.0, 9.0])),
        max_size=5,
    ),
)
def test_the_request_path_equals_the_set_path(
    drawn: list[dict[str, Any]], today: int, numbers: list[tuple[float | None, float | None]]
) -> None:
    rows = expand("u", drawn)
    predictions = pl.DataFrame(
        {
            "user_id": ["u"] * len(numbers),
            "month": [START + timedelta(days=25 * k - 5) for k in range(len(numbers))],
            "p_alive": [p for p, _ in numbers],
            "predicted_value": [value for _, value in numbers],
        },
        schema={
            "user_id": pl.String,
            "month": pl.Date,
            "p_alive": pl.Float64,
            "predicted_value": pl.Float64,
        },
    )
    as_of_us = us(today, 13.0)
    one = stage_of(
        history("u", rows),
        definitions=DEFINITIONS,
        as_of_us=as_of_us,
        log_start_us=us(0),
        predictions=predicted(predictions),
    )
    placed = stages(
        frame(rows),
        definitions=DEFINITIONS,
        as_of=as_of_us,
        log_start=START,
        predictions=predictions,
    )
    if placed.is_empty():
        assert one.rule in ("no_history", "no_timed_events")
        assert one.stage == "acquisition"
        assert one.activity is None
        return
    want = placed.row(0, named=True)
    for name in ("stage", "product_stage", "overlay", "activity", "rule", "existing", "gap_days"):
        assert getattr(one, name) == want[name], name
    assert one.since == want["since"].isoformat()
    assert one.date == want["date"].isoformat()
    assert one.facts["orders"] == want["orders"]
    assert one.facts["first_seen"] == want["first_seen"].isoformat()


# ------------------------------------------------------------------ one rule at a time


def placed(rows: list[dict[str, Any]], today: int, **changes: Any) -> dict[str, Any]:
    d = StageDefinitions(**({"joins": ("sign_up",), "activates": ("cart",)} | changes))
    result = stages(frame(rows), definitions=d, as_of=us(today + 1, 0))
    return result.row(0, named=True)


def test_a_refunded_order_does_not_convert() -> None:
    paid = [row("u", 0, "purchase", order_id="o", value=v) for v in (10.1, 20.2)]
    assert placed(paid, 1)["product_stage"] == "conversion"
    refunded = [*paid, row("u", 1, "refund", order_id="o", value=-30.3)]
    assert placed(refunded, 0)["product_stage"] == "conversion"
    assert placed(refunded, 1)["product_stage"] == "acquisition"


def test_lines_of_one_order_are_one_order_and_events_without_id_are_orders_by_instant() -> None:
    lines = [row("u", 0, "purchase", order_id="o", value=1.0) for _ in range(9)]
    assert placed(lines, 0)["orders"] == 1
    bare = [row("u", day, "purchase", value=1.0) for day in (0, 0, 1, 2)]
    assert placed(bare, 2)["orders"] == 3


def test_loyalty_goes_back_to_conversion_after_thirty_silent_days_and_says_so() -> None:
    rows = [row("u", day, "purchase", order_id=str(day), value=1.0) for day in (0, 1, 2)]
    assert placed(rows, 31, churned_gap_days=99)["rule"] == "silent: 29 > 21 days"
    assert placed(rows, 31, churned_gap_days=99)["product_stage"] == "loyalty"
    later = placed(rows, 32, churned_gap_days=99, at_risk_gap_days=90)
    assert later["product_stage"] == "conversion"
    assert later["rule"] == "lapsed_loyal: 3 orders, silent 30 > 29 days"
    assert later["since"] == START + timedelta(days=32)


def test_own_rhythm_takes_over_at_five_gaps() -> None:
    four = [row("u", day) for day in (0, 1, 2, 3, 4)]
    assert placed(four, 15)["overlay"] is None
    five = [*four, row("u", 5)]
    result = placed(five, 7)
    assert result["overlay"] == "at_risk"
    assert result["rule"] == "silent_own: 2 > 1 days, of 5 own gaps"
    assert placed(five, 6)["overlay"] is None


def test_of_five_gaps_the_longest_is_the_rhythm() -> None:
    rows = [row("u", day) for day in (0, 1, 2, 3, 4, 11)]  # 0.9 * 5 = 4.5: the fifth, 7
    assert placed(rows, 18)["overlay"] is None
    assert placed(rows, 19)["rule"] == "silent_own: 8 > 7 days, of 5 own gaps"


def test_own_rhythm_is_the_ninetieth_percentile_counted_up() -> None:
    # ten gaps 1..10: the ceil(9)-th is 9
    days = np.cumsum([0, *range(1, 11)])
    rows = [row("u", int(day)) for day in days]
    last = int(days[-1])
    assert placed(rows, last + 9)["overlay"] is None
    assert placed(rows, last + 10)["rule"] == "silent_own: 10 > 9 days, of 10 own gaps"


def test_churned_at_thirty_days_then_resurrected_for_seven() -> None:
    rows = [row("u", 0)]
    assert placed(rows, 29)["overlay"] == "at_risk"
    assert placed(rows, 30)["overlay"] == "churned"
    back = [*rows, row("u", 40)]
    for day in range(40, 47):
        assert placed(back, day)["overlay"] == "resurrected"
    assert placed(back, 47)["overlay"] is None
    assert placed(back, 40)["rule"] == "came_back: on 2024-02-10, shown 7 days"


def test_who_comes_back_on_the_thirtieth_day_was_never_churned() -> None:
    assert placed([row("u", 0), row("u", 30)], 30)["overlay"] is None
    assert placed([row("u", 0), row("u", 31)], 31)["overlay"] == "resurrected"


def test_an_event_at_the_very_moment_of_the_question_is_invisible() -> None:
    events = frame([row("u", 0), {"user_id": "v", "t_us": us(5), "type": "view"}])
    for as_of, users in ((us(5), ["u"]), (us(5) + 1, ["u", "v"])):
        placed_ = stages(events, definitions=DEFINITIONS, as_of=as_of)
        assert placed_["user_id"].to_list() == users


def test_the_request_path_knows_the_burn_in() -> None:
    for day, existing in ((2, True), (3, False)):  # a burn-in of three days
        one = stage_of(
            history("u", [row("u", day)]),
            definitions=DEFINITIONS,
            as_of_us=us(9),
            log_start_us=us(0),
        )
        assert one.existing is existing


def test_a_user_seen_in_the_burn_in_is_existing_and_never_new() -> None:
    rows = [row("old", 0), row("in", 27), row("out", 28)]
    result = {
        r["user_id"]: r
        for r in stages(frame(rows), definitions=StageDefinitions(), as_of=us(29, 0)).to_dicts()
    }
    assert [result[u]["existing"] for u in ("old", "in", "out")] == [True, True, False]
    assert result["out"]["activity"] == "new"
    on_first_day = placed([row("u", 0)], 0)
    assert (on_first_day["activity"], on_first_day["existing"]) == ("current", True)


def test_a_backfill_of_last_year_makes_nobody_new_today() -> None:
    live = [row("a", 400), row("b", 400)]
    backfill = [row("c", day) for day in range(3, 30)] + [row("a", 35)]
    both = stages(frame(live + backfill), definitions=StageDefinitions(), as_of=us(401, 0))
    state = dict(zip(both["user_id"], both["activity"], strict=True))
    assert state == {"a": "resurrected", "b": "new", "c": "dormant"}
    assert not both.filter(pl.col("first_seen") > START + timedelta(days=400)).height
    assert both.filter(pl.col("activity") == "new")["user_id"].to_list() == ["b"]


def test_a_user_to_whom_things_only_happened_is_kept_and_said() -> None:
    result = placed([row("u", 0, "refund", order_id="x", value=3.0)], 5)
    assert result["stage"] == "acquisition"
    assert result["rule"] == "no_activity"
    assert result["activity"] is None
    assert result["gap_days"] is None


def test_the_end_of_a_contract_churns_at_once() -> None:
    rows = [row("u", 0), row("u", 3, "cancel")]
    result = placed(rows, 3, ends=("cancel",), passive=("cancel",))
    assert (result["overlay"], result["rule"]) == ("churned", "contract_end: on 2024-01-04")
    back = [*rows, row("u", 6)]
    assert placed(back, 6, ends=("cancel",), passive=("cancel",))["overlay"] == "resurrected"


def test_order_of_rows_does_not_matter() -> None:
    rng = np.random.default_rng(5)
    n = 800
    events = frame(
        [
            row(f"u{rng.integers(9)}", int(rng.integers(90)), str(rng.choice(TYPES)))
            | {"order_id": f"o{rng.integers(50)}", "value": float(rng.choice([0.1, 0.2, 0.3]))}
            for _ in range(n)
        ]
    )
    want = stages(events, definitions=DEFINITIONS)
    shuffled = events.sample(fraction=1.0, shuffle=True, seed=1)
    assert stages(shuffled, definitions=DEFINITIONS).equals(want)


def test_no_events_give_an_empty_frame_with_the_same_columns() -> None:
    nothing = stages(frame([]), definitions=DEFINITIONS)
    something = stages(frame([row("u", 0)]), definitions=DEFINITIONS)
    assert nothing.is_empty()
    assert nothing.schema == something.schema


def test_a_user_without_history_gets_a_named_answer() -> None:
    nobody = stage_of(history("u", []), definitions=DEFINITIONS, as_of_us=us(9))
    assert (nobody.stage, nobody.rule, nobody.activity) == ("acquisition", "no_history", None)
    untimed = stage_of(
        history("u", [{"type": "view", "t_us": None}]), definitions=DEFINITIONS, as_of_us=us(9)
    )
    assert untimed.rule == "no_timed_events"


@pytest.mark.parametrize("name", ["ecommerce", "media"])
def test_definitions_come_from_the_scenario(name: str) -> None:
    scenario = Scenario.load(name)
    d = StageDefinitions.of(scenario)
    assert d.joins == scenario.stages.joins
    assert d.orders == scenario.order_types
    assert set(d.passive) == {t for t, e in scenario.events.items() if not e.activity}
    assert d.burn_in_days == scenario.time.burn_in_days


def test_churn_counts_who_was_there_when_the_period_began() -> None:
    events = pl.DataFrame(
        [
            ("gone", "2024-01-10T12:00", "visit"),  # churned on 9 February
            ("back", "2024-01-05T12:00", "visit"),  # churned on 4 February, back on the 20th
            ("back", "2024-02-20T12:00", "visit"),  # and churned again on 21 March
            ("here", "2024-01-20T12:00", "visit"),
            ("here", "2024-02-15T12:00", "visit"),
            ("here", "2024-03-10T12:00", "visit"),
            ("ends", "2024-01-31T12:00", "visit"),
            ("ends", "2024-02-10T12:00", "contract_end"),
            ("late", "2024-02-02T12:00", "visit"),  # new in February: not in its denominator
        ],
        schema=["user_id", "at", "type"],
        orient="row",
    ).select("user_id", "type", t_us=pl.col("at").str.to_datetime(time_zone="UTC").dt.epoch("us"))
    definitions = StageDefinitions(burn_in_days=0, ends=("contract_end",))
    as_of = datetime(2024, 4, 10, tzinfo=UTC)
    asked: dict[str, Any] = {"definitions": definitions, "grain": "month", "as_of": as_of}
    table = churn_rate(events, **asked)
    assert table.select("n", "churned").rows() == [(0, 0), (4, 3), (3, 2), (1, 1)]
    assert table["rate"].to_list() == [None, 0.75, pytest.approx(2 / 3), 1.0]
    assert table["partial"].to_list() == [False, False, False, True]
    members = churn_rate(events, members=True, **asked)
    assert members.filter(pl.col("status") == "churned").select("period", "user_id").rows() == [
        (date(2024, 2, 1), "back"),
        (date(2024, 2, 1), "ends"),
        (date(2024, 2, 1), "gone"),
        (date(2024, 3, 1), "back"),
        (date(2024, 3, 1), "late"),
        (date(2024, 4, 1), "here"),
    ]


def test_users_walked_in_batches_stand_where_all_at_once_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(3)
    events = pl.DataFrame(
        {
            "user_id": [f"u{k}" for k in rng.integers(0, 40, 900)],
            "t_us": 1_704_067_200_000_000 + rng.integers(0, 200 * 86_400_000_000, 900),
            "type": rng.choice(np.array(TYPES), 900),
        }
    )
    whole = transitions(events, definitions=DEFINITIONS, members=True)
    now = stages(events, definitions=DEFINITIONS)
    for rows in (1, 7, 100):
        monkeypatch.setattr("lifeloop.lifecycle.path.BATCH_ROWS", rows)
        assert transitions(events, definitions=DEFINITIONS, members=True).equals(whole)
        assert stages(events, definitions=DEFINITIONS).equals(now)
    assert whole.height > 100

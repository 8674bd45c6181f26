"""Lifetime value as tables: per segment, per customer, by age, back-tested, by hand counts."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from lifeloop.errors import InputError, Unfit
from lifeloop.lifecycle.clv import Histories, Terms, histories_of, predict
from lifeloop.lifecycle.ltv import (
    SEED,
    customer_value,
    ltv_backtest,
    ltv_by_age,
    ltv_calibration,
    predicted_ltv,
    purchase_days,
)

pytestmark = pytest.mark.slow

START = date(2024, 1, 1)
DAY_US = 86_400_000_000
FIRST = (START - date(1970, 1, 1)).days

Rows = list[tuple[str, int, str, str, float, str]]
"""user, day, type, order, value, channel."""


def log(rows: Rows) -> pl.DataFrame:
    names = ["user_id", "day", "type", "order_id", "value", "channel"]
    table = pl.DataFrame(rows, schema=names, orient="row").with_row_index("n")
    t_us = (pl.col("day").cast(pl.Int64) + FIRST) * DAY_US + pl.col("n").cast(pl.Int64)
    return table.with_columns(t_us=t_us).drop("n", "day").sort("t_us")


def shop(n: int = 160, days: int = 200, seed: int = 4) -> Rows:
    """Return customers of two channels; those of ``mail`` buy twice as often."""
    rng = np.random.default_rng(seed)
    rows: Rows = []
    for user in range(n):
        channel = ("web", "mail")[user % 2]
        day, rate = int(rng.integers(0, days // 2)), rng.gamma(1.5, 0.03) * (1 + user % 2)
        end = min(day + int(rng.exponential(160)) + 1, days)
        while day < end:
            rows.append((f"u{user:03}", day, "purchase", f"{user}-{day}", _money(rng), channel))
            day += 1 + int(rng.exponential(1 / max(rate, 1e-3)))
    return rows


def _money(rng: np.random.Generator) -> float:
    return round(float(rng.gamma(3.0, 9.0)) + 1, 2)


@pytest.fixture(scope="module")
def events() -> pl.DataFrame:
    return log(shop())


def test_purchases_are_the_net_positive_days_and_a_refund_counts_on_the_day_of_its_order() -> None:
    rows: Rows = [
        ("a", 0, "purchase", "1", 10.0, "web"),
        ("a", 0, "purchase", "2", 5.0, "web"),  # one day, two orders
        ("a", 9, "purchase", "3", 8.0, "web"),
        ("a", 30, "refund", "3", 3.0, "web"),  # of day 9
        ("b", 2, "purchase", "4", 7.0, "web"),
        ("b", 40, "refund", "4", 7.0, "web"),  # nothing is left of it
        ("c", 3, "purchase", "5", 0.0, "web"),  # free
        ("d", 4, "view", "", 99.0, "web"),
    ]
    _, days = purchase_days(log(rows), ("purchase",), ("refund",), {})
    assert days.rows() == [("a", FIRST, 15.0), ("a", FIRST + 9, 5.0)]


def test_value_by_age_is_money_so_far_over_everybody_of_the_complete_cohorts() -> None:
    rows: Rows = [
        ("a", 0, "purchase", "1", 10.0, "web"),
        ("a", 35, "purchase", "2", 30.0, "web"),  # age 1 of January
        ("b", 1, "visit", "", 0.0, "mail"),  # spends nothing, counts
        ("c", 32, "purchase", "3", 20.0, "web"),
        ("z", 70, "visit", "", 0.0, "web"),  # the log goes on into March, which is incomplete
    ]
    got = ltv_by_age(log(rows), grain="month")
    # age 0: a 10, b 0, c 20; age 1: a 40, b 0 (February is over; c's March is not)
    assert got["age"].to_list() == [0, 1]
    assert got["cohorts"].to_list() == [2, 1]
    assert got["n"].to_list() == [3, 2]
    assert got["ltv"].to_list() == pytest.approx([10.0, 20.0])
    spread = [1.96 * np.std(v) / np.sqrt(len(v)) for v in ([10, 0, 20], [40, 0])]
    assert (got["ltv_high"] - got["ltv"]).to_list() == pytest.approx(spread)
    assert (got["ltv"] - got["ltv_low"]).to_list() == pytest.approx(spread)
    half = ltv_by_age(log(rows), grain="month", margin=0.5)
    assert half["ltv"].to_list() == pytest.approx([5.0, 10.0])
    by = ltv_by_age(log(rows), grain="month", by="channel")
    told = by.filter(pl.col("channel") == "web", pl.col("age") == 0).row(0, named=True)
    assert (told["n"], told["ltv"]) == (2, pytest.approx(15.0))
    with pytest.raises(Unfit, match="no age is complete"):
        ltv_by_age(log(rows), grain="month", burn_in_days=50)


def test_a_value_is_the_discounted_sum_of_what_each_period_adds(events: pl.DataFrame) -> None:
    terms = Terms(horizon_days=50, period_days=20, discount=0.3, margin=0.4)
    got = customer_value(events, terms=terms).sort("user_id")
    view, days = purchase_days(events, ("purchase",), ("refund",), {})
    last = view.log.last_day
    found = predict(days, as_of=last, terms=terms, rng=np.random.default_rng(SEED))
    table = histories_of(days, as_of=last, unit="week")
    x, t_x, age = (table[name].to_numpy() for name in ("x", "t_x", "age"))
    h = Histories(x, t_x, age, "week")
    until = [found.model.next_purchases(h, t=end / 7) for end in (20, 40, 50)]
    worth = until[0] / 1.3 ** (20 / 365.25)
    worth = worth + (until[1] - until[0]) / 1.3 ** (40 / 365.25)
    worth = worth + (until[2] - until[1]) / 1.3 ** (50 / 365.25)
    want = worth * found.spend.expected * 0.4 * found.level
    assert got["value"].to_numpy() == pytest.approx(want)
    assert got["purchases"].to_numpy() == pytest.approx(until[2] * found.level)
    assert got["orders"].to_list() == (table["x"] + 1).cast(pl.Int64).to_list()
    ends = days.group_by("user_id").agg(pl.col("day").max()).sort("user_id")["day"]
    assert got["last_order"].cast(pl.Int32).to_list() == ends.to_list()


def test_a_channel_is_the_sum_of_its_customers(events: pl.DataFrame) -> None:
    got = predicted_ltv(events, by="channel")
    each = predicted_ltv(events, by="channel", members=True)
    assert each["value"].is_sorted(descending=True)
    buyers = events.group_by("channel").agg(pl.col("user_id").n_unique()).sort("channel")
    assert got["channel"].to_list() == ["mail", "web"]
    assert got["n"].to_list() == buyers["user_id"].to_list() == [80, 80]
    sums = each.group_by("channel").agg(pl.col("value", "purchases", "p_alive").sum())
    for row in got.join(sums, on="channel", suffix="_sum").iter_rows(named=True):
        assert row["value"] == pytest.approx(row["value_sum"])
        assert row["purchases"] == pytest.approx(row["purchases_sum"])
        assert row["alive"] == pytest.approx(row["p_alive"])
        assert row["ltv"] == pytest.approx(row["value"] / row["n"])
        assert row["ltv_low"] < row["ltv"] < row["ltv_high"]
        assert row["ltv_low"] == pytest.approx(row["value_low"] / row["n"])
    mail, web = got["ltv"].to_list()
    assert mail > 1.3 * web  # they buy twice as often, and the model says so


def test_a_segment_is_the_users_own_attribute_else_the_first_touch() -> None:
    # the channel of acquisition: what the first event says, whatever later events say
    rows: Rows = [(u, d, k, o, v, "mail" if d > 60 else c) for u, d, k, o, v, c in shop()]
    rows += [(u, 0, "visit", "", 0.0, "ad") for u in sorted({row[0] for row in rows})[:50]]
    got = predicted_ltv(log(rows), by="channel")
    first = log(rows).group_by("user_id").agg(pl.col("channel").sort_by("t_us").first())
    want = first.group_by("channel").agg(pl.len()).sort("channel")
    assert dict(got.select("channel", "n").iter_rows()) == dict(want.iter_rows())
    assert dict(want.iter_rows())["ad"] > 40
    own = pl.DataFrame({"user_id": first["user_id"], "channel": ["shop"] * first.height})
    told = predicted_ltv(log(rows), by="channel", users=own)
    assert told.select("channel", "n").rows() == [("shop", first.height)]


def test_margin_scales_and_discount_lowers_a_value(events: pl.DataFrame) -> None:
    def value(**terms: Any) -> float:
        return float(predicted_ltv(events, terms=Terms(**terms))["value"][0])

    plain = value(discount=0.0)
    assert value(discount=0.0, margin=0.25) == pytest.approx(plain / 4)
    assert plain / 1.5 < value(discount=0.5) < plain


def test_a_back_test_counts_what_came_and_its_floor_is_the_rate_so_far() -> None:
    rows = shop()
    events = log(rows)
    got = ltv_backtest(events)
    end = max(d for _, d, *_ in rows)
    split = end - (end - min(d for _, d, *_ in rows)) // 5  # the newest fifth is hidden
    assert set(got["from"]) == {START + timedelta(days=split + 1)}
    assert set(got["to"]) == {START + timedelta(days=end)}
    past = [row for row in rows if row[1] <= split]
    known = {row[0] for row in past}
    came = [row for row in rows if row[1] > split and row[0] in known]
    assert set(got["n"]) == {len(known)}
    assert set(got["actual"].drop_nulls()) == {float(len(came))}
    assert got["value_actual"][0] == pytest.approx(sum(row[4] for row in came))
    orders = money = 0.0
    for user in known:
        own = [row for row in past if row[0] == user]
        first = min(row[1] for row in own)
        rate = (len(own) - 1) / (split - first) if split > first else 0.0
        orders += rate * (end - split)
        money += rate * (end - split) * sum(row[4] for row in own) / len(own)
    floor = got.filter(pl.col("model") == "rate").row(0, named=True)
    assert floor["predicted"] == pytest.approx(orders)
    assert floor["value_predicted"] == pytest.approx(money)
    assert floor["value_error"] == pytest.approx(money / floor["value_actual"] - 1)
    ours = got.row(0, named=True)
    assert ours["model"] == "lifeloop"
    assert ours["deviance"] < floor["deviance"]
    assert ours["value_low"] < ours["value_actual"] < ours["value_high"]
    members = ltv_backtest(events, members=True)
    assert set(members["user_id"]) == known
    assert members["predicted"].sum() == pytest.approx(ours["predicted"])
    assert members["value_actual"].sum() == pytest.approx(ours["value_actual"])


def test_what_is_hidden_does_not_change_what_was_predicted() -> None:
    rows = shop()
    end = max(d for _, d, *_ in rows)
    dear: Rows = [(u, d, k, o, v * 9 if d > 165 else v, c) for u, d, k, o, v, c in rows]
    fewer = [row for row in rows if not (165 < row[1] < end and row[0] > "u150")]
    want = ltv_backtest(log(rows)).row(0, named=True)
    both: list[Rows] = [dear, fewer]
    for other in both:
        got = ltv_backtest(log(other)).row(0, named=True)
        assert got["value_actual"] != want["value_actual"]
        for name in ("predicted", "value_predicted", "value_low", "value_high", "chosen"):
            assert got[name] == want[name], name


def test_tenths_hold_every_customer_once_and_agree_with_the_back_test(
    events: pl.DataFrame,
) -> None:
    got, members = ltv_calibration(events), ltv_calibration(events, members=True)
    back = ltv_backtest(events).row(0, named=True)
    assert got["decile"].to_list() == list(range(1, 11))
    assert got["n"].sum() == back["n"] == members["user_id"].n_unique()
    assert int(got["n"].max()) - int(got["n"].min()) <= 1  # type: ignore[arg-type]
    assert got["value_predicted"].is_sorted()
    for name in ("value_predicted", "value_actual"):
        total = float((got[name] * got["n"]).sum())
        assert total == pytest.approx(back[name])
        means = members.group_by("decile").agg(pl.col(name).mean()).sort("decile")
        assert means[name].to_list() == pytest.approx(got[name].to_list())


def test_nothing_to_predict_is_a_reason() -> None:
    short = log([(u, d % 40, *rest) for u, d, *rest in shop(60, 40)])  # type: ignore[misc]
    with pytest.raises(Unfit, match="too short to hide"):
        ltv_backtest(short)
    free = log([(u, d, k, o, 0.0, c) for u, d, k, o, _, c in shop(60)])
    for table in (predicted_ltv, customer_value, ltv_backtest, ltv_calibration):
        with pytest.raises(Unfit, match="no purchase has a value above 0"):
            table(free)
    with pytest.raises(InputError, match="by names"):
        predicted_ltv(short, by="colour")


def test_today_is_part_of_the_question() -> None:
    events = log(shop())
    moment = datetime(START.year, START.month, START.day, tzinfo=UTC) + timedelta(days=150)
    before = events.filter(pl.col("t_us") < int(moment.timestamp() * 1e6))
    assert predicted_ltv(events, as_of=moment).equals(predicted_ltv(before, as_of=moment))
    # the same buyers, read a year after the log ends, are worth next to nothing
    late = moment + timedelta(days=400)
    now, then = (predicted_ltv(before, as_of=at)["ltv"][0] for at in (moment, late))
    assert then < 0.3 * now

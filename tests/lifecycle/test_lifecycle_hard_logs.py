"""Logs that break other systems: no user, one instant, far years, one user with everything."""

from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifeloop import lifecycle as lc
from lifeloop.errors import InputError

DAY_US = 86_400_000_000
D = lc.StageDefinitions(joins=("sign_up",), activates=("cart",))
RATES: dict[str, Any] = {
    "signup_conversion": lc.signup_conversion,
    "activation": lambda e, **o: lc.activation(e, activates=["cart"], **o),
    "conversion": lc.conversion,
    "retention": lc.retention,
    "referrals": lambda e, **o: lc.referrals(e, activates=["cart"], **o),
}


def visits(users: list[str | None], t_us: list[int]) -> pl.DataFrame:
    return pl.DataFrame(
        {"user_id": users, "t_us": t_us, "type": ["visit"] * len(users)},
        schema={"user_id": pl.String, "t_us": pl.Int64, "type": pl.String},
    ).with_columns(referrer_id=pl.lit(None, dtype=pl.String))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["day", "week", "month"]))
def test_traffic_and_sessions_count_the_same_sessions(seed: int, grain: Any) -> None:
    rng = np.random.default_rng(seed)
    often = np.arange(0, 5 * 86_400, 600 + seed % 1300)  # never pauses: cut after each 24 h
    t_s = np.concatenate([rng.integers(0, 20 * 86_400, 300), often])
    users = [f"u{k}" for k in rng.integers(0, 4, 300)] + ["tall"] * len(often)
    events = visits(list(users), (t_s * 1_000_000).tolist())
    traffic = lc.traffic(events, grain=grain, zone="US/Pacific")
    sessions = lc.sessions(events, grain=grain, zone="US/Pacific")
    assert traffic["sessions"].to_list() == sessions["sessions"].to_list()


def test_a_session_of_24_hours_within_a_day_of_25_is_cut() -> None:
    midnight = int(datetime(2024, 11, 3, 7, tzinfo=UTC).timestamp())  # US/Pacific; 25 hours long
    t_s = range(midnight + 600, midnight + 600 + 24 * 3600 + 1, 1200)
    events = visits(["a"] * len(t_s), [s * 1_000_000 for s in t_s])
    (day,) = lc.traffic(events, zone="US/Pacific").rows(named=True)
    assert (day["visitors"], day["sessions"]) == (1, 2)
    assert lc.sessions(events, zone="US/Pacific")["sessions"].to_list() == [2]


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 10_000),
    st.sampled_from(["day", "week", "month"]),
    st.sampled_from(["monday", "sunday"]),
    st.integers(0, 20),
)
def test_users_as_numbers_or_as_names_are_the_same_flows(
    seed: int, grain: Any, week_start: Any, burn_in: int
) -> None:
    rng = np.random.default_rng(seed)
    users = [f"u{k}" for k in rng.integers(0, 9, 60)]
    events = visits(list(users), rng.integers(-40 * DAY_US, 60 * DAY_US, 60).tolist())
    options: dict[str, Any] = {
        "grain": grain, "week_start": week_start, "burn_in_days": burn_in, "zone": "Asia/Shanghai",
    }  # fmt: skip
    numbered = lc.growth_accounting(events, **options)
    named = lc.growth_accounting(events.with_columns(one=pl.lit("x")), by="one", **options)
    assert numbered.rows() == named.drop("one", "small").rows()


def test_events_without_a_user_are_nobody() -> None:
    some = visits(["a", None, None, "b"], [0, 1, DAY_US, DAY_US])
    want = visits(["a", "b"], [0, DAY_US])
    for function in (lc.active_users, lc.growth_accounting, lc.traffic, lc.activity_states):
        assert function(some).equals(function(want))
    assert lc.stages(some, definitions=D)["user_id"].to_list() == ["a", "b"]
    nobody = visits([None, None], [0, DAY_US])
    assert lc.active_users(nobody).is_empty()
    assert lc.stages(nobody, definitions=D).is_empty()


def test_everybody_at_one_instant_is_new_once_in_one_session_each() -> None:
    events = visits([f"u{k % 7}" for k in range(50)], [5 * DAY_US] * 50)
    (flow,) = lc.growth_accounting(events).rows(named=True)
    assert (flow["new"], flow["returning"], flow["resurrecting"], flow["dormant"]) == (7, 0, 0, 0)
    (visit,) = lc.sessions(events).rows(named=True)
    assert (visit["sessions"], visit["zero_length"], visit["length_mean_s"]) == (7, 7, 0.0)
    assert visit["length_mean_nonzero_s"] is None
    (active,) = lc.active_users(events).rows(named=True)
    assert (active["dau"], active["wau"], active["mau"]) == (7, 7, 7)
    assert active["stickiness"] == pytest.approx(1 / 30)


def test_a_user_of_1969_comes_back_in_2101() -> None:
    far = [int(datetime(y, 7, 1, tzinfo=UTC).timestamp()) * 1_000_000 for y in (1969, 2101)]
    events = visits(["a", "a"], far)
    as_of = datetime(2101, 9, 1, tzinfo=UTC)
    flows = lc.growth_accounting(events, grain="month", as_of=as_of)
    at = {row["period"]: row for row in flows.iter_rows(named=True)}
    assert at[date(1969, 7, 1)]["new"] == 1
    assert at[date(1969, 8, 1)]["dormant"] == -1
    assert at[date(2101, 7, 1)]["resurrecting"] == 1
    assert flows["new"].sum() == 1
    (place,) = lc.stages(events, definitions=D, as_of=as_of).rows(named=True)
    assert (place["first_seen"], place["stage"]) == (date(1969, 7, 1), "churned")


@pytest.mark.parametrize("name", sorted(RATES))
def test_an_empty_period_has_no_rate_and_says_why(name: str) -> None:
    events = visits(["a", "b"], [100 * DAY_US, 101 * DAY_US])
    window = {"start": date(1970, 1, 5), "end": date(1970, 1, 7)}
    table = RATES[name](events, **window)
    assert table.height > 0
    assert table["n"].sum() == 0
    assert table["rate"].null_count() == table["reason"].count() == table.height


def test_a_refund_without_an_order_id_belongs_to_the_order_of_its_instant() -> None:
    events = visits(["a", "a", "a"], [5, 5, DAY_US]).with_columns(
        type=pl.Series(["purchase", "refund", "refund"]), value=pl.Series([10.0, 4.0, 1.0])
    )
    (first, second) = lc.orders(events).rows(named=True)
    assert (first["net"], first["given_back"], first["unmatched_refunds"]) == (6.0, 4.0, 0)
    assert (second["unmatched_refunds"], second["unmatched_amount"]) == (1, 1.0)


def test_money_is_split_by_its_currency_and_never_added_up_across() -> None:
    rows = [("a", 10.0, "EUR"), ("a", 5.0, "EUR"), ("b", 7.0, "USD"), ("c", 1.0, None)]
    events = visits([user for user, _, _ in rows], [5, DAY_US, 7, 9]).with_columns(
        type=pl.lit("purchase"),
        value=pl.Series([money for _, money, _ in rows]),
        currency=pl.Series([currency for _, _, currency in rows]),
    )
    table = lc.orders(events, grain="month", by="currency")
    assert dict(table.select("currency", "net").rows()) == {"(none)": 1.0, "EUR": 15.0, "USD": 7.0}
    for by in ((), "referrer_id"):
        with pytest.raises(InputError, match="several currencies"):
            lc.orders(events, by=by)
    both = events.with_columns(user_id=pl.lit("a"))
    with pytest.raises(InputError, match="several currencies"):
        lc.orders(both, by="currency")
    with pytest.raises(InputError, match="several currencies"):  # ranks would compare them
        lc.rfm(events, by="currency")

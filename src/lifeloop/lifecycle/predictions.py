"""Monthly predictions with hysteresis: high value, and likely gone.

Predictions come in as columns, one row per user and month, so that stages stay pure. Only they
have hysteresis: a user whose number wavers around a threshold must not change stage each month.
"""

import narwhals as nw
import polars as pl
from narwhals.typing import IntoFrame

from lifeloop.errors import InputError
from lifeloop.lifecycle.frame import collect

P_ENTER, P_LEAVE = 0.5, 0.6
"""At risk from P(alive) below the first until it is above the second."""

HIGH_ENTER, HIGH_LEAVE = 90, 80
"""Of high value from this percentile of the month's predictions until below that one."""

COLUMNS = ("value_high", "p_low", "p_alive")


def predicted(predictions: IntoFrame) -> pl.DataFrame:
    """Return for each user the days from which a prediction holds, and what it says.

    Parameters
    ----------
    predictions : frame
        ``user_id``, ``month`` (date; the prediction holds from that day until the user's next
        row), and ``predicted_value`` (money) or ``p_alive`` (0 to 1), or both; null: not known.
        What this function returned is returned as it is.

    Returns
    -------
    polars.DataFrame
        user_id, day, value_high (bool), p_low (bool), p_alive (the newest known: an unknown one
        changes nothing; null before the first).

    Raises
    ------
    InputError
        Missing columns, NaN, a probability outside 0 to 1, two rows of one user and
        day.

    References
    ----------
    spec/lifecycle.md, section 2 (product stages).
    """
    table = collect(nw.from_native(predictions).lazy())
    if set(table.columns) == {"user_id", "day", *COLUMNS}:
        return table
    _check(table)
    table = table.with_columns(pl.col("month").cast(pl.Date))
    _refuse_two_rows(table)
    for name in ("predicted_value", "p_alive"):
        if name not in table.columns:
            table = table.with_columns(pl.lit(None, dtype=pl.Float64).alias(name))
    table = table.select(
        "user_id",
        pl.col("month").cast(pl.Int32).cast(pl.Int64).alias("day"),
        pl.col("predicted_value", "p_alive").cast(pl.Float64),
    ).sort("user_id", "day")
    value, p = pl.col("predicted_value"), pl.col("p_alive")
    # Columns of their own: a window inside the window of _held would see one user only.
    table = table.with_columns(
        _enter=_percentile(value, HIGH_ENTER).over("day"),
        _leave=_percentile(value, HIGH_LEAVE).over("day"),
    )
    high = (value >= pl.col("_enter")) & (value > 0)
    stays_high = (value >= pl.col("_leave")) & (value > 0)
    return table.with_columns(
        value_high=_held(high, stays_high),
        p_low=_held(p < P_ENTER, p <= P_LEAVE),
        p_alive=p.forward_fill().over("user_id", order_by="day"),
    ).select("user_id", "day", *COLUMNS)


def _held(enter: pl.Expr, stay: pl.Expr) -> pl.Expr:
    # On from where it is entered until it does not stay: the newest entry is after the newest
    # break. An unknown number neither enters nor breaks.
    month = pl.int_range(pl.len()) + 1

    def newest(where: pl.Expr) -> pl.Expr:
        return pl.when(where.fill_null(value=False)).then(month).otherwise(0).cum_max()

    return (newest(enter) > newest(~stay)).over("user_id", order_by="day")


def _percentile(value: pl.Expr, q: int) -> pl.Expr:
    # nearest rank: the ceil(q n / 100)-th smallest
    n = value.count()
    return value.drop_nulls().sort().get(((q * n + 99) // 100 - 1).clip(0), null_on_oob=True)


def _check(table: pl.DataFrame) -> None:
    missing = [name for name in ("user_id", "month") if name not in table.columns]
    known = {"predicted_value", "p_alive"} & set(table.columns)
    if missing or not known:
        raise InputError(
            "predictions cannot be used",
            got=table.columns,
            allowed="user_id, month and predicted_value or p_alive",
        )
    for name in sorted(known):
        if table[name].cast(pl.Float64).is_nan().any():
            raise InputError(f"{name} holds NaN", got="NaN", allowed="a number, or null: not known")
    if "p_alive" in known:
        wrong = table.filter((pl.col("p_alive") < 0) | (pl.col("p_alive") > 1))
        if not wrong.is_empty():
            raise InputError("p_alive is a probability", got=wrong["p_alive"][0], allowed="0 to 1")


def _refuse_two_rows(table: pl.DataFrame) -> None:
    twice = table.filter(pl.struct("user_id", "month").is_duplicated())
    if not twice.is_empty():
        raise InputError("predictions have two rows for one user and month", got=twice.row(0)[:2])

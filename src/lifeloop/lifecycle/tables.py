"""From counted cells to the table shown: every period there, zeros filled, partial marked."""

from collections.abc import Sequence

import polars as pl

from lifeloop.lifecycle.options import SMALL_CELL, View


def counted(view: View, cells: pl.DataFrame, *, label: str, names: Sequence[str]) -> pl.DataFrame:
    """Return one row per (segment, period) with one count column per name.

    Parameters
    ----------
    cells : polars.DataFrame
        ``by``, period (index), ``label``, users.
    label : str
        Column whose values become columns.
    names : sequence of str
        Those values, in the order shown; all appear.
    """
    counts = cells.group_by(*view.by, "period").agg(
        pl.col("users").filter(pl.col(label) == name).sum().cast(pl.Int64).alias(name)
        for name in names
    )
    table = on_grid(view, counts)
    table = table.with_columns(pl.col(names).fill_null(0))
    return finished(view, table, [*names], users=pl.sum_horizontal(names))


def on_grid(view: View, cells: pl.DataFrame) -> pl.DataFrame:
    """Return the cells (``by``, period index, …) on the full grid; absent cells are null."""
    cells = cells.rename({"period": "ix"})
    grid = view.grid(cells)
    return grid.join(cells, on=[*view.by, "ix"], how="left").sort(*view.by, "ix")


def finished(
    view: View, table: pl.DataFrame, values: Sequence[str], *, users: pl.Expr
) -> pl.DataFrame:
    """Return (``by``,) period, the values, partial and, where split, ``small``."""
    columns = [*view.by, "period", *values, "partial"]
    if view.by:
        table = table.with_columns(small=users.fill_null(0) < SMALL_CELL)
        columns.append("small")
    return table.select(columns)


def members_of(view: View, rows: pl.DataFrame, *, label: str | None = None) -> pl.DataFrame:
    """Return (``by``,) period (date), label, user_id: the users behind every cell, sorted."""
    keys = [*view.by, "ix", *([label] if label else []), "user_id"]
    rows = rows.rename({"period": "ix"})
    dated = rows.join(view.periods(), on="ix", how="inner").sort(keys)
    return dated.select([*view.by, "period", *([label] if label else []), "user_id"])

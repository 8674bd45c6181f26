"""Retention: of the users of a cohort, how many are back after k periods."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Unpack, get_args

import narwhals as nw
import polars as pl

from lifeloop.errors import InputError
from lifeloop.lifecycle.frame import Events, Lazy, collect
from lifeloop.lifecycle.numbered import numbered_firsts
from lifeloop.lifecycle.options import SMALL_CELL, Options, View, opened
from lifeloop.lifecycle.rates import with_rate
from lifeloop.lifecycle.segments import splitting

Kind = Literal["nday", "unbounded", "bracket"]
Cohort = Literal["first", "recurring"]

BRACKETS = ((1, 7), (8, 14), (15, 30))
"""Offsets [a, b] of ``kind="bracket"`` unless others are given."""

CENSORED_DAYS = 30
"""With less log than this after it, an unbounded cell may still grow: silence is not churn yet."""


@dataclass(frozen=True, slots=True)
class _Ask:
    kind: Kind
    cohort: Cohort
    brackets: tuple[tuple[int, int], ...]
    max_offset: int | None


@splitting
def retention(
    events: Events,
    *,
    kind: Kind = "nday",
    cohort: Cohort = "first",
    brackets: Sequence[tuple[int, int]] = BRACKETS,
    max_offset: int | None = None,
    members: bool = False,
    **options: Unpack[Options],
) -> pl.DataFrame:
    """Return one row per cohort and offset: how many of the cohort were active then.

    nday: active at offset k exactly; unbounded: active at any offset ≥ k; bracket: active at any
    offset in [a, b]. A ``first`` cohort are the users whose first active period ever it is (users
    first seen in the burn-in are in none); a ``recurring`` cohort, all users active in it. These
    answer different questions: say which one is shown.

    Parameters
    ----------
    events : frame
        ``user_id``, ``t_us``, ``type``.
    kind, cohort : str
        See above.
    brackets : sequence of (a, b)
        Offsets in periods, inclusive, for ``kind="bracket"``.
    max_offset : int, optional
        Largest offset for the other kinds; default: as far as the window goes.
    members : bool
        Return the users behind every cell instead: cohort, offset(, offset_to), user_id. The
        cohort itself is at offset 0; with brackets, at an offset of null.
    **options
        See ``Options``. Cohorts run from ``start`` to ``end``, offsets up to ``end``.

    Returns
    -------
    polars.DataFrame
        (``by``,) cohort (date), offset(, offset_to), n, retained, rate, rate_low, rate_high,
        reason, partial (the last period of the offset is not complete), censored (unbounded: less
        than 30 days of complete log follow), small.

    Raises
    ------
    InputError
        Unknown kind or cohort, an empty or reversed bracket.

    References
    ----------
    spec/lifecycle.md, sections 2 and 3 (retention).
    """
    ask = _asked(kind, cohort, brackets, max_offset)
    view = opened(events, options, named=members)
    base = _cohorts(view, ask)
    if members:
        return _members(view, _rows(view, base, ask), ask)
    sizes, cells = _sizes_and_cells(view, base, ask)
    grid = _grid(view, sizes, ask)
    keys = [*view.by, "cohort"]
    table = grid.join(sizes, on=keys, how="left").join(cells, on=[*keys, "offset"], how="left")
    table = table.with_columns(pl.col("n", "retained").fill_null(0))
    table = with_rate(table, hits="retained", reason="no users in the cohort")
    return _named(view, table, ask).sort(*keys, "offset")


@splitting
def retention_curve(
    events: Events,
    *,
    kind: Kind = "nday",
    cohort: Cohort = "first",
    brackets: Sequence[tuple[int, int]] = BRACKETS,
    max_offset: int | None = None,
    members: bool = False,
    **options: Unpack[Options],
) -> pl.DataFrame:
    """Return the mean retention curve: Σ retained / Σ eligible over cohorts, per offset.

    Only complete cells count. Cohorts of no users are out, cohorts at 0% are in.

    Parameters
    ----------
    events, kind, cohort, brackets, max_offset, **options
        As in ``retention``.
    members : bool
        Return the users retained in the complete cells: offset(, offset_to), cohort, user_id. The
        cohorts themselves are among the members of ``retention``.

    Returns
    -------
    polars.DataFrame
        (``by``,) offset(, offset_to), cohorts, n, retained, rate, rate_low, rate_high, reason,
        small.
    """
    ask: dict[str, Any] = {
        "kind": kind,
        "cohort": cohort,
        "brackets": brackets,
        "max_offset": max_offset,
        **options,
    }
    cells = retention(events, **ask)
    by = options.get("by", ())
    segments = [by] if isinstance(by, str) else list(by)
    keys = [*segments, *(c for c in ("offset", "offset_to") if c in cells.columns)]
    full = pl.col("partial").not_()
    if members:
        rows = retention(events, members=True, **ask)
        complete = cells.filter(full).select(*keys, "cohort")
        return (
            rows.join(complete, on=[*keys, "cohort"], how="semi")
            .select(*keys, "cohort", "user_id")
            .sort(*keys, "cohort", "user_id")
        )
    pooled = cells.group_by(keys).agg(
        (full & (pl.col("n") > 0)).sum().cast(pl.Int64).alias("cohorts"),
        pl.col("n").filter(full).sum(),
        pl.col("retained").filter(full).sum(),
    )
    curve = with_rate(pooled, hits="retained", reason="no complete cohort")
    return curve.with_columns(small=pl.col("n") < SMALL_CELL).sort(keys)


def _asked(
    kind: Kind, cohort: Cohort, brackets: Sequence[tuple[int, int]], max_offset: int | None
) -> _Ask:
    if kind not in get_args(Kind):
        raise InputError("unknown kind of retention", got=kind, allowed=", ".join(get_args(Kind)))
    if cohort not in get_args(Cohort):
        raise InputError("unknown cohort", got=cohort, allowed=", ".join(get_args(Cohort)))
    wrong = [(a, b) for a, b in brackets if a < 0 or b < a]
    if wrong or not brackets:
        raise InputError("brackets are pairs 0 <= a <= b", got=wrong or brackets)
    if max_offset is not None and max_offset < 0:
        raise InputError("max_offset is negative", got=max_offset)
    return _Ask(kind, cohort, tuple((int(a), int(b)) for a, b in brackets), max_offset)


def _cohorts(view: View, ask: _Ask) -> Lazy:
    # One row per user, cohort and active period from it on: user_id, by, cohort, period.
    shown = (nw.col("cohort") >= view.first) & (nw.col("cohort") <= view.last)
    if ask.cohort == "first":
        if view.settings.burn_in_days == 0:
            quick = numbered_firsts(view)
            if quick is not None:
                return quick.filter(shown)
            firsts = view.user_periods()
        else:
            firsts = view.known_periods()
            burnt = nw.col("burnt").cast(nw.Int8).max().over("user_id")
            firsts = firsts.with_columns(burnt=burnt).filter(nw.col("burnt") == 0)
        firsts = firsts.with_columns(cohort=nw.col("period").min().over("user_id"))
        return firsts.filter(shown).select("user_id", *view.by, "cohort", "period")
    periods = view.user_periods()
    starts = periods.select("user_id", cohort=nw.col("period"))
    pairs = periods.select("user_id", *view.by, "period").join(starts, on="user_id", how="inner")
    return pairs.filter(shown, nw.col("period") >= nw.col("cohort"))


def _retained(view: View, base: Lazy, ask: _Ask) -> Lazy:
    # One row per user behind each cell: user_id, by, cohort, offset.
    keys = ["user_id", *view.by, "cohort"]
    offsets = base.with_columns(offset=nw.col("period") - nw.col("cohort"))
    reach = nw.lit(view.last) - nw.col("cohort")
    if ask.max_offset is not None:
        reach = nw.min_horizontal(reach, nw.lit(ask.max_offset))
    if ask.kind == "nday":
        return offsets.filter(nw.col("offset") <= reach).select(*keys, "offset")
    if ask.kind == "bracket":
        hit = [
            offsets.filter(nw.col("offset") >= a, nw.col("offset") <= b)
            .filter(nw.col("cohort") + a <= view.last)
            .select(*keys)
            .group_by(*keys)
            .agg()
            .with_columns(offset=nw.lit(k).cast(nw.Int64))
            for k, (a, b) in enumerate(ask.brackets)
        ]
        return nw.concat(hit)
    newest = offsets.group_by(*keys).agg(offset=nw.col("offset").max())
    return newest.with_columns(offset=nw.min_horizontal(nw.col("offset"), reach))


def _rows(view: View, base: Lazy, ask: _Ask) -> Lazy:
    # ``_retained``, and where offset 0 is not asked for, the cohort itself at offset -1.
    rows = _retained(view, base, ask)
    if ask.kind != "bracket":
        return rows
    begun = base.filter(nw.col("period") == nw.col("cohort"))
    begun = begun.select("user_id", *view.by, "cohort")
    return nw.concat([rows, begun.with_columns(offset=nw.lit(-1).cast(nw.Int64))])


def _sizes_and_cells(view: View, base: Lazy, ask: _Ask) -> tuple[pl.DataFrame, pl.DataFrame]:
    # The sizes come out of the same pass over the events as the cells.
    keys = [*view.by, "cohort"]
    rows = _rows(view, base, ask)
    counts = collect(rows.group_by(*keys, "offset").agg(retained=nw.len()))
    if ask.kind == "unbounded":  # one row per user: at the last offset that saw them
        sizes = counts.group_by(keys).agg(n=pl.col("retained").sum())
        full = _grid(view, sizes, ask)
        cells = full.join(counts, on=[*keys, "offset"], how="left").sort(*keys, "offset")
        later = pl.col("retained").fill_null(0).cum_sum(reverse=True).over(keys)
        return sizes, cells.with_columns(later).select(*keys, "offset", "retained")
    start = -1 if ask.kind == "bracket" else 0
    sizes = counts.filter(pl.col("offset") == start).select(*keys, n="retained")
    return sizes, counts.filter(pl.col("offset") >= 0)


def _grid(view: View, sizes: pl.DataFrame, ask: _Ask) -> pl.DataFrame:
    # Every cohort of the window with every offset, or bracket number, that begins in it.
    if ask.kind != "bracket":
        return view.triangle(sizes, reach=ask.max_offset).rename({"age": "offset"})
    cohorts = view.triangle(sizes, reach=0).drop("age")
    begins = pl.DataFrame(
        {"offset": range(len(ask.brackets)), "a": [a for a, _ in ask.brackets]},
        schema={"offset": pl.Int64, "a": pl.Int64},
    )
    grid = cohorts.join(begins, how="cross")
    return grid.filter(pl.col("cohort") + pl.col("a") <= view.last).drop("a")


def _named(view: View, table: pl.DataFrame, ask: _Ask) -> pl.DataFrame:
    if ask.kind == "bracket":
        a = pl.Series("a", [a for a, _ in ask.brackets], dtype=pl.Int64)
        b = pl.Series("b", [b for _, b in ask.brackets], dtype=pl.Int64)
        which = table["offset"]
        table = table.with_columns(offset=a.gather(which), offset_to=b.gather(which))
    else:
        table = table.with_columns(offset_to=pl.col("offset"))
    end = table["cohort"] + table["offset_to"]
    table = table.with_columns(
        partial=view.incomplete(end),
        censored=view.incomplete(end, further_days=CENSORED_DAYS),
        small=pl.col("n") < SMALL_CELL,
        cohort=view.dates(table["cohort"]),
    )
    extra: dict[str, list[str]] = {"bracket": ["offset_to"], "unbounded": [], "nday": []}
    return table.select(
        *view.by, "cohort", "offset", *extra[ask.kind], "n", "retained", "rate", "rate_low",
        "rate_high", "reason", "partial", *(["censored"] if ask.kind == "unbounded" else []),
        "small",
    )  # fmt: skip


def _members(view: View, rows: Lazy, ask: _Ask) -> pl.DataFrame:
    table = collect(rows)
    if ask.kind == "unbounded":  # a user last active at offset m is behind the cells 0 … m
        table = table.with_columns(offset=pl.int_ranges(pl.lit(0), pl.col("offset") + 1)).explode(
            "offset"
        )
    if ask.kind == "bracket":
        begins: list[Any] = [a for a, _ in ask.brackets]
        ends: list[Any] = [b for _, b in ask.brackets]
        which = pl.when(pl.col("offset") >= 0).then("offset")
        table = table.with_columns(
            offset=which.replace_strict(dict(enumerate(begins)), default=None),
            offset_to=which.replace_strict(dict(enumerate(ends)), default=None),
        ).cast({"offset": pl.Int64, "offset_to": pl.Int64})
    span = ["offset", "offset_to"] if ask.kind == "bracket" else ["offset"]
    keys = [*view.by, "cohort", *span, "user_id"]
    return table.with_columns(cohort=view.dates(table["cohort"])).select(keys).sort(keys)

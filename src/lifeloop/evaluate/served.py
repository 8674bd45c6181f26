"""What became of the slates that were served: by position, stage, version, item and provider.

Every function takes ``outcomes`` (one row per shown place) and returns counts with their interval;
nothing here is an effect: people in a better stage click more whatever they are shown.
"""

from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
import polars as pl

from lifeloop.contracts import Decision
from lifeloop.lifecycle.rates import with_rate

ATTRIBUTED_DAYS = 7
"""An order of a shown item by the same person counts this long after the slate."""

DAY_US = 86_400_000_000

SLATES: dict[str, Any] = {
    "request_id": pl.String,
    "user_id": pl.String,
    "t_us": pl.Int64,
    "bundle": pl.String,
    "stage": pl.String,
    "level": pl.String,
    "drawn": pl.Boolean,
    "score": pl.Float64,
    "item_ids": pl.List(pl.String),
}
"""Columns of slates: one row per decision; ``drawn`` where it has propensities, ``score`` the
best candidate's."""


def slates(decisions: Iterable[Decision]) -> pl.DataFrame:
    """Return logged decisions as one row each (``SLATES``)."""
    rows = [
        (
            d.request_id,
            d.user_id,
            d.t_us,
            d.bundle,
            d.stage,
            d.level,
            d.propensities is not None,
            max(d.candidate_scores, default=None),
            list(d.slate_ids),
        )
        for d in decisions
    ]
    return pl.DataFrame(rows, schema=SLATES, orient="row")


def outcomes(
    served: pl.DataFrame,
    events: pl.DataFrame,
    *,
    orders: Collection[str],
    shows: Collection[str] = ("impression",),
    clicks: Collection[str] = ("click",),
) -> pl.DataFrame:
    """Return one row per place of a slate: was it seen, clicked, converted.

    Parameters
    ----------
    served : polars.DataFrame
        ``SLATES``.
    events : polars.DataFrame
        ``request_id``, ``user_id``, ``item_id``, ``type``, ``t_us``.
    orders, shows, clicks : collection of str
        Event types. An order counts with the slate's request id, or of the same person and item
        within ``ATTRIBUTED_DAYS`` after it.

    Returns
    -------
    polars.DataFrame
        request_id, user_id, t_us, bundle, stage, level, drawn, item_id, position (from 1), seen,
        clicked, converted. Where no impression names any of the slates, every place of a slate
        counts as seen.
    """
    places = (
        served.with_columns(position=pl.int_ranges(1, pl.col("item_ids").list.len() + 1))
        .explode("item_ids", "position")
        .rename({"item_ids": "item_id"})
        .drop_nulls("item_id")
    )
    answered = events.filter(pl.col("request_id").is_in(served["request_id"].implode()))

    def named(kinds: Collection[str], name: str) -> pl.DataFrame:
        rows = answered.filter(pl.col("type").is_in(list(kinds)))
        return rows.select("request_id", "item_id").unique().with_columns(pl.lit(True).alias(name))

    for kinds, name in ((shows, "seen"), (clicks, "clicked"), (orders, "ordered")):
        places = places.join(named(kinds, name), on=["request_id", "item_id"], how="left")
    bought = events.filter(pl.col("type").is_in(list(orders))).select(
        "user_id", "item_id", ordered_us="t_us"
    )
    later = (
        places.select("request_id", "user_id", "item_id", "t_us")
        .join(bought, on=["user_id", "item_id"])
        .filter(
            pl.col("ordered_us") > pl.col("t_us"),
            pl.col("ordered_us") <= pl.col("t_us") + ATTRIBUTED_DAYS * DAY_US,
        )
        .select("request_id", "item_id")
        .unique()
        .with_columns(later=pl.lit(True))
    )
    places = places.join(later, on=["request_id", "item_id"], how="left")
    flags = ["seen", "clicked", "ordered", "later"]
    places = places.with_columns(pl.col(flags).fill_null(value=False))
    if not places["seen"].any():
        places = places.with_columns(seen=pl.lit(True))
    # what was clicked was seen, whatever the page managed to say
    return places.with_columns(
        seen=pl.col("seen") | pl.col("clicked"),
        converted=pl.col("ordered") | pl.col("later"),
    ).drop("ordered", "later", "score")


def rates(found: pl.DataFrame, by: str) -> pl.DataFrame:
    """Return per value of a column: slates, seen, clicked, converted and both rates.

    Returns
    -------
    polars.DataFrame
        ``by``, slates, seen, clicked, ctr (with _low, _high), converted, cvr (with _low, _high);
        rates are of places seen.
    """
    seen = found.filter("seen")
    counts = seen.group_by(by).agg(
        slates=pl.col("request_id").n_unique(),
        seen=pl.len(),
        clicked=pl.col("clicked").sum(),
        converted=pl.col("converted").sum(),
    )
    made = with_rate(counts, hits="clicked", n="seen", name="ctr").drop("reason")
    made = with_rate(made, hits="converted", n="seen", name="cvr").drop("reason")
    return made.sort(by, nulls_last=True)


def variety(found: pl.DataFrame, categories: pl.DataFrame, by: str) -> pl.DataFrame:
    """Return per value of a column how varied slates are, and how much of the catalogue they use.

    Parameters
    ----------
    categories : polars.DataFrame
        ``item_id``, ``category``: the whole catalogue.

    Returns
    -------
    polars.DataFrame
        ``by``, slates, items (distinct ones shown), coverage (of the catalogue), diversity (mean
        over slates of distinct categories / places; null where no item has a category).
    """
    held = found.join(categories, on="item_id", how="left")
    per_slate = held.group_by(by, "request_id").agg(
        diversity=pl.when(pl.col("category").is_not_null().any()).then(
            pl.col("category").drop_nulls().n_unique() / pl.len()
        )
    )
    diversity = per_slate.group_by(by).agg(slates=pl.len(), diversity=pl.col("diversity").mean())
    items = held.group_by(by).agg(items=pl.col("item_id").n_unique())
    n = max(categories.height, 1)
    made = diversity.join(items, on=by, how="left", nulls_equal=True)
    return (
        made.with_columns(coverage=pl.col("items") / n)
        .select(by, "slates", "items", "coverage", "diversity")
        .sort(by, nulls_last=True)
    )


def concentration(found: pl.DataFrame, n_items: int) -> dict[str, float | int | None]:
    """Return how evenly exposure is spread: Gini over the catalogue, share of the top 1% and 10%.

    Gini is 0 where every item of the catalogue is shown equally often and near 1 where one item
    has it all. None without anything shown.
    """
    counts = found["item_id"].value_counts()["count"].to_numpy().astype(np.float64)
    if not len(counts) or n_items < len(counts):
        n_items = max(n_items, len(counts))
    if not len(counts):
        return {
            "shown": 0,
            "items": 0,
            "catalogue": n_items,
            "gini": None,
            "top1": None,
            "top10": None,
        }
    every = np.sort(np.concatenate([np.zeros(n_items - len(counts)), counts]))  # [I] ascending
    total = float(every.sum())
    rank = np.arange(1, n_items + 1)
    gini = float((2 * (rank * every).sum()) / (n_items * total) - (n_items + 1) / n_items)

    def top(part: float) -> float:
        return float(every[-max(round(n_items * part), 1) :].sum() / total)

    return {
        "shown": int(total),
        "items": len(counts),
        "catalogue": n_items,
        "gini": gini,
        "top1": top(0.01),
        "top10": top(0.10),
    }


def exposure(found: pl.DataFrame, items: pl.DataFrame, by: str) -> pl.DataFrame:
    """Return per provider (or brand, category) its share of exposure beside that of the catalogue.

    Returns
    -------
    polars.DataFrame
        ``by``, items, catalogue_share, shown, exposure_share, ratio (exposure / catalogue).
    """
    known = items.filter(pl.col(by).is_not_null())
    held = known.group_by(by).agg(items=pl.len())
    shown = found.join(known.select("item_id", by), on="item_id").group_by(by).agg(shown=pl.len())
    made = held.join(shown, on=by, how="left").with_columns(pl.col("shown").fill_null(0))
    total = max(int(made["shown"].sum()), 1)
    return (
        made.with_columns(
            catalogue_share=pl.col("items") / max(known.height, 1),
            exposure_share=pl.col("shown") / total,
        )
        .with_columns(ratio=pl.col("exposure_share") / pl.col("catalogue_share"))
        .select(by, "items", "catalogue_share", "shown", "exposure_share", "ratio")
        .sort("shown", by, descending=[True, False])
    )


def drift(served: pl.DataFrame, *, week_us: int = 7 * DAY_US) -> pl.DataFrame:
    """Return per week how far the mix of stages asked for moved from the first week: PSI.

    PSI = Σ (p − q) ln(p / q) over stages, half a count added to each. By custom under 0.1 is
    little and over 0.25 much.

    Returns
    -------
    polars.DataFrame
        week (start, µs), slates, users, score (mean of the best candidates'), psi (null in the
        first week and under 30 slates), reason.
    """
    if served.is_empty():
        return pl.DataFrame()
    weeks = served.with_columns(week=pl.col("t_us") // week_us * week_us)
    stages = sorted(weeks["stage"].fill_null("").unique().to_list())
    rows = []
    first: np.ndarray[tuple[int, ...], np.dtype[np.float64]] | None = None
    for (week,), part in weeks.sort("week").group_by("week", maintain_order=True):
        counted = dict(part["stage"].fill_null("").value_counts().iter_rows())
        n = np.array([counted.get(stage, 0) for stage in stages], np.float64)
        mix = (n + 0.5) / (n + 0.5).sum()
        few = part.height < 30
        psi, why = None, None
        if few:
            why = "fewer than 30 slates"
        elif first is None:
            first, why = mix, "the first week"
        else:
            psi = float(((mix - first) * np.log(mix / first)).sum())
        rows.append((week, part.height, part["user_id"].n_unique(), part["score"].mean(), psi, why))
    schema = {
        "week": pl.Int64,
        "slates": pl.Int64,
        "users": pl.Int64,
        "score": pl.Float64,
        "psi": pl.Float64,
        "reason": pl.String,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")

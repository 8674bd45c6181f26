"""Item ids that differ in case or in spaces only: ``85123a`` and ``85123A``."""

import polars as pl

from lifeloop.prepare.step import Step, of


def id_variants(lines: pl.DataFrame, *, unify: bool) -> Step:
    """Find items written in several ways; the commonest way of each is its name.

    Ids are opaque, so nothing is changed unless the scenario says so (``clean.unify_case``).
    Found: rows whose id is not the commonest way of its item.
    """
    named = (
        lines.filter(pl.col("item_id").is_not_null())
        .group_by("item_id")
        .len()
        .with_columns(plain=pl.col("item_id").str.strip_chars().str.to_lowercase())
        .sort("len", "item_id", descending=[True, False])
        .with_columns(usual=pl.col("item_id").first().over("plain"), ways=pl.len().over("plain"))
        .filter(pl.col("ways") > 1)
    )
    odd = named.filter(pl.col("item_id") != pl.col("usual"))
    renamed = dict(zip(odd["item_id"], odd["usual"], strict=True))
    found = of(lines, pl.col("item_id").is_in(list(renamed)))
    columns = {"item_id": lines["item_id"].replace(renamed)} if unify and renamed else {}
    return Step(
        "id_variants",
        found,
        "read as the commonest way of writing them"
        if unify
        else "flagged: clean.unify_case = true makes each one item",
        columns=columns,
        counts={"items": named["plain"].n_unique()},
        shown=("line", "item_id", "title"),
    )

"""What users wrote (searches, reviews) as numbers for the hazard of churn, strictly as of a day."""

from collections.abc import Callable

import numpy as np
import polars as pl

from lifeloop.encoders import TfidfSvd
from lifeloop.lifecycle.calendar import days_of
from lifeloop.tables.source import Source

WIDTH = 16
"""Numbers per user: few, because few users churn."""

FEWEST, MOST = 200, 20_000
"""Distinct texts that a projection is learned from: below the first none is, above the newest."""

TERMS, CHARS = 5_000, 200

READ = 50_000
"""Newest texts that are read at all: reading is what takes the time of a table with texts."""


def vectors_of(source: Source) -> Callable[[int], pl.DataFrame | None] | None:
    """Return vectors of what users wrote, or None where the log holds no texts.

    Asked for a day it learns TF-IDF with truncated SVD from the texts up to that day, and returns
    ``user_id``, ``day`` and the mean of the user's vectors so far: one row per day with a text.
    The newest ``READ`` texts of the whole log are read, whatever the table is filtered by.
    """
    told = source.texts
    if told is None or told["text"].n_unique() < FEWEST:
        return None
    day = days_of(told["t_us"].to_numpy().astype(np.int64), source.zone)
    rows = told.select("user_id", "text", day=pl.Series(day))
    rows = rows.sort("day", "user_id").tail(READ).sort("user_id", "day")

    def learned(known: int) -> pl.DataFrame | None:
        past = rows.filter(pl.col("day") <= known).sort("day", descending=True)
        texts = past["text"].unique(maintain_order=True).head(MOST).to_list()
        if len(texts) < FEWEST:
            return None
        encoder = TfidfSvd(d=WIDTH, max_features=TERMS, max_chars=CHARS).fit(texts)
        distinct = rows["text"].unique(maintain_order=True)
        vectors, _ = encoder.encode(distinct.to_list())  # [T, WIDTH]
        names = [f"v{k}" for k in range(WIDTH)]
        known_by = pl.DataFrame(vectors, schema=names).with_columns(text=distinct)
        each = rows.join(known_by, on="text", how="left", maintain_order="left")
        so_far = [pl.col(name).cum_sum().over("user_id") for name in names]
        n = pl.int_range(1, pl.len() + 1).over("user_id")
        summed = each.select("user_id", "day", *[one / n for one in so_far])
        return summed.unique(["user_id", "day"], keep="last", maintain_order=True)

    return learned

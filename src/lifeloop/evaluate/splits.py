"""Which interactions are known and which are to be guessed: the two protocols.

An interaction frame has the columns ``user_id``, ``item_id``, ``t_us`` (null: untimed), ``seq``,
``weight``, ``rating``. Rows of weight 0 are contacts that are not evidence of liking: their
items count as seen, but they are never targets and teach nothing. Impressions are not contacts;
leave them out.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import polars as pl

from lifeloop.errors import InputError

ORDER = "user_id, t_us (untimed first), seq"
"""The one stable order; ties in time keep arrival order."""

COLUMNS = ("user_id", "item_id", "t_us", "seq", "weight", "rating")


@dataclass(frozen=True, slots=True)
class Split:
    """What is known, and what each user did next.

    ``train`` serves both for fitting and as the histories of the requests. ``targets`` holds one
    row per (user, item), sorted. ``request_us`` holds the moment of each target user's request:
    no event of the user at or after it is known. ``left_out`` counts what takes no part, by
    reason. ``validation`` is the same cut made once more inside ``train``.
    """

    protocol: Literal["loo", "time"]
    train: pl.DataFrame
    targets: pl.DataFrame  # user_id, item_id
    request_us: Mapping[str, int]
    as_of_us: int
    targets_hash: str
    order: str = ORDER
    left_out: Mapping[str, int] = field(default_factory=dict)
    validation: "Split | None" = None


def leave_one_out(
    interactions: pl.DataFrame, *, repeats: bool = False, validation: bool = False
) -> Split:
    """Hold out each user's last event in the stable order; everything before it is known.

    Without ``repeats`` the target is the last *first contact*: the last event whose item the
    user had not met before (where nothing repeats, simply the last event). Later contacts with
    items already met lie after the target and are left out. The request happens just after the
    last known event, so the time of the target does not leak. Other users' later events are
    known in training: that is the weakness of this protocol, and why ``time_split`` is primary.

    Raises
    ------
    InputError
        Missing columns or values, or not one user with a target and an event before it.
    """
    rows = _ordered(interactions)
    first = pl.struct("user_id", "item_id").is_first_distinct()
    may = (pl.col("weight") > 0) & (pl.lit(value=True) if repeats else first)
    known = (pl.col("weight") > 0).cast(pl.Int32).cum_sum().over("user_id") - 1
    rows = rows.with_columns(
        pl.int_range(pl.len()).over("user_id").alias("_place"),
        may.alias("_may"),
        known.alias("_known"),
    )
    last = (
        rows.filter("_may")
        .group_by("user_id", maintain_order=True)
        .last()
        .filter(pl.col("_known") > 0)
        .select("user_id", pl.col("item_id").alias("_target"), pl.col("_place").alias("_cut"))
    )
    if last.is_empty():
        raise InputError(
            "leave-one-out needs a user with two events",
            got=f"{rows['user_id'].n_unique()} users, none with a target and an event before it",
            hint="evaluate on more data",
        )
    rows = rows.join(last, on="user_id", how="left", maintain_order="left")
    train = rows.filter(pl.col("_cut").is_null() | (pl.col("_place") < pl.col("_cut")))
    targets = last.select("user_id", item_id="_target").sort("user_id", "item_id")
    after = rows.filter(pl.col("_place") > pl.col("_cut")).height
    train = train.select(COLUMNS)
    newest = train.filter(pl.col("user_id").is_in(targets["user_id"].implode()))
    moments = newest.group_by("user_id").agg(pl.col("t_us").max().fill_null(-1) + 1)
    return Split(
        protocol="loo",
        train=train,
        targets=targets,
        request_us=dict(moments.iter_rows()),
        as_of_us=_after_all(train),
        targets_hash=targets_hash(targets),
        left_out=_counts(
            users_without_two_events=rows["user_id"].n_unique() - last.height,
            events_after_the_target=after,
        ),
        validation=leave_one_out(train, repeats=repeats) if validation else None,
    )


def time_split(
    interactions: pl.DataFrame,
    *,
    test_share: float = 0.2,
    valid_share: float = 0.0,
    repeats: bool = False,
) -> Split:
    """Cut time once for everyone: train < t₂ ≤ test, with the last ``test_share`` of events.

    t₂ is the time of the first event of the last share; events tied with it are test. A user's
    targets are the distinct items of their test events that they had not met before t₂ (with
    ``repeats``, all of them); all requests happen at t₂. Users take part who have at least one
    event of evidence before t₂ and one target. With ``valid_share`` (of all events) the last
    part of the training time is cut off once more, as ``validation``: train < t₁ ≤ validation < t₂.

    Raises
    ------
    InputError
        No timed events, all at one instant, shares that leave nothing, or no user with both
        a past and a target.
    """
    if not (0 < test_share < 1 and 0 <= valid_share < 1 - test_share):
        raise InputError(
            "the shares of a time split leave nothing to train on",
            got={"test_share": test_share, "valid_share": valid_share},
            allowed="0 < test_share, 0 <= valid_share, and their sum below 1",
        )
    rows = _ordered(interactions)
    timed = rows.filter(pl.col("t_us").is_not_null())
    times = timed.filter(pl.col("weight") > 0)["t_us"].sort()
    if times.is_empty() or times[0] == times[-1]:
        raise InputError(
            "a time split needs events at different times",
            got=f"{len(times)} timed events, {rows.height - timed.height} untimed",
            hint="use the protocol 'loo', which needs only their order",
        )
    n_test = max(1, round(len(times) * test_share))
    cut_us = int(times[len(times) - n_test])
    if cut_us == times[0]:
        # So many events share the first instant that it would all be test.
        cut_us = int(times.filter(times > cut_us)[0])
    train = timed.filter(pl.col("t_us") < cut_us)
    test = timed.filter((pl.col("t_us") >= cut_us) & (pl.col("weight") > 0))
    pairs = test.select("user_id", "item_id").unique()
    past = train.filter(pl.col("weight") > 0).select("user_id").unique()
    with_past = pairs.join(past, on="user_id", how="semi")
    targets = with_past
    if not repeats:
        targets = with_past.join(train, on=["user_id", "item_id"], how="anti")
    if targets.is_empty():
        raise InputError(
            "the time split has no user with both a past and something new",
            got=f"{pairs['user_id'].n_unique()} users after the cut, {past.height} before it",
            hint="use the protocol 'loo', or data over a longer time",
        )
    targets = targets.sort("user_id", "item_id")
    users = targets["user_id"].unique().to_list()
    return Split(
        protocol="time",
        train=train,
        targets=targets,
        request_us=dict.fromkeys(users, cut_us),
        as_of_us=cut_us,
        targets_hash=targets_hash(targets),
        left_out=_counts(
            untimed_events=rows.height - timed.height,
            users_without_past=pairs["user_id"].n_unique() - with_past["user_id"].n_unique(),
            users_with_nothing_new=with_past["user_id"].n_unique() - len(users),
        ),
        validation=time_split(train, test_share=valid_share / (1 - test_share), repeats=repeats)
        if valid_share > 0
        else None,
    )


def targets_hash(targets: pl.DataFrame) -> str:
    """Return a hash of the sorted (user, item) pairs: equal hashes, equal questions."""
    digest = hashlib.blake2b(digest_size=8)
    for pair in targets.select("user_id", "item_id").sort("user_id", "item_id").iter_rows():
        digest.update(json.dumps(pair).encode())
    return digest.hexdigest()


def _ordered(interactions: pl.DataFrame) -> pl.DataFrame:
    missing = [name for name in COLUMNS if name not in interactions.columns]
    if missing:
        raise InputError(
            "interactions lack columns", got=missing, allowed=f"columns {', '.join(COLUMNS)}"
        )
    empty = {
        name: n
        for name in ("user_id", "item_id", "seq", "weight")
        if (n := interactions[name].null_count())
    }
    if empty:
        raise InputError(
            "interactions have rows without a value",
            got=empty,
            hint="leave out events that name no item; number the rest by arrival in seq",
        )
    weight = interactions["weight"].cast(pl.Float64)
    if bad := int((~weight.is_finite() | (weight < 0)).sum()):
        raise InputError(
            "interactions have weights that are no evidence",
            got=f"{bad} negative, infinite or NaN",
            allowed="0 (known, but no evidence) or more",
        )
    return interactions.select(COLUMNS).sort(
        "user_id", "t_us", "seq", nulls_last=False, maintain_order=True
    )


def _after_all(rows: pl.DataFrame) -> int:
    newest = rows["t_us"].max()
    return int(newest) + 1 if isinstance(newest, int) else 0


def _counts(**counted: int) -> dict[str, int]:
    return {name: n for name, n in counted.items() if n}

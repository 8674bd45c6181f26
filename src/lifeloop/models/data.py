"""Interactions and histories as arrays: the border where a frame becomes what models read.

Letters used in shapes: n interactions, I items, c distinct contents, d vector width, B queries,
L history events of all queries together.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from lifeloop.contracts import UNTIMED, Bool, Float, Int, Long, Queries, Situations, TrainData
from lifeloop.errors import InputError

DAY_US = 86_400_000_000
MOST_VALUES, LEAST_EVENTS, LEAST_PEOPLE = 200, 30, 5
"""Values of one field of a situation that are told apart, and in how many events of how many people
each must be seen: what one person's events say alone (a home address) never gets into a bundle."""


def train_data(
    interactions: pl.DataFrame,
    *,
    item_ids: Sequence[str],
    content: Float,
    content_ix: Int,
    as_of_us: int,
    price: ArrayLike | None = None,
    kinds: Sequence[str | None] | None = None,
    situation: Mapping[str, str] | None = None,
    blocks: Sequence[int] = (),
) -> tuple[TrainData, tuple[str, ...]]:
    """Return interactions as arrays sorted by (user, time, arrival), and the user ids in order.

    Rows of weight 0 (a visit, a rating below the liking threshold) are not evidence and are left
    out; ``interactions.height - len(data.user_ix)`` of them. Everything else is kept or refused.

    Parameters
    ----------
    interactions : polars.DataFrame
        ``user_id``, ``item_id`` (String), ``t_us`` (Int64, null where untimed), ``seq`` (Int64),
        ``weight`` (Float32), ``rating`` (Float64, null where absent). Any row order.
    item_ids : sequence of str
        The catalogue [I]; an item's index is its place here.
    content : float32 array [c, d]
        Distinct content vectors; rows are scaled to length 1, all-zero rows stay zero.
    content_ix : int32 array [I]
        Row of ``content`` of each item, -1 for none.
    as_of_us : int
        The moment of training; no interaction may be later.
    price : array [I], optional
        What each item costs, NaN where unknown; what is not above 0 is taken for unknown.
    kinds : sequence of str or None [I], optional
        The narrowest category of each item.
    situation : mapping of field to column of ``interactions`` (String), optional
        In what situation each happened; values seen in under 30
        events or of under 5 people are taken for unknown.
    blocks : sequence of int
        Widths of the modalities in a content vector, which sum to d; none where there is one.

    Raises
    ------
    InputError
        For missing columns, empty ids, items outside the catalogue, rows after ``as_of_us``,
        negative or non-finite weights, and vectors that are not finite; all problems at once.
    """
    _refuse(_problems(interactions, item_ids=item_ids, as_of_us=as_of_us))
    content, content_ix = _checked_content(content, content_ix, len(item_ids))
    if len(blocks) and sum(blocks) != content.shape[1]:
        _refuse([f"blocks {tuple(blocks)} do not sum to the width {content.shape[1]}"])
    kept = interactions.filter(pl.col("weight") > 0).with_columns(
        pl.col("t_us").cast(pl.Int64).fill_null(UNTIMED)
    )
    kept = kept.sort(["user_id", "t_us", "seq"], maintain_order=True)
    user_ids = tuple(kept["user_id"].unique(maintain_order=True).to_list())
    user_ix = (kept["user_id"].rank("dense").cast(pl.Int32) - 1).to_numpy()
    catalogue = pl.DataFrame(
        {"item_id": list(item_ids), "item_ix": np.arange(len(item_ids), dtype=np.int32)},
        schema={"item_id": pl.String, "item_ix": pl.Int32},
    )
    item_ix = kept.select("item_id").join(
        catalogue, on="item_id", how="left", maintain_order="left"
    )["item_ix"]
    data = TrainData(
        user_ix=np.ascontiguousarray(user_ix, dtype=np.int32),
        item_ix=np.ascontiguousarray(item_ix.to_numpy(), dtype=np.int32),
        t_us=np.ascontiguousarray(kept["t_us"].to_numpy(), dtype=np.int64),
        weight=np.ascontiguousarray(kept["weight"].to_numpy(), dtype=np.float32),
        rating=np.ascontiguousarray(
            kept["rating"].cast(pl.Float64).fill_null(np.nan).to_numpy(), dtype=np.float32
        ),
        n_users=len(user_ids),
        item_ids=tuple(item_ids),
        content=content,
        content_ix=content_ix,
        as_of_us=as_of_us,
        price=None if price is None else _checked_price(price, len(item_ids)),
        situation=_situations(kept, situation or {}),
        kind_ix=None if kinds is None else _kind_ix(kinds, len(item_ids)),
        blocks=tuple(int(width) for width in blocks),
    )
    return data, user_ids


def queries(
    item_ix_per_user: Sequence[ArrayLike],
    *,
    as_of_us: int | Sequence[int] = 0,
    weight: Sequence[ArrayLike] | None = None,
    age_days: Sequence[ArrayLike] | None = None,
    rating: Sequence[ArrayLike] | None = None,
    vectors: Float | None = None,
    situation: Int | None = None,
    predicted: Float | None = None,
    written: Float | None = None,
) -> Queries:
    """Return B histories (item indices, oldest first) as one ``Queries``.

    Parameters
    ----------
    item_ix_per_user : sequence of int arrays
        One array per query; items the model does not know are left out by the caller.
    as_of_us : int or sequence of int
        The moment of each request, microseconds UTC.
    weight, age_days, rating : sequences of arrays, optional
        Parallel to ``item_ix_per_user``; default 1, NaN (unknown) and NaN (none).
    vectors : float32 array [B, d], optional
        What the user wrote or stated, as a vector; an all-zero row means nothing.
    situation : int array [B, F], optional
        Codes of the model's fields (``FittedContext.codes``), -1 where unknown.
    predicted : float32 array [B, 2], optional
        Predicted value and P(alive) that hold, NaN where unknown.
    written : float32 array [B, d], optional
        What the user wrote before, as a unit vector; an all-zero row means nothing.

    Raises
    ------
    InputError
        If lengths do not agree, an index is negative, or a vector is not finite.
    """
    n_queries = len(item_ix_per_user)
    rows = [np.asarray(row, dtype=np.int32).reshape(-1) for row in item_ix_per_user]
    indptr = np.zeros(n_queries + 1, dtype=np.int64)
    np.cumsum([len(row) for row in rows], out=indptr[1:])
    item_ix = np.concatenate([*rows, np.empty(0, np.int32)])
    if item_ix.size and item_ix.min() < 0:
        raise InputError(
            "a history holds an item the model does not know",
            got=int(item_ix.min()),
            allowed="indices into the catalogue, 0 or more",
            hint="leave unknown items out of the history",
        )
    mask: Bool | None = None
    if vectors is not None:
        vectors = np.asarray(vectors, dtype=np.float32)
        if len(vectors) != n_queries or not np.isfinite(vectors).all():
            raise InputError(
                "query vectors do not fit the queries",
                got=vectors.shape,
                allowed=f"[{n_queries}, d] finite numbers",
            )
        mask = (vectors != 0).any(axis=1)
    moments = np.broadcast_to(np.asarray(as_of_us, dtype=np.int64), (n_queries,))
    return Queries(
        indptr=indptr,
        item_ix=item_ix,
        weight=_column("weight", weight, rows, default=1.0),
        age_days=_column("age_days", age_days, rows, default=np.nan),
        rating=_column("rating", rating, rows, default=np.nan),
        as_of_us=np.ascontiguousarray(moments),
        vectors=vectors,
        mask=mask,
        situation=situation,
        predicted=predicted,
        written=written,
    )


def histories(data: TrainData, users: Int, *, as_of_us: int | None = None) -> Queries:
    """Return the whole training history of the users named by index, as ``Queries``."""
    as_of = data.as_of_us if as_of_us is None else as_of_us
    bounds = np.searchsorted(data.user_ix, np.arange(data.n_users + 1))
    starts, sizes = bounds[users], bounds[np.asarray(users) + 1] - bounds[users]
    indptr = np.zeros(len(users) + 1, dtype=np.int64)
    np.cumsum(sizes, out=indptr[1:])
    rows = slices(starts, sizes)
    return Queries(
        indptr=indptr,
        item_ix=data.item_ix[rows],
        weight=data.weight[rows],
        age_days=age_days(data.t_us[rows], as_of),
        rating=data.rating[rows],
        as_of_us=(moments := np.full(len(users), as_of, dtype=np.int64)),
        predicted=None if data.predicted is None else data.predicted.at(users, moments),
    )


def part_of(asked: Queries, start: int, stop: int) -> Queries:
    """Return queries ``start`` to ``stop`` (exclusive) on their own."""
    if start == 0 and stop == len(asked):
        return asked
    lo, hi = int(asked.indptr[start]), int(asked.indptr[stop])
    return Queries(
        indptr=asked.indptr[start : stop + 1] - lo,
        item_ix=asked.item_ix[lo:hi],
        weight=asked.weight[lo:hi],
        age_days=asked.age_days[lo:hi],
        rating=asked.rating[lo:hi],
        as_of_us=asked.as_of_us[start:stop],
        vectors=None if asked.vectors is None else asked.vectors[start:stop],
        mask=None if asked.mask is None else asked.mask[start:stop],
        situation=None if asked.situation is None else asked.situation[start:stop],
        predicted=None if asked.predicted is None else asked.predicted[start:stop],
        written=None if asked.written is None else asked.written[start:stop],
    )


def taken(asked: Queries, rows: Long) -> Queries:
    """Return the queries of the given places, in that order."""
    starts, sizes = asked.indptr[:-1][rows], np.diff(asked.indptr)[rows]
    events = slices(starts, sizes)
    return Queries(
        indptr=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        item_ix=asked.item_ix[events],
        weight=asked.weight[events],
        age_days=asked.age_days[events],
        rating=asked.rating[events],
        as_of_us=asked.as_of_us[rows],
        vectors=None if asked.vectors is None else asked.vectors[rows],
        mask=None if asked.mask is None else asked.mask[rows],
        situation=None if asked.situation is None else asked.situation[rows],
        predicted=None if asked.predicted is None else asked.predicted[rows],
        written=None if asked.written is None else asked.written[rows],
    )


def age_days(t_us: Long, as_of_us: int) -> Float:
    """Return ages in days at ``as_of_us`` [n], NaN where the time is unknown, never below 0."""
    known = t_us != UNTIMED
    age = (as_of_us - np.where(known, t_us, as_of_us)) / DAY_US
    return np.where(known, np.maximum(age, 0.0), np.nan).astype(np.float32)


def slices(starts: Long, sizes: Long) -> Long:
    """Return the indices of many slices laid end to end: starts[0], starts[0]+1, …"""
    total = int(sizes.sum())
    offset = np.repeat(starts - np.concatenate([[0], np.cumsum(sizes)[:-1]]), sizes)
    return np.asarray(offset + np.arange(total), dtype=np.int64)


def _column(
    name: str, given: Sequence[ArrayLike] | None, rows: list[Int], *, default: float
) -> Float:
    total = sum(len(row) for row in rows)
    if given is None:
        return np.full(total, default, dtype=np.float32)
    columns = [np.asarray(part, dtype=np.float32).reshape(-1) for part in given]
    if [len(c) for c in columns] != [len(row) for row in rows]:
        raise InputError(
            f"{name} does not have one value per history event",
            got=[len(c) for c in columns][:10],
            allowed=f"lengths {[len(row) for row in rows][:10]}",
        )
    return np.concatenate([*columns, np.empty(0, np.float32)])


def _problems(rows: pl.DataFrame, *, item_ids: Sequence[str], as_of_us: int) -> list[str]:
    wanted = ("user_id", "item_id", "t_us", "seq", "weight", "rating")
    missing = [name for name in wanted if name not in rows.columns]
    if missing:
        return [f"columns missing: {', '.join(missing)}"]
    problems = []
    if len(set(item_ids)) != len(item_ids):
        problems.append("item_ids holds an id twice")
    for name in ("user_id", "item_id", "weight"):
        if n := rows[name].null_count():
            problems.append(f"{n} rows without {name}")
    weight = rows["weight"].drop_nulls().cast(pl.Float64)
    if n := int((~weight.is_finite() | (weight < 0)).sum()):
        problems.append(f"{n} weights that are negative or not finite")
    unknown = rows["item_id"].drop_nulls().unique()
    unknown = unknown.filter(~unknown.is_in(pl.Series(list(item_ids), dtype=pl.String).implode()))
    if len(unknown):
        problems.append(
            f"{len(unknown)} items outside the catalogue, such as {unknown.sort()[0]!r}"
        )
    if n := int((rows["t_us"].cast(pl.Int64) > as_of_us).sum()):
        problems.append(f"{n} rows later than as_of_us={as_of_us}")
    return problems


def _refuse(problems: list[str]) -> None:
    if problems:
        raise InputError(
            "interactions cannot be used for training: " + "; ".join(problems),
            hint="filter or complete them before train_data; weight 0 rows are left out by it",
        )


def _situations(kept: pl.DataFrame, columns: Mapping[str, str]) -> Situations | None:
    if not columns:
        return None
    values: list[tuple[str, ...]] = []
    codes = np.full((kept.height, len(columns)), -1, dtype=np.int32)
    for f, name in enumerate(columns.values()):
        seen = kept.filter(pl.col(name).is_not_null()).group_by(name)
        seen_by = seen.agg(events=pl.len(), people=pl.col("user_id").n_unique())
        shared = seen_by.filter(
            (pl.col("events") >= LEAST_EVENTS) & (pl.col("people") >= LEAST_PEOPLE)
        ).sort("events", name, descending=[True, False])
        often = sorted(shared[name].head(MOST_VALUES).to_list())
        values.append(tuple(often))
        if often:
            own = dict(zip(often, range(len(often)), strict=True))
            told = kept[name].replace_strict(own, default=-1, return_dtype=pl.Int32)
            codes[:, f] = told.fill_null(-1).to_numpy()
    return Situations(tuple(columns), tuple(values), codes)


def _kind_ix(kinds: Sequence[str | None], n_items: int) -> Int:
    if len(kinds) != n_items:
        raise InputError(
            "kinds do not fit the catalogue", got=len(kinds), allowed=f"{n_items} of them"
        )
    names = {kind: n for n, kind in enumerate(sorted({k for k in kinds if k is not None}))}
    return np.array([-1 if k is None else names[k] for k in kinds], dtype=np.int32)


def _checked_price(price: ArrayLike, n_items: int) -> Float:
    found = np.array(price, dtype=np.float32)
    if found.shape != (n_items,):
        raise InputError(
            "prices do not fit the catalogue", got=found.shape, allowed=f"[{n_items}] numbers"
        )
    found[~(np.isfinite(found) & (found > 0))] = np.nan
    return found


def _checked_content(content: Float, content_ix: Int, n_items: int) -> tuple[Float, Int]:
    content = np.ascontiguousarray(content, dtype=np.float32)
    content_ix = np.ascontiguousarray(content_ix, dtype=np.int32)
    problems = []
    if content.ndim != 2:
        problems.append(f"content has shape {content.shape}, not [c, d]")
    elif not np.isfinite(content).all():
        problems.append("content holds numbers that are not finite")
    elif content_ix.size and int(content_ix.max()) >= len(content):
        problems.append(f"content_ix names row {int(content_ix.max())} of {len(content)}")
    if content_ix.shape != (n_items,):
        problems.append(f"content_ix has shape {content_ix.shape}, not ({n_items},)")
    elif content_ix.size and int(content_ix.min()) < -1:
        problems.append(f"content_ix holds {int(content_ix.min())}; -1 means none")
    if problems:
        raise InputError("item vectors cannot be used: " + "; ".join(problems))
    norms = np.linalg.norm(content.astype(np.float64), axis=1, keepdims=True)  # [c, 1]
    unit = np.divide(content, norms, out=np.zeros(content.shape), where=norms > 0)
    return unit.astype(np.float32), content_ix

"""Fit every model on what was known, ask it what came next, and count.

Letters: U users asked, B users of a batch, I items, k list length.
"""

import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
import polars as pl

from lifeloop.contracts import (
    UNTIMED,
    Double,
    FittedRetriever,
    Float,
    Int,
    Long,
    Progress,
    Queries,
    Retriever,
    TrainData,
    Written,
    silent,
)
from lifeloop.errors import InputError
from lifeloop.evaluate import metrics, slices
from lifeloop.evaluate.ranks import Rows, ranked, rows_of
from lifeloop.evaluate.report import ModelResult, Report
from lifeloop.evaluate.splits import Split, leave_one_out, time_split
from lifeloop.models.data import DAY_US, histories, part_of, train_data
from lifeloop.models.together import AT_ONCE, CELLS, together

RECALL_K = 20
BATCH_BYTES = 64_000_000
"""Size of one batch of scores [B, I] in float32; sorting and masks take about twice more."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What can be recommended: I items, and their vectors (see ``contracts.TrainData``)."""

    item_ids: Sequence[str]
    content: Float  # [c, d]
    content_ix: Int  # [I]
    blocks: tuple[int, ...] = ()  # widths of the modalities

    @classmethod
    def plain(cls, item_ids: Sequence[str]) -> "Catalogue":
        """Return a catalogue without any vectors."""
        return cls(item_ids, np.zeros((0, 1), np.float32), np.full(len(item_ids), -1, np.int32))


def evaluate(
    interactions: pl.DataFrame,
    retrievers: Mapping[str, Retriever],
    *,
    protocol: Literal["loo", "time"],
    catalogue: Catalogue,
    k: int = 10,
    stage_of: Mapping[str, str] | None = None,
    repeats: bool = False,
    written: Callable[[Sequence[str]], Written] | None = None,
    rng: np.random.Generator,
    progress: Progress = silent,
) -> Report:
    """Split, fit each retriever on the past, rank all items for every user, and count.

    All items of the catalogue are ranked, without those the user has already met unless
    ``repeats``. Every model answers the same requests from the same histories.

    Parameters
    ----------
    interactions : pl.DataFrame
        As in ``splits``. Items missing from the catalogue are added to it without vectors.
    retrievers : mapping of name to Retriever
        Fitted one after the other; each draws from its own generator, so that adding a model
        changes no other's numbers.
    protocol : {"loo", "time"}
        ``leave_one_out`` or ``time_split`` (last 20% of events).
    catalogue : Catalogue
        Items and their vectors.
    k : int
        List length of the metrics; recall is also given at 20.
    stage_of : mapping of user id to stage, optional
        As of the request; users it does not name are ``"unknown"``.
    repeats : bool
        Seen items may be recommended and are targets too (groceries).
    written : callable, optional
        Given user ids, returns what they wrote. Models that read it are told what each person
        wrote strictly before the request and before the first of their targets.
    rng : numpy.random.Generator
        Seeds the models and the bootstrap.
    progress : Progress
        Counts models.

    Raises
    ------
    InputError
        No models, an unknown protocol, data that the protocol cannot split, or scores that
        cannot be ranked (the message names the model).
    """
    if not retrievers or k < 1 or protocol not in ("loo", "time"):
        raise InputError(
            "nothing to evaluate",
            got={"models": list(retrievers), "k": k, "protocol": protocol},
            allowed="at least one model, k >= 1, protocol 'loo' or 'time'",
        )
    seed = int(rng.integers(2**31))
    split = (
        leave_one_out(interactions, repeats=repeats)
        if protocol == "loo"
        else time_split(interactions, repeats=repeats)
    )
    catalogue, notes = _completed(catalogue, split)
    data, known = train_data(
        split.train,
        item_ids=catalogue.item_ids,
        content=catalogue.content,
        content_ix=catalogue.content_ix,
        as_of_us=split.as_of_us,
        blocks=catalogue.blocks,
    )
    if written is not None:
        data = replace(data, written=written(known))
    asked = _asked(split, data, known, stage_of=stage_of, repeats=repeats)
    results = {}
    for n, (name, retriever) in enumerate(retrievers.items()):
        progress("evaluate", n, len(retrievers))
        # A generator per name: the order and number of the models do not matter.
        own = np.random.default_rng([seed, zlib.crc32(name.encode())])
        started = time.perf_counter()
        fitted = retriever.fit(data, rng=own)
        fit_s = time.perf_counter() - started
        if asked.queries.written is None and getattr(fitted, "reads_written", False):
            asked = _with_written(asked, data, interactions, split, known)
        try:
            results[name] = _result(fitted, asked, data, k=k, fit_s=fit_s)
        except InputError as error:
            raise InputError(f"the model {name!r} could not be evaluated ({error})") from error
    progress("evaluate", len(retrievers), len(retrievers))
    return Report(
        protocol=split.protocol,
        k=k,
        repeats=repeats,
        targets_hash=split.targets_hash,
        order=split.order,
        user_ids=asked.user_ids,
        n_items=data.n_items,
        n_train=len(data.user_ix),
        n_targets=split.targets.height,
        models=results,
        seed=seed,
        left_out=split.left_out,
        notes=notes,
    )


@dataclass(frozen=True, slots=True)
class _Asked:
    """The questions, the same for every model."""

    user_ids: tuple[str, ...]
    queries: Queries
    targets: Rows
    seen: Rows
    stages: list[str] | None
    histories: list[str]  # length group of each user
    ages: list[str]  # age group of each target
    users_per_item: Long  # [I] people in training


def _asked(
    split: Split,
    data: TrainData,
    known: tuple[str, ...],
    *,
    stage_of: Mapping[str, str] | None,
    repeats: bool,
) -> _Asked:
    user_ids = tuple(split.targets["user_id"].unique(maintain_order=True).to_list())
    place = {user: n for n, user in enumerate(known)}
    request = np.array([split.request_us[user] for user in user_ids], dtype=np.int64)
    queries = _at(histories(data, np.array([place[u] for u in user_ids], dtype=np.int32)), request)
    number = {user: n for n, user in enumerate(user_ids)}
    index = {item: n for n, item in enumerate(data.item_ids)}
    targets = _rows(split.targets, number, index)
    met = split.train.select("user_id", "item_id").unique()
    seen = _rows(met.clear() if repeats else met, number, index)
    first_us = np.full(data.n_items, np.iinfo(np.int64).max, dtype=np.int64)
    timed = data.t_us != UNTIMED
    np.minimum.at(first_us, data.item_ix[timed], data.t_us[timed])
    asked_us = np.repeat(request, np.diff(targets.indptr))
    age = (asked_us - first_us[targets.ix]) / DAY_US
    # Leave-one-out knows other users' future: an item first seen after the request is age 0.
    age[first_us[targets.ix] == np.iinfo(np.int64).max] = np.nan
    pairs = np.unique(data.user_ix.astype(np.int64) * data.n_items + data.item_ix)
    return _Asked(
        user_ids=user_ids,
        queries=queries,
        targets=targets,
        seen=seen,
        stages=None if stage_of is None else [stage_of.get(u, "unknown") for u in user_ids],
        histories=slices.history_groups(np.diff(queries.indptr)),
        ages=slices.age_groups(age),
        users_per_item=np.bincount(pairs % data.n_items, minlength=data.n_items),
    )


def _with_written(
    asked: _Asked, data: TrainData, interactions: pl.DataFrame, split: Split, known: tuple[str, ...]
) -> _Asked:
    """Return the same questions, told what each person had written before their first target."""
    if data.written is None:
        return asked
    held = interactions.filter(pl.col("weight") > 0).join(
        split.train, on=["user_id", "item_id", "t_us", "seq"], how="anti", nulls_equal=True
    )
    first = held.group_by("user_id").agg(pl.col("t_us").fill_null(UNTIMED).min())
    begins = dict(first.iter_rows())
    place = {user: n for n, user in enumerate(known)}
    users = np.array([place[user] for user in asked.user_ids], dtype=np.int32)
    moments = asked.queries.as_of_us
    before = np.array(
        [
            min(int(at), begins.get(u, UNTIMED))
            for u, at in zip(asked.user_ids, moments, strict=True)
        ],
        dtype=np.int64,
    )
    told = data.written.at(users, moments, before)
    return replace(asked, queries=replace(asked.queries, written=told))


def _result(
    fitted: FittedRetriever, asked: _Asked, data: TrainData, *, k: int, fit_s: float
) -> ModelResult:
    started = time.perf_counter()
    ranks, lists = _ranked(fitted, asked, data.n_items, k=k)
    score_s = time.perf_counter() - started
    per_user = _per_user(ranks, k)
    shown = [f"hr@{k}", f"ndcg@{k}", f"recall@{RECALL_K}"]
    counts, content = asked.users_per_item, (data.content, data.content_ix)
    return ModelResult(
        per_user=per_user,
        overall={
            f"coverage@{k}": metrics.coverage(lists, data.n_items),
            f"popularity_percentile@{k}": _mean(metrics.popularity_percentile(lists, counts)),
            f"novelty@{k}": _mean(metrics.novelty(lists, counts, data.n_users)),
            f"diversity@{k}": _mean(metrics.intra_list_diversity(lists, *content)),
        },
        by_stage={}
        if asked.stages is None
        else slices.by_group(per_user, asked.stages, metrics=shown),
        by_history=slices.by_group(per_user, asked.histories, metrics=shown),
        by_item_age=slices.by_item_age(np.concatenate(ranks), asked.ages, k),
        fit_s=fit_s,
        score_s=score_s,
        empty_lists=int((lists[:, 0] < 0).sum()),
        notes=tuple(getattr(fitted, "notes", ())),
    )


def _ranked(
    fitted: FittedRetriever, asked: _Asked, n_items: int, *, k: int
) -> tuple[list[Double], Int]:
    """Score in batches of bounded memory, two at a time; see ``ranks.ranked``."""
    n_users = len(asked.user_ids)
    step = max(1, BATCH_BYTES // (4 * n_items) // AT_ONCE)

    def of(start: int, stop: int) -> tuple[list[Double], Int]:
        scores = fitted.score(part_of(asked.queries, start, stop))  # [B, I]
        batch = range(start, stop)
        return ranked(
            # A copy: a model may answer with its own state (popularity, broadcast).
            np.array(scores, dtype=np.float32),
            targets=[asked.targets.of(u) for u in batch],
            seen=[asked.seen.of(u) for u in batch],
            k=k,
        )

    starts = range(0, n_users, step)
    jobs = [partial(of, start, min(start + step, n_users)) for start in starts]
    found = together(jobs, worth=n_users * n_items >= CELLS)
    lists = [np.full((0, k), -1, dtype=np.int32), *(each for _, each in found)]
    return [rank for ranks, _ in found for rank in ranks], np.concatenate(lists)


def _per_user(ranks: list[Double], k: int) -> dict[str, Double]:
    measures = {
        f"hr@{k}": lambda r: metrics.hit_rate(r, k),
        f"ndcg@{k}": lambda r: metrics.ndcg(r, k),
        f"map@{k}": lambda r: metrics.average_precision(r, k),
        f"precision@{k}": lambda r: metrics.precision(r, k),
        f"recall@{k}": lambda r: metrics.recall(r, k),
        f"recall@{RECALL_K}": lambda r: metrics.recall(r, RECALL_K),
        "mrr": metrics.reciprocal_rank,
    }
    return {name: np.array([f(r) for r in ranks]) for name, f in measures.items()}


def _completed(catalogue: Catalogue, split: Split) -> tuple[Catalogue, tuple[str, ...]]:
    used = pl.concat([split.train["item_id"], split.targets["item_id"]]).unique().sort()
    have = set(catalogue.item_ids)
    extra = [item for item in used.to_list() if item not in have]
    if not extra:
        return catalogue, ()
    note = f"{len(extra)} items of the interactions are not in the catalogue; they have no vectors"
    return (
        Catalogue(
            [*catalogue.item_ids, *extra],
            catalogue.content,
            np.concatenate([catalogue.content_ix, np.full(len(extra), -1, np.int32)]),
            catalogue.blocks,
        ),
        (note,),
    )


def _at(queries: Queries, request_us: Long) -> Queries:
    """Move each request to its own moment: ages count from there."""
    shift = (request_us - queries.as_of_us) / DAY_US  # [U]
    moved = queries.age_days + np.repeat(shift, np.diff(queries.indptr))
    return replace(queries, age_days=np.maximum(moved, 0.0).astype(np.float32), as_of_us=request_us)


def _rows(pairs: pl.DataFrame, users: Mapping[str, int], items: Mapping[str, int]) -> Rows:
    kept = pairs.filter(pl.col("user_id").is_in(list(users)))
    user = np.array([users[u] for u in kept["user_id"].to_list()], dtype=np.int64)
    item = np.array([items[i] for i in kept["item_id"].to_list()], dtype=np.int32)
    order = np.lexsort((item, user))
    return rows_of(user[order], item[order], len(users))


def _mean(values: Double) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None

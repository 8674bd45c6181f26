"""Items and people that training has not seen, held out from a log.

Letters: I items, B people asked.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from benchmarks.texts import DAY_US, Log, others
from lifeloop.contracts import FittedRetriever, Float, Int, Queries, TrainData
from lifeloop.models import queries, train_data
from lifeloop.models.data import part_of

SHARE = 0.2
MOST_ASKED = 1500
K = 10
BLOCK = 100


@dataclass(frozen=True)
class Cold:
    """A log without every event of a fifth of the items, and the people who used those."""

    name: str
    item_ids: tuple[str, ...]
    texts: dict[str, str]
    words: dict[str, str]
    train: pl.DataFrame
    as_of_us: int
    new_ix: Int  # items held out
    queries: Queries  # histories among the other items
    targets: list[Int]  # new items that each person used
    people: tuple[str, ...]

    def data(self, content: Float, content_ix: Int) -> TrainData:
        """Return the training data with some vectors."""
        made, _ = train_data(
            self.train,
            item_ids=self.item_ids,
            content=content,
            content_ix=content_ix,
            as_of_us=self.as_of_us,
        )
        return made


def cold_items(log: Log, *, seed: int = 0, only_in: pl.DataFrame | None = None) -> Cold:
    """Hold out a fifth of the items; ask people with a history among the others.

    Where the texts are reviews, people are dealt into two halves: the texts are by one half, the
    people asked and the training are of the other: nobody is ranked by their own words.
    """
    rng = np.random.default_rng(seed)
    rows = log.interactions if only_in is None else only_in
    texts, words = log.texts, log.words
    if not texts:
        people = np.array(sorted(rows["user_id"].unique().to_list()), dtype=object)
        writers = set(rng.permutation(people)[: len(people) // 2].tolist())
        texts, words = others(log, writers)
        rows = rows.filter(~pl.col("user_id").is_in(list(writers)))
    rows = rows.filter(pl.col("item_id").is_in(list(texts)))
    item_ids = tuple(sorted(rows["item_id"].unique().to_list()))
    new = set(rng.permutation(np.array(item_ids, dtype=object))[: int(SHARE * len(item_ids))])
    is_new = pl.col("item_id").is_in(list(new))
    train, held = rows.filter(~is_new), rows.filter(is_new)
    ix = {item: n for n, item in enumerate(item_ids)}
    both = sorted(set(train["user_id"].unique()) & set(held["user_id"].unique()))
    asked = sorted(rng.permutation(np.array(both, dtype=object))[:MOST_ASKED].tolist())
    wanted = held.filter(pl.col("user_id").is_in(asked))
    targets = {
        user: np.array(sorted({ix[i] for i in part["item_id"]}), dtype=np.int32)
        for (user,), part in wanted.group_by(["user_id"])
    }
    as_of = int(rows["t_us"].max()) + 1  # type: ignore[arg-type]  # not empty
    return Cold(
        log.name,
        item_ids,
        texts,
        words,
        train,
        as_of,
        np.array(sorted(ix[i] for i in new), dtype=np.int32),
        histories_of(train, asked, ix, as_of),
        [targets[user] for user in asked],
        tuple(asked),
    )


def histories_of(rows: pl.DataFrame, people: list[str], ix: dict[str, int], as_of: int) -> Queries:
    """Return the histories of some people, oldest first."""
    mine = rows.filter(pl.col("user_id").is_in(people)).sort("user_id", "t_us", "seq")
    parts = {user: part for (user,), part in mine.group_by(["user_id"], maintain_order=True)}
    empty = mine.clear()
    own = [parts.get(user, empty) for user in people]
    return queries(
        [np.array([ix[i] for i in part["item_id"]], dtype=np.int32) for part in own],
        as_of_us=as_of,
        age_days=[(as_of - part["t_us"].to_numpy()) / DAY_US for part in own],
    )


def ndcg_on(fitted: FittedRetriever, cold: Cold) -> float:
    """Return the mean NDCG@10 over the people asked, the new items ranked among themselves.

    Ties are broken at random (a model that knows nothing of an item gets no luck from its index).
    """
    return float(np.mean(ndcgs(fitted, cold.queries, cold.targets, cold.new_ix)))


def ndcgs(
    fitted: FittedRetriever, asked: Queries, targets: list[Int], among: Int, *, seed: int = 1
) -> list[float]:
    """Return NDCG@10 per person, ``among`` ranked without what is in the person's history."""
    discount = 1.0 / np.log2(np.arange(K) + 2.0)
    rng = np.random.default_rng(seed)
    found = []
    for start in range(0, len(asked), BLOCK):
        stop = min(len(asked), start + BLOCK)
        scores = fitted.score(part_of(asked, start, stop))[:, among]  # [b, C]
        for b in range(start, stop):
            own = scores[b - start].astype(np.float64)
            seen = asked.item_ix[asked.indptr[b] : asked.indptr[b + 1]]
            own[np.isin(among, seen)] = -np.inf
            order = np.lexsort((rng.random(len(own)), -own))[:K]
            hit = np.isin(among[order], targets[b])
            ideal = discount[: min(K, len(targets[b]))].sum()
            found.append(float(discount[: len(hit)] @ hit / ideal))
    return found

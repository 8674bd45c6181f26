"""The numbers of spec/accuracy.md on ml-100k, leave-one-out, all unseen items ranked."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from lifeloop.config import Models
from lifeloop.contracts import FittedRetriever, Int, Queries, Retriever, TrainData
from lifeloop.models import FittedBlend, build, histories, train_data

pytestmark = pytest.mark.slow


class Split:
    """Everything but each person's last event, and that event's item, ties in file order."""

    def __init__(self, folder: Path) -> None:
        rows = pl.read_csv(
            folder / "u.data", separator="\t", has_header=False,
            new_columns=["user_id", "item_id", "rating", "ts"],
        )  # fmt: skip
        frame = rows.select(
            pl.col("user_id", "item_id").cast(pl.String),
            t_us=pl.col("ts") * 1_000_000,
            seq=pl.int_range(pl.len()),
            weight=pl.lit(3.0, pl.Float32),
            rating=pl.col("rating").cast(pl.Float64),
        ).sort("user_id", "t_us", "seq")
        last = (pl.int_range(pl.len()) == pl.len() - 1).over("user_id")
        ids = sorted(frame["item_id"].unique().to_list())
        self.data: TrainData
        self.data, users = train_data(
            frame.filter(~last), item_ids=ids, content=np.zeros((0, 2), np.float32),
            content_ix=np.full(len(ids), -1, np.int32), as_of_us=int(frame["t_us"].max() or 0),  # type: ignore[arg-type]
        )  # fmt: skip
        wanted = frame.filter(last)
        item_of = dict(zip(wanted["user_id"], wanted["item_id"], strict=True))
        place = {item: ix for ix, item in enumerate(ids)}
        self.target: Int = np.array([place[item_of[user]] for user in users], np.int32)
        self.queries: Queries = histories(self.data, np.arange(len(users), dtype=np.int32))

    def ndcg_at_10(self, fitted: FittedRetriever) -> float:
        """Counted here without the code under test: rank = items above, ties half."""
        scores = fitted.score(self.queries).astype(np.float64)
        scores[self.data.user_ix, self.data.item_ix] = -np.inf
        own = scores[np.arange(len(self.target)), self.target][:, None]
        rank = (scores > own).sum(axis=1) + ((scores == own).sum(axis=1) - 1) / 2
        gain = np.where((rank < 10) & (own[:, 0] > -np.inf), 1 / np.log2(rank + 2), 0.0)
        return float(gain.mean())


@pytest.fixture(scope="module")
def split(shared_data: Callable[[str], Path]) -> Split:
    return Split(shared_data("ml-100k"))


def fit(retriever: Retriever, split: Split) -> FittedRetriever:
    return retriever.fit(split.data, rng=np.random.default_rng(0))


def test_there_are_943_targets(split: Split) -> None:
    assert len(split.target) == 943


@pytest.mark.parametrize(
    ("name", "expected", "within"),
    [
        ("popularity", 0.044, 0.02),
        ("ease", 0.0723, 0.02),
        ("ease_recency", 0.101, 0.02),
        ("transitions", 0.109, 0.03),
    ],
)
def test_parts_reproduce_the_measured_peers(
    split: Split, name: str, expected: float, within: float
) -> None:
    (retriever,) = build([name], Models())
    assert split.ndcg_at_10(fit(retriever, split)) == pytest.approx(expected, rel=within)


def test_the_blend_is_above_its_best_part(split: Split) -> None:
    (retriever,) = build(["lifeloop"], Models(), horizon="last")
    blend = fit(retriever, split)
    assert isinstance(blend, FittedBlend)
    alone = {part.name: split.ndcg_at_10(part) for part in blend.parts}
    assert split.ndcg_at_10(blend) > 1.03 * max(alone.values())

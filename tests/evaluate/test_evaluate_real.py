"""The floor on real data: popularity, against numbers measured elsewhere (spec/accuracy.md)."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from lifeloop.evaluate import Catalogue, Report, evaluate
from lifeloop.models.retrieve.ease import Ease
from lifeloop.models.retrieve.popularity import Popularity


def ml_100k(folder: Path) -> pl.DataFrame:
    rows = pl.read_csv(
        folder / "u.data",
        separator="\t",
        has_header=False,
        new_columns=["user", "item", "rating", "t"],
    )
    return interactions(rows.with_row_index("seq"), t_us=pl.col("t") * 1_000_000)


def ml_1m(folder: Path, *, timed: bool) -> pl.DataFrame:
    rows = pl.read_parquet(folder / "ratings.parquet").rename(
        {"user_id": "user", "movie_id": "item"}
    )
    # seq is the exact order inside a user; ts_hi brackets the times that were lost, and is
    # int32: in microseconds it overflows without a word.
    return interactions(
        rows, t_us=pl.col("ts_hi").cast(pl.Int64) * 1_000_000 if timed else pl.lit(None)
    )


def interactions(rows: pl.DataFrame, *, t_us: pl.Expr) -> pl.DataFrame:
    return rows.select(
        user_id=pl.col("user").cast(pl.String),
        item_id=pl.col("item").cast(pl.String),
        t_us=t_us.cast(pl.Int64),
        seq=pl.col("seq").cast(pl.Int64),
        weight=pl.lit(1.0, dtype=pl.Float32),
        rating=pl.col("rating").cast(pl.Float64),
    )


def floor(rows: pl.DataFrame, protocol: str) -> Report:
    return evaluate(
        rows,
        {"popularity": Popularity()},
        protocol=protocol,  # type: ignore[arg-type]
        catalogue=Catalogue.plain(sorted(rows["item_id"].unique())),
        rng=np.random.default_rng(0),
    )


# HR@10 and NDCG@10, or NDCG@10, recall@20 and coverage@10, of accuracy.md; its numbers have
# three digits, and the time split of 109 users moves by .001 with the order of ties.
@pytest.mark.parametrize(
    ("name", "protocol", "n_users", "expected"),
    [
        ("ml-100k", "loo", 943, {"hr@10": 0.086, "ndcg@10": 0.044}),
        ("ml-100k", "time", 109, {"ndcg@10": 0.147, "recall@20": 0.126, "coverage@10": 0.05}),
        ("ml-1m", "loo", 6040, {"hr@10": 0.036, "ndcg@10": 0.018}),
        ("ml-1m", "time", None, {"ndcg@10": 0.267, "recall@20": 0.065, "coverage@10": 0.04}),
    ],
)
def test_popularity_on_movielens_equals_the_measured_floor(
    shared_data: Callable[[str], Path],
    name: str,
    protocol: str,
    n_users: int | None,
    expected: dict[str, float],
) -> None:
    folder = shared_data(name)
    rows = ml_100k(folder) if name == "ml-100k" else ml_1m(folder, timed=protocol == "time")
    report = floor(rows, protocol)
    if n_users is not None:
        assert len(report.user_ids) == n_users
    for metric, value in expected.items():
        rounding = 0.006 if metric == "coverage@10" else 0.0025
        assert report.value("popularity", metric) == pytest.approx(value, abs=rounding)


def test_popularity_by_time_equals_a_count_written_without_the_package(
    shared_data: Callable[[str], Path],
) -> None:
    rows = ml_100k(shared_data("ml-100k"))
    report = floor(rows, "time")
    raw = rows.sort("t_us", "seq").select("user_id", "item_id", "t_us").rows()
    cut = raw[80_000][2]
    seen: dict[str, set[str]] = {}
    likes: dict[str, int] = {}
    after: dict[str, set[str]] = {}
    for user, item, t in raw:
        if t < cut:
            seen.setdefault(user, set()).add(item)
            likes[item] = likes.get(item, 0) + 1
        else:
            after.setdefault(user, set()).add(item)
    items = rows["item_id"].unique().to_list()
    hits = []
    for user in sorted(seen.keys() & after.keys()):
        new = after[user] - seen[user]
        unseen = [likes.get(i, 0) for i in items if i not in seen[user] | new]
        found = 0
        for n, item in enumerate(sorted(new, key=lambda i: -likes.get(i, 0))):
            above = sum(c > likes.get(item, 0) for c in unseen)
            level = sum(c == likes.get(item, 0) for c in unseen)
            found += above + level / 2 + n + 1 <= 20
        hits.append(found / len(new))
    assert report.value("popularity", "recall@20") == pytest.approx(np.mean(hits), abs=1e-12)


def test_ease_on_leave_one_out_is_where_three_libraries_put_it(
    shared_data: Callable[[str], Path],
) -> None:
    rows = ml_100k(shared_data("ml-100k"))
    report = evaluate(
        rows,
        {"ease": Ease(ridge=100.0), "popularity": Popularity()},
        protocol="loo",
        catalogue=Catalogue.plain(sorted(rows["item_id"].unique())),
        rng=np.random.default_rng(0),
    )
    assert report.value("ease", "ndcg@10") == pytest.approx(0.0723, rel=0.02)
    assert report.value("ease", "hr@10") == pytest.approx(0.149, abs=0.002)
    assert report.compare("ease", "popularity", "ndcg@10").p < 0.01

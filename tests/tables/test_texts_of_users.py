"""Texts as numbers for the hazard: the past alone, one row per day, the mean so far."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from lifeloop import Lifeloop
from lifeloop.charts import words
from lifeloop.tables import Source, table_of
from lifeloop.tables.texts import FEWEST, WIDTH, vectors_of

DAY_US = 86_400_000_000
GLAD = ["lovely tea", "great cups", "fast parcel", "nice kettle", "good honey", "warm scarf"]
ANGRY = ["broken cup again", "refund please", "late and rude", "never again", "bad smell", "torn"]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """Return visitors who write; who is about to leave writes in anger."""
    rng = np.random.default_rng(3)
    rows: list[tuple[str, str, int, str]] = []
    for user in range(260):
        leaves = int(rng.integers(25, 260))
        for day in range(int(rng.integers(0, 20)), min(leaves, 200), int(rng.integers(3, 9))):
            angry = leaves - day < 25 or rng.random() < 0.05
            text = " ".join(rng.choice(ANGRY if angry else GLAD, 3))
            rows.append((f"u{user}", "search", day, f"{text} {len(rows)}"))
    log = pl.DataFrame(rows, schema=["user_id", "type", "day", "text"], orient="row")
    start = pl.date(2024, 1, 1) + pl.duration(days=pl.col("day"))
    folder: Path = tmp_path_factory.mktemp("texts")
    log.with_columns(occurred_at=start.cast(pl.String)).drop("day").write_csv(folder / "log.csv")
    with Lifeloop.open(folder / "shop", scenario="ecommerce") as loop:
        loop.import_events(folder / "log.csv")
        return loop.source()


def test_texts_are_read_from_the_store(source: Source) -> None:
    assert source.texts is not None
    assert source.texts.height == source.events.height
    assert source.texts.columns == ["user_id", "t_us", "text"]


def test_a_row_is_the_mean_so_far_and_knows_nothing_of_later_texts(source: Source) -> None:
    assert source.texts is not None
    learned, last = vectors_of(source), int(source.texts["t_us"].to_numpy().max()) // DAY_US
    known = last - 60
    assert learned is not None
    got = learned(known)
    assert got is not None
    assert got.columns == ["user_id", "day", *[f"v{k}" for k in range(WIDTH)]]
    assert not got.select("user_id", "day").is_duplicated().any()
    early = replace(source, texts=source.texts.filter(pl.col("t_us") < (known + 1) * DAY_US))
    again = vectors_of(early)
    assert again is not None
    past = again(known)
    assert past is not None
    assert past.sort("user_id", "day").equals(
        got.filter(pl.col("day") <= known).sort("user_id", "day")
    )
    first = got.sort("day").group_by("user_id").first().select(pl.col("^v.*$")).to_numpy()
    assert np.linalg.norm(first, axis=1) == pytest.approx(1.0, abs=1e-5)  # one text: its own vector


def test_few_texts_are_none(source: Source) -> None:
    assert source.texts is not None
    assert vectors_of(replace(source, texts=None)) is None
    assert vectors_of(replace(source, texts=source.texts.head(FEWEST - 1))) is None
    learned = vectors_of(source)
    assert learned is not None
    assert learned(int(source.texts["t_us"].to_numpy().min()) // DAY_US) is None


def test_the_command_s_table_hears_who_is_about_to_leave(source: Source) -> None:
    mute = replace(source, texts=None)
    told, plain = (table_of(s, "churn_backtest", within_days=28).rows for s in (source, mute))
    assert told["brier"][0] < 0.95 * plain["brier"][0]
    rows = table_of(source, "churn_risk", within_days=28, lang="zh").rows
    reasons = rows.select(pl.col("^.*_reason$")).unpivot()["value"].drop_nulls()
    assert (reasons == words("zh").reason("what they wrote")).any()
    assert words("zh").reason("what they wrote") != "what they wrote"

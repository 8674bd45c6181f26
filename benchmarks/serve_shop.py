"""The shop of ``benchmarks.serve``: made once, kept in .bench/ and in a schema of its own."""

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import polars as pl
import psycopg

from lifeloop import Lifeloop, learn
from lifeloop.contracts import Long
from lifeloop.events.records import EVENT_SCHEMA, ITEM_SCHEMA
from lifeloop.models import Blend, Ranked, build
from lifeloop.models.registry import BLENDED

SEED = 11
VARIABLE = "LIFELOOP_BENCH_POSTGRES"
SERVER = os.environ.get(VARIABLE, "postgresql://postgres@127.0.0.1:5432/test")
FOLDER = Path(".bench")
NOW_US = time.time_ns() // 1000
DAY_US = 86_400_000_000

FOUR = ("recency_popularity", "content", "itemknn", "ease")
"""The retrievers of the row that the goal speaks of."""
PIPELINES = {"four": FOUR, "all": BLENDED}
MOST = 1500  # held-out queries that the trees learn from: enough for trees of the usual size
N_CATEGORIES = 200


def prepare(n_items: int, n_users: int, pipeline: str) -> Path:
    """Make the shop: 5 events a user, 200 categories, titles of words; train the pipeline once.

    The trees are served whether or not they win on a made-up shop: this measures what they cost.
    """
    folder = FOLDER / f"serve-{n_items}-{n_users}"
    schema = f"lifeloop_bench_{n_items}_{n_users}"
    if not (folder / "filled").exists():  # half of a shop, or that of another checkout
        shutil.rmtree(folder, ignore_errors=True)
        with psycopg.connect(SERVER, autocommit=True) as con:
            con.execute(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE'.encode())
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "lifeloop.toml").write_text(
        'name = "bench"\nextends = "ecommerce"\n'
        f'url = "{SERVER}?schema={schema}"\n'
        '[models]\ntext_encoder = "tfidf"\n'
    )
    with Lifeloop.open(folder) as loop:
        if not (folder / "filled").exists():
            fill(loop, n_items, n_users)
            settled()
            (folder / "filled").touch()
        if not (folder / pipeline).exists():
            (folder / pipeline).write_text(trained(loop, PIPELINES[pipeline]))
    return folder


def fill(loop: Lifeloop, n_items: int, n_users: int) -> None:
    """Store the items and events."""
    rng = np.random.default_rng(SEED)
    category = rng.integers(0, N_CATEGORIES, n_items)
    with loop.store.bulk():
        loop.store.put_items(items(category, rng), received_us=NOW_US)
        for start in range(0, n_users, 20_000):
            part = events(start, min(20_000, n_users - start), category, rng)
            loop.store.append(part, received_us=NOW_US)


def settled() -> None:
    """Do at once what the server would do by itself in the minutes after a fill."""
    with suppress(psycopg.Error), psycopg.connect(SERVER, autocommit=True) as con:
        con.execute("VACUUM ANALYZE")
        con.execute("CHECKPOINT")


def trained(loop: Lifeloop, parts: tuple[str, ...]) -> str:
    """Train these retrievers and the trees above them; return the bundle."""
    settings = loop.scenario.models
    ranked = Ranked(Blend(parts=tuple(build(parts, settings))), most=MOST, margin=-1.0)
    with mock.patch.object(learn, "build", return_value=[ranked]):
        return str(loop.train()["bundle"])


def items(category: Long, rng: np.random.Generator) -> pl.DataFrame:
    n = len(category)
    words = np.array([f"w{i:04}" for i in range(4000)])
    own = rng.integers(0, 4000, (n, 3))
    titles = [
        " ".join([*words[(c * 20 + np.arange(3)) % 4000], *words[row]])
        for c, row in zip(category, own, strict=True)
    ]
    held: dict[str, Any] = {name: [None] * n for name in ITEM_SCHEMA}
    held["item_id"] = [f"i{i}" for i in range(n)]
    held["title"] = titles
    held["categories"] = [[f"c{c}"] for c in category]
    held["price"] = np.round(rng.gamma(2.0, 10.0, n), 2)
    return pl.DataFrame(held, schema=ITEM_SCHEMA)


def events(first: int, n_users: int, category: Long, rng: np.random.Generator) -> pl.DataFrame:
    """Five events a person: half of what is popular, half of one category of their own."""
    n, n_items = n_users * 5, len(category)
    popular = (n_items * rng.power(0.35, n)).astype(np.int64) % n_items
    by_category = np.argsort(category, kind="stable")
    start = np.searchsorted(category[by_category], np.arange(N_CATEGORIES + 1))
    liked = np.repeat(rng.integers(0, N_CATEGORIES, n_users), 5)
    near = start[liked] + (rng.power(0.35, n) * np.diff(start)[liked]).astype(np.int64)
    popular = np.where(rng.random(n) < 0.5, popular, by_category[near])
    kinds = np.array(["view", "view", "view", "cart", "purchase"])
    held: dict[str, Any] = {name: [None] * n for name in EVENT_SCHEMA}
    held["event_id"] = [f"e{first * 5 + i}" for i in range(n)]
    held["user_id"] = [f"u{first + i // 5}" for i in range(n)]
    held["item_id"] = [f"i{i}" for i in popular]
    held["type"] = kinds[np.arange(n) % 5]
    times = NOW_US - rng.integers(DAY_US // 24, 60 * DAY_US, n)
    held["occurred_us"] = times
    held["order_id"] = [f"o{first}-{i}" if i % 5 == 4 else None for i in range(n)]
    held["value"] = np.where(np.arange(n) % 5 == 4, 10.0, np.nan)
    frame = pl.DataFrame(held, schema=EVENT_SCHEMA).with_columns(pl.col("value").fill_nan(None))
    return frame.with_columns(pl.Series("t_us", times, dtype=pl.Int64))

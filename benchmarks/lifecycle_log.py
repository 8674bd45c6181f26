"""A synthetic event log of any size for the lifecycle benchmark; the same for the same seed.

Activity per user has a long tail, users arrive over the year, one event in twelve is an order
line, and hours follow the day. Made in blocks of users, written as Parquet under ``.bench/``.
"""

from pathlib import Path

import numpy as np
import polars as pl

SEED = 11
DAYS = 365
START_US = 1_704_067_200_000_000  # 2024-01-01
DAY_US = 86_400_000_000
TYPES = np.array(["visit", "view", "add_to_cart", "purchase", "refund", "sign_up", "csat", "nps"])
SHARES = np.array([0.3, 0.45, 0.12, 0.08, 0.004, 0.025, 0.011, 0.01])
CHANNELS = np.array(["web", "app", "store", "mail"])


def log_file(n_events: int, *, users_per_event: float = 1 / 40, folder: Path) -> Path:
    """Return the Parquet file of a log; it is made when it is not there."""
    path = folder / f"lifecycle-{n_events}.parquet"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".part")
        make(n_events, round(n_events * users_per_event)).write_parquet(temporary)
        temporary.replace(path)
    return path


def make(n_events: int, n_users: int) -> pl.DataFrame:
    """Return the log as one frame in order of time."""
    rng = np.random.default_rng(SEED)
    arrival = rng.integers(0, DAYS - 5, n_users)
    weight = rng.pareto(1.3, n_users) + 0.4
    user = np.sort(rng.choice(n_users, n_events, p=weight / weight.sum()))
    left = DAYS - arrival[user]
    # Most events come soon after arrival; visits cluster on the days of a session.
    offset = np.floor(left * rng.beta(0.7, 1.6, n_events)).astype(np.int64)
    session = rng.integers(0, 6, n_events) < 4
    offset = np.where(session, offset // 3 * 3, offset)
    second = (rng.beta(4, 3, n_events) * 86_400).astype(np.int64)
    t_us = START_US + (arrival[user] + offset) * DAY_US + second * 1_000_000
    kind = rng.choice(len(TYPES), n_events, p=SHARES / SHARES.sum())
    order = np.where((kind == 3) | (kind == 4), user * 8 + rng.integers(0, 8, n_events), -1)
    rating = np.where(kind == 6, rng.integers(1, 6, n_events), rng.integers(0, 11, n_events))
    frame = pl.DataFrame(
        {
            "user": user.astype(np.uint32),
            "t_us": t_us,
            "kind": kind.astype(np.uint8),
            "order": order,
            "value": np.where(order >= 0, np.round(rng.gamma(2.0, 12.0, n_events), 2), np.nan),
            "rating": np.where(kind >= 6, rating, -1).astype(np.int8),
            "channel": (user % len(CHANNELS)).astype(np.uint8),
            "referrer": np.where(
                rng.random(n_events) < 0.01, rng.integers(0, n_users, n_events), -1
            ),
        }
    ).sort("t_us")
    ids = pl.format("u{}", pl.col("user").cast(pl.String).str.zfill(7))
    return frame.select(
        user_id=ids,
        t_us="t_us",
        type=pl.Series(TYPES).gather(frame["kind"]),
        order_id=pl.when(pl.col("order") >= 0).then(pl.format("o{}", "order")),
        value=pl.col("value").fill_nan(None),
        rating=pl.when(pl.col("rating") >= 0).then(pl.col("rating").cast(pl.Float64)),
        channel=pl.Series(CHANNELS).gather(frame["channel"]),
        referrer_id=pl.when(pl.col("referrer") >= 0).then(
            pl.format("u{}", pl.col("referrer").cast(pl.String).str.zfill(7))
        ),
        is_bot=pl.lit(None, dtype=pl.Boolean),
    )

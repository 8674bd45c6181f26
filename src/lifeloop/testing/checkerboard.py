"""A tiny world with known answers: people and items have a colour, people use their own colour.

Person u and item i are of one colour if u + i is even. Every person used every item of their
colour but one, one a day, in the order of the items but each starting somewhere else; the one left
out is the right answer.
(After implicit's checkerboard matrix.)
"""

from dataclasses import dataclass

import numpy as np

from lifeloop.contracts import UNTIMED, Bool, Float, Int, Queries, TrainData
from lifeloop.models.data import DAY_US, histories

START_US = 1_700_000_000_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Checkerboard:
    """The interactions, everyone's history as queries, and the item each one misses."""

    data: TrainData
    queries: Queries  # [U]
    missing: Int  # [U]

    def same_colour(self, user: int) -> Bool:
        """Return [I], True for the items of a person's own colour."""
        return np.asarray((np.arange(self.data.n_items) + user) % 2 == 0)

    def unused(self) -> Bool:
        """Return [U, I], True where a person has not used an item."""
        mask = np.ones((self.data.n_users, self.data.n_items), dtype=np.bool_)
        mask[self.data.user_ix, self.data.item_ix] = False
        return mask


def checkerboard(
    n_users: int = 60, n_items: int = 24, *, width: int = 4, timed: bool = True
) -> Checkerboard:
    """Return the world; content vectors [n_items, width] point to the item's colour."""
    user: list[int] = []
    item: list[int] = []
    day: list[int] = []
    missing = np.zeros(n_users, dtype=np.int32)
    for u in range(n_users):
        own = [i for i in range(n_items) if (u + i) % 2 == 0]
        left_out = own[(u // 2) % len(own)]
        missing[u] = left_out
        used = [i for i in own if i != left_out]
        start = 5 * (u // 2) % len(used)
        user += [u] * len(used)
        item += used[start:] + used[:start]
        day += range(len(used))
    item_ix = np.array(item, dtype=np.int32)
    t_us = START_US + np.array(day, dtype=np.int64) * DAY_US
    data = TrainData(
        user_ix=np.array(user, dtype=np.int32),
        item_ix=item_ix,
        t_us=t_us if timed else np.full(len(item), UNTIMED),
        weight=np.ones(len(item), dtype=np.float32),
        rating=np.full(len(item), np.nan, dtype=np.float32),
        n_users=n_users,
        item_ids=tuple(f"item {i}" for i in range(n_items)),
        content=_colours(n_items, width),
        content_ix=np.arange(n_items, dtype=np.int32),
        as_of_us=START_US + n_items * DAY_US,
    )
    return Checkerboard(data, histories(data, np.arange(n_users, dtype=np.int32)), missing)


def tiny(
    user_ix: list[int], item_ix: list[int], *, n_items: int, content: Float | None = None
) -> TrainData:
    """Return a world given by hand, one event a day in the order given, sorted by person."""
    order = np.argsort(np.array(user_ix, dtype=np.int32), kind="stable")
    n = len(order)
    return TrainData(
        user_ix=np.array(user_ix, dtype=np.int32)[order],
        item_ix=np.array(item_ix, dtype=np.int32)[order],
        t_us=START_US + order.astype(np.int64) * DAY_US,
        weight=np.ones(n, dtype=np.float32),
        rating=np.full(n, np.nan, dtype=np.float32),
        n_users=max(user_ix, default=-1) + 1,
        item_ids=tuple(f"item {i}" for i in range(n_items)),
        content=np.zeros((0, 4), np.float32) if content is None else content,
        content_ix=(
            np.full(n_items, -1, np.int32)
            if content is None
            else np.arange(n_items, dtype=np.int32)
        ),
        as_of_us=START_US + n * DAY_US,
    )


def _colours(n_items: int, width: int) -> Float:
    vectors = np.zeros((n_items, width), dtype=np.float32)
    vectors[np.arange(n_items), np.arange(n_items) % 2] = 1.0
    vectors[:, 2:] = np.random.default_rng(0).normal(0.0, 0.1, (n_items, width - 2))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)

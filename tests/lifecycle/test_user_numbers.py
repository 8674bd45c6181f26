"""Numbers in place of users: one for each, and no table that changes for it."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from lifeloop.lifecycle import user_numbers as un
from lifeloop.testing.lifecycle_functions import FUNCTIONS, TYPES

DAY_US = 86_400_000_000


def one_to_one(names: pl.Series, numbers: pl.Series) -> bool:
    pairs = pl.DataFrame({"name": names.cast(pl.String), "number": numbers}).drop_nulls().unique()
    counts = {pairs["name"].n_unique(), pairs["number"].n_unique(), names.drop_nulls().n_unique()}
    return counts == {pairs.height}


def log(seed: int, n: int = 500) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    users = [f"用户 {u}/é" * (1 + u % 3) for u in (rng.pareto(1.0, n) * 4).astype(int) % 40]
    return pl.DataFrame(
        {
            "user_id": users,
            "t_us": rng.integers(0, 70 * DAY_US, n),  # in no order
            "type": rng.choice(np.array(TYPES), n),
            "order_id": [f"o{k}" if k < 60 else None for k in rng.integers(0, 80, n)],
            "value": rng.integers(-200, 2000, n) / 100,
            "rating": rng.integers(0, 11, n).astype(float),
            "referrer_id": [users[k] if k < n // 4 else None for k in rng.integers(0, n, n)],
            "channel": rng.choice(np.array(["web", "app"]), n),
        }
    )


@settings(deadline=None)
@given(st.lists(st.none() | st.text(max_size=20), max_size=60))
def test_a_name_has_one_number_and_no_other_has_it(names: list[str | None]) -> None:
    series = pl.Series("user_id", names, dtype=pl.String)
    numbers = un.user_numbers(series)
    assert numbers.dtype == pl.Int32
    assert numbers.is_null().equals(series.is_null().alias("user_id"))
    assert one_to_one(series, numbers)


@pytest.mark.parametrize(("users", "rows"), [(200_000, 200_000), (150_000, 600_000), (3, 600_000)])
def test_many_users_and_more_rows_than_one_part(users: int, rows: int) -> None:
    at = np.random.default_rng(5).permutation(np.arange(rows) % users)
    names = pl.select(user_id=pl.format("customer-{}", pl.Series(at)))["user_id"]
    assert one_to_one(names, un.user_numbers(names))


def test_who_shares_a_place_in_every_table_is_found_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    same, marks = np.zeros(9, dtype=np.uint64), np.arange(9, dtype=np.uint64)
    assert un._placed(same, marks) is not None  # nine take a table each
    many = np.arange(99, dtype=np.uint64)
    assert un._placed(np.zeros(99, dtype=np.uint64), many) is None
    monkeypatch.setattr(un, "TURNS", 0)
    names = pl.Series("user_id", ["b", None, "a", "b", "", "a"])
    numbers = un.user_numbers(names)
    assert one_to_one(names, numbers)
    assert numbers.null_count() == 1


def test_a_place_is_only_shared_by_equal_marks() -> None:
    rng = np.random.default_rng(8)
    user = rng.integers(0, 4_000, 60_000)
    place = rng.integers(0, 1 << 12, 4_000, dtype=np.uint64) << np.uint64(52)  # few places
    mark = np.arange(4_000, dtype=np.uint64)
    numbers = un._placed(place[user], mark[user])
    assert numbers is not None
    assert one_to_one(pl.Series(user).cast(pl.String), pl.Series(numbers))


def test_both_columns_that_name_users_have_the_same_numbers() -> None:
    events = log(1)
    table, names = un.numbered(events, also=["referrer_id"])
    both = pl.concat([events["user_id"], events["referrer_id"].alias("user_id")])
    numbers = pl.concat([table["user_id"], table["referrer_id"].alias("user_id")])
    assert one_to_one(both, numbers)
    users, places = names.sorted(table["user_id"])
    assert users.to_list() == sorted(set(events["user_id"].to_list()))
    assert (
        users.gather(places[table["user_id"].to_numpy()]).to_list() == events["user_id"].to_list()
    )


@pytest.mark.parametrize(
    "options",
    [{}, {"grain": "week", "burn_in_days": 9}, {"by": "channel"}, {"passive": ()}],
    ids=str,
)
@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_a_table_is_the_same_by_number_and_by_name(name: str, options: dict[str, Any]) -> None:
    function = FUNCTIONS[name]
    if name in ("stages", "stage_counts", "transitions", "churn_rate") and "passive" in options:
        options = {}
    events = log(2)
    want = function(events.lazy(), **options)  # a query: users keep their names
    assert want.height > 0
    assert_frame_equal(function(events, **options), want, abs_tol=0, rel_tol=1e-12)
    kinds = pl.col("user_id", "referrer_id").cast(pl.Categorical)
    coded = function(events.with_columns(kinds), **options)
    assert_frame_equal(coded, want, abs_tol=0, rel_tol=1e-12)


def test_a_referrer_column_of_another_kind_or_of_nothing_is_read() -> None:
    events = log(3).with_columns(user_id=pl.col("user_id").rank("dense").cast(pl.String))
    whole = events.with_columns(referrer_id=pl.col("user_id").shift(7))
    want = FUNCTIONS["referrals"](whole.lazy())
    assert want["referrers"].sum() > 0
    numbers = whole.with_columns(pl.col("referrer_id").cast(pl.Int64))
    assert FUNCTIONS["referrals"](numbers).equals(want)
    none = FUNCTIONS["referrals"](events.with_columns(referrer_id=pl.lit(None)))
    assert none["referrers"].sum() == 0
    assert none["n"].equals(want["n"])

"""The border of the models: frames and histories become arrays, or are refused."""

from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifeloop.contracts import UNTIMED
from lifeloop.errors import InputError
from lifeloop.models import histories, queries, train_data
from lifeloop.models.data import DAY_US, age_days, part_of, slices, taken

SCHEMA = {
    "user_id": pl.String,
    "item_id": pl.String,
    "t_us": pl.Int64,
    "seq": pl.Int64,
    "weight": pl.Float32,
    "rating": pl.Float64,
}
ROWS = [
    ("u2", "b", 30, 4, 1.0, None),
    ("u1", "a", 20, 1, 2.0, 5.0),
    ("u1", "b", 20, 0, 1.0, None),
    ("u1", "c", None, 9, 1.0, None),
    ("u1", "a", 10, 7, 0.0, 1.0),
]


def frame(rows: Sequence[tuple[object, ...]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def made(rows: pl.DataFrame, **changed: object):  # type: ignore[no-untyped-def]
    known = {
        "item_ids": ["a", "b", "c"],
        "content": np.array([[3.0, 4.0], [0.0, 0.0]], np.float32),
        "content_ix": np.array([0, 1, -1], np.int32),
        "as_of_us": 100,
    }
    return train_data(rows, **{**known, **changed})  # type: ignore[arg-type]


def test_rows_are_sorted_by_person_time_and_arrival_and_weight_zero_is_left_out() -> None:
    data, users = made(frame(ROWS))
    assert users == ("u1", "u2")
    assert data.user_ix.tolist() == [0, 0, 0, 1]
    assert data.item_ix.tolist() == [2, 1, 0, 1]  # untimed first, then arrival within the tie
    assert data.t_us.tolist() == [UNTIMED, 20, 20, 30]
    assert data.weight.tolist() == [1.0, 1.0, 2.0, 1.0]
    assert np.isnan(data.rating).tolist() == [True, True, False, True]
    assert data.n_users == 2


@given(st.permutations(ROWS))
def test_the_order_of_the_rows_does_not_matter(rows: list[tuple[object, ...]]) -> None:
    data, users = made(frame(rows))
    again, same_users = made(frame(ROWS))
    assert users == same_users
    for name in ("user_ix", "item_ix", "t_us", "weight", "rating"):
        np.testing.assert_array_equal(getattr(data, name), getattr(again, name))


def test_content_is_scaled_to_length_one_and_zero_stays_zero() -> None:
    data, _ = made(frame(ROWS))
    np.testing.assert_allclose(data.content, [[0.6, 0.8], [0.0, 0.0]])


def test_no_rows_are_no_problem() -> None:
    data, users = made(frame([]))
    assert users == ()
    assert len(data.user_ix) == data.n_users == 0
    assert data.n_items == 3


def test_every_problem_is_reported_at_once() -> None:
    bad = frame(
        [
            ("u", "zzz", 1, 0, 1.0, None),
            (None, "a", 1, 0, 1.0, None),
            ("u", None, 1, 0, 1.0, None),
            ("u", "a", 101, 0, 1.0, None),
            ("u", "a", 1, 0, -1.0, None),
            ("u", "a", 1, 0, float("nan"), None),
        ]
    )
    with pytest.raises(InputError) as caught:
        made(bad)
    for said in (
        "1 items outside the catalogue, such as 'zzz'",
        "1 rows without user_id",
        "1 rows without item_id",
        "1 rows later than",
        "2 weights",
    ):
        assert said in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"content": np.full((1, 2), np.nan, np.float32)}, "not finite"),
        ({"content_ix": np.array([0, 5, -1], np.int32)}, "row 5 of 2"),
        ({"content_ix": np.array([0], np.int32)}, "content_ix has shape"),
        ({"content_ix": np.array([0, 1, -2], np.int32)}, "-1 means none"),
        ({"content": np.zeros(3, np.float32)}, "not \\[c, d\\]"),
        ({"item_ids": ["a", "b", "b"]}, "twice"),
    ],
)
def test_vectors_and_catalogues_that_do_not_fit_are_refused(
    changed: dict[str, object], said: str
) -> None:
    rows = frame([("u", "a", 1, 0, 1.0, None)])
    with pytest.raises(InputError, match=said):
        made(rows, **changed)


def test_missing_columns_are_named() -> None:
    with pytest.raises(InputError, match="columns missing: seq, weight"):
        made(frame(ROWS).drop("seq", "weight"))


def test_queries_default_to_weight_one_unknown_age_and_no_rating() -> None:
    asked = queries([[4, 5], []], as_of_us=7)
    assert asked.indptr.tolist() == [0, 2, 2]
    assert asked.weight.tolist() == [1.0, 1.0]
    assert np.isnan(asked.age_days).all()
    assert np.isnan(asked.rating).all()
    assert asked.as_of_us.tolist() == [7, 7]
    assert asked.mask is None


def test_a_zero_query_vector_means_nothing_was_written() -> None:
    asked = queries([[], []], vectors=np.array([[0, 0], [0, 2]], np.float32))
    assert asked.mask is not None
    assert asked.mask.tolist() == [False, True]


def test_queries_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="weight does not have one value"):
        queries([[1, 2]], weight=[[1.0]])
    with pytest.raises(InputError, match="does not know"):
        queries([[-1]])
    with pytest.raises(InputError, match="query vectors"):
        queries([[1]], vectors=np.full((1, 2), np.inf, np.float32))


def test_histories_are_the_training_rows_of_the_people_asked_for() -> None:
    data, _ = made(frame(ROWS))
    asked = histories(data, np.array([1, 0], np.int32), as_of_us=20 + DAY_US)
    assert asked.indptr.tolist() == [0, 1, 4]
    assert asked.item_ix.tolist() == [1, 2, 1, 0]
    assert asked.age_days.tolist()[2:] == [1.0, 1.0]
    assert np.isnan(asked.age_days[1])


def test_age_is_never_negative() -> None:
    assert age_days(np.array([50]), 10).tolist() == [0.0]


@given(st.lists(st.lists(st.integers(0, 9), max_size=4), min_size=1, max_size=6), st.data())
def test_parts_and_gathers_of_queries_are_the_queries(
    rows: list[list[int]], data: st.DataObject
) -> None:
    asked = queries(rows)
    start = data.draw(st.integers(0, len(rows)))
    stop = data.draw(st.integers(start, len(rows)))
    piece = part_of(asked, start, stop)
    assert [
        piece.item_ix[piece.indptr[b] : piece.indptr[b + 1]].tolist() for b in range(len(piece))
    ] == rows[start:stop]
    places = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=5))
    some = taken(asked, np.array(places, dtype=np.int64))
    assert [
        some.item_ix[some.indptr[b] : some.indptr[b + 1]].tolist() for b in range(len(some))
    ] == [rows[place] for place in places]


def test_slices_lie_end_to_end() -> None:
    assert slices(np.array([5, 0, 9]), np.array([2, 0, 3])).tolist() == [5, 6, 9, 10, 11]


def test_a_situation_that_only_few_people_were_in_stays_out_of_the_data() -> None:
    people = [f"u{n % 8}" for n in range(80)]
    place = ["shop"] * 40 + ["one home"] * 40
    people[40:] = ["hermit"] * 40
    frame = pl.DataFrame(
        {
            "user_id": people,
            "item_id": ["a"] * 80,
            "t_us": list(range(80)),
            "seq": list(range(80)),
            "weight": [1.0] * 80,
            "rating": [None] * 80,
            "place": place,
        },
        schema_overrides={"rating": pl.Float64},
    )
    data, _ = train_data(
        frame,
        item_ids=["a"],
        content=np.zeros((0, 1), np.float32),
        content_ix=np.full(1, -1, np.int32),
        as_of_us=100,
        situation={"place": "place"},
    )
    assert data.situation is not None
    assert data.situation.values == (("shop",),)
    assert (data.situation.codes[:, 0] == 0).sum() == 40

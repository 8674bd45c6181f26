"""The two protocols on logs small enough to read."""

from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifeloop.errors import InputError
from lifeloop.evaluate import leave_one_out, targets_hash, time_split


def log(rows: Sequence[tuple[str, str, int | None]], weight: float = 1.0) -> pl.DataFrame:
    """Rows of (user, item, t_us) in arrival order."""
    return pl.DataFrame(
        {
            "user_id": [r[0] for r in rows],
            "item_id": [r[1] for r in rows],
            "t_us": [r[2] for r in rows],
            "seq": list(range(len(rows))),
            "weight": [weight] * len(rows),
            "rating": [None] * len(rows),
        },
        schema={
            "user_id": pl.String,
            "item_id": pl.String,
            "t_us": pl.Int64,
            "seq": pl.Int64,
            "weight": pl.Float32,
            "rating": pl.Float64,
        },
    )


def pairs(frame: pl.DataFrame) -> list[tuple[str, str]]:
    return [(u, i) for u, i in frame.select("user_id", "item_id").iter_rows()]


class TestLeaveOneOut:
    def test_the_last_event_is_the_target_and_the_rest_is_known(self) -> None:
        split = leave_one_out(log([("u", "a", 3), ("u", "b", 1), ("v", "a", 1), ("v", "c", 2)]))
        assert pairs(split.targets) == [("u", "a"), ("v", "c")]
        assert pairs(split.train) == [("u", "b"), ("v", "a")]
        assert split.request_us == {"u": 2, "v": 2}  # just after what is known, not the target

    def test_ties_in_time_keep_arrival_order(self) -> None:
        split = leave_one_out(log([("u", item, 5) for item in "cab"]))
        assert pairs(split.targets) == [("u", "b")]
        assert [i for _, i in pairs(split.train)] == ["c", "a"]

    def test_untimed_events_come_first_in_arrival_order(self) -> None:
        split = leave_one_out(log([("u", "a", 1), ("u", "b", None), ("u", "c", None)]))
        assert pairs(split.targets) == [("u", "a")]
        untimed = leave_one_out(log([("u", "a", None), ("u", "b", None)]))
        assert pairs(untimed.targets) == [("u", "b")]
        assert untimed.as_of_us == 0

    def test_a_user_with_one_event_trains_and_is_not_asked(self) -> None:
        split = leave_one_out(log([("u", "a", 1), ("u", "b", 2), ("v", "c", 3)]))
        assert pairs(split.targets) == [("u", "b")]
        assert ("v", "c") in pairs(split.train)
        assert split.left_out == {"users_without_two_events": 1}

    def test_a_last_event_with_a_known_item_is_no_question_unless_repeats_are_allowed(
        self,
    ) -> None:
        rows = log([("u", "a", 1), ("u", "b", 2), ("u", "a", 3), ("u", "a", 4)])
        first = leave_one_out(rows)
        assert pairs(first.targets) == [("u", "b")]
        assert pairs(first.train) == [("u", "a")]  # later contacts with "a" are the future
        assert first.left_out == {"events_after_the_target": 2}
        again = leave_one_out(rows, repeats=True)
        assert pairs(again.targets) == [("u", "a")]
        assert pairs(again.train) == [("u", "a"), ("u", "b"), ("u", "a")]

    def test_an_event_without_evidence_is_known_but_never_a_target(self) -> None:
        rows = log([("u", "a", 1), ("u", "b", 2), ("u", "c", 3)]).with_columns(
            weight=pl.Series([1.0, 1.0, 0.0], dtype=pl.Float32)
        )
        split = leave_one_out(rows)
        assert pairs(split.targets) == [("u", "b")]

    def test_evidence_must_precede_the_target(self) -> None:
        rows = log([("u", "a", 1), ("u", "b", 2)]).with_columns(
            weight=pl.Series([0.0, 1.0], dtype=pl.Float32)
        )
        with pytest.raises(InputError, match="two events"):
            leave_one_out(rows)

    def test_validation_is_the_event_before_the_target(self) -> None:
        split = leave_one_out(log([("u", i, t) for t, i in enumerate("abcd")]), validation=True)
        assert split.validation is not None
        assert pairs(split.validation.targets) == [("u", "c")]
        assert pairs(split.validation.train) == [("u", "a"), ("u", "b")]

    @given(seed=st.integers(0, 9999))
    def test_row_order_is_irrelevant_and_no_target_is_known(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        rows = log(
            [
                (f"u{rng.integers(4)}", f"i{rng.integers(6)}", int(rng.integers(5)))
                for _ in range(30)
            ]
        )
        split = leave_one_out(rows)
        shuffled = leave_one_out(rows.sample(fraction=1.0, shuffle=True, seed=seed))
        assert split.targets.equals(shuffled.targets)
        assert split.train.equals(shuffled.train)
        assert split.targets_hash == shuffled.targets_hash
        assert not set(pairs(split.targets)) & set(pairs(split.train))
        kept = split.train.height + split.targets.height
        assert kept + split.left_out.get("events_after_the_target", 0) == rows.height


class TestTimeSplit:
    ROWS = (
        ("u", "a", 1),
        ("u", "b", 2),
        ("v", "a", 3),
        ("v", "c", 4),
        ("u", "a", 8),  # t2: the last two tenths begin here
        ("u", "c", 9),
        ("v", "d", 9),
        ("w", "a", 9),
    )

    def test_time_is_cut_once_and_targets_are_what_is_new(self) -> None:
        split = time_split(log(self.ROWS), test_share=0.5)
        assert split.as_of_us == 8
        assert pairs(split.train) == [("u", "a"), ("u", "b"), ("v", "a"), ("v", "c")]
        assert pairs(split.targets) == [("u", "c"), ("v", "d")]
        assert split.left_out == {"users_without_past": 1}
        assert split.request_us == {"u": 8, "v": 8}

    def test_repeats_make_known_items_targets_once_each(self) -> None:
        rows = (*self.ROWS, ("u", "a", 10))
        split = time_split(log(rows), test_share=0.5, repeats=True)
        assert pairs(split.targets) == [("u", "a"), ("u", "c"), ("v", "d")]

    def test_events_tied_with_the_cut_are_all_test(self) -> None:
        rows = [("u", "a", 1), ("v", "a", 1), *((u, f"i{n}", 7) for n in range(8) for u in "uv")]
        split = time_split(log(rows), test_share=0.2)
        assert split.train["t_us"].to_list() == [1, 1]
        assert split.targets.height == 16

    def test_when_the_first_instant_holds_most_events_it_is_the_past(self) -> None:
        rows = [("u", f"i{n}", 1) for n in range(9)] + [("u", "z", 2)]
        split = time_split(log(rows), test_share=0.2)
        assert split.train.height == 9
        assert pairs(split.targets) == [("u", "z")]

    def test_untimed_events_take_no_part_and_are_counted(self) -> None:
        split = time_split(log([*self.ROWS, ("u", "q", None)]), test_share=0.5)
        assert split.left_out["untimed_events"] == 1
        assert "q" not in split.train["item_id"]

    def test_a_user_who_only_repeats_is_counted_not_asked(self) -> None:
        rows = [("u", "a", 1), ("v", "b", 1), ("u", "a", 5), ("v", "c", 5)]
        split = time_split(log(rows), test_share=0.5)
        assert pairs(split.targets) == [("v", "c")]
        assert split.left_out == {"users_with_nothing_new": 1}

    def test_validation_lies_between_the_cuts(self) -> None:
        rows = [("u", f"i{t}", t) for t in range(100)]
        split = time_split(log(rows), test_share=0.2, valid_share=0.1)
        assert split.validation is not None
        assert split.as_of_us == 80
        assert split.validation.as_of_us == 70
        assert split.validation.targets.height == 10

    @pytest.mark.parametrize(
        ("rows", "said"),
        [
            ([("u", "a", None), ("u", "b", None)], "different times"),
            ([("u", "a", 4), ("u", "b", 4)], "different times"),
            ([("u", "a", 1), ("v", "b", 2)], "both a past"),
        ],
    )
    def test_data_that_time_cannot_cut_is_refused_with_the_way_out(
        self, rows: list[tuple[str, str, int | None]], said: str
    ) -> None:
        with pytest.raises(InputError, match=said) as caught:
            time_split(log(rows), test_share=0.5)
        assert "'loo'" in str(caught.value)

    @pytest.mark.parametrize(("test", "valid"), [(0, 0), (1, 0), (0.5, 0.5), (0.2, -0.1)])
    def test_shares_that_leave_nothing_are_refused(self, test: float, valid: float) -> None:
        with pytest.raises(InputError, match="shares"):
            time_split(log(self.ROWS), test_share=test, valid_share=valid)

    @given(seed=st.integers(0, 9999), share=st.floats(0.1, 0.6))
    def test_nothing_of_the_future_is_known(self, seed: int, share: float) -> None:
        rng = np.random.default_rng(seed)
        rows = [(f"u{rng.integers(3)}", f"i{rng.integers(2)}-{t}", int(t)) for t in range(40)]
        split = time_split(log(rows), test_share=share)
        newest = split.train["t_us"].max()
        assert isinstance(newest, int)
        assert newest < split.as_of_us
        assert not set(pairs(split.targets)) & set(pairs(split.train))
        assert set(split.targets["user_id"]) <= set(split.train["user_id"])


def test_the_hash_depends_on_the_pairs_and_on_nothing_else() -> None:
    one = pl.DataFrame({"user_id": ["u", "v"], "item_id": ["a", "b"]})
    assert targets_hash(one) == targets_hash(one.reverse())
    assert targets_hash(one) != targets_hash(one.with_columns(item_id=pl.lit("a")))
    # Ids cannot run into each other.
    left = pl.DataFrame({"user_id": ["u1"], "item_id": ["2"]})
    right = pl.DataFrame({"user_id": ["u"], "item_id": ["12"]})
    assert targets_hash(left) != targets_hash(right)


@pytest.mark.parametrize("split", [leave_one_out, time_split])
class TestBadInput:
    def test_missing_columns_are_named(self, split: object) -> None:
        with pytest.raises(InputError, match="seq"):
            split(log([("u", "a", 1)]).drop("seq"))  # type: ignore[operator]

    def test_missing_values_are_counted(self, split: object) -> None:
        rows = log([("u", "a", 1), ("u", "b", 2)]).with_columns(item_id=pl.lit(None, pl.String))
        with pytest.raises(InputError, match="'item_id': 2"):
            split(rows)  # type: ignore[operator]

    def test_an_empty_log_is_refused(self, split: object) -> None:
        with pytest.raises(InputError):
            split(log([]))  # type: ignore[operator]

    @pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
    def test_impossible_weights_are_counted(self, split: object, weight: float) -> None:
        with pytest.raises(InputError, match="2 negative, infinite or NaN"):
            split(log([("u", "a", 1), ("u", "b", 2)], weight=weight))  # type: ignore[operator]

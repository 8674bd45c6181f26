from pathlib import Path

import polars as pl
import pytest

from lifeloop.errors import InputError
from lifeloop.events import Batch, detect_pair, read_pair

ITEMS = "item_id,title,genre\ni1,Tea,hot\ni2,Mug,cup\ni1,Tea,hot\n"


def files(folder: Path, users: str, items: str = ITEMS) -> tuple[Path, Path]:
    left, right = folder / "user_data.csv", folder / "item_data.csv"
    left.write_text(users)
    right.write_text(items)
    return left, right


def frame(batches: list[Batch]) -> pl.DataFrame:
    assert not any(batch.rejected for batch in batches)
    return pl.concat([batch.frame for batch in batches])


def test_files_that_name_their_items_are_joined(tmp_path: Path) -> None:
    plan = detect_pair(*files(tmp_path, "user_id,age,item_id,rating\n7,30,i1,4\n8,31,i2,5\n"))
    assert plan.kind == "joined"
    users, items, events = (frame(list(b)) for b in read_pair(plan))
    assert events.select("user_id", "item_id", "rating", "type").rows() == [
        ("7", "i1", 4.0, "rating"),
        ("8", "i2", 5.0, "rating"),
    ]
    assert events["occurred_us"].null_count() == 2
    assert events["context"].null_count() == 2
    assert users["attributes"].to_list() == ['{"age": "30"}', '{"age": "31"}']
    assert items["title"].to_list() == ["Tea", "Mug", "Tea"]


def test_files_side_by_side_are_detected_said_and_must_be_confirmed(tmp_path: Path) -> None:
    plan = detect_pair(*files(tmp_path, "user_id,age,rating\n7,30,4\n8,31,5\n7,30,1\n"))
    assert (plan.kind, plan.rows) == ("row_aligned", 3)
    assert "row n" in plan.message
    with pytest.raises(InputError, match="--row-aligned"):
        read_pair(plan, confirmed=False)
    users, items, events = (frame(list(b)) for b in read_pair(plan, confirmed=True))
    assert events.select("user_id", "item_id", "rating").rows() == [
        ("7", "i1", 4.0),
        ("8", "i2", 5.0),
        ("7", "i1", 1.0),
    ]
    assert users["user_id"].to_list() == ["7", "8", "7"]
    assert items["item_id"].to_list() == ["i1", "i2", "i1"]


def test_long_files_stay_aligned_across_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lifeloop.events.readers import opening

    n = 2_000
    users = "user_id,rating\n" + "".join(f"u{i},{i % 5}\n" for i in range(n))
    items = "item_id,title\n" + "".join(f"i{i},{'x' * (i % 40)}\n" for i in range(n))
    plan = detect_pair(*files(tmp_path, users, items))
    monkeypatch.setattr(opening, "BLOCK", 1_000)
    events = frame(list(read_pair(plan, confirmed=True)[2]))
    assert events.select("user_id", "item_id").rows() == [(f"u{i}", f"i{i}") for i in range(n)]


def test_a_broken_row_would_shift_the_rest_and_is_refused(tmp_path: Path) -> None:
    plan = detect_pair(*files(tmp_path, "user_id,rating\n7,4\n8,5,6\n7,1\n"))
    assert plan.kind == "row_aligned"
    with pytest.raises(InputError, match="line 3"):
        list(read_pair(plan, confirmed=True)[2])


@pytest.mark.parametrize(
    ("users", "why"),
    [
        ("user_id,age,rating\n7,30,4\n", "1 rows against 3"),
        ("user_id,age\n7,30\n8,31\n9,32\n", "neither file has a rating"),
        ("name,rating\n7,4\n8,5\n9,6\n", "has no user_id"),
    ],
)
def test_files_that_are_no_pair_say_why(tmp_path: Path, users: str, why: str) -> None:
    plan = detect_pair(*files(tmp_path, users))
    assert plan.kind == "none"
    assert why in plan.message
    with pytest.raises(InputError, match=why):
        read_pair(plan, confirmed=True)

"""The accuracy bench: first purchases, and rows that outlive their lists."""

import polars as pl
from benchmarks.accuracy.splits import _cut, first_uses
from benchmarks.accuracy.table import with_earlier


def _rows(events: list[tuple[str, str, int]]) -> pl.DataFrame:
    users, items, days = zip(*events, strict=True)
    return pl.DataFrame(
        {
            "user_id": users,
            "item_id": items,
            "t_us": [day * 86_400_000_000 for day in days],
            "seq": range(len(days)),
            "weight": [1.0] * len(days),
            "rating": [None] * len(days),
        },
        schema_overrides={"rating": pl.Float64, "weight": pl.Float32, "seq": pl.Int64},
    )


def test_first_uses_keeps_the_first_event_of_a_pair_by_time_not_by_row() -> None:
    kept = first_uses(_rows([("a", "x", 5), ("a", "x", 1), ("b", "x", 2), ("a", "y", 3)]))
    told = set(kept.select("user_id", "item_id", pl.col("t_us") // 86_400_000_000).iter_rows())
    assert told == {("a", "x", 1), ("b", "x", 2), ("a", "y", 3)}


def test_first_uses_keeps_the_items_with_most_events_and_ties_go_by_name() -> None:
    rows = _rows([("a", "z", 1), ("a", "x", 1), ("a", "y", 2), ("b", "z", 3)])
    assert set(first_uses(rows, most=2)["item_id"]) == {"z", "x"}


def test_repeats_do_not_move_the_cut_of_first_purchases() -> None:
    events = [("a", f"i{day}", day) for day in range(10)]
    events += [("b", "i0", day) for day in range(100)]
    split, inner, seen_out = _cut(first_uses(_rows(events)), "first")
    # 11 first purchases, the last fifth of them is day 8 and 9; with repeats it is day 80 and later
    assert split.as_of_us == 8 * 86_400_000_000
    assert split.targets.rows() == [("a", "i8"), ("a", "i9")]
    assert inner.as_of_us < split.as_of_us
    assert seen_out


ABOUT = {"targets_hash": "q", "data_hash": "d"}


def _earlier(**models: float) -> dict[str, object]:
    rows = {name.replace("_", ":"): {"ndcg@10": value} for name, value in models.items()}
    paired = {name: {"diff": 0.1} for name in rows if name.startswith("ours:")}
    return {"split": ABOUT, "models": rows, "best_peer": "p:als", "paired_with_best_peer": paired}


def test_rows_of_models_without_lists_stay() -> None:
    new = {"ours:a": {"ndcg@10": 0.3}}
    rows, best, told = with_earlier(
        _earlier(ours_a=0.2, ours_b=0.1, p_als=0.2), ABOUT, new, None, {}
    )
    assert {name: row["ndcg@10"] for name, row in rows.items()} == {
        "ours:a": 0.3,
        "ours:b": 0.1,
        "p:als": 0.2,
    }
    # a's new lists were not compared with those of the peer, which are gone
    assert (best, set(told)) == ("p:als", {"ours:b"})


def test_a_new_best_peer_takes_the_earlier_differences_away() -> None:
    new = {"ours:a": {"ndcg@10": 0.3}, "p:new": {"ndcg@10": 0.25}}
    fresh = {"ours:a": {"diff": 0.05}}
    earlier = _earlier(ours_b=0.1, p_als=0.2)
    _, best, told = with_earlier(earlier, ABOUT, new, "p:new", fresh)
    assert (best, told) == ("p:new", fresh)


def test_rows_of_other_questions_go() -> None:
    new = {"ours:a": {"ndcg@10": 0.3}}
    other = {**ABOUT, "targets_hash": "other"}
    rows, best, told = with_earlier(_earlier(ours_b=0.1, p_als=0.2), other, new, None, {})
    assert (rows, best, told) == (new, None, {})
    assert with_earlier({}, ABOUT, new, None, {}) == (new, None, {})

"""Whole evaluations on logs with known answers."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from lifeloop.contracts import (
    Bool,
    Candidates,
    Double,
    FittedRetriever,
    Float,
    Queries,
    Retriever,
    TrainData,
)
from lifeloop.errors import InputError
from lifeloop.evaluate import Catalogue, Report, evaluate
from lifeloop.evaluate import protocol as protocol_module
from lifeloop.models.retrieve.popularity import Popularity


@dataclass(frozen=True)
class Table:
    """Scores items by a fixed table, the same for everyone; remembers what it was given."""

    scores: Mapping[str, float]
    name: str = "table"
    told: list[TrainData] = field(default_factory=list)
    asked: list[Queries] = field(default_factory=list)
    drawn: list[int] = field(default_factory=list)

    def fit(self, data: TrainData, *, rng: np.random.Generator) -> FittedRetriever:
        self.told.append(data)
        self.drawn.append(int(rng.integers(2**31)))
        row = np.array([self.scores.get(i, -np.inf) for i in data.item_ids], dtype=np.float32)
        return FittedTable(row, self.asked)


@dataclass(frozen=True)
class FittedTable:
    row: Float
    asked: list[Queries]
    name: str = "table"
    notes: tuple[str, ...] = ("a fixed table",)

    def score(self, queries: Queries) -> Float:
        self.asked.append(queries)
        # Read-only on purpose: the protocol may not write into a model's own state.
        return np.broadcast_to(self.row, (len(queries), len(self.row)))

    def retrieve(self, queries: Queries, k: int, *, allowed: Bool | None = None) -> Candidates:
        raise NotImplementedError

    def contributions(self, queries: Queries, b: int, item_ix: int) -> Double:
        raise NotImplementedError

    def arrays(self) -> dict[str, NDArray[Any]]:
        raise NotImplementedError

    @classmethod
    def load(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        raise NotImplementedError


def log(rows: Sequence[tuple[str, str, int | None]]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "user_id": [r[0] for r in rows],
            "item_id": [r[1] for r in rows],
            "t_us": pl.Series([r[2] for r in rows], dtype=pl.Int64),
            "seq": list(range(len(rows))),
            "weight": pl.Series([1.0] * len(rows), dtype=pl.Float32),
            "rating": pl.Series([None] * len(rows), dtype=pl.Float64),
        }
    )


def run(
    rows: pl.DataFrame, models: Mapping[str, Retriever], items: str = "abcde", **options: Any
) -> Report:
    catalogue = options.pop("catalogue", Catalogue.plain(list(items)))
    options.setdefault("protocol", "loo")
    return evaluate(
        rows,
        models,
        catalogue=catalogue,
        rng=np.random.default_rng(options.pop("seed", 0)),
        **options,
    )


# u: a, then b; v: b, then e. Others may see c and d.
ROWS = log([("u", "a", 1), ("u", "b", 2), ("v", "b", 1), ("v", "e", 2)])
BEST_FIRST = dict(zip("abcde", [5.0, 4, 3, 2, 1], strict=True))


def test_numbers_equal_the_hand_count() -> None:
    report = run(ROWS, {"table": Table(BEST_FIRST)}, k=2)
    # u has seen a: b is first. v has seen b: a, c, d come before e, which is fourth.
    assert report.value("table", "hr@2") == 0.5
    assert report.value("table", "ndcg@2") == 0.5
    assert report.value("table", "mrr") == (1 + 1 / 4) / 2
    assert report.value("table", "recall@20") == 1.0
    # u is shown b, c and v is shown a, c: three of five items.
    assert report.value("table", "coverage@2") == 3 / 5


def test_with_repeats_seen_items_stay_in_the_ranking() -> None:
    report = run(ROWS, {"table": Table(BEST_FIRST)}, k=2, repeats=True)
    assert report.value("table", "mrr") == (1 / 2 + 1 / 5) / 2
    assert report.value("table", "coverage@2") == 2 / 5


def test_the_model_is_trained_and_asked_without_the_target() -> None:
    table = Table(BEST_FIRST)
    run(ROWS, {"table": table})
    data, queries = table.told[0], table.asked[0]
    assert [data.item_ids[i] for i in data.item_ix] == ["a", "b"]
    assert [data.item_ids[i] for i in queries.item_ix] == ["a", "b"]
    assert queries.indptr.tolist() == [0, 1, 2]
    assert data.as_of_us == 2


def test_each_request_happens_at_its_own_moment_in_leave_one_out() -> None:
    day = 86_400_000_000
    rows = log(
        [
            ("u", "a", 0),
            ("u", "b", day),
            ("u", "c", 9 * day),
            ("v", "a", 5 * day),
            ("v", "b", 6 * day),
        ]
    )
    table = Table(BEST_FIRST)
    run(rows, {"table": table})
    queries = table.asked[0]
    assert queries.as_of_us.tolist() == [day + 1, 5 * day + 1]
    np.testing.assert_allclose(queries.age_days, [1, 0, 0], atol=1e-6)


def test_a_time_split_asks_everyone_at_the_cut() -> None:
    table = Table(BEST_FIRST)
    rows = log([("u", "a", 1), ("v", "b", 2), ("u", "c", 3), ("u", "d", 4), ("v", "e", 4)])
    report = run(rows, {"table": table}, protocol="time", k=2)
    assert report.n_targets == 2  # the last fifth begins at 4
    assert table.asked[0].as_of_us.tolist() == [4, 4]
    assert report.protocol == "time"


def test_untimed_histories_have_unknown_ages_not_nan_results() -> None:
    table = Table(BEST_FIRST)
    report = run(log([("u", "a", None), ("u", "b", None)]), {"table": table})
    assert np.isnan(table.asked[0].age_days).all()
    json.dumps(report.to_dict(), allow_nan=False)


def test_batches_change_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    rows = log(
        [
            (f"u{u}", f"{'abcde'[i]}", int(t))
            for u in range(40)
            for t, i in enumerate(rng.permutation(5)[:4])
        ]
    )
    whole = run(rows, {"popularity": Popularity()})
    table = Table(BEST_FIRST)
    monkeypatch.setattr(protocol_module, "BATCH_BYTES", 2 * 7 * 4 * 5)
    parts = run(rows, {"popularity": Popularity(), "table": table})
    # two batches at a time, in whichever order
    assert sorted(len(q) for q in table.asked) == [5, 7, 7, 7, 7, 7]
    for name, values in whole.models["popularity"].per_user.items():
        np.testing.assert_array_equal(values, parts.models["popularity"].per_user[name])


def test_a_models_randomness_does_not_depend_on_the_other_models() -> None:
    alone, among = Table(BEST_FIRST), Table(BEST_FIRST)
    run(ROWS, {"x": alone})
    run(ROWS, {"popularity": Popularity(), "x": among})
    assert alone.drawn == among.drawn
    other = Table(BEST_FIRST)
    run(ROWS, {"x": other}, seed=1)
    assert other.drawn != alone.drawn


def test_items_outside_the_catalogue_are_added_and_said() -> None:
    report = run(ROWS, {"table": Table(BEST_FIRST)}, items="ab")
    assert report.n_items == 3
    assert report.notes == (
        "1 items of the interactions are not in the catalogue; they have no vectors",
    )


def test_a_model_without_an_answer_scores_zero_and_says_why_the_rest_is_null() -> None:
    report = run(ROWS, {"mute": Table({})}).to_dict()["models"]["mute"]
    assert report["hr@10"] == 0.0
    assert report["empty_lists"] == 2
    assert report["novelty@10"] is None
    assert set(report["reasons"]) == {"popularity_percentile@10", "novelty@10", "diversity@10"}


def test_unrankable_scores_name_the_model() -> None:
    with pytest.raises(InputError, match="'broken'"):
        run(ROWS, {"broken": Table({"a": math.nan})})


@pytest.mark.parametrize("wrong", [{"models": {}}, {"k": 0}, {"protocol": "kfold"}])
def test_nothing_to_evaluate_is_refused(wrong: dict[str, Any]) -> None:
    models = wrong.pop("models", {"popularity": Popularity()})
    with pytest.raises(InputError, match="nothing to evaluate"):
        run(ROWS, models, **wrong)


def test_progress_reaches_its_total() -> None:
    steps: list[tuple[str, float, float | None]] = []
    run(ROWS, {"popularity": Popularity()}, progress=lambda *step: steps.append(step))
    assert [step[1:] for step in steps] == [(0, 1), (1, 1)]


class TestReport:
    ROWS = log(
        [(f"u{u}", item, t) for u in range(30) for t, item in enumerate("abd" if u % 3 else "bce")]
    )

    def report(self) -> Report:
        content = np.eye(5, dtype=np.float32)
        return run(
            self.ROWS,
            {"popularity": Popularity(), "lifeloop": Table(BEST_FIRST), "ease": Table({"e": 1.0})},
            k=1,
            stage_of={f"u{u}": "loyalty" for u in range(20)},
            catalogue=Catalogue(list("abcde"), content, np.arange(5, dtype=np.int32)),
        )

    def test_it_is_json_without_nan_and_has_the_promised_keys(self) -> None:
        made = self.report().to_dict(data="toy")
        assert json.loads(json.dumps(made, allow_nan=False)) == made
        assert made["data"] == "toy"
        assert made["n_users"] == 30
        assert made["order"] == "user_id, t_us (untimed first), seq"
        assert len(made["targets_hash"]) == 16
        ease = made["models"]["ease"]
        for key in ("hr@1", "ndcg@1", "map@1", "precision@1", "recall@1", "recall@20", "mrr"):
            assert {key, f"{key}_se", f"{key}_ci"} <= set(ease)
        assert {
            "coverage@1",
            "novelty@1",
            "diversity@1",
            "popularity_percentile@1",
            "fit_s",
        } <= set(ease)
        assert ease["notes"] == ["a fixed table"]

    def test_pairs_are_everything_against_the_floor_and_lifeloop_against_everything(self) -> None:
        assert list(self.report().to_dict()["paired"]) == [
            "lifeloop - popularity",
            "lifeloop - ease",
            "ease - popularity",
        ]

    def test_a_paired_difference_is_the_difference_of_the_means(self) -> None:
        report = self.report()
        # "e" is the target of the ten users of "bce": seen out, it is first there.
        assert report.value("ease", "hr@1") == pytest.approx(1 / 3)
        difference = report.to_dict()["paired"]["lifeloop - ease"]["hr@1"]
        value = report.value("lifeloop", "hr@1")
        assert value is not None
        assert difference["diff"] == pytest.approx(value - 1 / 3)
        assert difference["lo"] <= difference["diff"] <= difference["hi"]

    def test_slices_add_up_to_the_whole(self) -> None:
        ease = self.report().to_dict()["models"]["ease"]
        for slices in (ease["by_stage"], ease["by_history"]):
            assert sum(part["n"] for part in slices.values()) == 30
            mean = sum(part["n"] * part["hr@1"] for part in slices.values()) / 30
            assert mean == pytest.approx(ease["hr@1"])
        assert set(ease["by_stage"]) == {"loyalty", "unknown"}
        assert sum(part["n_targets"] for part in ease["by_item_age"].values()) == 30
        assert set(ease["by_item_age"]) == {"unseen"}  # d and e are nobody's past

    def test_without_stages_there_is_no_stage_slice(self) -> None:
        assert run(self.ROWS, {"popularity": Popularity()}).models["popularity"].by_stage == {}

"""The contract of a retriever, as tests: every registered one passes the same.

Subclass ``RetrieverContract`` and give it a fixture ``retriever``::

    class TestRegistered(RetrieverContract):
        @pytest.fixture(params=NAMES)
        def retriever(self, request: pytest.FixtureRequest) -> Retriever:
            return build([request.param], Models())[0]

The numbers M1 … M13 name the cases from the field (cases/README.md).
"""

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from lifeloop.contracts import Candidates, FittedRetriever, Queries, Retriever, TrainData
from lifeloop.errors import InputError
from lifeloop.models.data import part_of, queries
from lifeloop.models.retrieve.topk import NO_HISTORY, NOTHING_ALLOWED
from lifeloop.models.state import from_parts, to_parts
from lifeloop.testing.checkerboard import Checkerboard, checkerboard, tiny

IMPERSONAL = ("random", "popularity", "recency_popularity", "trending_popularity")
"""The same list for everyone, whatever they did."""
FALLS_BACK = ("lifeloop", "ranked", "ranked_tree", "ranked_logistic")
"""Answers a person without history with a named fallback."""
BY_TEXT = ("rating_network",)
"""These know items by their texts only."""
USED_BEFORE = ("replenish",)
"""These know only what the person used before; they cannot find anything new."""


@functools.cache
def _world() -> Checkerboard:
    return checkerboard()


_FITTED: dict[str, FittedRetriever] = {}


def _fitted(retriever: Retriever) -> FittedRetriever:
    key = repr(retriever)  # a specification is data: its text names all of it
    if key not in _FITTED:
        _FITTED[key] = fit(retriever, _world().data)
    return _FITTED[key]


def fit(retriever: Retriever, data: TrainData) -> FittedRetriever:
    """Fit with a stated seed."""
    return retriever.fit(data, rng=np.random.default_rng(11))


def sound(found: Candidates, k: int) -> None:
    """Check the shape, order, uniqueness and finiteness of an answer, and that gaps are said."""
    assert found.item_ix.shape == found.score.shape == (len(found.reason), k)
    for row, score, reason in zip(found.item_ix, found.score, found.reason, strict=True):
        n = int((row >= 0).sum())
        assert (row[:n] >= 0).all()
        assert (row[n:] == -1).all()
        assert len(set(row[:n].tolist())) == n
        assert np.isfinite(score[:n]).all()
        assert np.isneginf(score[n:]).all()
        order = list(zip((-score[:n]).tolist(), row[:n].tolist(), strict=True))
        assert order == sorted(order)  # M7: higher first, then the lower index
        assert n == k or reason is not None


class RetrieverContract:
    """What every retriever keeps."""

    @pytest.fixture
    def retriever(self) -> Retriever:
        """The specification under test."""
        raise NotImplementedError

    @pytest.fixture
    def personal(self, retriever: Retriever) -> bool:
        return retriever.name not in IMPERSONAL

    def test_the_item_left_out_of_a_persons_colour_comes_first(
        self, retriever: Retriever, personal: bool
    ) -> None:
        if not personal:
            return
        if retriever.name in USED_BEFORE:
            return
        world = _world()
        found = _fitted(retriever).retrieve(world.queries, 1, allowed=world.unused())
        np.testing.assert_array_equal(found.item_ix[:, 0], world.missing)

    def test_a_person_unknown_in_training_is_served_from_two_events(
        self, retriever: Retriever, personal: bool
    ) -> None:
        """M1."""
        if not personal:
            return
        if retriever.name in USED_BEFORE:
            return
        asked = queries([[0, 2], [1, 3]], as_of_us=_world().data.as_of_us)
        allowed = np.ones((2, 24), np.bool_)
        allowed[0, [0, 2]] = allowed[1, [1, 3]] = False
        found = _fitted(retriever).retrieve(asked, 5, allowed=allowed)
        sound(found, 5)
        assert found.reason == (None, None)
        assert (found.item_ix[0] % 2 == 0).all()
        assert (found.item_ix[1] % 2 == 1).all()

    def test_no_history_is_said_by_name(self, retriever: Retriever, personal: bool) -> None:
        """M2."""
        asked = queries([[], [0]], as_of_us=_world().data.as_of_us)
        found = _fitted(retriever).retrieve(asked, 3)
        sound(found, 3)
        assert found.reason[0] == (NO_HISTORY if personal else None)
        assert found.reason[1] is None or retriever.name in USED_BEFORE
        falls_back = not personal or retriever.name in FALLS_BACK
        assert (found.item_ix[0] >= 0).all() == falls_back

    def test_events_of_weight_zero_are_no_history(self, retriever: Retriever) -> None:
        unweighted = queries([[0, 2]], weight=[[0.0, 0.0]], as_of_us=_world().data.as_of_us)
        found = _fitted(retriever).retrieve(unweighted, 3)
        none = _fitted(retriever).retrieve(queries([[]], as_of_us=_world().data.as_of_us), 3)
        assert found.reason == none.reason
        if retriever.name != "random":
            np.testing.assert_array_equal(found.item_ix, none.item_ix)

    def test_what_was_written_changes_a_list_without_history(self, retriever: Retriever) -> None:
        """M2: two people without events who said different things differ."""
        if retriever.name not in ("content", "content_euclidean", *FALLS_BACK):
            return
        vectors = np.zeros((2, 4), np.float32)
        vectors[0, 0] = vectors[1, 1] = 1.0
        asked = queries([[], []], vectors=vectors, as_of_us=_world().data.as_of_us)
        found = _fitted(retriever).retrieve(asked, 3)
        assert found.reason == (None, None)
        assert (found.item_ix[0] % 2 == 0).all()
        assert (found.item_ix[1] % 2 == 1).all()

    def test_lists_are_not_the_same_for_everyone(
        self, retriever: Retriever, personal: bool
    ) -> None:
        """M3."""
        if not personal or retriever.name in USED_BEFORE:
            return
        world = _world()
        found = _fitted(retriever).retrieve(world.queries, 3, allowed=world.unused())
        assert len({tuple(row) for row in found.item_ix.tolist()}) > 10
        assert len(np.unique(found.item_ix)) > 12

    @pytest.mark.parametrize("k", [0, 1, 24, 1000])
    def test_at_most_k_unique_finite_eligible_items_and_gaps_are_said(
        self, retriever: Retriever, k: int
    ) -> None:
        """M4."""
        world = _world()
        allowed = np.zeros(24, np.bool_)
        allowed[[3, 4, 9, 20]] = True
        found = _fitted(retriever).retrieve(part_of(world.queries, 0, 7), k, allowed=allowed)
        sound(found, k)
        assert set(np.unique(found.item_ix).tolist()) <= {-1, 3, 4, 9, 20}

    def test_a_person_who_used_everything_gets_an_empty_list_and_the_batch_goes_on(
        self, retriever: Retriever
    ) -> None:
        """M5."""
        asked = queries([range(24), [0, 2, 4]], as_of_us=_world().data.as_of_us)
        allowed = np.ones((2, 24), np.bool_)
        allowed[0] = False
        allowed[1, [0, 2, 4]] = False
        found = _fitted(retriever).retrieve(asked, 3, allowed=allowed)
        sound(found, 3)
        assert (found.item_ix[0] == -1).all()
        assert found.reason[0] == NOTHING_ALLOWED
        assert (found.item_ix[1] >= 0).all() or retriever.name in USED_BEFORE

    def test_several_threads_get_one_answer(self, retriever: Retriever) -> None:
        """M6: concurrent requests, and fits, equal the single-threaded ones."""
        world = _world()
        alone = _fitted(retriever).score(world.queries)
        with ThreadPoolExecutor(4) as pool:
            scores = list(pool.map(lambda _: _fitted(retriever).score(world.queries), range(8)))
            fits = list(pool.map(lambda _: fit(retriever, world.data), range(2)))
        for score in scores:
            np.testing.assert_array_equal(score, alone)
        for other in fits:
            np.testing.assert_array_equal(other.score(world.queries), alone)

    def test_the_number_of_linear_algebra_threads_changes_no_list(
        self, retriever: Retriever
    ) -> None:
        """M6."""
        world = _world()
        lists = []
        for threads in (1, 2):
            with threadpool_limits(limits=threads):
                fitted = fit(retriever, world.data)
                lists.append(fitted.retrieve(world.queries, 5, allowed=world.unused()).item_ix)
        np.testing.assert_array_equal(lists[0], lists[1])

    def test_equal_scores_are_listed_by_the_lower_index(self, retriever: Retriever) -> None:
        """M7: the list is the stable sort of the scores, and twins are neighbours in it."""
        # three people each used items 0 to 3 in another order: nothing tells them apart
        data = tiny([0, 0, 1, 1, 2, 2], [5, 1, 5, 3, 5, 2], n_items=8)
        fitted = fit(retriever, data)
        asked = queries([[5], [1, 3]], as_of_us=data.as_of_us)
        scores = fitted.score(asked)
        found = fitted.retrieve(asked, 8)
        sound(found, 8)
        for b, row in enumerate(found.item_ix):
            expected = [int(i) for i in np.argsort(-scores[b], kind="stable")]
            expected = [i for i in expected if scores[b, i] > -np.inf]
            assert row[row >= 0].tolist() == expected

    def test_all_zero_content_is_no_content(self, retriever: Retriever) -> None:
        """M9."""
        data = replace(_world().data, content=np.zeros((24, 4), np.float32))
        fitted = fit(retriever, data)
        scores = fitted.score(_world().queries)
        assert not np.isnan(scores).any()
        assert not np.isposinf(scores).any()
        found = fitted.retrieve(_world().queries, 3)
        sound(found, 3)
        if retriever.name.startswith("content") or retriever.name in BY_TEXT:
            assert (found.item_ix == -1).all()
        else:
            assert (found.item_ix >= 0).all()

    @pytest.mark.parametrize("factor", [1e-6, 1e6])
    def test_the_length_of_content_vectors_does_not_matter(
        self, retriever: Retriever, factor: float
    ) -> None:
        """M9: unscaled features."""
        data = replace(_world().data, content=_world().data.content * np.float32(factor))
        scaled = np.asarray(fit(retriever, data).score(_world().queries), dtype=np.float64)
        plain = np.asarray(_fitted(retriever).score(_world().queries), dtype=np.float64)
        np.testing.assert_allclose(scaled, plain, rtol=1e-3, atol=1e-4)

    def test_no_split_of_the_data_is_needed(self, retriever: Retriever) -> None:
        """M11: one event per person leaves nothing to hold out."""
        data = tiny([0, 1, 2, 3], [0, 1, 0, 2], n_items=4)
        found = fit(retriever, data).retrieve(queries([[0]]), 2)
        sound(found, 2)

    def test_contributions_sum_to_the_score(self, retriever: Retriever) -> None:
        """M12, for known and new people, repeated events, weights and written words."""
        rng = np.random.default_rng(5)
        rows = [rng.integers(0, 24, size=n) for n in (1, 2, 7, 30)]
        asked = queries(
            [*rows, []],
            weight=[*(rng.choice([0.0, 1.0, 4.0], size=len(row)) for row in rows), []],
            vectors=rng.normal(size=(5, 4)).astype(np.float32)
            * np.array([[1], [0], [1], [0], [1]]),
            as_of_us=_world().data.as_of_us,
        )
        fitted = _fitted(retriever)
        scores, checked = fitted.score(asked), 0
        for b in range(len(asked)):
            for item in np.flatnonzero(scores[b] > -np.inf):
                amounts = fitted.contributions(asked, b, int(item))
                assert amounts.shape == (asked.indptr[b + 1] - asked.indptr[b] + 1,)
                assert amounts.sum() == pytest.approx(scores[b, item], rel=1e-5, abs=1e-5)
                ignored = asked.weight[asked.indptr[b] : asked.indptr[b + 1]] == 0
                assert (amounts[:-1][ignored] == 0).all()
                checked += 1
        assert checked >= (12 if retriever.name in USED_BEFORE else 24)

    def test_state_survives_files_unchanged(self, retriever: Retriever, tmp_path: Path) -> None:
        """M13: what is loaded answers as what was saved, from plain arrays without pickle."""
        world = _world()
        fitted = _fitted(retriever)
        loaded: dict[str, dict[str, Any]] = {}
        for folder, arrays in to_parts(fitted).items():
            np.savez(tmp_path / folder, **arrays, allow_pickle=False)
            with np.load(tmp_path / f"{folder}.npz", allow_pickle=False) as file:
                loaded[folder] = {key: file[key] for key in arrays}
        again = from_parts(loaded)
        assert again.name == fitted.name
        np.testing.assert_array_equal(again.score(world.queries), fitted.score(world.queries))
        assert to_parts(again).keys() == loaded.keys()

    @pytest.mark.parametrize(
        "make",
        [
            lambda: tiny([], [], n_items=5),
            lambda: tiny([], [], n_items=0),
            lambda: tiny([0], [0], n_items=1),
            lambda: tiny([0, 0, 0], [0, 0, 0], n_items=1),
            lambda: tiny([0, 0], [0, 1], n_items=2, content=np.zeros((2, 4), np.float32)),
        ],
        ids=["no events", "no items", "one event", "one item thrice", "one person, empty texts"],
    )
    def test_the_smallest_worlds_are_answered(
        self, retriever: Retriever, make: Callable[[], TrainData]
    ) -> None:
        data = make()
        fitted = fit(retriever, data)
        known = [0] if data.n_items else []
        asked = queries([[], known], as_of_us=data.as_of_us)
        assert fitted.score(asked).shape == (2, data.n_items)
        assert not np.isnan(fitted.score(asked)).any()
        found = fitted.retrieve(asked, 3)
        sound(found, 3)
        again = from_parts(to_parts(fitted))
        np.testing.assert_array_equal(again.score(asked), fitted.score(asked))

    def test_no_questions_get_no_answers(self, retriever: Retriever) -> None:
        found = _fitted(retriever).retrieve(queries([]), 4)
        assert found.item_ix.shape == (0, 4)
        assert found.reason == ()

    def test_a_batch_answers_as_each_alone(self, retriever: Retriever) -> None:
        world = _world()
        together = _fitted(retriever).score(world.queries)
        for b in (0, 7, 31):
            alone = _fitted(retriever).score(part_of(world.queries, b, b + 1))
            np.testing.assert_array_equal(alone[0], together[b])

    def test_answering_changes_nothing(self, retriever: Retriever) -> None:
        fitted = _fitted(retriever)
        before = {key: value.copy() for key, value in fitted.arrays().items()}
        asked: Queries = _world().queries
        fitted.retrieve(asked, 5)
        fitted.contributions(asked, 0, 3)
        for key, value in fitted.arrays().items():
            np.testing.assert_array_equal(value, before[key])

    def test_an_item_newer_than_the_model_is_refused_with_a_next_step(
        self, retriever: Retriever, personal: bool
    ) -> None:
        if not personal:
            return
        with pytest.raises(InputError, match="leave items that are newer"):
            _fitted(retriever).score(queries([[24]]))

    def test_a_mask_of_another_size_is_refused(self, retriever: Retriever) -> None:
        with pytest.raises(InputError, match="mask"):
            _fitted(retriever).retrieve(queries([[0]]), 3, allowed=np.ones(23, np.bool_))

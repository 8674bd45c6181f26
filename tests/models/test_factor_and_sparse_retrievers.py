"""ALS folds a history in as implicit does; sparse linear with all sources is EASE."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from lifeloop.contracts import TrainData
from lifeloop.models.data import histories, queries
from lifeloop.models.retrieve.als import Als
from lifeloop.models.retrieve.ease import Ease
from lifeloop.models.retrieve.itemknn import used_by
from lifeloop.models.retrieve.sequential import pair_sums
from lifeloop.models.retrieve.sparse import SparseLinear, sparse_pair_sums


def random_data(n_users: int = 60, n_items: int = 25, n: int = 900) -> TrainData:
    rng = np.random.default_rng(3)
    user = np.sort(rng.integers(n_users, size=n)).astype(np.int32)
    item = rng.integers(n_items, size=n).astype(np.int32)
    return TrainData(
        user_ix=user,
        item_ix=item,
        t_us=np.arange(n, dtype=np.int64) * 1_000_000,
        weight=np.ones(n, np.float32),
        rating=np.full(n, np.nan, np.float32),
        n_users=n_users,
        item_ids=tuple(f"i{i}" for i in range(n_items)),
        content=np.zeros((0, 1), np.float32),
        content_ix=np.full(n_items, -1, np.int32),
        as_of_us=n * 1_000_000,
    )


def test_als_folds_a_whole_history_in_as_implicit_recalculates_a_user() -> None:
    from implicit.als import AlternatingLeastSquares
    from threadpoolctl import threadpool_limits

    data = random_data()
    fitted = Als(factors=8, alpha=4.0, ridge=0.7).fit(data, rng=np.random.default_rng(1))
    reference = AlternatingLeastSquares(
        factors=8, alpha=5.0, regularization=0.7, iterations=1, random_state=1, num_threads=1
    )
    people = csr_matrix(used_by(data)[:, fitted.covered])
    with threadpool_limits(1, "blas"):
        reference.fit(people, show_progress=False)
        reference.item_factors = fitted.vectors
        reference._YtY = None
        users = np.arange(data.n_users)
        expected = reference.recalculate_user(users, people) @ fitted.vectors.T
    scores = fitted.score(histories(data, users.astype(np.int32)))[:, fitted.covered]
    np.testing.assert_allclose(scores, expected, rtol=2e-3, atol=2e-4)


def test_als_amounts_add_up_to_the_score_with_a_fading_history() -> None:
    data = random_data()
    fitted = Als(factors=6).fit(data, rng=np.random.default_rng(0)).at(2.0)
    asked = queries([[3, 1, 4, 1]])
    score = fitted.score(asked)[0]
    told = fitted.traces(asked, 0, np.arange(data.n_items, dtype=np.int32)).sum(axis=1)
    known = score > -np.inf
    assert known.any()
    np.testing.assert_allclose(told[known], score[known], atol=1e-5)


def test_sparse_linear_with_every_source_is_the_positive_part_of_ease() -> None:
    data = random_data()
    dense = Ease(n_items=data.n_items, ridge=5.0).fit(data, rng=np.random.default_rng(0))
    fitted = SparseLinear(sources=data.n_items, ridge=5.0).fit(data, rng=np.random.default_rng(0))
    got = np.zeros((data.n_items, data.n_items))
    row = np.repeat(np.arange(data.n_items), np.diff(fitted.indptr))
    got[row, fitted.neighbour] = fitted.strength
    expected = np.zeros_like(got)
    expected[np.ix_(dense.covered, dense.covered)] = np.maximum(dense.weights, 0.0)
    # a pair that nobody used together is no source of another
    together = (used_by(data).T @ used_by(data)).toarray() > 0
    assert together[np.ix_(dense.covered, dense.covered)].all()
    np.testing.assert_allclose(got, expected, atol=1e-4)


@pytest.mark.parametrize("decay", [0.5, 0.9])
def test_sparse_sums_over_pairs_are_those_of_the_sequential_ridge(decay: float) -> None:
    data = random_data()
    gram, cross = pair_sums(
        data.user_ix.astype(np.int64), data.item_ix.astype(np.int64), n=data.n_items, decay=decay
    )
    own_gram, own_cross = sparse_pair_sums(data, decay=decay)
    np.testing.assert_allclose(own_gram.toarray(), gram, atol=1e-9)
    np.testing.assert_allclose(own_cross.toarray(), cross, atol=1e-9)

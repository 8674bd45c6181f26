"""Semantic codes of items: the quantisation itself, and what trees make of it."""

from dataclasses import replace

import numpy as np
import pytest

from lifeloop.config import Models
from lifeloop.contracts import Float, TrainData
from lifeloop.errors import BundleError, InputError
from lifeloop.models import build, histories
from lifeloop.models.rank.boosted import Boosting, train_booster
from lifeloop.models.rank.codes import LEAST_ROWS, Codebooks, fit_codebooks
from lifeloop.models.rank.features import names
from lifeloop.models.rank.items import ItemFacts
from lifeloop.models.rank.ranked import Ranked
from lifeloop.models.rank.reranked import FittedRanked
from lifeloop.models.rank.table import Table
from lifeloop.models.state import from_parts, to_parts
from lifeloop.models.warm import refreshed
from lifeloop.testing.checkerboard import tiny


def clustered(n: int = 400, *, groups: int = 4, d: int = 16, seed: int = 0) -> Float:
    """Unit vectors around a few far centres, and around two near ones within each."""
    rng = np.random.default_rng(seed)
    far = 4.0 * np.eye(d)[:groups]
    near = 1.0 * np.eye(d)[groups : groups + 2]
    rows = far[np.arange(n) % groups] + near[(np.arange(n) // groups) % 2]
    rows = rows + 0.05 * rng.standard_normal((n, d))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def test_each_level_says_more_and_the_first_tells_the_largest_groups_apart() -> None:
    content = clustered(80)  # 80 rows: 4 codes
    books = fit_codebooks(content, levels=3, rng=np.random.default_rng(0))
    assert books is not None
    assert books.centres.shape == (3, 4, 16)
    codes = books.codes(content, np.arange(80, dtype=np.int32))
    for group in range(4):
        assert len(set(codes[group::4, 0])) == 1
    assert len(set(codes[:, 0])) == 4
    left = []
    rest = content.astype(np.float64)
    for level in range(3):
        rest = rest - books.centres[level][codes[:, level]]
        left.append(float(np.square(rest).sum() / np.square(content).sum()))
    assert left[0] > left[1] > left[2]
    assert books.left == pytest.approx(left[2], rel=1e-4)


def test_codes_are_those_of_the_nearest_centre_by_hand() -> None:
    centres = np.array([[[0, 0], [4, 0]], [[0, 1], [1, 0]]], np.float32)
    books = Codebooks(centres, 1.0)
    content = np.array([[3.5, 0.9], [0.2, 0.9], [4.9, 0.1], [2, 0]], np.float32)
    codes = books.codes(content, np.array([0, 1, -1, 2, 3], dtype=np.int32))
    # (3.5, .9) → centre (4, 0), left (−.5, .9) → (0, 1); a tie goes to the lower code
    assert codes.tolist() == [[1, 0], [0, 0], [-1, -1], [1, 1], [0, 1]]


def test_the_same_seed_gives_the_same_codes_and_few_vectors_give_none() -> None:
    content = clustered()
    one, two = (fit_codebooks(content, levels=2, rng=np.random.default_rng(7)) for _ in range(2))
    assert one is not None
    assert two is not None
    np.testing.assert_array_equal(one.centres, two.centres)
    few = content[: 2 * LEAST_ROWS - 1]
    assert fit_codebooks(few, levels=2, rng=np.random.default_rng(7)) is None
    assert fit_codebooks(content, levels=0, rng=np.random.default_rng(7)) is None
    with pytest.raises(InputError, match="levels"):
        fit_codebooks(content, levels=9, rng=np.random.default_rng(7))


def test_trees_take_codes_as_categories_and_not_as_numbers() -> None:
    """Codes 1, 4 and 6 of 8 come next: no threshold says so, a set of categories does."""
    rng = np.random.default_rng(0)
    size, n_queries = 8, 300
    code = np.stack([rng.permutation(8) for _ in range(n_queries)])
    good = np.isin(code, [1, 4, 6])
    pick = np.where(good, rng.random(code.shape), -1.0).argmax(axis=1)
    target = (np.arange(size)[None, :] == pick[:, None]).ravel()
    columns = names((), 1)
    table_features = np.zeros((size * n_queries, len(columns)), np.float32)
    table_features[:, columns.index("item.code1")] = code.ravel()
    table = Table(
        features=table_features,
        target=target,
        sizes=np.full(n_queries, size, dtype=np.int64),
        n_targets=np.ones(n_queries, dtype=np.int64),
        group=np.arange(n_queries, dtype=np.int32),
        blend=np.zeros(size * n_queries, np.float32),
        item_ix=code.ravel().astype(np.int32),
        fresh=np.zeros(size * n_queries, np.bool_),
    )
    settings = Boosting(rounds=20, columns=1.0, leaves=2)  # stumps: one split must say it
    trained = train_booster(table, columns, settings, rng=np.random.default_rng(1))
    assert trained is not None
    asked = np.zeros((9, len(columns)), np.float32)
    asked[:, columns.index("item.code1")] = [*range(8), np.nan]
    score = trained.fitted.score(asked)
    assert np.isfinite(score).all()
    assert min(score[[1, 4, 6]]) > max(score[[0, 2, 3, 5, 7]]) + 0.2
    assert np.ptp(score[[0, 2, 3, 5, 7]]) < 0.02
    assert "num_cat=1" in trained.fitted.text
    np.testing.assert_allclose(trained.fitted.shares(asked).sum(axis=1), score, atol=1e-6)


def walkers() -> TrainData:
    """People walk round forty items; an item's vector says in which quarter of the round it is."""
    rng = np.random.default_rng(2)
    people, items = [], []
    for u in range(150):
        start = int(rng.integers(40))
        walk = [(start + n) % 40 for n in range(9)]
        people += [u] * len(walk)
        items += walk
    rows = np.repeat(np.eye(4, 8), 10, axis=0) + 0.1 * rng.standard_normal((40, 8))
    return tiny(people, items, n_items=40, content=rows.astype(np.float32))


@pytest.fixture(scope="module")
def ranked() -> tuple[FittedRanked, TrainData]:
    (found,) = build(["ranked"], Models(ranker_codes=2), horizon="last")
    assert isinstance(found, Ranked)
    assert found.codes == 2
    data = walkers()
    eager = replace(found, least_people=20, margin=-1.0, boosting=Boosting(rounds=20))
    return eager.fit(data, rng=np.random.default_rng(0)), data


def test_codes_stand_beside_what_retrievers_know_and_survive_the_bundle(
    ranked: tuple[FittedRanked, TrainData],
) -> None:
    fitted, data = ranked
    assert fitted.booster is not None
    own = fitted.booster.names
    assert {"item.code1", "item.code2"} < set(own)
    assert set(names([p.name for p in fitted.parts])) < set(own)
    asked = histories(data, np.arange(20, dtype=np.int32))
    again = from_parts(to_parts(fitted))
    assert isinstance(again, FittedRanked)
    np.testing.assert_array_equal(again.score(asked), fitted.score(asked))
    item = int(fitted.retrieve(asked, 3).item_ix[0, 0])
    told = fitted.contributions(asked, 0, item)
    assert told.sum() == pytest.approx(float(fitted.score(asked)[0, item]), abs=1e-5)


def test_an_item_without_a_vector_has_no_code_and_a_score(
    ranked: tuple[FittedRanked, TrainData],
) -> None:
    fitted, data = ranked
    rows = data.content_ix.copy()
    rows[3] = -1
    bare = replace(data, content_ix=rows)
    facts = ItemFacts.of(bare, fitted.facts.books)
    assert facts.codes is not None
    assert np.isnan(facts.codes[3]).all()
    assert not np.isnan(facts.codes[4]).any()
    scores = replace(fitted, facts=facts).score(histories(data, np.arange(5, dtype=np.int32)))
    assert not np.isnan(scores).any()


def test_a_refresh_keeps_the_meaning_of_codes_or_is_refused(
    ranked: tuple[FittedRanked, TrainData],
) -> None:
    fitted, data = ranked
    (found,) = build(["ranked"], Models(), horizon="last")
    assert isinstance(found, Ranked)
    parts = found.blend.parts
    again = refreshed(fitted, parts, data, rng=np.random.default_rng(1))
    assert isinstance(again, FittedRanked)
    assert again.facts.codes is not None
    assert fitted.facts.codes is not None
    np.testing.assert_array_equal(again.facts.codes, fitted.facts.codes)
    turned = np.linalg.qr(np.random.default_rng(3).standard_normal((8, 8)))[0]
    other = replace(data, content=(data.content @ turned).astype(np.float32))
    with pytest.raises(BundleError, match="semantic codes"):
        refreshed(fitted, parts, other, rng=np.random.default_rng(1))
    wider = replace(data, content=np.pad(data.content, ((0, 0), (0, 1))))
    with pytest.raises(BundleError, match="width 9, 8"):
        refreshed(fitted, parts, wider, rng=np.random.default_rng(1))

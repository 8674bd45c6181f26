"""What the ranker learns from, what it may not do, and when it is not served."""

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest

from lifeloop.config import Models
from lifeloop.contracts import Predicted, Queries, TrainData
from lifeloop.models import FittedBlend, build, histories
from lifeloop.models.data import DAY_US, part_of, queries
from lifeloop.models.fresh import fresh_items
from lifeloop.models.holdout import hold_out
from lifeloop.models.rank.boosted import Boosting, monotone, train_booster
from lifeloop.models.rank.candidates import Lists
from lifeloop.models.rank.features import features, names
from lifeloop.models.rank.items import WINDOWS, ItemFacts
from lifeloop.models.rank.ranked import Ranked
from lifeloop.models.rank.table import Table, ndcg_per_query, served
from lifeloop.models.rank.traces import place_in_blend
from lifeloop.models.retrieve.popularity import Popularity
from lifeloop.testing.checkerboard import START_US, checkerboard, tiny


def steps_world() -> TrainData:
    """Sixty people walk round twenty items in order, three steps at a time."""
    people, items = [], []
    rng = np.random.default_rng(2)
    for u in range(120):
        start = int(rng.integers(20))
        walk = [(start + int(rng.choice([1, 1, 1, 7])) * n) % 20 for n in range(9)]
        people += [u] * len(walk)
        items += walk
    return tiny(people, items, n_items=20)


def table_of(rng: np.random.Generator, n_queries: int = 120) -> Table:
    """Two features: the first says which candidate comes next, the second is noise."""
    size, rows = 12, n_queries * 12
    signal = rng.normal(size=rows).astype(np.float32)
    chance = signal + rng.gumbel(size=rows) * 0.3
    best = chance.reshape(n_queries, size).argmax(axis=1)
    target = (np.arange(size)[None, :] == best[:, None]).ravel()
    noise = rng.normal(size=rows).astype(np.float32)
    return Table(
        features=np.stack([signal, noise], axis=1),
        target=target,
        sizes=np.full(n_queries, size, dtype=np.int64),
        n_targets=np.ones(n_queries, dtype=np.int64),
        group=np.arange(n_queries, dtype=np.int32),
        blend=noise,
        item_ix=np.tile(np.arange(size, dtype=np.int32), n_queries),
        fresh=np.zeros(rows, np.bool_),
    )


def test_trees_find_the_feature_that_tells_and_are_judged_on_people_not_seen() -> None:
    table = table_of(np.random.default_rng(0))
    trained = train_booster(table, ("a.score", "b.score"), Boosting(), rng=np.random.default_rng(1))
    assert trained is not None
    assert trained.asked.all()
    best = ndcg_per_query(table, table.features[:, 0]).mean()
    assert best * 0.9 < trained.ndcg.mean() <= best * 1.02
    assert ndcg_per_query(table, table.blend).mean() < 0.6


def test_a_higher_score_of_a_retriever_never_lowers_the_rankers() -> None:
    table = table_of(np.random.default_rng(3))
    trained = train_booster(table, ("a.score", "b.score"), Boosting(), rng=np.random.default_rng(1))
    assert trained is not None
    grid = np.stack([np.linspace(-3, 3, 50), np.zeros(50)], axis=1).astype(np.float32)
    assert (np.diff(trained.fitted.score(grid)) >= 0).all()
    assert monotone(("a.score", "a.rank", "a.last1", "item.log_users")) == [1, -1, 0, 0]


def test_shares_sum_to_the_score_and_chances_are_calibrated() -> None:
    table = table_of(np.random.default_rng(4), n_queries=400)
    trained = train_booster(table, ("a.score", "b.score"), Boosting(), rng=np.random.default_rng(1))
    assert trained is not None
    fresh = table_of(np.random.default_rng(5), n_queries=400)
    score = trained.fitted.score(fresh.features)
    shares = trained.fitted.shares(fresh.features)
    np.testing.assert_allclose(shares.sum(axis=1), score, atol=1e-9)
    told = trained.fitted.probability(score)
    assert told.mean() == pytest.approx(fresh.target.mean(), rel=0.1)
    strong = told > np.quantile(told, 0.9)
    assert told[strong].mean() == pytest.approx(fresh.target[strong].mean(), rel=0.2)


def test_ndcg_of_candidates_counts_targets_out_of_reach_and_ties_against() -> None:
    table = Table(
        features=np.zeros((4, 1), np.float32),
        target=np.array([True, False, False, False]),
        sizes=np.array([2, 2]),
        n_targets=np.array([1, 1]),
        group=np.array([0, 1], np.int32),
        blend=np.zeros(4, np.float32),
        item_ix=np.array([0, 1, 0, 1], np.int32),
        fresh=np.zeros(4, np.bool_),
    )
    assert ndcg_per_query(table, np.array([1.0, 0.0, 1.0, 0.0])).tolist() == [1.0, 0.0]
    assert ndcg_per_query(table, np.zeros(4))[0] == pytest.approx(1 / np.log2(3))


def test_a_new_item_is_judged_at_its_place_in_the_blend() -> None:
    table = Table(
        features=np.zeros((4, 1), np.float32),
        target=np.array([False, False, False, True]),
        sizes=np.array([4]),
        n_targets=np.array([1]),
        group=np.array([0], np.int32),
        blend=np.array([3.0, 1.0, 0.0, 2.0], np.float32),
        item_ix=np.arange(4, dtype=np.int32),
        fresh=np.array([False, False, False, True]),
    )
    score = np.array([0.1, 0.9, 0.5, 99.0])  # what trees say of an item nobody used is no matter
    assert served(table, score).tolist() == [0.1, 0.9, 0.5, 0.5]  # second in the blend


def test_trees_are_told_of_prices_and_pauses() -> None:
    data = tiny([0, 0, 0], [0, 1, 2], n_items=4)  # a use a day
    data = replace(data, price=np.array([1.0, 2.0, 4.0, np.nan], np.float32))
    asked = histories(data, np.array([0], np.int32))
    told = dict(
        zip(
            names(["popularity"]),
            features(
                lists_of(data, asked),
                asked,
                0,
                np.arange(4, dtype=np.int32),
                parts=[Popularity().fit(data, rng=np.random.default_rng(0))],
                facts=ItemFacts.of(data),
            ).T,
            strict=True,
        )
    )
    np.testing.assert_allclose(
        told["both.log_price_above_habit"], np.log([0.5, 1.0, 2.0, np.nan]), atol=1e-6
    )
    age = asked.age_days
    np.testing.assert_allclose(told["person.tenure_days"], age[0])
    np.testing.assert_allclose(told["person.late"], age[-1] / ((age[0] - age[-1]) / 2 + 1.0))


def lists_of(data: TrainData, asked: Queries) -> Lists:
    part = Popularity().fit(data, rng=np.random.default_rng(0))
    one = np.ones(1)
    blend = FittedBlend(
        name="lifeloop",
        rule="linear",
        parts=(part,),
        weights=one,
        cold=one,
        fresh=one,
        is_fresh=fresh_items(data),
        notes=(),
        n_items=data.n_items,
    )
    return Lists.of(asked, 0, blend=blend, repeats=True)


def test_windows_end_at_the_request_and_not_at_the_training() -> None:
    data = tiny([0, 1, 2, 3], [0, 0, 0, 1], n_items=3)  # a use a day
    facts = ItemFacts.of(data)
    columns = ItemFacts.names()
    items = np.array([0, 1, 2], np.int32)
    then = dict(zip(columns, facts.at(items, START_US + DAY_US), strict=True))
    now = dict(zip(columns, facts.at(items, data.as_of_us), strict=True))
    assert np.expm1(then[f"log_uses_{WINDOWS[1]}d"]).round().tolist() == [2, 0, 0]
    assert np.expm1(now[f"log_uses_{WINDOWS[1]}d"]).round().tolist() == [3, 1, 0]
    assert now["days_since_last_use"][:2].tolist() == [2, 1]
    assert np.isnan(now["days_since_last_use"][2])
    assert all(np.isnan(facts.at(items, 0)[-1]))


def test_each_of_the_last_events_is_asked_with_what_came_before_it() -> None:
    data = tiny([0] * 5 + [1] * 2, [0, 1, 2, 3, 4, 0, 1], n_items=6)
    found = hold_out(
        data,
        horizon="last",
        share=0.1,
        repeats=False,
        max_queries=99,
        last=3,
        rng=np.random.default_rng(0),
    )
    told = [
        (int(found.user_ix[b]), found.queries.item_ix[lo:hi].tolist(), found.targets_of(b).tolist())
        for b, (lo, hi) in enumerate(
            zip(found.queries.indptr[:-1], found.queries.indptr[1:], strict=True)
        )
    ]
    assert told == [
        (0, [0, 1], [2]),
        (0, [0, 1, 2], [3]),
        (0, [0, 1, 2, 3], [4]),
        (1, [0], [1]),
    ]
    assert found.data.item_ix.tolist() == [0, 1, 0]


def test_the_ranker_that_does_not_win_is_not_served_and_this_is_said() -> None:
    (ranked,) = build(["ranked"], Models(), horizon="last")
    assert isinstance(ranked, Ranked)
    never = replace(ranked, least_people=20, margin=10.0)
    fitted = never.fit(steps_world(), rng=np.random.default_rng(0))
    assert fitted.booster is None
    assert fitted.notes[-1].endswith("the linear blend is served")
    asked = queries([[0, 1, 2]], as_of_us=START_US)
    np.testing.assert_array_equal(fitted.score(asked), fitted.blend.score(asked))


def test_an_item_that_nobody_used_keeps_its_place_in_the_blend() -> None:
    score = place_in_blend(
        np.array([3.0, 2.0, 1.0], np.float32),
        np.array([0.1, 0.9, 0.5]),
        np.array([2.5, 9.0, 0.0], np.float32),
    )
    assert score.tolist() == [0.5, 0.9, 0.1]


def test_amounts_of_parts_and_events_sum_to_the_score_of_every_candidate() -> None:
    world = checkerboard(n_users=60)
    (ranked,) = build(["ranked"], Models(), horizon="last")
    assert isinstance(ranked, Ranked)
    fitted = replace(ranked, least_people=20, margin=-1.0).fit(
        world.data, rng=np.random.default_rng(0)
    )
    assert fitted.booster is not None
    asked = histories(world.data, np.arange(3, dtype=np.int32))
    scored = fitted.scored(asked)
    for b in range(3):
        items = np.flatnonzero(scored.total[b] > -np.inf).astype(np.int32)
        amounts = scored.traces(b, items)
        np.testing.assert_allclose(amounts.sum(axis=(0, 2)), scored.total[b, items], atol=1e-5)
        assert amounts.shape[0] == len(fitted.parts) + 1


def test_what_was_predicted_of_a_person_is_asked_as_of_the_cut() -> None:
    data = tiny([0] * 6 + [1] * 3, [0, 1, 2, 3, 4, 5, 0, 1, 2], n_items=6)
    start = int(data.t_us.min())
    held = Predicted(
        np.array([0, 2, 2]),
        np.array([start, start + 4 * DAY_US]),
        np.array([[10.0, 0.9], [99.0, 0.2]], np.float32),
    )
    told = replace(data, predicted=held)
    rng = np.random.default_rng(0)
    given: dict[str, Any] = {"share": 0.3, "repeats": False, "max_queries": 9, "rng": rng}
    horizons: tuple[Literal["last", "time", "basket"], ...] = ("last", "time", "basket")
    for horizon in horizons:
        inner = hold_out(told, horizon=horizon, **given)
        assert inner.queries.predicted is not None
        for b, user in enumerate(inner.user_ix):
            want = held.at(np.array([user]), inner.queries.as_of_us[b : b + 1])[0]
            np.testing.assert_array_equal(inner.queries.predicted[b], want)
    steps = hold_out(told, horizon="last", last=3, **given)
    assert steps.queries.predicted is not None
    early = steps.queries.as_of_us < start + 4 * DAY_US
    first = steps.user_ix == 0
    np.testing.assert_allclose(
        steps.queries.predicted[first & early], [[10.0, 0.9]] * int((first & early).sum())
    )
    assert np.isnan(steps.queries.predicted[~first]).all()
    asked = histories(told, np.array([1, 0], np.int32))
    columns = names(["popularity"])
    parts = [Popularity().fit(told, rng=np.random.default_rng(0))]
    for b, want in enumerate(([np.nan, np.nan], [np.log(100.0), 0.2])):
        given = {"parts": parts, "facts": ItemFacts.of(told)}
        items = np.arange(4, dtype=np.int32)
        row = features(lists_of(told, part_of(asked, b, b + 1)), asked, b, items, **given)[0]
        got = [row[columns.index(f"person.{n}")] for n in ("log_predicted_value", "p_alive")]
        np.testing.assert_allclose(got, want, rtol=1e-6)

"""Lists are cut from the best of each part once, and answer as the whole catalogue would."""

from dataclasses import replace

import numpy as np
import pytest

from lifeloop.config import Models
from lifeloop.contracts import Bool
from lifeloop.models import build
from lifeloop.models.blend import Blend
from lifeloop.models.data import DAY_US, queries
from lifeloop.models.rank.boosted import Boosting
from lifeloop.models.rank.candidates import RANKED, Lists, Row
from lifeloop.models.rank.items import WINDOWS, ItemFacts
from lifeloop.models.rank.ranked import Ranked
from lifeloop.models.rank.reranked import FittedRanked, RankedScored
from lifeloop.models.retrieve.neighbours import FittedNeighbours
from lifeloop.models.retrieve.popularity import Popularity
from lifeloop.models.retrieve.topk import best, listed
from lifeloop.models.scored import rms, spread_of
from lifeloop.testing.checkerboard import tiny


@pytest.mark.parametrize("share", [1.0, 0.9, 0.2, 0.01, 0.0])
def test_the_best_allowed_are_found_whatever_is_allowed(share: float) -> None:
    rng = np.random.default_rng(int(share * 100))
    for n in (5, 120, 3000):
        score = np.round(rng.normal(size=n), 1).astype(np.float32)  # many of them equal
        score[rng.random(n) < 0.1] = -np.inf
        some = np.sort(rng.choice(5000, n, replace=False)).astype(np.int32)
        for row, width in ((Row(None, score), n), (Row(some, score), 5000)):
            allowed: Bool = rng.random(width) < share
            first = best(row.score, RANKED)
            whole = np.full(width, -np.inf, np.float32)
            whole[slice(None) if row.item_ix is None else row.item_ix] = score
            for k in (1, 10, 80):
                told = row.best(k, allowed=allowed, first=first)
                assert told.tolist() == best(whole, k, allowed=allowed).tolist()
                anything = row.best(k, allowed=None, first=first)
                assert anything.tolist() == best(whole, k).tolist()


@pytest.fixture(scope="module")
def fitted() -> FittedRanked:
    rng = np.random.default_rng(2)
    people, items = [], []
    for u in range(120):
        start = int(rng.integers(20))
        items += [(start + int(rng.choice([1, 1, 1, 7])) * n) % 20 for n in range(9)]
        people += [u] * 9
    parts = build(("popularity", "itemknn", "ease"), Models(ease_items=20))
    ranked = Ranked(Blend(parts=tuple(parts)), Boosting(rounds=20), least_people=10, margin=-1.0)
    made = ranked.fit(tiny(people, items, n_items=22), rng=np.random.default_rng(1))
    assert made.booster is not None
    return made


def test_a_list_is_the_whole_catalogue_cut_off(fitted: FittedRanked) -> None:
    rng = np.random.default_rng(0)
    asked = queries([[3, 4], [], [19, 0, 7]])
    for k in (1, 3, 30):
        for share in (1.0, 0.4, 0.0):
            allowed = rng.random((3, fitted.n_items)) < share
            scored = fitted.scored(asked)
            assert isinstance(scored, RankedScored)
            told = scored.retrieve(k, allowed=allowed)
            again = fitted.scored(asked)
            assert isinstance(again, RankedScored)
            given = {"k": k, "allowed": allowed, "personal": True}
            whole = listed(again.scores(allowed), asked, **given)  # type: ignore[arg-type]
            np.testing.assert_array_equal(told.item_ix, whole.item_ix)
            np.testing.assert_array_equal(told.score, whole.score)
            assert told.reason[0] == whole.reason[0]


def test_what_lists_say_of_some_is_what_they_say_of_all(fitted: FittedRanked) -> None:
    asked = queries([[3, 4, 11]])
    rng = np.random.default_rng(5)
    candidates = np.sort(rng.choice(fitted.n_items, 15, replace=False)).astype(np.int32)
    for some in (candidates[[4, 0, 9]], candidates, np.array([21, 0, 7, 7], np.int32)):
        held = Lists.of(asked, 0, blend=fitted.blend, repeats=True)
        held.scores(candidates)
        new = Lists.of(asked, 0, blend=fitted.blend, repeats=True)
        np.testing.assert_array_equal(held.scores(some), new.scores(some))
        np.testing.assert_array_equal(held.terms(some), new.terms(some))


def test_uses_are_counted_for_items_in_any_order() -> None:
    rng = np.random.default_rng(3)
    n, n_items = 400, 12
    item = rng.integers(0, n_items - 1, n)  # the last one is used by nobody
    day = rng.integers(20_000, 20_400, n)
    data = tiny(list(range(n)), item.tolist(), n_items=n_items)
    facts = ItemFacts.of(replace(data, t_us=day * DAY_US, item_ix=item.astype(np.int32)))
    some = np.array([11, 3, 0, 3, 7], np.int32)
    for today in (19_990, 20_000, 20_200, 20_399, 20_500):
        told = dict(zip(ItemFacts.names(), facts.at(some, today * DAY_US + 5), strict=True))
        for at, i in enumerate(some):
            own = day[item == i]
            for w in WINDOWS:
                uses = ((own <= max(today, day.min())) & (own > today - w)).sum()
                if today >= day.min():
                    assert told[f"log_uses_{w}d"][at] == np.log1p(uses)
            first = today - own.min() if len(own) else np.nan
            np.testing.assert_equal(float(told["days_since_first_use"][at]), float(first))
            past = own[own <= max(today, day.min())]
            newest = today - past.max() if len(past) else np.nan
            np.testing.assert_equal(float(told["days_since_last_use"][at]), float(newest))


def test_the_size_of_what_is_popular_is_known_beforehand() -> None:
    data = tiny([0, 0, 1, 2], [0, 1, 1, 4], n_items=6)
    part = Popularity().fit(data, rng=np.random.default_rng(0))
    asked = queries([[1]])
    assert spread_of(part, asked, 0, part.log_mass, 6) == rms(part.log_mass, 6)
    nothing = Popularity().fit(tiny([], [], n_items=6), rng=np.random.default_rng(0))
    assert spread_of(nothing, asked, 0, np.empty(0, np.float32), 6) == 1.0


def test_neighbours_are_added_up_among_what_is_reached() -> None:
    rng = np.random.default_rng(7)
    n = 50
    sizes = rng.integers(0, 8, n)
    indptr = np.concatenate([[0], np.cumsum(sizes)])
    near = np.concatenate([rng.choice(n, s, replace=False) for s in sizes]).astype(np.int32)
    strength = rng.random(len(near)).astype(np.float32)
    part = FittedNeighbours("itemknn", indptr, near, strength, 1.0, None)
    for history in ([], [3], [1, 5, 9, 9, 40]):
        item_ix, score = part.row(queries([history]), 0)
        whole = np.zeros(n)
        for h in sorted(set(history)):
            at = slice(indptr[h], indptr[h + 1])
            whole[near[at]] += strength[at].astype(np.float64)
        assert item_ix.tolist() == np.flatnonzero(whole > 0).tolist()
        np.testing.assert_allclose(score, whole[item_ix], rtol=1e-6)

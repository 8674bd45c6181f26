"""Lifts of items and categories per situation, and how much each field of it counts."""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lifeloop.contracts import Queries, Situations, TrainData
from lifeloop.models import Blend, FittedBlend, from_parts, queries, refreshed, to_parts
from lifeloop.models.context import MOST, FittedContext, lifts, shifted, with_powers
from lifeloop.models.retrieve.content import Content
from lifeloop.models.retrieve.itemknn import ItemKNN
from lifeloop.models.retrieve.popularity import Popularity
from lifeloop.testing.checkerboard import tiny

N_ITEMS = 40
FIELDS = ("hour", "device")
HOURS = ("morning", "evening")


def shop(*, n_users: int = 160, told: bool = True, seed: int = 0) -> TrainData:
    """Return a log: the first half of the items is used in the morning; devices are noise."""
    rng = np.random.default_rng(seed)
    users, items, codes = [], [], []
    for user in range(n_users):
        for item in rng.permutation(N_ITEMS)[:14]:
            early = item < N_ITEMS // 2
            hour = int(early) if rng.random() < 0.1 else int(not early)
            users.append(user)
            items.append(int(item))
            codes.append((hour, int(rng.integers(2))))
    data = tiny(users, items, n_items=N_ITEMS)
    order = rng.permutation(len(users))  # times of all people mixed
    t_us = data.t_us.min() + np.argsort(order).astype(np.int64) * 3_600_000_000
    by = np.lexsort((t_us, data.user_ix))
    situation = Situations(FIELDS, (HOURS, ("phone", "desk")), np.array(codes, np.int32)[by])
    return replace(
        data,
        item_ix=data.item_ix[by],
        t_us=t_us[by],
        as_of_us=int(t_us.max()) + 1,
        situation=situation if told else None,
        kind_ix=(np.arange(N_ITEMS) >= N_ITEMS // 2).astype(np.int32),
    )


@cache
def learned() -> FittedBlend:
    return blend(shop())


def blend(data: TrainData) -> FittedBlend:
    parts = (Popularity(), ItemKNN(k=20))
    return Blend(parts).fit(data, rng=np.random.default_rng(0))


def test_lifts_are_the_shrunken_log_ratios_of_the_formula() -> None:
    users = [0] * 40 + [1] * 4
    items = [0] * 20 + [1] * 20 + [2] * 4
    codes = np.array([[0]] * 18 + [[1]] * 2 + [[0]] * 4 + [[1]] * 16 + [[1]] * 4, np.int32)
    data = replace(
        tiny(users, items, n_items=4),
        situation=Situations(("hour",), (HOURS,), codes),
        kind_ix=np.array([0, 1, 1, -1], np.int32),
    )
    made = lifts(data)
    assert made is not None
    kappa = float(made.strength[0])
    share = np.array([22, 22]) / 44
    of_kind = {0: np.array([18, 2]), 1: np.array([4, 20])}

    def lift(counts: NDArray[Any], prior: NDArray[Any], k: float) -> NDArray[Any]:
        return np.asarray(np.log((counts + k * prior) / ((counts.sum() + k) * share)))

    table = made.lift[:, made.row].T  # [I, V]
    # κ of the categories is not told: it is the one that fits the lift of the item without events
    fits = [k for k in (3, 10, 30, 100, 300, 1000, 3000, 10000)
            if np.allclose(table[2], lift(of_kind[1], share, k), atol=1e-5)]  # fmt: skip
    assert len(fits) == 1
    for item, counts in ((0, np.array([18, 2])), (1, np.array([4, 16]))):
        prior = share * np.exp(lift(of_kind[item], share, fits[0]))
        assert table[item] == pytest.approx(lift(counts, prior / prior.sum(), kappa), abs=1e-5)
    assert np.all(table[3] == 0), "no events and no category: nothing is known"


def test_what_is_seen_in_one_situation_only_says_nothing() -> None:
    data = replace(
        tiny([0, 1], [0, 1], n_items=2),
        situation=Situations(("hour",), (("morning",),), np.zeros((2, 1), np.int32)),
    )
    assert lifts(data) is None
    assert lifts(replace(data, situation=None)) is None
    assert with_powers(None, {"hour": 1.0}) is None


def test_unknown_situations_change_nothing_and_no_factor_is_above_five() -> None:
    made = with_powers(lifts(shop()), {"hour": 50.0})
    assert made is not None
    assert made.fields == ("hour",)
    assert made.gain(made.codes({"hour": "noon"})[0]) is None
    assert made.gain(made.codes({})[0]) is None
    assert made.counts(made.codes({"hour": "noon"})[0]) == ()
    gain = made.gain(made.codes({"hour": "morning"})[0])
    assert gain is not None
    assert gain.max() <= np.expm1(MOST) * (1 + 1e-5)
    assert gain.min() >= np.expm1(-MOST) * (1 + 1e-5)


def test_a_lift_raises_scores_on_both_sides_of_zero_and_leaves_the_unknown() -> None:
    total = np.array([2.0, -2.0, 0.0, -np.inf, 2.0], np.float32)
    gain = np.array([0.5, 0.5, 0.5, 0.5, -0.5], np.float32)
    more = shifted(total, gain)
    assert more == pytest.approx([1.0, 2 / 3, 0.0, 0.0, -1.0])


def test_the_field_that_tells_is_learned_and_noise_is_left_out() -> None:
    made = learned()
    assert made.context is not None
    assert made.context.fields == ("hour",)
    (note,) = [n for n in made.notes if n.startswith("context,")]
    assert "device" in note
    assert "left out" in note


def test_with_situations_dealt_at_random_nothing_is_learned() -> None:
    rng = np.random.default_rng(1)
    chosen = 0
    for seed in range(3):
        data = shop(seed=seed)
        assert data.situation is not None
        mixed = rng.permutation(data.situation.codes)
        found = blend(replace(data, situation=replace(data.situation, codes=mixed)))
        chosen += 0 if found.context is None else len(found.context.fields)
    # two fields in three worlds, each kept by chance in one of six (one standard error)
    assert chosen <= 3


def test_the_same_history_gets_another_slate_in_another_situation() -> None:
    made = learned()
    slates = {hour: made.retrieve(asked_at(made, hour), 10).item_ix[0] for hour in (*HOURS, "noon")}
    assert (slates["morning"] < N_ITEMS // 2).mean() > 0.8
    assert (slates["evening"] >= N_ITEMS // 2).mean() > 0.8
    plain = made.retrieve(queries([[0, 25, 3]], as_of_us=0), 10).item_ix[0]
    assert slates["noon"].tolist() == plain.tolist()


def test_amounts_with_a_situation_add_up_to_the_score() -> None:
    made = learned()
    asked = asked_at(made, "evening")
    scored = made.scored(asked)
    assert [part.name for part in scored.parts][-1] == "context"
    items = np.arange(N_ITEMS, dtype=np.int32)
    traces = scored.traces(0, items)
    known = scored.total[0] > -np.inf
    assert traces.sum(axis=(0, 2))[known] == pytest.approx(scored.total[0][known], rel=1e-4)
    assert scored.by_part(0, items).sum(axis=0)[known] == pytest.approx(
        scored.total[0][known], rel=1e-4
    )


def test_a_bundle_keeps_the_context_and_a_refresh_its_powers() -> None:
    data = shop()
    made = learned()
    again = from_parts(to_parts(made))
    assert isinstance(again, FittedBlend)
    asked = asked_at(made, "morning")
    assert again.score(asked) == pytest.approx(made.score(asked))
    parts = (Popularity(), ItemKNN(k=20))
    newer = refreshed(made, parts, data, rng=np.random.default_rng(0))
    assert isinstance(newer, FittedBlend)
    assert newer.context is not None
    assert made.context is not None
    assert newer.context.told() == made.context.told()


def test_a_log_without_situations_is_learned_as_before() -> None:
    made = blend(shop(told=False))
    assert made.context is None
    assert not [n for n in made.notes if n.startswith("context")]


def test_words_count_beside_a_long_history() -> None:
    data = shop(told=False)
    vectors = np.eye(N_ITEMS, dtype=np.float32)
    data = replace(data, content=vectors, content_ix=np.arange(N_ITEMS, dtype=np.int32))
    made = Blend((Popularity(), ItemKNN(k=20), Content())).fit(data, rng=np.random.default_rng(0))
    wanted = 31
    history = [i for i in range(20) if i != wanted]
    said = queries([history], vectors=vectors[[wanted]])
    silent = made.retrieve(queries([history]), N_ITEMS).item_ix[0].tolist()
    scored = made.scored(said)
    order = np.argsort(-scored.total[0]).tolist()
    assert order.index(wanted) == 0
    assert silent.index(wanted) > 0
    traces = scored.traces(0, np.array([wanted], np.int32))
    assert traces.sum() == pytest.approx(float(scored.total[0, wanted]), rel=1e-4)
    assert scored.sources(0, np.array([wanted], np.int32)) == ("content_query",)


def asked_at(made: FittedBlend, hour: str) -> Queries:
    context = made.context
    assert isinstance(context, FittedContext)
    return queries([[0, 25, 3]], as_of_us=0, situation=context.codes({"hour": hour}))

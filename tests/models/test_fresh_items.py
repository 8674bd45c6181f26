"""Items that nobody has used are scored by their content, on the scale of the others."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lifeloop.config import Models
from lifeloop.contracts import Queries, TrainData
from lifeloop.models import FittedBlend, build, histories, queries
from lifeloop.models.fresh import Slope, fresh_weights
from lifeloop.models.retrieve.content import FittedContent
from lifeloop.models.scored import rms

DAY = 86_400_000_000
N_TOPICS, PER_TOPIC, NEW = 4, 10, 4


def shop(n_users: int, *, seed: int = 0) -> TrainData:
    """People stay inside a topic; the last ``NEW`` items (one per topic) were never used."""
    rng = np.random.default_rng(seed)
    n_items = N_TOPICS * PER_TOPIC + NEW
    topic = np.concatenate([np.repeat(np.arange(N_TOPICS), PER_TOPIC), np.arange(NEW)])
    content = np.eye(N_TOPICS, 8)[topic] + rng.normal(0, 0.05, (n_items, 8))
    content /= np.linalg.norm(content, axis=1, keepdims=True)
    user_ix, item_ix, t_us = [], [], []
    for user in range(n_users):
        picked = rng.permutation(PER_TOPIC)[:6] + (user % N_TOPICS) * PER_TOPIC
        user_ix += [user] * 6
        item_ix += picked.tolist()
        t_us += np.sort(rng.integers(0, 100, 6) * DAY).tolist()
    n = len(user_ix)
    return TrainData(
        user_ix=np.array(user_ix, np.int32),
        item_ix=np.array(item_ix, np.int32),
        t_us=np.array(t_us, np.int64),
        weight=np.ones(n, np.float32),
        rating=np.full(n, np.nan, np.float32),
        n_users=n_users,
        item_ids=tuple(f"i{i}" for i in range(n_items)),
        content=content.astype(np.float32),
        content_ix=np.arange(n_items, dtype=np.int32),
        as_of_us=101 * DAY,
    )


def fitted(data: TrainData) -> FittedBlend:
    (blend,) = build(["lifeloop"], Models(ease_items=100))
    found = blend.fit(data, rng=np.random.default_rng(0))
    assert isinstance(found, FittedBlend)
    return found


@pytest.mark.parametrize(("n_users", "rule"), [(200, "linear"), (40, "rrf")])
def test_a_new_item_of_the_users_topic_beats_every_item_of_other_topics(
    n_users: int, rule: str
) -> None:
    data = shop(n_users)
    blend = fitted(data)
    assert blend.rule == rule
    assert blend.is_fresh.sum() == NEW
    for topic in range(N_TOPICS):
        asked = queries([[topic * PER_TOPIC, topic * PER_TOPIC + 3]], as_of_us=data.as_of_us)
        score = blend.score(asked)[0]
        new = N_TOPICS * PER_TOPIC + topic
        others = [i for i in range(N_TOPICS * PER_TOPIC) if not topic <= i / PER_TOPIC < topic + 1]
        assert score[new] > score[others].max()


@pytest.mark.parametrize("n_users", [200, 40])
def test_contributions_to_new_items_sum_to_their_score(n_users: int) -> None:
    data = shop(n_users)
    blend = fitted(data)
    asked = histories(data, np.arange(5, dtype=np.int32))
    scored = blend.scored(asked)
    for b in range(5):
        for item in np.flatnonzero(blend.is_fresh):
            total = scored.contributions(b, int(item)).sum()
            assert total == pytest.approx(float(scored.total[b, item]), rel=1e-4, abs=1e-5)


def test_the_weight_of_new_items_is_the_regression_of_the_score_on_content() -> None:
    data = shop(200)
    blend = fitted(data)
    place = next(p for p, part in enumerate(blend.parts) if isinstance(part, FittedContent))
    used = ~blend.is_fresh
    asked = histories(data, np.arange(64, dtype=np.int32))
    content = blend.parts[place].score(asked)
    size = np.array([rms(row, data.n_items) for row in content])
    spread = (content / size[:, None])[:, used]
    spread = (spread - spread.mean(axis=1, keepdims=True)).ravel()
    scored = blend.scored(asked).total
    total = np.where(scored > -np.inf, scored, 0.0)[:, used]
    total = (total - total.mean(axis=1, keepdims=True)).ravel()
    (slope,), *_ = np.linalg.lstsq(spread[:, None], total, rcond=None)
    # other people are asked inside fit: the same population, not the same sample
    assert blend.fresh[place] == pytest.approx(max(slope, blend.weights[place]), rel=0.1)


def test_new_items_do_not_push_aside_what_everybody_uses_where_content_says_nothing() -> None:
    """Everyone takes what is popular; every third thing has a new twin that looks just like it."""
    rng = np.random.default_rng(1)
    n_items, n_new = 60, 20
    share = 1.0 / (5.0 + np.arange(n_items)) ** 1.2
    rows = [rng.choice(n_items, 8, replace=False, p=share / share.sum()) for _ in range(300)]
    looks = np.concatenate([np.arange(n_items), 3 * np.arange(n_new)])
    content = np.concatenate([np.full((n_items + n_new, 1), 0.5), np.eye(n_items)[looks]], axis=1)
    content /= np.linalg.norm(content, axis=1, keepdims=True)
    data = TrainData(
        user_ix=np.repeat(np.arange(300), 8).astype(np.int32),
        item_ix=np.concatenate(rows).astype(np.int32),
        t_us=np.concatenate([np.sort(rng.integers(0, 100, 8)) for _ in rows]) * DAY,
        weight=np.ones(2400, np.float32),
        rating=np.full(2400, np.nan, np.float32),
        n_users=300,
        item_ids=tuple(f"i{i}" for i in range(n_items + n_new)),
        content=content.astype(np.float32),
        content_ix=np.arange(n_items + n_new, dtype=np.int32),
        as_of_us=101 * DAY,
    )
    blend = fitted(data)
    assert blend.is_fresh.sum() == n_new
    asked = histories(data, np.arange(50, dtype=np.int32))
    may = np.ones((50, data.n_items), np.bool_)
    may[np.repeat(np.arange(50), 8), asked.item_ix] = False
    top = blend.retrieve(asked, 5, allowed=may).item_ix
    assert (top >= n_items).mean() < 0.2


def test_without_new_items_nothing_differs() -> None:
    data = shop(200)
    new = np.arange(N_TOPICS * PER_TOPIC, N_TOPICS * PER_TOPIC + NEW, dtype=np.int32)
    user_ix = np.concatenate([np.arange(NEW, dtype=np.int32), data.user_ix])
    order = np.argsort(user_ix, kind="stable")
    whole = replace(
        data,
        user_ix=user_ix[order],
        item_ix=np.concatenate([new, data.item_ix])[order],
        t_us=np.concatenate([np.zeros(NEW, np.int64), data.t_us])[order],
        weight=np.ones(len(order), np.float32),
        rating=np.full(len(order), np.nan, np.float32),
    )
    blend = fitted(whole)
    assert not blend.is_fresh.any()
    np.testing.assert_array_equal(blend.fresh, blend.weights)


@dataclass(frozen=True)
class Logits:
    """A part as a network is one: below zero for most items, and with an opinion on every one."""

    topic: NDArray[np.int64]
    name: str = "logits"

    def score(self, queries: Queries) -> NDArray[np.float32]:
        last = queries.item_ix[queries.indptr[1:] - 1]
        same = self.topic[last][:, None] == self.topic[None, :]
        return np.where(same, 1.5, -0.5).astype(np.float32)


def test_a_part_whose_scores_are_below_zero_does_not_lift_new_items_above_used_ones() -> None:
    data = shop(200)
    made = fitted(data)
    topics = np.concatenate([np.repeat(np.arange(N_TOPICS), PER_TOPIC), np.arange(NEW)])
    weights = np.append(0.01 * made.weights, 1.0)
    blend = replace(
        made,
        parts=(*made.parts, Logits(topics)),  # type: ignore[arg-type]
        weights=weights,
        cold=weights,
        fresh=weights,
    )
    asked = histories(data, np.arange(40, dtype=np.int32))
    weighed = fresh_weights(blend, asked)
    # what it says is in the totals that the weight of content was learned from
    assert weighed[-1] == 0.0
    total = replace(blend, fresh=weighed).scored(asked).total
    new = N_TOPICS * PER_TOPIC + np.arange(40) % N_TOPICS
    near = np.where(topics[None, :] == (np.arange(40) % N_TOPICS)[:, None], total, -np.inf)
    used = near[:, : N_TOPICS * PER_TOPIC]
    assert (total[np.arange(40), new] <= used.max(axis=1) + 1e-6).mean() > 0.9


@given(st.integers(0, 2**31), st.floats(-20, 20), st.floats(0.01, 5))
@settings(deadline=None, max_examples=50)
def test_a_slope_never_puts_the_nearest_above_what_used_items_have(
    seed: int, level: float, gain: float
) -> None:
    rng = np.random.default_rng(seed)
    slope = Slope()
    totals, tops = [], []
    for _ in range(20):
        score = np.abs(rng.normal(1.0, 0.3, 200))
        total = level + gain * score + rng.normal(0, 0.1, 200)
        slope.add(total, score)
        nearest = np.argsort(-score)[:10]
        totals.append(total[nearest].mean())
        tops.append(score[nearest].mean())
    assert 0.0 <= slope.value <= gain + 0.03
    if level + gain > 0.5:
        assert slope.value * np.mean(tops) <= np.mean(totals) * 1.05 + 0.1

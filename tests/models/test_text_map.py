"""The map from text into the space of use, on a world where text and use differ in a known way."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from lifeloop.contracts import TrainData
from lifeloop.errors import InputError
from lifeloop.models import (
    Blend,
    FittedBlend,
    from_parts,
    queries,
    refreshed,
    to_parts,
    train_data,
)
from lifeloop.models.retrieve import mapped as mapped_module
from lifeloop.models.retrieve import mapping
from lifeloop.models.retrieve.content import Content
from lifeloop.models.retrieve.itemknn import ItemKNN
from lifeloop.models.retrieve.mapped import FittedMapped, Mapped
from lifeloop.models.retrieve.mapping import told_by_nearest
from lifeloop.models.retrieve.popularity import Popularity

GROUPS, PER_GROUP, PEOPLE = 4, 30, 160


def world(*, new: int = 5, seed: int = 0) -> tuple[TrainData, np.ndarray]:
    """Four tastes. A text is mostly about its colour, which nobody cares about, and says its
    taste only in four small numbers. The last ``new`` items of each taste are never used."""
    rng = np.random.default_rng(seed)
    taste = np.repeat(np.arange(GROUPS), PER_GROUP)
    colour = rng.integers(0, 6, len(taste))
    text = np.concatenate([np.eye(6)[colour] * 3, np.eye(GROUPS)[taste]], axis=1)
    text += rng.normal(0, 0.05, text.shape)
    rows = []
    for user in range(PEOPLE):
        mine = np.flatnonzero(taste == user % GROUPS)
        mine = mine[mine % PER_GROUP < PER_GROUP - new]
        for n, item in enumerate(rng.permutation(mine)[:8]):
            rows.append((f"u{user}", f"i{item:03d}", n, n, 1.0, None))
    frame = pl.DataFrame(
        rows,
        schema={"user_id": pl.String, "item_id": pl.String, "t_us": pl.Int64, "seq": pl.Int64,
                "weight": pl.Float32, "rating": pl.Float64},
        orient="row",
    )  # fmt: skip
    data, _ = train_data(
        frame,
        item_ids=[f"i{n:03d}" for n in range(len(taste))],
        content=text.astype(np.float32),
        content_ix=np.arange(len(taste), dtype=np.int32),
        as_of_us=100,
    )
    return data, taste


def share_right(fitted: object, taste: np.ndarray) -> float:
    new = np.flatnonzero(np.arange(len(taste)) % PER_GROUP >= PER_GROUP - 5)
    found = []
    for group in range(GROUPS):
        past = np.flatnonzero(taste == group)[:3].astype(np.int32)
        scores = fitted.score(queries([past], as_of_us=100))[0][new]  # type: ignore[attr-defined]
        found.append((taste[new[np.argsort(-scores)[:5]]] == group).mean())
    return float(np.mean(found))


def test_new_items_are_found_by_what_matters_in_their_text() -> None:
    data, taste = world()
    mapped = Mapped(rank=8).fit(data, rng=np.random.default_rng(0))
    content = Content().fit(data, rng=np.random.default_rng(0))
    assert share_right(mapped, taste) > 0.9
    assert share_right(content, taste) < 0.7


def test_an_item_without_text_or_use_is_not_scored() -> None:
    data, _ = world()
    rows = data.content_ix.copy()
    rows[-1] = -1
    bare = TrainData(**{**{f: getattr(data, f) for f in data.__slots__}, "content_ix": rows})
    fitted = Mapped(rank=8).fit(bare, rng=np.random.default_rng(0))
    scores = fitted.score(queries([[0, 1]], as_of_us=100))[0]
    assert scores[-1] == -np.inf
    assert np.isfinite(scores[:-1]).all()


def test_more_uses_trust_the_text_less() -> None:
    fitted = Mapped(rank=8).fit(world()[0], rng=np.random.default_rng(0))
    assert 0 <= fitted.kappa < np.inf


def test_too_few_items_leave_use_alone() -> None:
    data, _ = world()
    rows = np.full(data.n_items, -1, np.int32)
    bare = TrainData(**{**{f: getattr(data, f) for f in data.__slots__}, "content_ix": rows})
    fitted = Mapped(rank=8).fit(bare, rng=np.random.default_rng(0))
    used = np.bincount(data.item_ix, minlength=data.n_items) > 0
    np.testing.assert_array_equal(fitted.vectors.any(axis=1), used)


def test_contributions_sum_to_the_score_and_the_state_round_trips() -> None:
    data, _ = world()
    fitted = Mapped(rank=8, half_life_events=2.0).fit(data, rng=np.random.default_rng(0))
    asked = queries([[0, 3, 40]], as_of_us=100)
    scores = fitted.score(asked)[0]
    for item in (1, 29, 75):
        assert abs(fitted.contributions(asked, 0, item).sum() - scores[item]) < 1e-5
    again = FittedMapped.load(fitted.arrays())
    np.testing.assert_array_equal(again.score(asked), fitted.score(asked))


def test_words_of_a_stranger_are_mapped_as_texts_are() -> None:
    data, taste = world()
    fitted = Mapped(rank=8).fit(data, rng=np.random.default_rng(0))
    new = np.flatnonzero(np.arange(len(taste)) % PER_GROUP >= PER_GROUP - 5)
    nobody = [np.empty(0, np.int32)]
    for group in range(GROUPS):
        words = np.zeros((1, data.content.shape[1]), np.float32)
        words[0, 6 + group] = 1.0
        asked = queries(nobody, as_of_us=100, vectors=words)
        scores = fitted.score(asked)[0]
        assert (taste[new[np.argsort(-scores[new])[:5]]] == group).mean() >= 0.8
        told = fitted.contributions(asked, 0, int(new[0]))
        assert told.tolist() == [pytest.approx(float(scores[new[0]]), abs=1e-5)]
    with pytest.raises(InputError, match="not of the bundle's encoder"):
        fitted.score(queries(nobody, as_of_us=100, vectors=np.ones((1, 3), np.float32)))
    assert (fitted.score(queries(nobody, as_of_us=100)) == -np.inf).all()


def test_seldom_used_items_are_served_from_their_text() -> None:
    data, taste = world()
    fitted = Mapped(rank=8, n_items=60).fit(data, rng=np.random.default_rng(0))
    assert len(fitted.table) == 60 + len(data.content)
    assert share_right(fitted, taste) > 0.8
    assert np.isfinite(fitted.score(queries([[0]], as_of_us=100))).all()


def test_the_blend_learns_what_the_map_is_worth_for_new_items() -> None:
    data, taste = world()
    rng = np.random.default_rng(0)
    parts = (Popularity(), ItemKNN(k=20), Content(), Mapped(rank=8, only_with_text=True))
    blend = Blend(parts, horizon="last").fit(data, rng=rng)
    assert blend.unseen is not None
    content, mapped = blend.unseen
    assert mapped > content, "the texts are about colours, the map is about tastes"
    assert share_right(blend, taste) > 0.9
    assert any(note.startswith("new items:") for note in blend.notes)
    again = from_parts(to_parts(blend))
    assert isinstance(again, FittedBlend)
    assert again.unseen is not None
    asked = queries([[0, 3]], as_of_us=100)
    np.testing.assert_allclose(again.score(asked), blend.score(asked), rtol=1e-5)
    newer = refreshed(blend, parts, data, rng=rng)
    assert isinstance(newer, FittedBlend)
    for part, weight in zip(("content", "text_map"), blend.unseen, strict=True):
        assert newer.fresh[[p.name for p in newer.parts].index(part)] == weight


def test_with_texts_dealt_to_other_items_the_map_is_not_believed() -> None:
    data, _ = world()
    rows = np.random.default_rng(5).permutation(data.content_ix)
    mixed = replace(data, content_ix=rows.astype(np.int32))
    parts = (Popularity(), ItemKNN(k=20), Content(), Mapped(rank=8, only_with_text=True))
    blend = Blend(parts, horizon="last").fit(mixed, rng=np.random.default_rng(0))
    assert blend.unseen is None or blend.unseen[1] < 0.5 * float(blend.weights.max())


def test_without_any_text_the_map_of_a_blend_says_nothing() -> None:
    data, _ = world()
    bare = replace(data, content_ix=np.full(data.n_items, -1, np.int32))
    fitted = Mapped(only_with_text=True).fit(bare, rng=np.random.default_rng(0))
    assert (fitted.score(queries([[0, 1]], as_of_us=100)) == -np.inf).all()
    assert fitted.contributions(queries([[0, 1]], as_of_us=100), 0, 3).tolist() == [0, 0, 0]


def test_what_the_nearest_texts_say_is_their_weighed_mean() -> None:
    text = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [-1.0, 0.0]])
    target = np.array([[1.0], [2.0], [4.0], [100.0]])
    trust = np.array([1.0, 0.5, 1.0, 1.0])
    asked = np.array([[1.0, 0.0], [0.0, 0.0], [0.8, 0.6]])
    told = told_by_nearest(asked, text, target, trust)
    # cosines 1, .6, 0, <0; squared, times trust: 1, .18
    assert told[0, 0] == pytest.approx((1.0 + 0.18 * 2.0) / 1.18)
    assert told[1, 0] == 0.0, "a text that is like none is told nothing"
    weight = np.array([0.64, 0.5 * 0.96**2, 0.36])
    assert told[2, 0] == pytest.approx(float(weight @ target[:3, 0] / weight.sum()))


def test_the_nearest_are_asked_where_no_line_tells_tastes_apart() -> None:
    """Taste is whether two marks of the text agree: the marks alone say nothing of it."""
    rng = np.random.default_rng(2)
    n = 160
    marks = rng.choice([-1.0, 1.0], (n, 2))
    taste = (marks[:, 0] == marks[:, 1]).astype(int)
    text = np.concatenate([marks, rng.normal(0, 0.15, (n, 4))], axis=1)
    rows = [
        (f"u{user}", f"i{item:03d}", k, k, 1.0, None)
        for user in range(200)
        for k, item in enumerate(rng.permutation(np.flatnonzero(taste == user % 2))[:10])
    ]
    schema = {"user_id": pl.String, "item_id": pl.String, "t_us": pl.Int64, "seq": pl.Int64,
              "weight": pl.Float32, "rating": pl.Float64}  # fmt: skip
    data, _ = train_data(
        pl.DataFrame(rows, schema=schema, orient="row"),
        item_ids=[f"i{i:03d}" for i in range(n)],
        content=text.astype(np.float32),
        content_ix=np.arange(n, dtype=np.int32),
        as_of_us=100,
    )
    assert Mapped(rank=8).fit(data, rng=rng).near > 0


def test_a_settled_map_keeps_what_it_chose_and_looks_no_further(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data, taste = world()
    first = Mapped(rank=8).fit(data, rng=np.random.default_rng(0))
    settled = Mapped(rank=8).settled(first)
    assert (settled.ridge, settled.near, settled.gamma) == (first.ridge, first.near, first.gamma)
    asked = []
    whole = mapping.choose_map

    def noted(*args: object, **kwargs: object) -> object:
        asked.append((kwargs["ridges"], kwargs["shares"], kwargs["gammas"]))
        return whole(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(mapped_module, "choose_map", noted)
    again = settled.fit(data, rng=np.random.default_rng(0))
    assert asked == [((first.ridge,), (first.near,), (first.gamma,))]
    assert share_right(again, taste) >= 0.9
    # with nothing to learn a map from there is nothing to keep
    silent = replace(data, content_ix=np.full(data.n_items, -1, np.int32))
    assert Mapped().settled(Mapped().fit(silent, rng=np.random.default_rng(0))) == Mapped()

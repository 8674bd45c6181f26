"""People without history: what their words weigh by likeness and by use is learned, not assumed."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from lifeloop.contracts import Queries, TrainData
from lifeloop.models import (
    Blend,
    FittedBlend,
    from_parts,
    newcomers,
    queries,
    refreshed,
    to_parts,
    train_data,
)
from lifeloop.models.blended import cold_weights
from lifeloop.models.holdout import Holdout, hold_out
from lifeloop.models.newcomers import ByWords, learn_common, learn_words
from lifeloop.models.retrieve.content import Content
from lifeloop.models.retrieve.itemknn import ItemKNN
from lifeloop.models.retrieve.mapped import Mapped
from lifeloop.models.retrieve.popularity import Popularity

GROUPS, PER_GROUP, PEOPLE, COLOURS = 4, 30, 240, 6
PARTS = (Popularity(), ItemKNN(k=20), Content(), Mapped(rank=8, only_with_text=True))


def world() -> tuple[TrainData, np.ndarray]:
    """Texts speak loudly of colours, which nobody cares for, and softly of tastes."""
    rng = np.random.default_rng(0)
    taste = np.repeat(np.arange(GROUPS), PER_GROUP)
    colour = rng.integers(0, COLOURS, len(taste))
    text = np.concatenate([np.eye(COLOURS)[colour] * 3, np.eye(GROUPS)[taste]], axis=1)
    text += rng.normal(0, 0.05, text.shape)
    rows = [
        (f"u{user}", f"i{item:03d}", n, n, 1.0, None)
        for user in range(PEOPLE)
        for n, item in enumerate(rng.permutation(np.flatnonzero(taste == user % GROUPS))[:8])
    ]
    schema = {"user_id": pl.String, "item_id": pl.String, "t_us": pl.Int64, "seq": pl.Int64,
              "weight": pl.Float32, "rating": pl.Float64}  # fmt: skip
    data, _ = train_data(
        pl.DataFrame(rows, schema=schema, orient="row"),
        item_ids=[f"i{n:03d}" for n in range(len(taste))],
        content=text.astype(np.float32),
        content_ix=np.arange(len(taste), dtype=np.int32),
        as_of_us=100,
    )
    return data, taste


def fitted(data: TrainData, *, seed: int = 0) -> FittedBlend:
    return Blend(PARTS, horizon="last").fit(data, rng=np.random.default_rng(seed))


def saying(data: TrainData, items: list[int]) -> Queries:
    """Return new people who say what the texts of some items say."""
    vectors = data.content[data.content_ix[items]]
    return queries([np.empty(0, np.int32)] * len(items), as_of_us=100, vectors=vectors)


@pytest.fixture(scope="module")
def made() -> tuple[TrainData, np.ndarray, FittedBlend]:
    data, taste = world()
    return data, taste, fitted(data)


def test_where_texts_talk_of_what_nobody_cares_for_words_are_read_by_use(
    made: tuple[TrainData, np.ndarray, FittedBlend],
) -> None:
    data, taste, blend = made
    assert blend.words is not None
    assert blend.words[1] > blend.words[0]
    assert any(note.startswith("new people: ") for note in blend.notes)
    items = list(range(0, data.n_items, 7))
    asked = saying(data, items)
    plain = replace(blend, cold=cold_weights(blend.parts, blend.weights))
    right, before = (
        np.mean([taste[row] == taste[i] for row, i in zip(top, items, strict=True)])
        for top in (model.retrieve(asked, 15).item_ix for model in (blend, plain))
    )
    assert right > 0.9 > 0.8 > before


def test_its_source_and_its_reason_are_true(
    made: tuple[TrainData, np.ndarray, FittedBlend],
) -> None:
    data, _, blend = made
    scored = blend.scored(saying(data, [3, 40]))
    for b in range(2):
        items = scored.retrieve(5).item_ix[b]
        adds = scored.by_part(b, items)
        np.testing.assert_allclose(adds.sum(axis=0), scored.total[b, items], rtol=1e-5)
        sources = scored.sources(b, items)
        assert set(sources) <= {"content", "text_map"}
        for m, item in enumerate(items):
            amounts = scored.amounts(b, int(item))  # [P, 1]
            np.testing.assert_allclose(amounts[:, -1], adds[:, m], rtol=1e-4, atol=1e-6)


def test_people_who_say_nothing_are_told_what_others_use(
    made: tuple[TrainData, np.ndarray, FittedBlend],
) -> None:
    _, _, blend = made
    nobody = queries([np.empty(0, np.int32)], as_of_us=100)
    plain = replace(blend, cold=cold_weights(blend.parts, blend.weights))
    np.testing.assert_array_equal(blend.score(nobody), plain.score(nobody))
    assert blend.retrieve(nobody, 3).reason == ("no_history",)


@pytest.mark.parametrize(("lead", "chosen"), [(0.9, None), (1.1, [0.5, 0.5])])
def test_the_map_counts_only_above_one_standard_error(
    monkeypatch: pytest.MonkeyPatch,
    made: tuple[TrainData, np.ndarray, FittedBlend],
    lead: float,
    chosen: list[float] | None,
) -> None:
    data, _, blend = made
    (cut,) = Blend(PARTS, horizon="last").slices(data, rng=np.random.default_rng(0))
    noise = np.random.default_rng(0).normal(0, 1, len(cut.queries))
    noise = (noise - noise.mean()) / noise.std()
    by_use = next(p for p, part in enumerate(blend.parts) if part.name == "text_map")

    def measured(model: FittedBlend, *_: object, **__: object) -> np.ndarray:
        half = model.cold[by_use] == 0.5  # the only mix that gains: by ``lead`` standard errors
        return np.asarray((noise + lead / np.sqrt(len(noise))) * half)

    monkeypatch.setattr(newcomers, "ndcgs", measured)
    monkeypatch.setattr(newcomers, "MOST_PEOPLE", len(noise))
    found = learn_words(blend, cut, repeats=False, rng=np.random.default_rng(0))
    assert (None if found is None else found.weights.tolist()) == chosen


def test_nothing_is_learned_from_few_people_or_without_a_map() -> None:
    data, _ = world()
    blend = Blend(PARTS, horizon="last")
    (cut,) = blend.slices(data, rng=np.random.default_rng(0))
    learned = blend.learn((cut,), rng=np.random.default_rng(1))
    whole = blend.of(cut.data, learned.fitted[0], learned)

    def of(model: FittedBlend, people: int) -> ByWords | None:
        rng = np.random.default_rng(0)
        return learn_words(model, cut.thinned(people), repeats=False, rng=rng)

    assert of(whole, 49) is None
    assert of(whole, 200) is not None
    assert of(replace(whole, rule="rrf"), 200) is None
    bare = replace(whole, parts=whole.parts[:3], weights=whole.weights[:3], cold=whole.cold[:3])
    assert of(bare, 200) is None


def staples(*, newcomers: int) -> Holdout:
    """Everybody takes the ten staples first; old people then take a fashion every fifth day.

    ``newcomers`` come last and take staples again.
    """
    rng = np.random.default_rng(0)
    rows = []
    for user in range(400):
        came = 128 if user < newcomers else int(rng.integers(0, 60))
        rows += [(f"u{user:03d}", f"s{n}", came) for n in range(10)]
        if user >= newcomers:
            rows += [(f"u{user:03d}", f"f{d:03d}", d) for d in range(came + 1 + user % 5, 130, 5)]
    schema = {"user_id": pl.String, "item_id": pl.String, "day": pl.Int64}
    frame = pl.DataFrame(rows, schema=schema, orient="row").with_columns(
        t_us=pl.col("day") * 86_400_000_000,
        seq=pl.col("day"),
        weight=pl.lit(1.0, pl.Float32),
        rating=pl.lit(None, pl.Float64),
    )
    ids = sorted(set(frame["item_id"]))
    data, _ = train_data(
        frame,
        item_ids=ids,
        content=np.zeros((0, 1), np.float32),
        content_ix=np.full(len(ids), -1, np.int32),
        as_of_us=131 * 86_400_000_000,
    )
    return hold_out(data, horizon="time", share=0.2, repeats=False, max_queries=300, rng=rng)


@pytest.mark.parametrize("newcomers", [0, 80])
def test_new_people_are_served_by_the_popularity_that_suits_new_people(newcomers: int) -> None:
    cut = staples(newcomers=newcomers)
    parts = (Popularity(), Popularity(3.0, name="trending_popularity"))
    rng = np.random.default_rng(0)
    found = learn_common(parts, np.array([0.0, 1.0]), cut, rng=rng)
    assert found is not None
    assert found.weights.tolist() == [1.0, 0.0]
    assert "taken for new" in found.told
    # where the mix of the blend is as good, it stays
    assert learn_common(parts, np.array([1.0, 0.0]), cut, rng=rng) is None
    assert learn_common(parts[:1], np.array([1.0]), cut, rng=rng) is None
    fitted_parts = [part.fit(cut.data, rng=rng) for part in parts]
    told = cold_weights(fitted_parts, np.array([0.0, 1.0]), None, found.weights)
    assert told.tolist() == [0.1, 0.0]


def test_the_same_seed_learns_the_same_twice(
    made: tuple[TrainData, np.ndarray, FittedBlend],
) -> None:
    data, _, blend = made
    again = fitted(data)
    assert blend.words is not None
    np.testing.assert_array_equal(again.words, blend.words)
    np.testing.assert_array_equal(again.cold, blend.cold)
    assert again.notes == blend.notes


def test_bundles_keep_it_a_refresh_too_and_older_bundles_still_load(
    made: tuple[TrainData, np.ndarray, FittedBlend],
) -> None:
    data, _, blend = made
    asked = saying(data, [3, 40])
    kept = to_parts(blend)
    loaded = from_parts(kept)
    assert isinstance(loaded, FittedBlend)
    np.testing.assert_array_equal(loaded.words, blend.words)
    np.testing.assert_allclose(loaded.score(asked), blend.score(asked), rtol=1e-5)
    newer = refreshed(blend, PARTS, data, rng=np.random.default_rng(0))
    assert isinstance(newer, FittedBlend)
    np.testing.assert_array_equal(newer.cold[2:], blend.cold[2:])
    # a bundle from before this was learned: content answers words alone, as it did then
    older = replace(blend, words=None, cold=cold_weights(blend.parts, blend.weights))
    held = to_parts(older)
    assert not any("words" in part for part in held.values())
    again = from_parts(held)
    assert isinstance(again, FittedBlend)
    assert again.words is None
    np.testing.assert_allclose(again.score(asked), older.score(asked), rtol=1e-5)

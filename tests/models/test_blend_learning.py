"""The blend: what it learns, what it says, and that nothing is mixed up."""

from dataclasses import replace

import numpy as np
import pytest

from lifeloop.config import Models
from lifeloop.contracts import TrainData
from lifeloop.errors import BundleError, InputError
from lifeloop.models import Blend, FittedBlend, build, from_parts, queries, to_parts
from lifeloop.models.blended import LAST_WORD, filled
from lifeloop.models.holdout import hold_out
from lifeloop.models.retrieve.chance import Chance
from lifeloop.models.retrieve.ease import Ease
from lifeloop.models.retrieve.itemknn import ItemKNN
from lifeloop.models.retrieve.popularity import Popularity
from lifeloop.models.validate import validation_ndcg
from lifeloop.models.weights import CandidateTable, learn_weights, ndcg_at_10
from lifeloop.testing.checkerboard import checkerboard, tiny

PARTS = (Popularity(), Ease(ridge=5.0), Chance())


def fitted_blend(**changed: object) -> FittedBlend:
    spec = Blend(parts=PARTS, **changed)  # type: ignore[arg-type]
    return spec.fit(checkerboard().data, rng=np.random.default_rng(0))


def test_noise_among_the_parts_spoils_few_answers() -> None:
    blend = fitted_blend(horizon="last")
    share = dict(zip((p.name for p in blend.parts), blend.weights, strict=True))
    assert share["ease"] > 0
    asked = checkerboard()
    found = blend.retrieve(asked.queries, 1, allowed=asked.unused())
    # sixty people are few to learn three weights from: a little of the noise may stay
    assert (found.item_ix[:, 0] == asked.missing).mean() >= 0.9


def test_parts_that_add_nothing_are_not_served_and_nobody_sees_a_difference() -> None:
    spec = Blend(parts=(*PARTS, ItemKNN()), horizon="last")
    data = checkerboard().data
    split_rng, inner_rng, final_rng = np.random.default_rng(0).spawn(3)
    learned = spec.learn(spec.slices(data, rng=split_rng), rng=inner_rng)
    lean = learned.lean()
    assert lean.left_out
    assert "popularity" not in lean.left_out  # it serves people without history
    assert lean.left_out[0] in lean.notes[-1]
    state = final_rng.bit_generator.state
    spawned = np.random.default_rng(0).spawn(3)[2]
    assert spawned.bit_generator.state == state
    served, whole = spec.finish(data, lean, rng=final_rng), spec.finish(data, learned, rng=spawned)
    assert len(served.parts) == len(whole.parts) - len(lean.left_out)
    asked = checkerboard().queries
    np.testing.assert_array_equal(served.score(asked), whole.score(asked))


def test_too_little_data_is_said_and_answered_by_equal_reciprocal_ranks() -> None:
    data = checkerboard(n_users=10).data
    blend = Blend(parts=PARTS).fit(data, rng=np.random.default_rng(0))
    assert blend.rule == "rrf"
    assert blend.weights.tolist() == [1.0, 1.0, 1.0]
    assert "needed to learn weights" in blend.notes[0]


def test_where_hardly_anyone_is_left_their_last_events_teach() -> None:
    world = checkerboard()
    # everyone's events lie long before the last day, on which one person comes twice
    data = world.data
    t_us = np.minimum(data.t_us, 0) + np.arange(len(data.t_us), dtype=np.int64) * 1_000
    t_us[data.user_ix == 0] += 10**12
    at = replace(data, t_us=t_us, as_of_us=int(t_us.max()) + 1)
    late = hold_out(
        at, horizon="time", share=0.02, repeats=False, max_queries=99, rng=np.random.default_rng(0)
    )
    assert len(late.queries) < 50
    blend = Blend(parts=PARTS, share=0.02).fit(at, rng=np.random.default_rng(0))
    assert blend.rule == "linear"
    assert dict(zip((p.name for p in blend.parts), blend.weights, strict=True))["ease"] > 0
    assert any("last event of each" in note for note in blend.notes)


def test_reciprocal_ranks_by_hand() -> None:
    data = tiny([0, 1, 2, 0, 1, 0], [0, 0, 0, 1, 1, 2], n_items=4)
    blend = Blend(parts=(Popularity(), Popularity(1.0, name="recency_popularity"))).fit(
        data, rng=np.random.default_rng(0)
    )
    score = blend.score(queries([[0]]))[0]
    ranks = [
        {int(i): r + 1 for r, i in enumerate(np.argsort(-part.score(queries([[0]]))[0]))}
        for part in blend.parts
    ]
    expected = [sum(1 / (60 + rank[i]) for rank in ranks) for i in range(4)]
    np.testing.assert_allclose(score, expected, rtol=1e-6)


@pytest.mark.parametrize("rule", ["linear", "rrf"])
def test_parts_events_and_score_add_up(rule: str) -> None:
    blend = fitted_blend(rule=rule)
    asked = queries([[0, 2, 2, 4], [1], []], as_of_us=checkerboard().data.as_of_us)
    scored = blend.scored(asked)
    np.testing.assert_array_equal(scored.total, blend.score(asked))
    items = np.array([6, 3, 6], dtype=np.int32)
    for b in range(3):
        finite = scored.total[b, items] > -np.inf
        np.testing.assert_allclose(
            scored.by_part(b, items).sum(axis=0)[finite], scored.total[b, items][finite], rtol=1e-5
        )
        traces = scored.traces(b, items)  # [P, m, n+1]
        np.testing.assert_allclose(
            traces.sum(axis=2), scored.by_part(b, items), rtol=1e-4, atol=1e-6
        )
        for m, item in enumerate(items.tolist()):
            np.testing.assert_allclose(traces[:, m].sum(axis=0), scored.contributions(b, item))


def test_the_source_is_the_part_that_adds_most() -> None:
    blend = fitted_blend(horizon="last")
    asked = queries([[0, 2, 4, 6]], as_of_us=checkerboard().data.as_of_us)
    scored = blend.scored(asked)
    items = scored.retrieve(5).item_ix[0]
    adds = scored.by_part(0, items)
    for m, source in enumerate(scored.sources(0, items)):
        assert source == blend.parts[int(adds[:, m].argmax())].name


def test_one_scoring_answers_as_the_retriever_does() -> None:
    blend = fitted_blend()
    world = checkerboard()
    allowed = world.unused()
    one = blend.scored(world.queries).retrieve(4, allowed=allowed)
    two = blend.retrieve(world.queries, 4, allowed=allowed)
    np.testing.assert_array_equal(one.item_ix, two.item_ix)
    assert one.reason == two.reason


def test_parts_of_two_bundles_refuse_to_load_together() -> None:
    """M13."""
    old = to_parts(fitted_blend(horizon="last"))
    other = checkerboard(n_items=26).data
    new = to_parts(Blend(parts=PARTS, horizon="last").fit(other, rng=np.random.default_rng(0)))
    mixed = {**new, "part01.ease": old["part01.ease"]}
    assert mixed.keys() == new.keys()
    with pytest.raises(BundleError, match="not of one making"):
        from_parts(mixed)
    with pytest.raises(BundleError, match="not of one making"):
        from_parts({folder: held for folder, held in new.items() if folder != "part01.ease"})


def test_damaged_bundles_are_refused_by_name() -> None:
    parts = to_parts(fitted_blend())
    with pytest.raises(BundleError, match="no retriever"):
        from_parts({"rating": {}})
    del parts["part01.ease"]["weights"]
    with pytest.raises(BundleError, match="'weights'"):
        from_parts(parts)
    with pytest.raises(BundleError, match="unknown kind"):
        from_parts({"model": {"kind": np.frombuffer(b"oracle", dtype=np.uint8)}})


def test_other_folders_of_a_bundle_are_left_alone() -> None:
    parts = {**to_parts(fitted_blend()), "encoder": {"x": np.zeros(3)}}
    assert from_parts(parts).name == "lifeloop"


def test_equal_names_and_no_parts_are_refused() -> None:
    for parts in ((), (Popularity(), Popularity(1.0))):
        with pytest.raises(InputError, match="different names"):
            Blend(parts=parts).fit(checkerboard().data, rng=np.random.default_rng(0))


def test_unknown_models_are_refused_with_the_nearest_name() -> None:
    with pytest.raises(InputError, match="'itemknn'") as caught:
        build(["ease", "item_knn", "eese"], Models())
    assert "'eese' → 'ease'" in str(caught.value)


def test_settings_reach_the_parts() -> None:
    settings = Models(
        ease_items=7, ease_lambda=3.0, knn_neighbours=5, popularity_half_life_days=2.0
    )
    ease, knn, recency, blend = build(
        ["ease", "itemknn", "recency_popularity", "lifeloop"], settings
    )
    assert isinstance(ease, Ease)
    assert (ease.n_items, ease.ridge) == (7, 3.0)
    assert getattr(knn, "k") == 5  # noqa: B009
    assert isinstance(recency, Popularity)
    assert recency.half_life_days == 2.0
    assert isinstance(blend, Blend)
    assert ease in blend.parts


def holdout_world() -> TrainData:
    """Person 0: items 0 1 2 0; person 1: 3; person 2: 1 1 (a day each, in that order)."""
    return tiny([0, 0, 0, 0, 1, 2, 2], [0, 1, 2, 0, 3, 1, 1], n_items=4)


def test_the_last_event_is_held_out_and_a_repeat_is_a_target_only_where_allowed() -> None:
    rng = np.random.default_rng(0)
    known = {"horizon": "last", "share": 0.5, "max_queries": 99, "rng": rng}
    strict = hold_out(holdout_world(), repeats=False, **known)  # type: ignore[arg-type]
    assert len(strict.queries) == 0
    assert strict.data.item_ix.tolist() == [0, 1, 2, 1]
    free = hold_out(holdout_world(), repeats=True, **known)  # type: ignore[arg-type]
    assert free.queries.item_ix.tolist() == [0, 1, 2, 1]
    assert [free.targets_of(b).tolist() for b in range(len(free.queries))] == [[0], [1]]


def test_the_time_slice_leaks_nothing_from_after_the_cut() -> None:
    data = checkerboard().data
    inner = hold_out(
        data, horizon="time", share=0.15, repeats=False, max_queries=20,
        rng=np.random.default_rng(0),
    )  # fmt: skip
    assert inner.data.t_us.max() < inner.data.as_of_us
    assert (inner.queries.as_of_us == inner.data.as_of_us).all()
    assert len(inner.queries) == 20
    for b in range(20):
        history = inner.queries.item_ix[inner.queries.indptr[b] : inner.queries.indptr[b + 1]]
        assert len(inner.targets_of(b)) > 0
        assert not set(inner.targets_of(b).tolist()) & set(history.tolist())
    few = inner.thinned(5)
    assert len(few.queries) == 5
    assert few.targets_of(4).tolist() == inner.targets_of(19).tolist()


def test_validation_ndcg_by_hand() -> None:
    """Popularity ranks 0, 1, 2; each person's next item is at a known place."""
    data = tiny([0, 0, 1, 1, 2, 2, 3], [3, 0, 3, 1, 3, 0, 1], n_items=5)
    inner = hold_out(
        data, horizon="last", share=0.5, repeats=False, max_queries=9,
        rng=np.random.default_rng(0),
    )  # fmt: skip
    fitted = Popularity().fit(data, rng=np.random.default_rng(0))
    # unseen by popularity: 0 and 1 (two people each), then 2, 4; targets 0, 1, 0
    expected = (1 + 1 / np.log2(3) + 1) / 3
    assert validation_ndcg(fitted, inner, repeats=False) == pytest.approx(expected)


def table(features: list[list[list[float]]], target: list[list[bool]]) -> CandidateTable:
    values = np.array(features, dtype=np.float32)
    return CandidateTable(values, np.ones(values.shape[:2], np.bool_), np.array(target))


def test_ndcg_of_candidates_by_hand_and_ties_count_against_the_target() -> None:
    one = table(
        [[[3.0], [2.0], [1.0]], [[1.0], [1.0], [0.0]]], [[False, True, True], [True, False, False]]
    )
    first = (1 / np.log2(3) + 1 / np.log2(4)) / (1 + 1 / np.log2(3))
    assert ndcg_at_10(one, np.array([1.0])) == pytest.approx((first + 1 / np.log2(3)) / 2)


def test_a_silent_part_gets_no_weight() -> None:
    rng = np.random.default_rng(1)
    target = np.zeros((80, 12), np.bool_)
    target[:, 5] = True
    features = np.zeros((80, 12, 2), np.float32)
    features[:, :, 1] = rng.normal(size=(80, 12)) + 3 * target
    weights = learn_weights(CandidateTable(features, np.ones((80, 12), np.bool_), target))
    assert weights.tolist() == [0.0, 1.0]


def test_a_harmful_part_is_not_given_a_negative_weight() -> None:
    rng = np.random.default_rng(2)
    target = np.zeros((80, 12), np.bool_)
    target[:, 5] = True
    features = rng.normal(size=(80, 12, 2)).astype(np.float32)
    features[:, :, 0] -= 2 * target
    features[:, :, 1] += 2 * target
    weights = learn_weights(CandidateTable(features, np.ones((80, 12), np.bool_), target))
    assert weights.tolist() == [0.0, 1.0]


def test_a_list_is_full_where_the_parts_with_weight_know_few_items() -> None:
    data = tiny([0, 0, 1, 1, 2, 2, 3], [0, 1, 0, 1, 0, 1, 2], n_items=6)
    parts = [part.fit(data, rng=np.random.default_rng(0)) for part in (Popularity(), ItemKNN())]
    weights = filled(parts, np.array([0.0, 1.0]))
    assert weights.tolist() == [LAST_WORD, 1.0]
    assert filled(parts, np.array([0.2, 1.0])).tolist() == [0.2, 1.0]
    blend = FittedBlend(
        name="lifeloop",
        rule="linear",
        parts=tuple(parts),
        weights=weights,
        cold=weights,
        fresh=weights,
        is_fresh=np.zeros(6, np.bool_),
        notes=(),
        n_items=6,
    )
    found = blend.retrieve(queries([[0]]), 5, allowed=np.arange(6) != 0)
    assert found.item_ix[0].tolist() == [1, 2, 3, 4, 5]  # the neighbour, then what others use
    assert found.reason == (None,)

"""The index of a large catalogue: finds the nearest, weighs as the whole, adds up, is kept."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lifeloop.contracts import Queries
from lifeloop.models import queries
from lifeloop.models.blended import FittedBlend
from lifeloop.models.retrieve.content import FittedContent
from lifeloop.models.retrieve.near import FROM
from lifeloop.models.scored import rms

pytest.importorskip("faiss", reason="extra [ann] is not installed")
pytestmark = pytest.mark.extras

N, D = 6_000, 16


def catalogue(seed: int = 0) -> FittedContent:
    """6,000 items around 60 centres; every third vector is shared by two items, ten have none."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((60, D))
    v = centres[rng.integers(0, 60, N)] + 0.5 * rng.standard_normal((N, D))
    v /= np.linalg.norm(v, axis=1, keepdims=True)
    content_ix = np.concatenate([np.arange(N), np.arange(0, N, 3), np.full(10, -1)])
    return FittedContent(
        name="content",
        similarity="cosine",
        content=v.astype(np.float32),
        content_ix=rng.permutation(content_ix).astype(np.int32),
        weight_unit=1.0,
        stated=1.0,
        half_life_events=None,
    )


def asked(n_items: int, n: int = 40, seed: int = 1) -> Queries:
    rng = np.random.default_rng(seed)
    return queries(list(rng.integers(0, n_items, (n, 3)).astype(np.int32)))


@pytest.fixture(scope="module")
def both() -> tuple[FittedContent, FittedContent]:
    whole = catalogue()
    return whole, whole.indexed(rng=np.random.default_rng(2), least=1_000)


def test_few_vectors_need_no_index() -> None:
    whole = catalogue()
    assert whole.indexed(rng=np.random.default_rng(2)) is whole


def test_the_exact_nearest_are_found(both: tuple[FittedContent, FittedContent]) -> None:
    whole, indexed = both
    assert indexed.near is not None
    assert indexed.near.recall >= 0.99
    given = asked(whole.n_items)
    exact, near = whole.retrieve(given, 100), indexed.retrieve(given, 100)
    found = [
        len(np.intersect1d(a, b)) / 100 for a, b in zip(exact.item_ix, near.item_ix, strict=True)
    ]
    assert np.mean(found) >= 0.98
    same = near.item_ix[:, 0] == exact.item_ix[:, 0]
    assert np.allclose(near.score[same, 0], exact.score[same, 0], atol=1e-6)


def test_items_that_share_a_vector_are_found_together(
    both: tuple[FittedContent, FittedContent],
) -> None:
    _, indexed = both
    item_ix, score = indexed.closest(indexed.content[0])
    assert (np.diff(item_ix) > 0).all()
    rows = indexed.content_ix[item_ix]
    assert (rows >= 0).all()
    for row in np.unique(rows):
        assert (rows == row).sum() == (indexed.content_ix == row).sum()
    assert np.allclose(score, indexed.content[rows] @ indexed.content[0], atol=1e-5)


def test_its_weight_in_a_blend_is_that_of_the_whole(
    both: tuple[FittedContent, FittedContent],
) -> None:
    whole, indexed = both
    given = asked(whole.n_items)
    for b in range(5):
        _, every = whole.row(given, b)
        assert indexed.spread(given, b) == pytest.approx(rms(every, whole.n_items), rel=1e-4)
    assert whole.spread(given, 0) is None


def blend(content: FittedContent) -> FittedBlend:
    n = content.n_items
    return FittedBlend(
        name="lifeloop",
        rule="linear",
        parts=(content,),
        weights=np.ones(1),
        cold=np.ones(1),
        fresh=np.ones(1),
        is_fresh=np.zeros(n, np.bool_),
        notes=(),
        n_items=n,
    )


def test_the_amounts_add_up_to_the_score_also_where_it_says_nothing(
    both: tuple[FittedContent, FittedContent],
) -> None:
    _, indexed = both
    given = asked(indexed.n_items)
    scored = blend(indexed).scored(given)
    said = scored.said[0][0]
    assert said is not None
    assert said.item_ix is not None
    left = np.setdiff1d(np.arange(indexed.n_items), said.item_ix)[:5]
    some = np.concatenate([said.item_ix[:5], left]).astype(np.int32)
    told = scored.traces(0, some).sum(axis=(0, 2))
    assert told[:5] == pytest.approx(scored.total[0, some[:5]], rel=1e-4)
    assert (told[5:] == 0).all()
    assert (scored.total[0, left] == -np.inf).all()


def test_a_request_about_a_few_items_reads_them_all(
    both: tuple[FittedContent, FittedContent],
) -> None:
    whole, indexed = both
    given = asked(whole.n_items)
    made = blend(indexed)
    assert made.whole() is not made
    assert np.allclose(made.whole().score(given), blend(whole).score(given))
    plain = blend(whole)
    assert plain.whole() is plain


def test_it_is_kept_with_the_bundle_and_opens_the_same(
    both: tuple[FittedContent, FittedContent], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, indexed = both
    given = asked(whole.n_items)
    kept = indexed.arrays()
    again = FittedContent.load(kept)
    assert np.array_equal(again.score(given), indexed.score(given))
    assert whole.indexed(rng=np.random.default_rng(2), least=1_000).score(given).tobytes() == (
        indexed.score(given).tobytes()
    )
    import builtins

    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "faiss":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    plain = FittedContent.load(kept)  # a machine without the extra reads every vector
    assert np.array_equal(plain.score(given), whole.score(given))


def test_many_vectors_without_faiss_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import builtins

    from lifeloop.models.indexes import indexed

    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "faiss":
            raise ImportError(name)
        return real(name, *rest)

    whole = catalogue()
    rng = np.random.default_rng(0)
    assert indexed([whole], rng=rng)[1] == ()
    monkeypatch.setattr(FittedContent.indexed, "__kwdefaults__", {"least": 1_000})
    (made,), notes = indexed([whole], rng=rng)
    assert isinstance(made, FittedContent)
    assert made.near is not None
    assert "0.9" in notes[0] or "1.0" in notes[0]
    monkeypatch.setattr(builtins, "__import__", without)
    (made,), notes = indexed([whole], rng=rng)
    assert made is whole
    assert "lifeloop[ann]" in notes[0]


def test_what_cannot_be_indexed_is_left_alone() -> None:
    rng = np.random.default_rng(0)
    for odd in (
        replace(catalogue(), similarity="euclidean"),
        replace(catalogue(), blocks=(8, 8)),
    ):
        assert odd.indexed(rng=rng, least=1_000) is odd
    assert FROM >= 50_000  # a catalogue of a demo is read whole

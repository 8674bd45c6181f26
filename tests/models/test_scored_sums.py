"""What parts say is added up alike, of few items or of nearly all, as item by item."""

import numpy as np
import pytest

from lifeloop.contracts import Bool, Float
from lifeloop.models.scored import Said, _add


def item_by_item(said: Said, total: Float, known: Bool, is_fresh: Bool) -> None:
    where = range(len(total)) if said.item_ix is None else said.item_ix.tolist()
    for score, item in zip(said.score, where, strict=True):
        unit = np.float32(said.unit_fresh if is_fresh[item] else said.unit)
        total[item] += score * unit
        known[item] |= unit > 0


@pytest.mark.parametrize("share", [0.0, 0.05, 0.49, 0.51, 0.99, 1.0, None])
@pytest.mark.parametrize(("unit", "fresh"), [(0.7, 0.7), (0.7, 0.2), (0.7, 0.0), (0.0, 0.3)])
@pytest.mark.parametrize("any_fresh", [True, False])
def test_a_part_is_added_as_item_by_item(
    share: float | None, unit: float, fresh: float, any_fresh: bool
) -> None:
    rng = np.random.default_rng(3)
    n = 400
    is_fresh = (rng.random(n) < 0.3) & any_fresh
    at = None
    if share is not None:
        at = np.sort(rng.permutation(n)[: round(share * n)]).astype(np.int32)
    score = rng.normal(size=n if at is None else len(at)).astype(np.float32)
    said = Said(at, score, unit, fresh)
    total, known = rng.normal(size=n).astype(np.float32), rng.random(n) < 0.1
    expected, known_so_far = total.copy(), known.copy()
    item_by_item(said, expected, known_so_far, is_fresh)
    told = _add(said, total, known, is_fresh=is_fresh, new=np.flatnonzero(is_fresh))
    assert np.array_equal(total, expected)
    assert np.array_equal(np.ones(n, np.bool_) if told is None else told, known_so_far)


def test_what_is_known_of_all_stays_so() -> None:
    said = Said(np.arange(3, dtype=np.int32), np.ones(3, np.float32), 1.0, 1.0)
    nothing = np.zeros(0, np.int64)
    for n in (4, 40):
        total = np.zeros(n, np.float32)
        assert _add(said, total, None, is_fresh=np.zeros(n, np.bool_), new=nothing) is None
        assert total.tolist() == [1.0] * 3 + [0.0] * (n - 3)

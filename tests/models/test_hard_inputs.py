"""What breaks recommenders: one item, one instant, fifty thousand events, everyone the same."""

import subprocess
import sys
import time

import numpy as np
import polars as pl
import pytest

from lifeloop.config import Models
from lifeloop.contracts import Candidates, Queries, TrainData
from lifeloop.models import NAMES, build, histories, queries, train_data
from lifeloop.models.registry import NEURAL
from lifeloop.models.retrieve.ease import Ease
from lifeloop.testing.checkerboard import checkerboard

pytestmark = pytest.mark.slow

DAY = 86_400_000_000


def data_of(
    user: np.ndarray, item: np.ndarray, day: np.ndarray, *, n_items: int, weight: float = 1.0
) -> TrainData:
    rows = pl.DataFrame(
        {
            "user_id": [f"u{u:06d}" for u in user],
            "item_id": [f"i{i:06d}" for i in item],
            "t_us": day.astype(np.int64) * DAY,
            "seq": np.arange(len(user)),
            "weight": np.full(len(user), weight, np.float32),
            "rating": np.full(len(user), np.nan),
        }
    )
    rng = np.random.default_rng(1)
    data, _ = train_data(
        rows,
        item_ids=[f"i{i:06d}" for i in range(n_items)],
        content=rng.normal(size=(n_items, 4)).astype(np.float32),
        content_ix=np.arange(n_items, dtype=np.int32),
        as_of_us=400 * DAY,
    )
    return data


def listed(name: str, data: TrainData, asked: Queries, k: int = 5) -> Candidates:
    (model,) = build([name], Models())
    found = model.fit(data, rng=np.random.default_rng(0)).retrieve(asked, k)
    for row, score in zip(found.item_ix, found.score, strict=True):
        n = int((row >= 0).sum())
        assert (row[n:] == -1).all()
        assert len(set(row[:n].tolist())) == n
        assert np.isfinite(score[:n]).all()
    return found


every = pytest.mark.parametrize("name", [name for name in NAMES if name not in NEURAL])


@every
def test_a_catalogue_of_one_item(name: str) -> None:
    user = np.arange(60)
    data = data_of(user, np.zeros(60, int), user, n_items=1)
    found = listed(name, data, queries([[], [0]]))
    assert set(found.item_ix.ravel().tolist()) <= {-1, 0}


@every
def test_all_events_at_one_instant_are_one_answer_in_any_order(name: str) -> None:
    rng = np.random.default_rng(2)
    user, item = np.repeat(np.arange(50), 6), rng.integers(0, 20, 300)
    data = data_of(user, item, np.full(300, 7), n_items=20)
    first = listed(name, data, histories(data, np.arange(8, dtype=np.int32)))
    again = listed(name, data, histories(data, np.arange(8, dtype=np.int32)))
    np.testing.assert_array_equal(first.item_ix, again.item_ix)


@every
def test_an_item_that_everyone_used_says_nothing_false(name: str) -> None:
    rng = np.random.default_rng(3)
    user = np.repeat(np.arange(80), 5)
    item = rng.integers(1, 20, 400)
    item[::5] = 0
    day = rng.integers(0, 300, 400)
    order = np.lexsort((day, user))
    data = data_of(user[order], item[order], day[order], n_items=20)
    found = listed(name, data, histories(data, np.arange(10, dtype=np.int32)), k=20)
    assert (found.item_ix > 0).any(axis=1).all()  # it does not silence the others


@every
def test_weights_of_zero_teach_nothing_and_break_nothing(name: str) -> None:
    user = np.repeat(np.arange(30), 3)
    data = data_of(user, np.arange(90) % 9, np.arange(90), n_items=9, weight=0.0)
    assert len(data.user_ix) == 0
    found = listed(name, data, queries([[], [3]]))
    assert (found.item_ix[0] == -1).all() or name in ("random", "lifeloop", "ranked")


@every
def test_a_person_of_fifty_thousand_events(name: str) -> None:
    rng = np.random.default_rng(4)
    user = np.concatenate([np.zeros(50_000, int), np.repeat(np.arange(1, 60), 8)])
    item = np.concatenate([rng.integers(0, 300, 50_000), rng.integers(0, 300, 59 * 8)])
    day = np.concatenate([np.sort(rng.integers(0, 390, 50_000)), rng.integers(0, 390, 59 * 8)])
    started = time.perf_counter()
    data = data_of(user, item, day, n_items=300)
    found = listed(name, data, histories(data, np.array([0, 1], np.int32)))
    assert found.item_ix.shape == (2, 5)
    assert time.perf_counter() - started < 120


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lifeloop", "sparse", "sparse_sequential"])
def test_a_catalogue_of_forty_thousand_items_fits_into_two_gigabytes(name: str) -> None:
    """The peak of a fresh process, everything that Python and its libraries take included."""
    told = subprocess.run(
        [sys.executable, "-c", LARGE, name], capture_output=True, text=True, timeout=280
    )
    assert told.returncode == 0, told.stderr[-2000:]
    assert int(told.stdout) < 2048


LARGE = """
import resource, sys
import numpy as np
from lifeloop.config import Models
from lifeloop.contracts import TrainData
from lifeloop.models import build
rng = np.random.default_rng(0)
n, items, users = 300_000, 40_000, 20_000
user = np.sort(rng.integers(0, users, n)).astype(np.int32)
item = (rng.zipf(1.2, n) % items).astype(np.int32)
data = TrainData(
    user_ix=user, item_ix=item, t_us=np.arange(n, dtype=np.int64) * 1_000_000,
    weight=np.ones(n, np.float32), rating=np.full(n, np.nan, np.float32), n_users=users,
    item_ids=tuple(map(str, range(items))),
    content=np.zeros((0, 1), np.float32), content_ix=np.full(items, -1, np.int32),
    as_of_us=n * 1_000_000)
(model,) = build([sys.argv[1]], Models(ease_items=2000))
model.fit(data, rng=rng)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def test_many_histories_shared_by_two_threads_are_answered_as_each_alone() -> None:
    rng = np.random.default_rng(0)
    data = checkerboard().data
    fitted = Ease(n_items=20).fit(data, rng=rng)
    rows = [rng.integers(0, 24, size=int(n)) for n in rng.integers(0, 30, size=600)]
    asked = queries(rows, as_of_us=data.as_of_us)
    together = fitted.score(asked)
    for b in (0, 299, 300, 301, 599):
        alone = fitted.score(queries([rows[b]], as_of_us=data.as_of_us))
        np.testing.assert_array_equal(together[b], alone[0])
    empty = [b for b, row in enumerate(rows) if not len(row)]
    assert empty
    assert np.isneginf(together[empty]).all()

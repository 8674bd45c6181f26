"""What tables share is worked out once and changes none of them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import narwhals as nw
import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from lifeloop import Lifeloop
from lifeloop.lifecycle import ltv
from lifeloop.lifecycle import standing as walked
from lifeloop.lifecycle.clv import Histories
from lifeloop.lifecycle.shared import once, shared
from lifeloop.simulate import world, write_world
from lifeloop.tables import Source, overview, table_of
from lifeloop.tables.overview import _overview


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Source]:
    folder = tmp_path_factory.mktemp("shop")
    files = write_world(world(n_users=300, n_items=40, days=200, seed=2), folder / "data")
    with Lifeloop.open(folder / "shop", scenario="ecommerce") as loop:
        loop.import_events(files["events"])
        yield loop.source()


def counted(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> list[str]:
    calls: list[str] = []
    inner: Callable[..., Any] = getattr(owner, name)

    def call(*args: Any, **given: Any) -> Any:
        calls.append(name)
        return inner(*args, **given)

    monkeypatch.setattr(owner, name, call)
    return calls


def test_nothing_is_kept_outside_a_block_or_across_blocks() -> None:
    made: list[int] = []
    frame, other = pl.DataFrame({"a": [1]}), pl.DataFrame({"a": [1]})

    def asked(key: str = "k", of: pl.DataFrame = frame) -> int:
        return once((key,), (of,), lambda: made.append(1) or len(made))  # type: ignore[func-returns-value]

    assert (asked(), asked()) == (1, 2)
    with shared():
        assert (asked(), asked()) == (3, 3)
        with shared():
            assert asked() == 3
        assert asked(of=other) == 4, "frames are told apart by identity"
        assert asked("other") == 5
        assert asked() == 3
    assert asked() == 6
    with pytest.raises(ZeroDivisionError), shared():
        once("k", (), lambda: 1 // 0)
    assert asked() == 7


def test_the_overview_walks_the_log_once_and_says_the_same(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = counted(monkeypatch, walked, "day_table")
    told = overview(source, grain="week")
    assert len(calls) == 1
    alone = _overview(source, "week", None, {})
    assert len(calls) > 2
    assert_frame_equal(told.stages.rows, alone.stages.rows)
    assert_frame_equal(told.metrics.rows, alone.metrics.rows)
    assert told.notes == alone.notes


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"where": {"channel": "web"}},
        {"where": {"channel": "mail"}},
        {"include_bots": True},
        {"end": "2024-03-01"},
        {"by": "channel"},
    ],
)
def test_what_is_asked_for_otherwise_is_not_taken_for_the_same(
    source: Source, asked: dict[str, Any]
) -> None:
    with shared():
        table_of(source, "stages")
        told = table_of(source, "stages", **asked)
        counts = table_of(source, "stage_counts", grain="week", **asked)
    assert_frame_equal(told.rows, table_of(source, "stages", **asked).rows)
    assert_frame_equal(counts.rows, table_of(source, "stage_counts", grain="week", **asked).rows)


def test_customers_are_predicted_once_for_all_tables(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("predicted_ltv", "customer_value", "ltv_backtest", "ltv_calibration")
    alone = {name: table_of(source, name).rows for name in names}
    calls = counted(monkeypatch, ltv, "predict")
    with shared():
        told = {name: table_of(source, name).rows for name in names}
        assert len(calls) == 2, "today, and as of the day from which on days are hidden"
        other = table_of(source, "customer_value", horizon_days=30).rows
        assert len(calls) == 3
    for name in names:
        assert told[name].height
        assert_frame_equal(told[name], alone[name])
    assert_frame_equal(other, table_of(source, "customer_value", horizon_days=30).rows)


def test_a_log_knows_what_it_was_read_from_only_while_it_is_that() -> None:
    from lifeloop.lifecycle.frame import read

    events = pl.DataFrame({"user_id": ["a"], "t_us": [1], "type": ["view"]})
    log = read(events)
    assert log.origin is not None
    assert log.origin.events is events
    assert log.having(log.frame).origin is None
    assert read(events, where=nw.col("type") == "view").origin is None
    assert read(events.lazy()).origin is None


@pytest.mark.parametrize("covariates", [False, True])
def test_distinct_histories_are_those_of_numpy(covariates: bool) -> None:
    rng = np.random.default_rng(4)
    x, age = rng.integers(0, 3, 500).astype(float), rng.integers(5, 8, 500).astype(float)
    t_x = np.where(x > 0, rng.integers(1, 4, 500), 0).astype(float)
    z = rng.integers(0, 2, (500, 2)).astype(float) if covariates else None
    h = Histories(x, t_x, age, "day", z, ("a", "b") if covariates else ())
    rows, which = h.distinct()
    keys = np.column_stack([x, t_x, age, *([] if z is None else [z])])
    _, at, inverse = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    np.testing.assert_array_equal(which, inverse.ravel())
    np.testing.assert_array_equal(rows.x, x[at])
    np.testing.assert_array_equal(rows.age, age[at])


def test_a_page_of_the_desk_is_made_in_one_block(tmp_path: Path) -> None:
    from lifeloop.serve.dashboard.desk import _together

    seen: list[object] = []
    thing = object()
    _together(lambda: seen.extend(once("k", (thing,), object) for _ in range(2)))
    assert seen[0] is seen[1]
    assert once("k", (thing,), object) is not seen[0]

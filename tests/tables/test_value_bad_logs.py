"""Every table of what is to come over logs that break other systems: a number, or a reason."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from lifeloop import Lifeloop
from lifeloop.tables import Source, read_source, table_of
from lifeloop.tables.valued import VALUED

pytestmark = pytest.mark.slow

DAY_US = 86_400_000_000
FIRST = 20_000
"""Day number of the first event."""

Rows = list[tuple[str, int, str, float]]


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Source]:
    folder: Path = tmp_path_factory.mktemp("bad")
    (folder / "one.csv").write_text("user_id,type,occurred_at,value\nu,purchase,2024-10-04,1\n")
    with Lifeloop.open(folder / "shop", scenario="ecommerce") as loop:
        loop.import_events(folder / "one.csv")
        yield read_source(loop.store, loop.scenario, moment=loop.moment())


def shop(n_users: int = 50, days: int = 130, seed: int = 1) -> Rows:
    """Return customers with rates and lives of their own."""
    rng = np.random.default_rng(seed)
    rows: Rows = []
    for user in range(n_users):
        day, rate = int(rng.integers(0, days // 2)), rng.beta(1.0, 6.0) + 0.01
        leaves = day + int(rng.exponential(60)) + 1
        while day < min(leaves, days):
            rows.append((f"u{user}", day, "purchase", float(rng.gamma(2.0, 10.0) + 0.01)))
            day += int(rng.geometric(rate))
    return rows


def priced(rows: Rows, factor: float) -> Rows:
    return [(u, d, k, v * factor) for u, d, k, v in rows]


BAD: dict[str, Rows] = {
    "nobody": [],
    "one customer, one order": [("a", 0, "purchase", 5.0)],
    "one customer, forty orders": [("a", 3 * n, "purchase", 5.0 + n % 3) for n in range(40)],
    "all bought once": [(f"u{n}", n % 90, "purchase", 3.0 + n) for n in range(120)],
    "all bought today": [(f"u{n}", 0, "purchase", 3.0 + n) for n in range(120)],
    "all identical": [
        (f"u{n}", d, "purchase", 10.0) for n in range(60) for d in (0, 10, 20, 90, 120)
    ],
    "free of charge": priced(shop(), 0.0),
    "negative money": priced(shop(), -1.0),
    "some of it negative": [(u, d, k, -v if n % 5 == 0 else v)
                            for n, (u, d, k, v) in enumerate(shop())],
    "refunded": shop() + [(u, d + 1, "refund", v) for u, d, _, v in shop()],
    "billions": priced(shop(), 1e9),
    "thousandths": priced(shop(), 1e-3),
    "on every day": [(f"u{n}", d, "purchase", 2.0 + n % 7)
                     for n in range(30) for d in range(n % 9, 260 - 5 * (n % 11))],
    "who buys more spends more": [
        (f"u{n}", d, "purchase", float(1 + n)) for n in range(60) for d in range(0, 3 * n + 2, 3)
    ],
    "one spends a million times more": [*shop(), ("u0", 140, "purchase", 2e7)],
    "visits only": [(u, d, "view", 0.0) for u, d, _, _ in shop()],
    "a year of nothing between": [*shop(), *[(u, d + 500, k, v) for u, d, k, v in shop(seed=2)]],
}  # fmt: skip


ALIKE = {"customer_value", "ltv_calibration", "move_value", "churn_calibration"}
"""What shares its computation with another table: asked of some of the logs only."""

SOME = ("nobody", "all identical", "some of it negative")


def sourced(empty: Source, rows: Rows) -> Source:
    told = pl.DataFrame(
        [
            (f"e{n}", n, u, (FIRST + d) * DAY_US + n, kind, v, f"o{u}-{d}")
            for n, (u, d, kind, v) in enumerate(rows)
        ],
        schema=["event_id", "seq", "user_id", "t_us", "type", "value", "order_id"],
        orient="row",
    )
    given = {
        name: told[name].cast(kind)
        if name in told.columns
        else pl.Series(name, [None] * len(rows), dtype=kind)
        for name, kind in empty.events.schema.items()
    }
    last = max((d for _, d, _, _ in rows), default=0)
    moment = replace(empty.moment, as_of_us=(FIRST + last + 1) * DAY_US)
    users = empty.users.clear()
    return replace(empty, events=pl.DataFrame(given), users=users, moment=moment, log_start=FIRST)


CASES = [
    (spec.name, log) for spec in VALUED for log in BAD if spec.name not in ALIKE or log in SOME
]


@pytest.mark.parametrize(("name", "log"), CASES)
def test_a_bad_log_gives_finite_numbers_or_a_reason(empty: Source, name: str, log: str) -> None:
    source = sourced(empty, BAD[log])
    asked: dict[str, Any] = {"until": "next_order"} if name == "survival" else {}
    table = table_of(source, name, **asked)
    if table.rows.is_empty():
        assert table.reason
        return
    assert table.reason is None
    for column in table.rows.iter_columns():
        if column.dtype.is_float():
            assert column.is_finite().all(), (column.name, column.to_list()[:5])
    ordered = [name[:-4] for name in table.rows.columns if name.endswith("_low")]
    for what in ordered:
        low, high = table.rows[f"{what}_low"], table.rows[f"{what}_high"]
        assert (low <= high).fill_null(value=True).all(), what


def test_money_of_very_large_numbers_is_the_same_money(empty: Source) -> None:
    plain = table_of(sourced(empty, shop()), "predicted_ltv").rows.row(0, named=True)
    large = table_of(sourced(empty, BAD["billions"]), "predicted_ltv").rows.row(0, named=True)
    assert plain["purchases"] == large["purchases"]
    assert large["value"] == pytest.approx(plain["value"] * 1e9, rel=1e-3)
    assert large["value_high"] == pytest.approx(plain["value_high"] * 1e9, rel=1e-2)


def test_what_cannot_be_predicted_says_why_and_what_else(empty: Source) -> None:
    want = {
        "nobody": "no",
        "all bought once": "bought twice",
        "all identical": "equal",
        "free of charge": "value above 0",
        "visits only": "",
    }
    for log, words in want.items():
        table = table_of(sourced(empty, BAD[log]), "predicted_ltv")
        assert table.rows.is_empty(), log
        assert words in str(table.reason), (log, table.reason)

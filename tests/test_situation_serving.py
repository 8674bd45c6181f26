"""The situation of a request changes the slate for the same history, end to end."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from lifeloop import Lifeloop
from lifeloop.events import User, frame_of
from lifeloop.events.records import USER_SCHEMA
from lifeloop.models.context import FittedContext, shifted

DAY = 86_400_000_000
HOUR = DAY // 24
T0 = 1_735_689_600_000_000  # 2025-01-01 UTC, a Wednesday
NOW = T0 + 60 * DAY + 8 * HOUR
PER_TOPIC = 24
SETTINGS: dict[str, Any] = {
    "name": "test shop",
    "extends": "ecommerce",
    "models": {"text_encoder": "tfidf", "ease_items": 50},
}


def fill(loop: Lifeloop, folder: Path) -> None:
    """Tea is bought in the morning, lamps in the evening; devices and stores mean nothing."""
    rng = np.random.default_rng(3)
    items = [f"{topic}-{i}" for topic in ("tea", "lamp") for i in range(PER_TOPIC)]
    titles = [f"{i.split('-')[0]} number {i.split('-')[1]}" for i in items]
    pl.DataFrame(
        {"item_id": items, "title": titles, "category": [i.split("-")[0] for i in items]}
    ).write_csv(folder / "items.csv")
    rows = []
    for user in range(120):
        for n, item in enumerate(rng.permutation(items)[:12]):
            morning = (item.startswith("tea")) != (rng.random() < 0.05)
            t_us = T0 + int(rng.integers(0, 60)) * DAY + (8 if morning else 20) * HOUR + n
            device = ("phone", "desk")[int(rng.integers(2))]
            rows.append((f"u{user}", "purchase", item, t_us, f"o{user}-{n}", 2.0, device))
    columns = ["user_id", "type", "item_id", "t", "order_id", "value", "device"]
    frame = pl.DataFrame(rows, schema=columns, orient="row")
    at = pl.from_epoch("t", time_unit="us").dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
    frame.with_columns(at.alias("occurred_at")).drop("t").write_csv(folder / "events.csv")
    loop.import_items(folder / "items.csv")
    loop.import_events(folder / "events.csv")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lifeloop]:
    folder = tmp_path_factory.mktemp("shop")
    with Lifeloop.open(folder / "shop", scenario=SETTINGS, clock=lambda: NOW) as loop:
        fill(loop, folder)
        loop.train()
        yield loop


def tea(answer: Any) -> float:
    return float(np.mean([row.item_id.startswith("tea") for row in answer]))


def test_the_hour_changes_the_slate_of_the_same_history(shop: Lifeloop) -> None:
    early, late = (shop.recommend("u0", context={"hour": hour}) for hour in (8, 20))
    assert tea(early) >= 0.8
    assert tea(late) <= 0.2
    assert early.context_unused == ()
    told = shop.recommend("u0", context={"hour": 8, "device": "phone", "hours": 3, "surface": "x"})
    assert told.context_unused == ("device", "hours")
    assert told.context_hints == {"hours": "hour"}


def test_the_hour_is_that_of_the_clock_where_the_person_is(shop: Lifeloop) -> None:
    plain = shop.recommend("u1")
    assert tea(plain) >= 0.8, "it is 8 in the morning"
    there = shop.recommend("u1", context={"zone": "Asia/Shanghai"})  # 16:00: no hour of the log
    told = shop.recommend("u1", context={"hour": 12})
    assert [r.item_id for r in there] == [r.item_id for r in told]
    assert [r.item_id for r in plain] != [r.item_id for r in there]
    traveller = User(user_id="u1", attributes={"timezone": "Asia/Tashkent"})
    shop.store.put_users(frame_of([traveller], USER_SCHEMA), received_us=NOW)
    assert tea(shop.recommend("u1")) < 0.8


def test_values_nobody_has_seen_are_neutral(shop: Lifeloop) -> None:
    hours: list[Any] = [3, 25, "noon", None, {"a": 1}]
    unseen = [shop.recommend("u2", context={"hour": 3})]
    unseen += [shop.recommend("u2", context={"hour": 3, "device": d}) for d in ("fridge", 7, None)]
    first = [(r.item_id, r.score) for r in unseen[0]]
    assert all([(r.item_id, r.score) for r in answer] == first for answer in unseen)
    assert unseen[0].context_unused == ("hour",), "an hour of which nothing is known has no part"
    for hour in hours[1:]:  # no hour at all: the clock is asked
        answer = shop.recommend("u2", context={"hour": hour})
        assert tea(answer) >= 0.8
        assert answer.context_unused == ("hour",)


def test_a_stranger_is_served_by_the_hour_too(shop: Lifeloop) -> None:
    early, late = (shop.recommend("nobody", context={"hour": hour}) for hour in (8, 20))
    assert early.fallback == late.fallback == "no_history"
    assert tea(early) > tea(late)


def test_what_was_searched_for_in_the_session_comes_first(shop: Lifeloop) -> None:
    assert tea(shop.recommend("u3", context={"hour": 8})) >= 0.8
    asked = shop.recommend("u3", context={"hour": 3, "query": "lamp"})
    assert tea(asked) == 0
    search = {"type": "search", "text": "lamp"}
    shop.record({"user_id": "u3", "occurred_at": "2025-03-02T07:50Z", **search})
    found = shop.recommend("u3", context={"hour": 3}, k=5)
    assert tea(found) == 0
    assert "lamp" in found[0].reason.text
    shop.record({"user_id": "u4", "occurred_at": "2025-03-02T05:50Z", **search})
    assert tea(shop.recommend("u4", context={"hour": 8}, k=5)) > 0, "that session is over"


def test_the_situation_costs_a_request_less_than_a_millisecond() -> None:
    """Of a thread's own time: the machine may be busy. A catalogue of 92,331, all of it scored."""
    rng = np.random.default_rng(0)
    n_items, n_rows = 92_331, 20_001
    fitted = FittedContext(
        fields=("hour", "weekday"),
        values=(tuple(map(str, range(24))), tuple(map(str, range(7)))),
        start=np.array([0, 24], np.int32),
        lift=rng.normal(0, 0.3, (31, n_rows)).astype(np.float32),
        row=rng.integers(0, n_rows, n_items).astype(np.int32),
        powers=np.array([1.0, 0.5]),
        strength=np.array([10.0, 10.0]),
    )
    total = rng.normal(0, 1, n_items).astype(np.float32)
    spent = []
    for _ in range(30):
        started = time.thread_time()
        codes = fitted.codes({"hour": "8", "weekday": "3"})
        gain = fitted.gain(codes[0])
        assert gain is not None
        shifted(total, gain)
        spent.append(time.thread_time() - started)
    assert np.median(spent) < 0.001

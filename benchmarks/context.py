"""What the situation of a request is worth on real logs: ``python -m benchmarks.context [LOG …]``.

The last fifth of a log's time is the test. The blend, its half-lives, weights and the powers of
the situation are learned on what lies before, as in training. Then every later moment of the people
asked (one order, or one hour of one day) is a request in its own situation: NDCG@10 of what was
done in it, items of the history allowed, with the situation and without, the history as known at
the cut. The difference is taken per person; 95% by 2,000 bootstrap draws of people. Nothing is
chosen on the test. ``--people N`` draws people before anything else (seed 0).

Logs: completejourney (hour, weekday, place = store; things by name), online_retail (hour, weekday,
place = country), taobao (hour, weekday).
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.texts import DATA, DAY_US
from lifeloop.config import Models
from lifeloop.contracts import Double
from lifeloop.encoders import PREFIX, item_text, situations
from lifeloop.events import read
from lifeloop.events.datasets import load
from lifeloop.models import Blend, FittedBlend, build, histories, queries, train_data
from lifeloop.models.data import part_of

FIELDS = ("hour", "weekday", "place", "device", "channel")
LOGS = {
    "completejourney": "completejourney",
    "online_retail": str(DATA / "online_retail"),
    "taobao": str(DATA / "zh_taobao_userbehavior_raw"),
}
MOST_ASKED, MOST_MOMENTS = 1000, 10


def interactions(name: str, people: int | None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return events with their situations, and item_id with its category."""
    with tempfile.TemporaryDirectory() as work:
        made = load(LOGS[name], work=Path(work))
        frames: dict[str, list[pl.DataFrame]] = {"item": [], "event": [], "user": []}
        for part in made.parts:
            for batch in read(part.path, part.kind, options=part.options):
                frames[part.kind].append(batch.frame)
    events = pl.concat(frames["event"]).with_row_index("seq")
    events = events.filter(
        pl.col("item_id").is_not_null()
        & pl.col("user_id").is_not_null()
        & pl.col("occurred_us").is_not_null()
        & ~pl.col("type").is_in(["refund", "cancel", "return"])
    ).with_columns(t_us=pl.col("occurred_us").cast(pl.Int64))
    items = pl.DataFrame(
        {"item_id": [], "kind": []}, schema={"item_id": pl.String, "kind": pl.String}
    )
    if frames["item"]:
        listed = pl.concat(frames["item"]).unique("item_id", keep="first", maintain_order=True)
        items = listed.select("item_id", kind=pl.col("categories").list.last())
        if name == "completejourney":  # packages of one thing are one thing
            named = dict(zip(listed["item_id"].to_list(), item_text(listed), strict=True))
            table = pl.DataFrame({"item_id": list(named), "thing": list(named.values())})
            events = events.join(table, on="item_id", how="inner").filter(pl.col("thing") != "")
            kinds = items.join(table, on="item_id").unique(
                "thing", keep="first", maintain_order=True
            )
            items = kinds.select(item_id="thing", kind="kind")
            events = events.with_columns(item_id="thing")
    if people is not None:
        every = np.array(sorted(events["user_id"].unique().to_list()), dtype=object)
        some = np.random.default_rng(0).permutation(every)[:people].tolist()
        events = events.filter(pl.col("user_id").is_in(some))
    told = situations(events, FIELDS, zone=made.zone or "UTC")
    shown = events.hstack(told).select(
        "user_id",
        "item_id",
        "t_us",
        pl.col("seq").cast(pl.Int64),
        *told.columns,
        moment=pl.coalesce("order_id", (pl.col("t_us") // (DAY_US // 24)).cast(pl.String)),
        weight=pl.lit(1.0, dtype=pl.Float32),
        rating=pl.lit(None, dtype=pl.Float64),
    )
    return shown.unique(["user_id", "item_id", "moment"], keep="first", maintain_order=True), items


def measured(name: str, people: int | None) -> dict[str, Any]:
    """Return what the situation is worth on one log."""
    started = time.perf_counter()
    rows, items = interactions(name, people)
    cut_us = int(rows["t_us"].quantile(0.8, "higher"))  # type: ignore[arg-type]  # not empty
    past, later = rows.filter(pl.col("t_us") < cut_us), rows.filter(pl.col("t_us") >= cut_us)
    item_ids = sorted(rows["item_id"].unique().to_list())
    kinds = dict(items.iter_rows())
    fields = {c.removeprefix(PREFIX): c for c in rows.columns if c.startswith(PREFIX)}
    data, user_ids = train_data(
        past,
        item_ids=item_ids,
        content=np.zeros((0, 1), np.float32),
        content_ix=np.full(len(item_ids), -1, np.int32),
        as_of_us=cut_us,
        kinds=[kinds.get(i) for i in item_ids],
        situation=fields,
    )
    (specification,) = build(["lifeloop"], Models(text_encoder="none"), repeats=True)
    assert isinstance(specification, Blend)
    blend = specification.fit(data, rng=np.random.default_rng(0))
    place, ix = {u: n for n, u in enumerate(user_ids)}, {i: n for n, i in enumerate(item_ids)}
    both = sorted(set(later["user_id"].unique()) & set(user_ids))
    asked = sorted(np.random.default_rng(0).permutation(np.array(both, object))[:MOST_ASKED])
    parts = later.filter(pl.col("user_id").is_in(asked)).partition_by("user_id", as_dict=True)
    plain, told = [], []
    for user in asked:
        one = histories(data, np.array([place[user]], np.int32), as_of_us=cut_us)
        own = _person(blend, one, parts[(user,)], fields, ix)
        plain.append(own[:, 0].mean())
        told.append(own[:, 1].mean())
    gain = np.array(told) - np.array(plain)
    low, high = _interval(gain)
    return {
        "events before": len(data.user_ix),
        "items": len(item_ids),
        "people": len(asked),
        "powers": {} if blend.context is None else blend.context.told(),
        "without": float(np.mean(plain)),
        "with": float(np.mean(told)),
        "gain": float(gain.mean()),
        "gain, 95%": [low, high],
        "note": [n for n in blend.notes if n.startswith("context")],
        "seconds": round(time.perf_counter() - started),
    }


def _person(
    blend: FittedBlend, one: Any, rows: pl.DataFrame, fields: dict[str, str], ix: dict[str, int]
) -> Double:
    """Return NDCG@10 of a person's moments without and with their situation [m, 2]."""
    moments = rows.partition_by("moment", maintain_order=True)
    spread = np.linspace(0, len(moments) - 1, min(MOST_MOMENTS, len(moments))).astype(np.int64)
    silent = blend.score(one)[0]
    found = []
    for m in np.unique(spread):
        moment = moments[m]
        target = np.array(sorted({ix[i] for i in moment["item_id"]}))
        values = {name: moment[column][0] for name, column in fields.items()}
        scores = silent
        if blend.context is not None:
            codes = blend.context.codes({k: v for k, v in values.items() if v is not None})
            if blend.context.gain(codes[0]) is not None:
                asked = queries(
                    [one.item_ix], as_of_us=int(one.as_of_us[0]), weight=[one.weight],
                    age_days=[one.age_days], rating=[one.rating], situation=codes,
                )  # fmt: skip
                scores = blend.score(part_of(asked, 0, 1))[0]
        found.append([_ndcg(silent, target), _ndcg(scores, target)])
    return np.array(found)


def _ndcg(scores: Any, target: Any) -> float:
    top = np.argsort(-scores, kind="stable")[:10]
    discount = 1.0 / np.log2(np.arange(10) + 2.0)
    return float(discount[: len(top)] @ np.isin(top, target) / discount[: len(target)].sum())


def _interval(gain: Double) -> tuple[float, float]:
    rng = np.random.default_rng(0)
    means = [gain[rng.integers(len(gain), size=len(gain))].mean() for _ in range(2000)]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def main() -> None:
    """Print one JSON object per log."""
    asked = sys.argv[1:]
    people = int(asked[asked.index("--people") + 1]) if "--people" in asked else None
    for name in [a for a in asked if a in LOGS] or list(LOGS):
        print(json.dumps({name: measured(name, people)}, indent=1, default=float), flush=True)


if __name__ == "__main__":
    main()

"""Split files: what a model may see (``known.npz``) apart from what it is asked (``targets.npz``).

known.npz   user, item [n] in (user, time, arrival) order, t_s [n] (-1: untimed), n_users, n_items,
            asked [B] users to recommend to, seen_out (1: items met may not be recommended),
            valid_rows [n] True where known in the inner fit, valid_users [V], valid_indptr [V+1],
            valid_targets: what the inner fit is judged on
content.npz content [c, d], content_ix [I] (TF-IDF of the item texts), price [I] (NaN: none)
targets.npz indptr [B+1], targets; read by the evaluation only
about.json  data, protocol, sizes, hash of the questions, hash of the data
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.accuracy.datasets import DataSet
from lifeloop.evaluate.splits import Split, leave_one_out, targets_hash, time_split

ROLLS = 5
"""``roll0`` … ``roll4``: a tenth of the events is asked after 50, 60, 70, 80 and 90% of them."""
MOST_USED = 8_000
"""``first``: items with the most events, of which the first by each person are kept."""


def protocols() -> list[str]:
    return ["loo", "time", "first", "basket", *(f"roll{i}" for i in range(ROLLS))]


def write(data: DataSet, protocol: str, folder: Path) -> Path:
    """Write the split files once and return their folder."""
    target = folder / f"{data.name}-{protocol}"
    if (target / "about.json").is_file():
        return target
    target.mkdir(parents=True, exist_ok=True)
    data_hash = _data_hash(data.interactions)
    if protocol == "first":
        data = replace(data, interactions=first_uses(data.interactions))
    split, inner, seen_out = _cut(data.interactions, protocol)
    items = data.interactions["item_id"].unique().sort().to_list()
    users = split.train["user_id"].unique().sort().to_list()
    item_at = {item: i for i, item in enumerate(items)}
    user_at = {user: u for u, user in enumerate(users)}
    train = split.train.filter(pl.col("weight") > 0).sort(
        "user_id", pl.col("t_us").fill_null(-1), "seq", maintain_order=True
    )
    key = ["user_id", "seq", "item_id"]
    inner_rows = train.with_row_index().join(inner.train.select(key), on=key, how="semi")["index"]
    inside = np.zeros(train.height, dtype=np.bool_)
    inside[inner_rows.to_numpy()] = True
    asked, indptr, targets = _questions(split.targets, user_at, item_at)
    v_users, v_indptr, v_targets = _questions(inner.targets, user_at, item_at)
    np.savez(
        target / "known.npz",
        user=np.array([user_at[u] for u in train["user_id"].to_list()], dtype=np.int32),
        item=np.array([item_at[i] for i in train["item_id"].to_list()], dtype=np.int32),
        t_s=(train["t_us"].fill_null(-1_000_000) // 1_000_000).to_numpy(),
        n_users=np.int64(len(users)),
        n_items=np.int64(len(items)),
        as_of_s=np.int64(split.as_of_us // 1_000_000),
        request_s=np.array(
            [split.request_us[users[u]] // 1_000_000 for u in asked], dtype=np.int64
        ),
        asked=asked,
        seen_out=np.bool_(seen_out),
        horizon=np.str_({"loo": "last", "basket": "basket"}.get(protocol, "time")),
        valid_rows=inside,
        valid_users=v_users,
        valid_indptr=v_indptr,
        valid_targets=v_targets,
    )
    np.savez(target / "targets.npz", indptr=indptr, targets=targets)
    _content(data, items, target / "content.npz")
    about = {
        "data": data.name,
        "protocol": protocol,
        "note": data.note,
        "users": len(users),
        "items": len(items),
        "events_known": train.height,
        "asked": len(asked),
        "targets": len(targets),
        "targets_hash": targets_hash(split.targets),
        "data_hash": data_hash,
        "left_out": dict(split.left_out),
    }
    (target / "about.json").write_text(json.dumps(about, indent=2) + "\n")
    return target


def _cut(rows: pl.DataFrame, protocol: str) -> tuple[Split, Split, bool]:
    if protocol == "loo":
        split = leave_one_out(rows, validation=True)
    elif protocol in ("time", "first"):
        split = time_split(rows, test_share=0.2, valid_share=0.15)
    elif protocol.startswith("roll"):
        split = _rolled(rows, int(protocol[4:]))
    elif protocol == "basket":
        split = next_basket(rows, validation=True)
    else:
        raise SystemExit(f"no protocol {protocol!r}; there are {', '.join(protocols())}")
    assert split.validation is not None
    return split, split.validation, protocol != "basket"


def first_uses(rows: pl.DataFrame, most: int = MOST_USED) -> pl.DataFrame:
    """Keep each person's first event with each of the ``most`` items that have most events.

    Repeats then count neither where time is cut nor in popularity, and no list is spent on what
    was bought once by one person. Ties in number go by item id.
    """
    count = rows.group_by("item_id").len().sort(["len", "item_id"], descending=[True, False])
    kept = rows.join(count.head(most), on="item_id", how="semi", maintain_order="left")
    order = kept.sort("t_us", "seq", maintain_order=True)
    return order.unique(["user_id", "item_id"], keep="first", maintain_order=True)


def _rolled(rows: pl.DataFrame, i: int) -> Split:
    times = rows["t_us"].sort()
    end = len(times) * (6 + i) // 10
    until = rows if end >= len(times) else rows.filter(pl.col("t_us") < times[end])
    return time_split(until, test_share=1.0 / (6 + i), valid_share=1.0 / (6 + i))


def next_basket(rows: pl.DataFrame, *, validation: bool = False) -> Split:
    """Hold out each person's last basket; whatever it holds may have been bought before."""
    order = rows.group_by("user_id", "basket").agg(pl.col("t_us").max(), pl.col("seq").max())
    order = order.sort("user_id", "t_us", "seq")
    place = pl.int_range(pl.len()).over("user_id")
    last = order.filter((place == pl.len().over("user_id") - 1) & (pl.len().over("user_id") > 1))
    train = rows.join(last, on=["user_id", "basket"], how="anti")
    held = rows.join(last.select("user_id", "basket"), on=["user_id", "basket"], how="semi")
    targets = held.select("user_id", "item_id").unique().sort("user_id", "item_id")
    # asked at the time of the basket itself: what a shop knows when the customer comes in
    moments = last.select("user_id", "t_us")
    return Split(
        protocol="loo",
        train=train,
        targets=targets,
        request_us=dict(moments.iter_rows()),
        as_of_us=int(rows["t_us"].max()) + 1,  # type: ignore[arg-type]
        targets_hash=targets_hash(targets),
        validation=next_basket(train) if validation else None,
    )


def _questions(
    targets: pl.DataFrame, users: Mapping[str, int], items: Mapping[str, int]
) -> tuple[Any, Any, Any]:
    who = np.array([users[u] for u in targets["user_id"].to_list()], dtype=np.int32)
    what = np.array([items[i] for i in targets["item_id"].to_list()], dtype=np.int32)
    order = np.lexsort((what, who))
    who, what = who[order], what[order]
    asked = np.unique(who)
    indptr = np.searchsorted(who, np.concatenate([asked, [len(users)]]))
    return asked.astype(np.int32), indptr.astype(np.int64), what


def _content(data: DataSet, items: list[str], path: Path) -> None:
    price = np.array([data.prices.get(i, np.nan) for i in items], dtype=np.float32)
    if not data.texts:
        np.savez(
            path,
            content=np.zeros((0, 1), np.float32),
            content_ix=np.full(len(items), -1, np.int32),
            price=price,
        )
        return
    from lifeloop.encoders import TfidfSvd

    words = [data.texts.get(i, "") for i in items]
    distinct = sorted(set(words) - {""})
    place = {text: n for n, text in enumerate(distinct)}
    vectors, _ = TfidfSvd().fit(distinct).encode(distinct)
    content_ix = np.array([place.get(text, -1) for text in words], dtype=np.int32)
    np.savez(path, content=vectors, content_ix=content_ix, price=price)


def _data_hash(rows: pl.DataFrame) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for name in ("user_id", "item_id", "t_us", "seq"):
        digest.update(rows[name].hash(seed=0).to_numpy().tobytes())
    return digest.hexdigest()

"""What a page can be split by and narrowed to: attributes with few values, as the log has them."""

import json
from collections import Counter
from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl

from lifeloop.lifecycle.calendar import date_of
from lifeloop.serve.dashboard.filters import GRAINS, PRESETS, Filters
from lifeloop.serve.dashboard.view import View, last_day
from lifeloop.tables import Source

MOST_VALUES = 40
"""An attribute with more values than this is no way to split people."""

_EVENT_COLUMNS = ("channel", "currency")
_ITEM_COLUMNS = ("category", "brand", "kind")


@dataclass(frozen=True, slots=True)
class Dimension:
    """An attribute and its values, the most frequent first."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Choices:
    """What the filter bar offers: days, grains, attributes, and the usual windows."""

    first: date
    last: date
    grains: tuple[str, ...]
    dimensions: tuple[Dimension, ...]
    presets: tuple[tuple[int, str], ...]


def choices(view: View, filters: Filters) -> Choices:
    """Return what the filter bar of a page offers."""
    source = view.desk.reading().source
    last = last_day(source.moment.as_of_us, view.zone)
    first = last if source.log_start is None else date_of(source.log_start)
    found = view.desk.made(("dimensions",), dimensions)
    presets = tuple((n, filters.lasting(n, last=last).query()) for n in PRESETS)
    return Choices(first, last, GRAINS, found, presets)


def dimensions(source: Source) -> tuple[Dimension, ...]:
    """Return the attributes of events, users and items that have two to ``MOST_VALUES`` values."""
    found = [_of_column(source.events, name) for name in _EVENT_COLUMNS]
    found += _of_users(source.users)
    items = source.items_with(frozenset())
    found += [_of_column(items, name) for name in _ITEM_COLUMNS]
    return tuple(d for d in found if d is not None)


def _of_column(frame: pl.DataFrame, name: str) -> Dimension | None:
    if name not in frame.columns:
        return None
    counts = frame[name].drop_nulls().value_counts(sort=True)
    return _dimension(name, [str(v) for v in counts[name].head(MOST_VALUES + 1).to_list()])


def _of_users(users: pl.DataFrame) -> list[Dimension | None]:
    counted: dict[str, Counter[str]] = {}
    for text in users["attributes"].drop_nulls().to_list() if "attributes" in users.columns else ():
        for name, value in json.loads(text).items():
            if value is None or isinstance(value, dict | list):
                continue
            held = counted.setdefault(name, Counter())
            if len(held) <= MOST_VALUES:
                held[_text(value)] += 1
    return [_dimension(n, [v for v, _ in c.most_common()]) for n, c in sorted(counted.items())]


def _dimension(name: str, values: list[str]) -> Dimension | None:
    return Dimension(name, tuple(values)) if 2 <= len(values) <= MOST_VALUES else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

"""What a caller wants of one slate beyond the person: leave out, only these, of this kind."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl

from lifeloop.contracts import Bool, Decision
from lifeloop.errors import InputError
from lifeloop.events.records import Item
from lifeloop.live import Current
from lifeloop.policy import Combined, combine

COLUMNS = ("brand", "kind", "language", "provider_id", "parent_id")
"""Fields of an item, beside ``category`` and its own attributes, that a slate can be limited to."""

_KEPT_MASKS = 256


@dataclass(frozen=True, slots=True)
class Wishes:
    """``exclude`` these items; ``only`` of these; ``where`` a field has one of its values.

    ``where`` names ``category``, one of ``COLUMNS`` or an attribute. ``ranked`` False leaves the
    order to the blend, where the bundle has a ranker above it.
    """

    exclude: frozenset[str] = frozenset()
    only: tuple[str, ...] | None = None
    where: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ranked: bool = True

    @property
    def narrow(self) -> bool:
        """Whether few items of the catalogue may be meant."""
        return self.only is not None or bool(self.where)


ANYTHING = Wishes()


class Facts:
    """What items are, by item index: read once per bundle, kept up with what changed since."""

    def __init__(self, read: Callable[[], pl.DataFrame]) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._bundle: str | None = None
        self._frame = pl.DataFrame()
        self._masks: OrderedDict[tuple[str, str], Bool] = OrderedDict()

    def mask(self, current: Current, name: str, values: Sequence[str]) -> Bool:
        """Return [I], True where the field holds one of the values."""
        with self._lock:
            if self._bundle != current.model.bundle:
                self._frame = _aligned(self._read(), current.model.catalogue.ix)
                self._masks.clear()
                self._bundle = current.model.bundle
            allowed = np.zeros(current.model.catalogue.n_items, np.bool_)
            for value in values:
                allowed |= self._one(name, value, len(allowed))
        for ix, item in current.changed.items():
            allowed[ix] = not _values_of(item, name).isdisjoint(values)
        return allowed

    def _one(self, name: str, value: str, n: int) -> Bool:
        held = self._masks.pop((name, value), None)
        if held is None:
            held = np.zeros(n, np.bool_)
            held[self._frame.filter(_holds(name, value))["ix"].to_numpy()] = True
        self._masks[name, value] = held
        while len(self._masks) > _KEPT_MASKS:
            self._masks.popitem(last=False)
        return held


def narrowed(may: Combined, wishes: Wishes, current: Current, facts: Facts) -> Combined:
    """Return what both the rules and the caller allow, and how many each took."""
    if wishes is ANYTHING or wishes == ANYTHING:
        return may
    ix, n = current.model.catalogue.ix, current.model.catalogue.n_items
    masks: dict[str, Bool] = {}
    if wishes.only is not None:
        masks["not among the candidates given"] = _marked(wishes.only, ix, n)
    for name, values in wishes.where.items():
        masks[f"of another {name}"] = facts.mask(current, name, values)
    if wishes.exclude:
        masks["excluded by the request"] = ~_marked(wishes.exclude, ix, n)
    more = combine({"refused by a rule": may.allowed, **masks}, n=n)
    taken = {k: v for k, v in more.excluded.items() if k in masks}
    return Combined(allowed=more.allowed, excluded={**may.excluded, **taken})


def as_wished(decision: Decision, wishes: Wishes) -> Decision:
    """Return the record of a slate; without propensities where the policy did not choose freely."""
    if wishes.only is None and wishes.ranked:
        return decision
    level = "rerank" if wishes.ranked else "no_ranker"
    return replace(decision, propensities=None, level=level)


def fits(item: Item, wishes: Wishes) -> bool:
    """Return whether one item is what the caller wants."""
    return (
        item.item_id not in wishes.exclude
        and (wishes.only is None or item.item_id in wishes.only)
        and all(not _values_of(item, n).isdisjoint(v) for n, v in wishes.where.items())
    )


def checked(where: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return filters as lists of texts. Raises ``InputError``."""
    told: dict[str, tuple[str, ...]] = {}
    for name, values in where.items():
        listed = [values] if isinstance(values, str) else values
        if not isinstance(listed, list | tuple) or not all(isinstance(v, str) for v in listed):
            raise InputError(
                f"filter {name!r} is not text, or a list of it",
                got=values,
                allowed='{"category": ["tea"], "brand": "Acme"}',
            )
        told[name] = tuple(listed)
    return told


def _marked(item_ids: Sequence[str] | frozenset[str], ix: Mapping[str, int], n: int) -> Bool:
    mask = np.zeros(n, np.bool_)
    mask[[ix[i] for i in item_ids if i in ix]] = True
    return mask


def _aligned(items: pl.DataFrame, ix: Mapping[str, int]) -> pl.DataFrame:
    places = [ix.get(item_id, -1) for item_id in items["item_id"]]
    kept = items.select("categories", "attributes", *COLUMNS)
    return kept.with_columns(pl.Series("ix", places, dtype=pl.Int64)).filter(pl.col("ix") >= 0)


def _holds(name: str, value: str) -> pl.Expr:
    if name == "category":
        return pl.col("categories").list.contains(value).fill_null(value=False)
    if name in COLUMNS:
        return (pl.col(name) == value).fill_null(value=False)
    quoted = name.replace("\\", "\\\\").replace("'", "\\'")
    found = pl.col("attributes").str.json_path_match(f"$['{quoted}']")
    return (found == value).fill_null(value=False)


def _values_of(item: Item, name: str) -> set[str]:
    if name == "category":
        return set(item.categories)
    value = getattr(item, name) if name in COLUMNS else item.attributes.get(name)
    return set() if value is None else {value if isinstance(value, str) else str(value)}

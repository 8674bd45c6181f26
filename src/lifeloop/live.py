"""The model that answers now: swapped between requests, its items as the store knows them now."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lifeloop.config import Recommend
from lifeloop.contracts import Head, Store
from lifeloop.errors import BundleError, NoModel
from lifeloop.events.records import Item
from lifeloop.model import ALWAYS_FROM, ALWAYS_UNTIL, Catalogue, Model, open_model
from lifeloop.policy.masks import repeat_windows

_ITEMS_KEPT = 20_000


@dataclass(frozen=True, slots=True, eq=False)
class Current:
    """One bundle, its availability as of ``items_seq``, and the items that changed since it."""

    model: Model
    items_seq: int
    changed: Mapping[int, Item]  # by item index


class Removals:
    """Lets a process forget what it remembers of people when any process has removed something."""

    def __init__(self) -> None:
        self._seen: int | None = None
        self._forget: list[Callable[[], None]] = []
        self._lock = threading.Lock()

    @property
    def seen(self) -> int | None:
        """The removal that was obeyed last. What is remembered across it must not be kept."""
        return self._seen

    def then(self, forget: Callable[[], None]) -> None:
        """Call this on every removal."""
        self._forget.append(forget)

    def obey(self, removal: int) -> None:
        """Forget, where this is another removal than the last one."""
        if removal == self._seen:
            return
        with self._lock:
            first, self._seen = self._seen is None, removal
        if not first:
            for forget in self._forget:
                forget()


class Live:
    """The current model of one process; every request sees exactly one bundle."""

    def __init__(self, folder: Path, *, rules: Recommend) -> None:
        self._folder = folder
        self._rules = rules
        self._lock = threading.Lock()
        self._held: Current | None = None
        self._items: OrderedDict[str, Item | None] = OrderedDict()
        self._items_lock = threading.Lock()
        self.removals = Removals()
        self.refused: Mapping[str, str] = {}  # bundles that did not open, and why

    def current(self, store: Store, head: Head) -> Current:
        """Return the active bundle with the availability of items up to ``head``.

        While one thread opens a new bundle the others answer from the one before. A bundle
        that does not open leaves the one before in place (``refused`` says why).

        Raises
        ------
        NoModel
            Nothing was ever trained.
        BundleError
            The active bundle does not open and there is none before it.
        """
        self.removals.obey(head.removal)
        if head.bundle is None:
            raise NoModel("nothing has been trained yet", hint="lifeloop train")
        held = self._held
        if held is None or held.model.bundle != head.bundle:
            held = self._swapped(head.bundle, held)
        if held.items_seq < head.items_seq:
            held = self._caught_up(store, head, held)
        return held

    def items(self, store: Store, item_ids: Sequence[str], current: Current) -> list[Item | None]:
        """Return items as they are at ``current`` (or newer); asked for often, read once."""
        with self._items_lock:
            found = {i: self._items[i] for i in item_ids if i in self._items}
            for item_id in found:
                self._items.move_to_end(item_id)
        missing = [i for i in dict.fromkeys(item_ids) if i not in found]
        if missing:
            read = dict(zip(missing, store.items(missing), strict=True))
            found |= read
            with self._items_lock:
                # not if something changed meanwhile: what was read may be from before it
                if self._held is not None and self._held.items_seq == current.items_seq:
                    self._items |= read
                while len(self._items) > _ITEMS_KEPT:
                    self._items.popitem(last=False)
        return [found[i] for i in item_ids]

    @property
    def last(self) -> Current | None:
        """What answered last, without asking the store."""
        return self._held

    def put(self, model: Model) -> None:
        """Make a model that was opened elsewhere the current one."""
        with self._lock:
            self._held = _as_trained(model)

    def _swapped(self, bundle: str, held: Current | None) -> Current:
        if held is not None and (bundle in self.refused or not self._lock.acquire(blocking=False)):
            return held
        if held is None:
            self._lock.acquire()
        try:
            if self._held is not None and self._held.model.bundle == bundle:
                return self._held
            self._held = _as_trained(open_model(self._folder, bundle))
            return self._held
        except BundleError as error:
            self.refused = {**self.refused, bundle: str(error)}
            if held is None:
                raise
            return held
        finally:
            self._lock.release()

    def _caught_up(self, store: Store, head: Head, held: Current) -> Current:
        with self._lock:
            newest = self._held
            if newest is None or newest.model.bundle != held.model.bundle:
                newest = held
            if newest.items_seq >= head.items_seq:
                return newest
            ix = newest.model.catalogue.ix
            changed = store.items_since(newest.items_seq)
            found = {ix[item.item_id]: item for item in changed if item.item_id in ix}
            model = newest.model
            if found:
                model = replace(model, catalogue=_with(model.catalogue, found, self._rules))
            made = Current(model, head.items_seq, {**newest.changed, **found})
            with self._items_lock:
                if self._held is None or self._held.model.bundle == made.model.bundle:
                    self._held = made
                for item in changed:
                    self._items.pop(item.item_id, None)
            return made


def _as_trained(model: Model) -> Current:
    return Current(model, int(model.manifest.get("seq", 0)), {})


def _with(catalogue: Catalogue, found: Mapping[int, Item], rules: Recommend) -> Catalogue:
    at = np.fromiter(found, np.int64, len(found))
    items = list(found.values())
    arrays: dict[str, Any] = {
        name: np.array(getattr(catalogue, name))  # a copy: others are reading the old one
        for name in ("from_us", "until_us", "in_stock", "repeat_days")
    }
    arrays["from_us"][at] = [_or(i.available_from_us, ALWAYS_FROM) for i in items]
    arrays["until_us"][at] = [_or(i.available_until_us, ALWAYS_UNTIL) for i in items]
    arrays["in_stock"][at] = [i.stock is None or i.stock > 0 for i in items]
    arrays["repeat_days"][at] = repeat_windows(
        [i.kind for i in items],
        [i.categories for i in items],
        default_days=rules.repeat_window_days,
        by_kind=rules.repeat_window_by_kind,
    )
    return replace(catalogue, **arrays)


def _or(value: int | None, otherwise: int) -> int:
    return otherwise if value is None else value

"""What is watched while a file comes in: types without end, personal ids, items that change."""

import json
from collections import Counter
from collections.abc import Iterable
from hashlib import blake2b
from types import TracebackType
from typing import Self

import numpy as np
import polars as pl

from lifeloop.config import Scenario
from lifeloop.contracts import IngestReport, Reason, Store
from lifeloop.errors import InputError
from lifeloop.events import Batch
from lifeloop.events.fields import field_of
from lifeloop.events.personal import emails
from lifeloop.events.problems import refusal
from lifeloop.events.repeats import ItemRepeats

LINES_SHOWN = 20
_OF_EVENTS = ("user_id", "type", "occurred_at", "order_id", "session_id", "rating")


class TypeLimit:
    """Lets in types of event that the scenario does not name, up to ``intake.max_event_types``.

    Those that were let in are kept with the store, so that the limit is one of all its processes,
    through every restart. What a store held before is counted once a tenth of the limit has come:
    a business with a few types of its own never pays for it.
    """

    def __init__(self, store: Store, scenario: Scenario) -> None:
        self._store = store
        self._named = frozenset(scenario.events)
        self._limit = scenario.intake.max_event_types
        self._seen: set[str] = set()
        self._full = False

    def refuse(self, event_type: str) -> InputError | None:
        """Return why an event of this type is refused, None where it may come."""
        if event_type in self._named or not self.over([event_type]):
            return None
        return refusal(
            InputError(
                "there are as many types of event as are let in",
                got=event_type,
                allowed=f"{self._limit:,} that the scenario does not name (intake.max_event_types)",
                hint="send one type, and what varies in context; or name it in [events]",
            ),
            "too_many_types",
        )

    def over(self, types: Iterable[str]) -> int:
        """Let all of these types in, or none and return how many there would be then."""
        names = {_type_name(name) for name in types if name not in self._named} - self._seen
        if not names:
            return 0
        if self._full:
            return len(self._seen | names)
        with self._store.exclusive("event types", wait_s=_WAIT_S):
            self._seen |= set(self._store.kept.every(_TYPE))
            if len(self._seen | names) > self._limit // 10:
                self._count_what_was_there()
            self._full = len(self._seen) >= self._limit
            new = names - self._seen
            if len(self._seen | new) > self._limit:
                return len(self._seen | new)
            for name in sorted(new):
                self._store.kept.put(_TYPE, name, {}, at_us=0)
            self._seen |= new
        return 0

    def _count_what_was_there(self) -> None:
        if self._store.kept.get(_COUNTED, "") is not None:
            return
        held = {_type_name(name) for name in self._store.event_types() if name not in self._named}
        for name in sorted(held - self._seen)[: self._limit]:
            self._store.kept.put(_TYPE, name, {}, at_us=0)
            self._seen.add(name)
        self._store.kept.put(_COUNTED, "", {"types": len(held)}, at_us=0)


_TYPE, _COUNTED = "event_type", "event_types_counted"
_WAIT_S = 10.0
_LONGEST = 200


def _type_name(event_type: str) -> str:
    """Return a type as it is counted: what an index or a database cannot hold by its hash."""
    if event_type.isprintable() and len(event_type) <= _LONGEST:
        return event_type
    return "#" + blake2b(event_type.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


class FileWatch:
    """Sees every batch of one file before it is stored; its report is added to the import's."""

    def __init__(self, store: Store, scenario: Scenario, *, kind: str) -> None:
        self._store = store
        self._scenario = scenario
        self._kind = kind
        self._types: Counter[str] = Counter()
        self._limit = TypeLimit(store, scenario)
        self._repeats = ItemRepeats()
        self._event_columns: dict[str, None] = {}
        self._changed = self._rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._repeats.close()

    def see(self, batch: Batch) -> IngestReport:
        """Return what is remarkable in a batch.

        Raises
        ------
        InputError
            More types of event than ``intake.max_event_types``; nothing of this batch is stored.
        """
        if batch.frame.is_empty():
            return IngestReport()
        self._rows += batch.frame.height
        if self._kind == "item":
            return self._items(batch)
        report = self._people(batch)
        if self._kind == "event":
            counted = batch.frame["type"].value_counts()
            self._types.update(dict(counted.iter_rows()))
            self._limit_types()
        return report

    def notes(self) -> tuple[str, ...]:
        """Return what is to be said at the end of the file."""
        return (*self._unknown_types(), *self._item_log())

    # ---------------------------------------------------------------- types

    def _limit_types(self) -> None:
        n = self._limit.over(self._types)
        if not n:
            return
        new = [name for name in self._types if name not in self._scenario.events]
        shown = ", ".join(repr(name) for name in new[:5])
        raise refusal(
            InputError(
                f"there are {n:,} types of event that the scenario does not name, "
                "so the column is hardly a type",
                got=shown,
                allowed=f"at most {self._scenario.intake.max_event_types:,} "
                "(intake.max_event_types)",
                hint="name the right column, --map type=<column>, or one type for all, --type view",
            ),
            "too_many_types",
        )

    def _unknown_types(self) -> tuple[str, ...]:
        unknown = {n: c for n, c in self._types.items() if n not in self._scenario.events}
        if not unknown:
            return ()
        listed = ", ".join(f"{name!r} ({n})" for name, n in list(unknown.items())[:10])
        more = "" if len(unknown) <= 10 else f" and {len(unknown) - 10} more"
        return (
            f"event types not in scenario {self._scenario.name!r}: {listed}{more}; they are stored "
            "and count as activity, but teach the models nothing: add [events.<type>] to "
            "lifeloop.toml",
        )

    # ---------------------------------------------------------------- people

    def _people(self, batch: Batch) -> IngestReport:
        return addresses_in(batch.frame, np.asarray(batch.lines))

    # ---------------------------------------------------------------- items

    def _items(self, batch: Batch) -> IngestReport:
        for text in batch.frame["attributes"].drop_nulls().head(100).to_list():
            for key in json.loads(text):
                found = field_of(key, "event")
                if found and found[0] in _OF_EVENTS:
                    self._event_columns[key] = None
        changed = self._repeats.changed(batch.frame)
        if not changed.any():
            return IngestReport()
        lines = np.asarray(batch.lines)[changed]
        self._changed += len(lines)
        return IngestReport(flagged=(Reason("item_changed", len(lines), _shown(lines)),))

    def _item_log(self) -> tuple[str, ...]:
        if not self._changed:
            return ()
        said = (
            f"{self._changed:,} of {self._rows:,} rows say something else of an item than an "
            "earlier row of this file: each is stored as a new version of it, the last one counts"
        )
        if self._event_columns:
            named = ", ".join(map(repr, self._event_columns))
            said += (
                f". The file has {named}: if it is a log of events, import it with "
                "`lifeloop import events`"
            )
        return (said,)


def addresses_in(
    frame: pl.DataFrame, lines: "np.ndarray[tuple[int, ...], np.dtype[np.int64]]"
) -> IngestReport:
    """Return which rows have an e-mail address as an id of a person, and what can be done."""
    found = emails(frame["user_id"])
    if "anonymous_id" in frame.columns:
        found = found | emails(frame["anonymous_id"])
    if not found.any():
        return IngestReport()
    lines = lines[found.to_numpy()]
    return IngestReport(
        flagged=(Reason("email_as_id", len(lines), _shown(lines)),),
        notes=(
            "ids are e-mail addresses, which are personal data and go into every bundle, log "
            'and answer: import them with --hash-emails (intake.emails = "hash"), which '
            "stores a keyed hash instead; `lifeloop pseudonym ADDRESS` tells it",
        ),
    )


def _shown(lines: "np.ndarray[tuple[int, ...], np.dtype[np.int64]]") -> tuple[int, ...]:
    return tuple(int(n) for n in lines[:LINES_SHOWN])

"""What a table is computed from: one reading of a store under one scenario."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from lifeloop.config import Scenario
from lifeloop.contracts import Snapshot, Store
from lifeloop.errors import InputError
from lifeloop.lifecycle import StageDefinitions, observable
from lifeloop.lifecycle.calendar import date_of, day_of
from lifeloop.lifecycle.daily import Daily
from lifeloop.moment import Moment
from lifeloop.screening import screened
from lifeloop.tables.upkeep import fresh

COLUMNS = (
    "seq", "user_id", "t_us", "type", "item_id", "order_id", "line_id", "value",
    "quantity", "currency", "rating", "referrer_id", "is_bot", "channel", "request_id",
)  # fmt: skip
"""Columns of an event that the lifecycle reads.

Not ``event_id``: a store hands every event out once, and looking for second ones among a million
and a half takes 0.9 GB and most of the time of a table of orders.
"""


@dataclass(frozen=True, slots=True)
class Source:
    """Events, users and items as known at ``moment``: read once, asked many times.

    ``events`` have a time; ``untimed`` counts those that do not. ``log_start`` is the day number
    on which the whole log starts. ``daily`` is the kept state of just these events, where there is
    one: tables that it can answer are computed from it. ``unseen`` says for each stage why the log
    cannot show it.
    ``predictions`` are the monthly ones that stages follow (``foretold``), where there are any.
    ``texts`` are what users wrote: user_id, t_us, text.
    """

    scenario: Scenario
    moment: Moment
    events: pl.DataFrame
    users: pl.DataFrame
    items: pl.DataFrame
    untimed: int
    log_start: int | None
    seq: int
    predictions: pl.DataFrame | None = None
    daily: Daily | None = None
    texts: pl.DataFrame | None = None

    @property
    def definitions(self) -> StageDefinitions:
        """What the stages mean in this scenario."""
        return StageDefinitions.of(self.scenario)

    @property
    def zone(self) -> str:
        """IANA zone of days."""
        return self.scenario.locale.zone

    def unseen(self) -> dict[str, str | None]:
        """Return for each stage None when the log can show it, else the reason in words."""
        kinds = self.events["type"].value_counts()
        span = self.events.select(lo=pl.col("t_us").min(), hi=pl.col("t_us").max()).row(0)
        return observable(
            dict(kinds.iter_rows()),
            self.definitions,
            first_us=span[0],
            last_us=span[1],
            zone=self.zone,
        )

    def start_text(self) -> str | None:
        """Return the day on which the log starts, as ISO text."""
        return None if self.log_start is None else date_of(self.log_start).isoformat()

    def users_with(self, names: frozenset[str]) -> pl.DataFrame:
        """Return the users with these attributes as columns (absent ones are left out)."""
        return _with_attributes(self.users, names - {"user_id"})

    def items_with(self, names: frozenset[str]) -> pl.DataFrame:
        """Return the items with these attributes as columns; ``category`` is the first one."""
        items = self.items.with_columns(category=pl.col("categories").list.first())
        return _with_attributes(items.drop("categories"), names - {"item_id"})


def read_source(
    store: Store,
    scenario: Scenario,
    *,
    moment: Moment,
    folder: Path | None = None,
    predictions: pl.DataFrame | None = None,
) -> Source:
    """Return everything that tables need of a store, as known at ``moment``.

    ``folder`` may hold a daily state (``upkeep``); it is used where nothing has come since.
    """
    whole = store.snapshot(as_of_us=moment.as_of_us, columns=(*COLUMNS, "text"))
    snapshot = screened(whole, scenario)
    source = replace(source_of(snapshot, scenario, moment=moment), predictions=predictions)
    daily = None if folder is None else fresh(store, scenario, folder, seq=snapshot.seq)
    if daily is None or (daily.last_us is not None and daily.last_us >= moment.as_of_us):
        return source
    return replace(source, daily=daily)


def source_of(snapshot: Snapshot, scenario: Scenario, *, moment: Moment) -> Source:
    """Return the source of tables in a snapshot."""
    timed = snapshot.events.filter(pl.col("t_us").is_not_null())
    first_us = timed["t_us"].min()
    if first_us is not None and not isinstance(first_us, int):
        raise InputError("event times must be integers", got=timed.schema["t_us"])
    return Source(
        scenario=scenario,
        moment=moment,
        events=timed.select(COLUMNS),
        users=snapshot.users,
        items=snapshot.items,
        untimed=snapshot.events.height - timed.height,
        log_start=None if first_us is None else day_of(first_us, scenario.locale.zone),
        seq=snapshot.seq,
        texts=timed.filter(pl.col("text").is_not_null()).select("user_id", "t_us", "text"),
    )


def _with_attributes(frame: pl.DataFrame, names: frozenset[str]) -> pl.DataFrame:
    told = [
        json.loads(text) if text else {}
        for text in (frame["attributes"].to_list() if names - set(frame.columns) else ())
    ]
    extra = sorted(n for n in names - set(frame.columns) if any(n in row for row in told))
    columns = [
        pl.Series(name, [_text(row.get(name)) for row in told], dtype=pl.String) for name in extra
    ]
    return frame.drop("attributes").with_columns(columns)


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)

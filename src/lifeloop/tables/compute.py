"""One lifecycle table: asked by name, computed under the scenario, told in words."""

from collections.abc import Callable, Sequence
from datetime import date
from typing import Any

import polars as pl

from lifeloop.charts.words import Words, kind_of, words
from lifeloop.contracts import Column, Table
from lifeloop.errors import MissingExtra, Unfit
from lifeloop.lifecycle.calendar import Grain, check_grain, date_of, day_of
from lifeloop.lifecycle.daily import Daily
from lifeloop.tables.asking import Where, condition, day, names, parsed, spec_of
from lifeloop.tables.notes import notes_of, why_not
from lifeloop.tables.registry import TABLES
from lifeloop.tables.source import COLUMNS, Source
from lifeloop.tables.spec import Spec


def compute(read: Callable[[], Source], name: str, **asked: Any) -> Table:
    """Return one lifecycle table of a store, which is read only if there is such a table.

    Parameters
    ----------
    read : function
        Reads the store: ``read_source`` of it.
    name : str
        One of ``TABLES``.
    **asked
        See ``table_of``.

    Raises
    ------
    InputError
        An unknown table or option, a value that is not allowed, money of several currencies.
    """
    spec_of(name)
    return table_of(read(), name, **asked)


def table_of(
    source: Source,
    name: str,
    *,
    start: date | str | None = None,
    end: date | str | None = None,
    grain: Grain = "day",
    by: str | Sequence[str] | None = None,
    where: Where | None = None,
    members: bool = False,
    include_bots: bool = False,
    lang: str | None = None,
    **options: Any,
) -> Table:
    """Return one lifecycle table of what was read.

    Parameters
    ----------
    source : Source
        From ``read_source``.
    name : str
        One of ``TABLES``.
    start, end : date or ISO text, optional
        First and last day shown; default: the whole log.
    grain : "day" | "week" | "month"
        Length of a period; weeks start on the scenario's day.
    by : str or sequence of str, optional
        Attributes of users, events or items (of the first purchase) to split by; text may list
        several, separated by commas.
    where : mapping, optional
        Only events with one of these values: ``{"channel": "web", "country": ["DE", "FR"]}``.
    members : bool
        Return the users behind every cell instead.
    include_bots : bool
        Count events flagged as of bots.
    lang : "en" | "zh", optional
        Language of title, headings, reasons and notes; default: the scenario's.
    **options
        Those of the table (``TABLES[name].options``), as values or as text.

    Returns
    -------
    Table
        Without rows and with a ``reason`` where the log cannot show this at all, or cannot carry
        the estimate.
    """
    spec = spec_of(name)
    said = words(lang or source.scenario.locale.language)
    check_grain(grain, source.scenario.locale.week_start)
    given = {**_arguments(source, spec), **parsed(spec, options)}
    window: dict[str, Any] = {"start": day("start", start), "end": day("end", end)}
    split = names(by)
    from_days = _from_days(source, spec, split, filtered=bool(where) or include_bots)
    facts: dict[str, Any] = {
        "as_of": source.moment.as_of.isoformat(timespec="seconds"),
        "as_of_why": source.moment.why,
        "last_day": date_of(day_of(source.moment.as_of_us - 1, source.zone)).isoformat(),
        "zone": source.zone,
        "grain": grain,
        "currency": source.scenario.locale.currency,
        "seq": source.seq,
        "by": split,
        "read_from": "events" if from_days is None else "daily state",
        "members": members,
        "options": _told(spec, given),
    }
    reason = why_not(source, spec)
    if reason is not None:
        return _unanswered(name, reason, said, facts)
    try:
        rows = spec.compute(
            source.events if from_days is None else from_days,
            **given,
            **window,
            members=members,
            **_shared(source, split),
            grain=grain,
            by=split,
            where=condition(source, where),
            include_bots=include_bots,
        )
    except (Unfit, MissingExtra) as why:
        return _unanswered(name, str(why), said, facts)
    notes = notes_of(source, spec, rows, said=said, members=members, include_bots=include_bots)
    return Table(
        name=name,
        title=said.title(name),
        columns=_columns(rows, said, spec),
        rows=_worded(rows, said),
        notes=notes,
        facts=facts,
    )


def _from_days(
    source: Source, spec: Spec, split: tuple[str, ...], *, filtered: bool
) -> Daily | None:
    # The daily state, where it answers as the events do: nothing of a single event is asked.
    if source.daily is None or not spec.days or filtered:
        return None
    if spec.given(source).get("predictions") is not None:
        return None  # the state knows the stages without them
    if split and not set(split) <= set(source.users_with(frozenset(split)).columns) - {*COLUMNS}:
        return None
    return source.daily


def _unanswered(name: str, reason: str, said: Words, facts: dict[str, Any]) -> Table:
    return Table(
        name=name,
        title=said.title(name),
        columns=(),
        rows=pl.DataFrame(),
        reason=said.reason(reason),
        facts=facts,
    )


def describe(lang: str = "en") -> list[dict[str, Any]]:
    """Return every table with its title, help, stage and options, for a list or a form."""
    said = words(lang)
    return [
        {
            "name": spec.name,
            "title": said.title(spec.name),
            "help": said.help(spec.name),
            "stage": spec.stage,
            "window": spec.window,
            "options": [
                {
                    "name": o.name,
                    "kind": o.kind,
                    "default": o.default,
                    "choices": list(o.choices),
                    "help": o.help,
                }
                for o in spec.options
            ],
        }
        for spec in TABLES.values()
    ]


def _told(spec: Spec, given: dict[str, Any]) -> dict[str, Any]:
    # The options as they hold: asked, the scenario's, or by default. Plain values, for JSON.
    told = {option.name: given.get(option.name) for option in spec.options}
    if told.get("brackets"):
        told["brackets"] = [list(pair) for pair in given["brackets"]]
    return told


def _arguments(source: Source, spec: Spec) -> dict[str, Any]:
    defaults = {o.name: o.default for o in spec.options if o.default is not None}
    return {**defaults, **spec.given(source)}


def _shared(source: Source, split: tuple[str, ...]) -> dict[str, Any]:
    scenario = source.scenario
    wanted = frozenset(split)
    return {
        "zone": source.zone,
        "week_start": scenario.locale.week_start,
        "as_of": source.moment.as_of_us,
        "users": source.users_with(wanted),
        "items": source.items_with(wanted) if wanted else None,
        "item_types": scenario.order_types,
        "passive": scenario.passive_types,
        "lateness_hours": scenario.time.lateness_hours,
        "burn_in_days": scenario.time.burn_in_days,
        "log_start": None if source.log_start is None else date_of(source.log_start),
    }


def _columns(rows: pl.DataFrame, said: Words, spec: Spec) -> tuple[Column, ...]:
    return tuple(
        Column(
            name,
            "share"
            if spec.name == "return_rates" and name.startswith("value")
            else kind_of(name, str(kind.base_type()), said),
            said.column(name),
        )
        for name, kind in rows.schema.items()
    )


def _worded(rows: pl.DataFrame, said: Words) -> pl.DataFrame:
    told = [name for name in rows.columns if name.endswith("reason")]
    found = {text for name in told for text in rows[name].drop_nulls().unique().to_list()}
    words_of = {text: said.reason(text) for text in found}
    if words_of:
        rows = rows.with_columns(pl.col(name).replace(words_of) for name in told)
    if "rule" in rows.columns:
        rules = {text: said.rule(text) for text in rows["rule"].drop_nulls().unique().to_list()}
        rows = rows.with_columns(pl.col("rule").replace(rules))
    return rows

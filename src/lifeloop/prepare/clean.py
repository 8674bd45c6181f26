"""The walk of a cleaning: every step in its order, one verdict per row, one report."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from lifeloop.config import Scenario
from lifeloop.prepare.bots import bots_by_agent, bots_by_behaviour
from lifeloop.prepare.columns import prepared_columns
from lifeloop.prepare.duplicates import exact_duplicates, near_duplicates
from lifeloop.prepare.prices import currencies, unit_slips, without_price
from lifeloop.prepare.refunds import match_refunds
from lifeloop.prepare.report import CleaningReport, ColumnReport, Finding, LedgerLine
from lifeloop.prepare.returns import mark_returns
from lifeloop.prepare.service import service_lines
from lifeloop.prepare.step import EXAMPLES, Step, micros, nowhere, of
from lifeloop.prepare.text import repair_texts
from lifeloop.prepare.variants import id_variants

LINE_SCHEMA: dict[str, Any] = {
    "line": pl.Int64,
    "user_id": pl.String,
    "anonymous_id": pl.String,
    "type": pl.String,
    "t_us": pl.Int64,
    "item_id": pl.String,
    "title": pl.String,
    "value": pl.Float64,
    "quantity": pl.Float64,
    "unit_price": pl.Float64,
    "currency": pl.String,
    "order_id": pl.String,
    "line_id": pl.String,
    "text": pl.String,
    "rating": pl.Float64,
    "user_agent": pl.String,
    "is_bot": pl.Boolean,
}
"""Columns that the steps read; those that are absent are added without values."""


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What a cleaning gives.

    Attributes
    ----------
    rows : every row that came in, in its order, with ``verdict``: null for a row that stays, else
        the name of the step that set it aside; and the columns that the steps added
        (``refund_of``, ``value_capped``, ``value_scaled``, ``value_outlier``, …).
    report : CleaningReport
    """

    rows: pl.DataFrame
    report: CleaningReport

    @property
    def kept(self) -> pl.DataFrame:
        """The rows that stay."""
        return self.rows.filter(pl.col("verdict").is_null()).drop("verdict")


def clean_events(
    frame: pl.DataFrame, *, scenario: Scenario, source: str, rng: np.random.Generator
) -> Cleaned:
    """Clean event rows; nothing is dropped, what does not count gets a verdict.

    The verdict of a row is the first step that sets it aside, so that rows and money of the
    ledger add up: before − every line = after, exactly (integer millionths).

    Parameters
    ----------
    frame : DataFrame
        Any of ``LINE_SCHEMA``, in file order, and further columns, which only make rows differ.
    scenario : Scenario
        Its ``clean`` section, its order and refund types and its currency.
    source : str
        Name of the data, for the report.
    """
    rules = scenario.clean
    refunds, orders = scenario.refund_types, scenario.order_types
    lines = _lines(frame, orders=orders, refunds=refunds, scenario=scenario)
    before = int(lines["money"].sum())
    aside = _aside
    steps: tuple[Callable[[pl.DataFrame], Step], ...] = (
        _refused,
        # Before anything is repaired: equal means equal as it came.
        lambda x: exact_duplicates(x, aside=aside(rules.exact_duplicates)),
        lambda x: repair_texts(x, ("title", "text")),
        lambda x: id_variants(x, unify=rules.unify_case),
        lambda x: mark_returns(x, refunds=refunds, cancellation_prefix=rules.cancellation_prefix),
        lambda x: near_duplicates(
            x,
            within_s=rules.near_seconds,
            refunds=refunds,
            aside=aside(rules.near_duplicates),
        ),
        lambda x: service_lines(
            x,
            always=rules.service_items,
            never=rules.product_items,
            aside=aside(rules.service_lines),
        ),
        lambda x: without_price(x, aside=aside(rules.without_price)),
        lambda x: currencies(
            x,
            currency=scenario.locale.currency,
            rates=rules.rates,
            aside=aside(rules.unknown_currency),
        ),
        unit_slips,
        lambda x: bots_by_agent(x, aside=aside(rules.bots)),
        lambda x: bots_by_behaviour(
            x,
            per_minute=rules.bot_events_per_minute,
            hours_per_day=rules.bot_hours_per_day,
            regular_gaps=rules.bot_regular_gaps,
            aside=aside(rules.bots),
        ),
        _nobody,
        lambda x: match_refunds(x, refunds=refunds, aside=aside(rules.unmatched_refunds)),
    )
    lines, findings, ledger = _walked(lines, steps)
    sales = of(lines, pl.col("verdict").is_null() & pl.col("type").is_in(list(orders)))
    lines, columns = prepared_columns(
        lines, "events", names=frame.columns, rules=rules, judged=sales, rng=rng
    )
    report = CleaningReport(
        kind="events",
        source=source,
        rows=lines.height,
        money=before,
        currency=scenario.locale.currency,
        findings=findings + _outliers(lines, columns),
        ledger=ledger,
        columns=columns,
        notes=_notes(scenario),
    )
    return Cleaned(lines.drop("visitor", "is_line", "money"), report)


def clean_table(
    frame: pl.DataFrame, kind: str, *, scenario: Scenario, source: str, rng: np.random.Generator
) -> Cleaned:
    """Clean rows of ``items`` or ``users``: texts, repeated ids, gaps, outliers, scales."""
    key = "item_id" if kind == "items" else "user_id"
    rows = frame.with_columns(
        verdict=pl.lit(None, dtype=pl.String), money=pl.lit(0, dtype=pl.Int64)
    )
    texts = ("title", "description", "brand") if kind == "items" else ()
    steps: tuple[Callable[[pl.DataFrame], Step], ...] = (
        lambda x: repair_texts(x, texts),
        lambda x: _repeated(x, key),
    )
    rows, findings, ledger = _walked(rows, steps)
    everything = of(rows, pl.col("verdict").is_null())
    rows, columns = prepared_columns(
        rows, kind, names=frame.columns, rules=scenario.clean, judged=everything, rng=rng
    )
    report = CleaningReport(
        kind=kind,
        source=source,
        rows=rows.height,
        money=0,
        currency=scenario.locale.currency,
        findings=findings + _outliers(rows, columns),
        ledger=ledger,
        columns=columns,
    )
    return Cleaned(rows.drop("money"), report)


def _lines(
    frame: pl.DataFrame, *, orders: tuple[str, ...], refunds: tuple[str, ...], scenario: Scenario
) -> pl.DataFrame:
    lacking = [
        pl.lit(None, dtype=k).alias(n) for n, k in LINE_SCHEMA.items() if n not in frame.columns
    ]
    lines = frame.with_columns(lacking)
    if "line" not in frame.columns:
        lines = lines.with_columns(line=pl.int_range(1, lines.height + 1, dtype=pl.Int64))
    per_piece = pl.col("value") / pl.col("quantity")
    price = pl.coalesce("unit_price", pl.when(per_piece.is_finite()).then(per_piece))
    given = pl.col("currency").str.to_uppercase().fill_null(scenario.locale.currency)
    rates = {scenario.locale.currency: 1.0, **scenario.clean.rates}
    rate = given.replace_strict(list(rates), list(rates.values()), default=0.0)
    value = pl.col("value") * rate
    lines = lines.with_columns(
        unit_price=price,
        is_line=pl.col("type").is_in([*orders, *refunds]).fill_null(value=False),
        visitor=pl.coalesce("user_id", "anonymous_id"),
        verdict=pl.lit(None, dtype=pl.String),
        counted=pl.when(pl.col("type").is_in(list(refunds)))
        .then(-value.abs())
        .when(pl.col("type").is_in(list(orders)))
        .then(value),
    )
    return lines.with_columns(micros(lines["counted"]).alias("money")).drop("counted")


def _walked(
    lines: pl.DataFrame, steps: tuple[Callable[[pl.DataFrame], Step], ...]
) -> tuple[pl.DataFrame, tuple[Finding, ...], tuple[LedgerLine, ...]]:
    rows_left, money_left = lines.height, int(lines["money"].sum())
    findings: list[Finding] = []
    ledger: list[LedgerLine] = []
    for run in steps:
        step = run(lines)
        lines = lines.with_columns([c.alias(name) for name, c in step.columns.items()])
        out = step.found & lines["verdict"].is_null() if step.aside else None
        rows = money = 0
        if out is not None and out.any():
            leaving = lines["money"].filter(out)
            rows, money = leaving.len(), int(leaving.sum())
            lines = lines.with_columns(
                verdict=pl.when(out).then(pl.lit(step.name)).otherwise("verdict")
            )
            rows_left, money_left = rows_left - rows, money_left - money
            ledger.append(LedgerLine(step.name, rows, money, rows_left, money_left))
        if step.found.any():
            findings.append(_finding(lines, step, rows))
        lines = lines.drop([c for c in step.columns if c.endswith("_before")])
    return lines, tuple(findings), tuple(ledger)


def _finding(lines: pl.DataFrame, step: Step, set_aside: int) -> Finding:
    rows = lines.filter(step.found)
    shown = [c for c in step.shown if c in rows.columns]
    return Finding(
        name=step.name,
        found=rows.height,
        done=step.done,
        set_aside=set_aside,
        money=int(rows["money"].sum()),
        counts=step.counts,
        examples=tuple(rows.select(shown).head(EXAMPLES).iter_rows(named=True)),
    )


def _outliers(rows: pl.DataFrame, columns: tuple[ColumnReport, ...]) -> tuple[Finding, ...]:
    """One finding per column with outliers, its examples the farthest first."""
    found = []
    for column in columns:
        if column.low is None or column.high is None or not column.outliers:
            continue
        mask = rows[f"{column.column}_outlier"]
        step = Step(
            f"outliers_{column.column}",
            mask,
            f"usual is {column.low:,.4g} to {column.high:,.4g}: flagged, capped for features, "
            "kept in history",
            shown=("line", "user_id", "item_id", "title", "quantity", "value", "price"),
        )
        farthest = rows.with_columns(mask.alias("mask")).sort(
            pl.when("mask").then(pl.col(column.column).abs()), descending=True, nulls_last=True
        )
        found.append(_finding(farthest, replace(step, found=farthest["mask"]), 0))
    return tuple(found)


def _refused(lines: pl.DataFrame) -> Step:
    """Rows that an import refuses for another reason than having nobody, where the data says it."""
    if "refused" not in lines.columns:
        return Step("refused", nowhere(lines.height), "")
    found = of(lines, pl.col("refused").is_not_null() & (pl.col("refused") != "missing_user_id"))
    reasons = lines.filter(found)["refused"].value_counts(sort=True).iter_rows()
    return Step(
        "refused",
        found,
        "set aside: an import puts them in quarantine, to be repaired and tried again",
        aside=True,
        counts=dict(reasons),
        shown=("line", "refused", "user_id", "item_id"),
    )


def _nobody(lines: pl.DataFrame) -> Step:
    return Step(
        "without_person",
        of(lines, pl.col("visitor").is_null()),
        "set aside: no user_id and no anonymous_id, so they belong to nobody's history",
        aside=True,
        shown=("line", "order_id", "item_id", "title", "value"),
    )


def _repeated(rows: pl.DataFrame, key: str) -> Step:
    content = [c for c in rows.columns if c not in ("line", "verdict", "money")]
    older = of(rows, ~pl.col(key).is_last_distinct() & pl.col(key).is_not_null())
    exact = older & of(rows, ~pl.struct(content).is_last_distinct())
    return Step(
        "repeated_id",
        older,
        "the last row of each id is the newest version, the others are set aside",
        aside=True,
        counts={"equal rows": int(exact.sum()), "other content": int((older & ~exact).sum())},
        shown=("line", key),
    )


def _notes(scenario: Scenario) -> tuple[str, ...]:
    if scenario.order_types:
        return ()
    return (
        f"scenario {scenario.name!r} has no order type, so no line carries money: "
        "set order = true in [events.<type>]",
    )


def _aside(action: str) -> bool:
    return action == "set_aside"

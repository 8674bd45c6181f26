"""The cleaning of a file or of what is stored: rows in, an annotated frame and a report out."""

import json
from pathlib import Path

import numpy as np
import polars as pl

from lifeloop.config import Scenario
from lifeloop.contracts import Store
from lifeloop.errors import InputError
from lifeloop.events import ReadOptions, read_all
from lifeloop.events.contextual import with_context
from lifeloop.events.records import EVENT_SCHEMA
from lifeloop.intake import Kind
from lifeloop.prepare import Cleaned, clean_events, clean_table

REPORTS = "reports"
"""Where reports on what is stored lie, below the project folder; the dashboard reads them."""


def clean_file(path: Path, kind: Kind, *, options: ReadOptions, scenario: Scenario) -> Cleaned:
    """Clean a whole file, the rows that an import refuses included.

    Raises
    ------
    InputError
        The file cannot be read, or nothing identifies its rows.
    """
    frame, notes = read_all(path, kind, options=options)
    rng = np.random.default_rng(scenario.models.seed)
    if kind == "event":
        lines = with_context(frame).rename({"occurred_us": "t_us"})
        cleaned = clean_events(lines, scenario=scenario, source=path.name, rng=rng)
    else:
        rows = _widened(frame)
        cleaned = clean_table(rows, f"{kind}s", scenario=scenario, source=path.name, rng=rng)
    return _noted(cleaned, notes)


def clean_stored(store: Store, *, scenario: Scenario, kind: Kind = "event") -> Cleaned:
    """Clean what is stored of one kind; nothing in the store changes."""
    snapshot = store.snapshot()
    rng = np.random.default_rng(scenario.models.seed)
    if kind != "event":
        rows = _widened(snapshot.items if kind == "item" else snapshot.users)
        return clean_table(rows, f"{kind}s", scenario=scenario, source="the store", rng=rng)
    titles = snapshot.items.select("item_id", catalogue_title="title").unique("item_id")
    lines = with_context(snapshot.events).rename({"seq": "line"}).sort("line")
    lines = lines.join(titles, on="item_id", how="left", maintain_order="left")
    lines = lines.with_columns(title=pl.coalesce("title", "catalogue_title"))
    lines = lines.drop("catalogue_title", "occurred_us", "received_us", "flag", "refers_to")
    return clean_events(lines, scenario=scenario, source="the store", rng=rng)


def write_cleaned(cleaned: Cleaned, path: Path) -> int:
    """Write the rows that stay as a Parquet file that ``lifeloop import`` reads; return how many.

    A matched refund names the order it takes back (``order_id``); its own order id is kept in
    its context as ``refund_order_id``.

    Raises
    ------
    InputError
        The name does not end in ``.parquet``.
    """
    if path.suffix != ".parquet":
        raise InputError(
            "cleaned rows are written as Parquet", got=str(path), allowed="a name like rows.parquet"
        )
    rows = cleaned.kept
    if cleaned.report.kind == "events":
        rows = _importable(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    rows.write_parquet(path)
    return rows.height


def save_report(cleaned: Cleaned, home: Path) -> Path:
    """Write the report as JSON below the project folder; return the file."""
    path = home / REPORTS / f"cleaning_{cleaned.report.kind}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(cleaned.report.to_dict(), ensure_ascii=False, allow_nan=False, indent=1)
    path.write_text(text, encoding="utf-8")
    return path


def _importable(rows: pl.DataFrame) -> pl.DataFrame:
    """Return event columns only; what cleaning added goes to the context."""
    matched = pl.col("refund_of").is_not_null()
    added = [c for c in rows.columns if c.endswith(("_outlier", "_capped", "_filled", "_scaled"))]
    extra = rows.select(
        pl.when(matched).then("order_id").alias("refund_order_id"),
        pl.when(matched).then("matched_quantity").alias("matched_quantity"),
        *added,
    )
    texts = [
        _context(old, {k: v for k, v in new.items() if v is not None and v is not False})
        for old, new in zip(rows["context"].to_list(), extra.iter_rows(named=True), strict=True)
    ]
    whole = rows.with_columns(
        pl.coalesce("refund_of", "order_id").alias("order_id"),
        pl.Series("context", texts, dtype=pl.String),
        occurred_us="t_us",
    )
    return whole.select([c for c in EVENT_SCHEMA if c in whole.columns])


def _context(old: str | None, added: dict[str, object]) -> str | None:
    if not added:
        return old
    return json.dumps({**json.loads(old or "{}"), **added}, ensure_ascii=False, sort_keys=True)


def _widened(frame: pl.DataFrame) -> pl.DataFrame:
    """Take attributes out of their JSON, so that a column such as age can be judged."""
    if "attributes" not in frame.columns or frame["attributes"].null_count() == frame.height:
        return frame
    rows = [json.loads(text) if text else {} for text in frame["attributes"].to_list()]
    names = sorted({n for row in rows for n, v in row.items() if not isinstance(v, dict | list)})
    fresh = [n for n in names if n not in frame.columns]
    columns = [_typed(n, [row.get(n) for row in rows]) for n in fresh]
    return frame.with_columns(columns)


def _typed(name: str, values: list[object]) -> pl.Series:
    texts = pl.Series(name, [None if v is None else str(v) for v in values], dtype=pl.String)
    numbers = texts.cast(pl.Float64, strict=False)
    return numbers if numbers.null_count() == texts.null_count() else texts


def _noted(cleaned: Cleaned, notes: tuple[str, ...]) -> Cleaned:
    from dataclasses import replace

    report = replace(cleaned.report, notes=cleaned.report.notes + notes)
    return Cleaned(cleaned.rows, report)

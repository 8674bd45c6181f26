"""What a reader must know about a table before trusting it, and why there may be none."""

import polars as pl

from lifeloop.charts.words import Words
from lifeloop.lifecycle.options import SMALL_CELL
from lifeloop.tables.source import Source
from lifeloop.tables.spec import Spec


def why_not(source: Source, spec: Spec) -> str | None:
    """Return why this log cannot show the table at all, None when it can."""
    if source.events.is_empty():
        return "no event has a time"
    unseen = source.unseen() if spec.shows else {}
    for stage in spec.shows:
        if unseen.get(stage) is not None:
            return unseen[stage]
    if spec.column is not None and source.events[spec.column].null_count() == source.events.height:
        return f"no event has a {spec.column}"
    if spec.types and source.events.filter(pl.col("type").is_in(spec.types)).is_empty():
        return f"no answers: the log holds no event of type {' or '.join(spec.types)}"
    return None


def notes_of(
    source: Source,
    spec: Spec,
    rows: pl.DataFrame,
    *,
    said: Words,
    members: bool,
    include_bots: bool,
) -> tuple[str, ...]:
    """Return the sentences that go with a table: truncation, incompleteness, small cells, bots."""
    notes = [said.note(name) for name in spec.notes]
    burn_in = source.scenario.time.burn_in_days
    if spec.counts_new and burn_in and source.log_start is not None:
        notes.append(said.note("burn_in", start=source.start_text(), days=burn_in))
        why = source.unseen()["new"]
        if why is not None:
            notes.append(said.note("all_existing", days=burn_in))
    if not members:
        partial = _true(rows, "partial")
        if partial:
            hours = f"{source.scenario.time.lateness_hours:g}"
            notes.append(said.note("partial", n=partial, rows=rows.height, hours=hours))
        if _true(rows, "small"):
            notes.append(said.note("small", n=_true(rows, "small"), users=SMALL_CELL))
        if _true(rows, "censored"):
            notes.append(said.note("censored", n=_true(rows, "censored")))
    bots = _true(source.events, "is_bot")
    if bots and not include_bots:
        notes.append(said.note("bots", n=bots))
    if source.untimed:
        notes.append(said.note("untimed", n=source.untimed))
    return tuple(notes)


def _true(frame: pl.DataFrame, name: str) -> int:
    return int(frame[name].sum()) if name in frame.columns else 0

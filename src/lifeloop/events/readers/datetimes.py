"""A date in one column and a time of day in another are one moment."""

from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from lifeloop.events.fields import Columns, field_of

_DATE = r"^\d{1,4}[-/.年]\d{1,2}[-/.月]\d{1,4}日?$|^\d{8}$"
_CLOCK = r"^\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?\s*(?i:[AP]M)?$"
_MOMENT = "occurred_at"
_SAMPLE = 200


def with_moment(plan: Columns, frame: pl.DataFrame, *, mapped: bool) -> Columns:
    """Return the plan with ``occurred_at`` read from two columns, where a pair lies in the rows.

    The column that was chosen must hold only dates, or only times of day, and another column that
    is named like a time must hold the other part. A caller's own mapping is never changed.
    """
    chosen = plan.fields.get(_MOMENT)
    if chosen is None or mapped or "+" in chosen or chosen not in frame.columns:
        return plan
    part = _part(frame[chosen])
    if part is None:
        return plan
    for other in plan.extras:
        found = field_of(other, "event")
        if not found or found[0] != _MOMENT or _part(frame[other]) in (None, part):
            continue
        date, clock = (chosen, other) if part == "date" else (other, chosen)
        note = f"occurred_at is columns {date!r} and {clock!r} together"
        kept = tuple(n for n in plan.notes if not n.startswith(f"{_MOMENT} is read from"))
        return replace(
            plan,
            fields={**plan.fields, _MOMENT: f"{date}+{clock}"},
            extras=tuple(c for c in plan.extras if c not in (date, clock)),
            notes=(*kept, note),
        )
    return plan


def joined_columns(frame: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """Add each ``date+time`` of ``columns`` that the frame has in two columns."""
    for name in columns:
        date, plus, clock = name.partition("+")
        if not plus or name in frame.columns or not {date, clock} <= set(frame.columns):
            continue
        frame = frame.with_columns(_joined(frame[date], frame[clock]).alias(name))
    return frame


def _part(values: pl.Series) -> str | None:
    if values.dtype == pl.Date:
        return "date"
    if values.dtype == pl.Time:
        return "clock"
    if values.dtype != pl.String:
        return None
    sample = values.drop_nulls().head(_SAMPLE).str.strip_chars()
    sample = sample.filter(sample != "")
    if sample.is_empty():
        return None
    if sample.str.contains(_CLOCK).all():
        return "clock"
    return "date" if sample.str.contains(_DATE).all() else None


def _joined(date: pl.Series, clock: pl.Series) -> pl.Series:
    """Return "date time", the date alone where there is no time; noon and midnight are told."""
    dates = date.cast(pl.String).str.strip_chars()
    dates = dates.str.replace(r"^(\d{4})(\d{2})(\d{2})$", "$1-$2-$3")
    times = clock.cast(pl.String).str.strip_chars().fill_null("")
    parts = times.str.extract_groups(r"^(?<hour>\d{1,2})(?<rest>:[^ AaPp]*)\s*(?<half>[AaPp])[Mm]$")
    hour = parts.struct.field("hour").cast(pl.Int64, strict=False)
    half = parts.struct.field("half").str.to_lowercase()
    frame = pl.DataFrame({"d": dates, "t": times, "h": hour, "p": half})
    frame = frame.with_columns(rest=parts.struct.field("rest"))
    of_day = pl.col("h") % 12 + pl.when(pl.col("p") == "p").then(12).otherwise(0)
    clock_text = (
        pl.when(pl.col("h").is_between(1, 12))
        .then(pl.concat_str(of_day.cast(pl.String).str.zfill(2), pl.col("rest")))
        .otherwise("t")
    )
    text = pl.concat_str(pl.col("d"), pl.lit(" "), clock_text).str.strip_chars()
    return frame.select(text.alias("moment")).to_series()

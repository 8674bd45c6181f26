"""Columns that are not ours are not lost: one JSON object per row, absent values left out.

The text is what ``json.dumps(..., sort_keys=True, ensure_ascii=False)`` would write, so that a
row gives the same content whichever way it came in.
"""

import json
from math import isfinite
from typing import Any

import polars as pl


def json_objects(frame: pl.DataFrame) -> pl.Series:
    """Return each row as a JSON object text, null for a row without any value [n]."""
    pieces = []
    for name in sorted(frame.columns):
        if frame[name].null_count() == frame.height:
            continue
        key = json.dumps(name, ensure_ascii=False) + ": "
        pieces.append(pl.concat_str(pl.lit(key), _values(frame[name]).alias("value")))
    if not pieces:
        return pl.Series([None] * frame.height, dtype=pl.String)
    body = pl.concat_str(pieces, separator=", ", ignore_nulls=True)
    whole = pl.when(body == "").then(None).otherwise(pl.concat_str(pl.lit("{"), body, pl.lit("}")))
    return pl.select(whole.alias("json")).to_series()


def merged_objects(given: pl.Series, extras: pl.Series | None) -> tuple[pl.Series, pl.Series]:
    """Return the rows' own JSON objects with the leftovers added, and where they are no objects.

    The row's own keys win.
    """
    added = [None] * len(given) if extras is None else extras.to_list()
    texts: list[str | None] = []
    broken: list[bool] = []
    for text, extra in zip(given.to_list(), added, strict=True):
        if text is None or not text.strip():
            texts.append(extra)
            broken.append(False)
            continue
        try:
            own = json.loads(text, parse_constant=_refuse_constant)
        except ValueError:
            own = None
        broken.append(not isinstance(own, dict))
        if isinstance(own, dict):
            own = {**(json.loads(extra) if extra else {}), **own}
            texts.append(dumps(own) if own else None)
        else:
            texts.append(extra)
    return pl.Series(texts, dtype=pl.String), pl.Series(broken, dtype=pl.Boolean)


def dumps(value: Any) -> str:
    """Return a value as JSON with sorted keys; what JSON does not know becomes its text."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def _values(values: pl.Series) -> pl.Series:
    kind = values.dtype
    if kind in (pl.String, pl.Categorical) or kind == pl.Enum:
        return _strings(values.cast(pl.String))
    if kind.is_integer():
        return values.cast(pl.String)
    if kind == pl.Boolean:
        return values.cast(pl.String)
    if isinstance(kind, pl.Datetime):
        return _strings(values.dt.cast_time_unit("us").dt.strftime("%Y-%m-%dT%H:%M:%S%.6f%Z"))
    if kind == pl.Date:
        return _strings(values.dt.strftime("%Y-%m-%d"))
    if kind.is_float():
        texts = [None if v is None or not isfinite(v) else repr(v) for v in values.to_list()]
    else:
        texts = [None if v is None else dumps(v) for v in values.to_list()]
    return pl.Series(values.name, texts, dtype=pl.String)


def _strings(values: pl.Series) -> pl.Series:
    if values.str.contains('[\\x00-\\x1f"\\\\\x7f]').any():
        texts = values.to_list()
        dumped = [None if t is None else json.dumps(t, ensure_ascii=False) for t in texts]
        return pl.Series(values.name, dumped, dtype=pl.String)
    quoted = pl.concat_str(pl.lit('"'), values.alias("value"), pl.lit('"'))
    return pl.select(quoted).to_series()

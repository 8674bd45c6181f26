"""Absent values: left, or filled by the median, the most frequent value, or a model."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lifeloop.errors import InputError

FEWEST = 50
"""A model learns from at least this many known values; below, the simple fill takes its place."""

_MOST = 50_000
_MANY = 200


@dataclass(frozen=True, slots=True)
class Filled:
    """A column without the gaps that could be filled, and how."""

    values: pl.Series
    filled: int
    how: str


def fill(
    frame: pl.DataFrame,
    column: str,
    *,
    method: str,
    rng: np.random.Generator,
    features: tuple[str, ...] | None = None,
) -> Filled:
    """Fill the absent values of one column.

    Parameters
    ----------
    method : "leave" | "median" | "most_frequent" | "model"
        ``model``: gradient-boosted trees on the other columns; a fifth of the known values is
        held out, and ``how`` says how far the model and the simple fill were from them.
    features : columns the model may use; by default all others that are numbers or have few
        distinct texts.

    Raises
    ------
    InputError
        No such column; the median of a column that is no number.
    """
    if column not in frame.columns:
        raise InputError("there is no column to fill", got=column, allowed=", ".join(frame.columns))
    values = frame[column]
    gaps = _gaps(values)
    n = int(gaps.sum())
    if method == "leave" or not n:
        return Filled(values, 0, "")
    if method == "median" and not values.dtype.is_numeric():
        raise InputError(
            f"the median of {column!r} cannot be taken",
            got=str(values.dtype),
            allowed="a column of numbers",
            hint=f'clean.missing: {column} = "most_frequent" or "model"',
        )
    known = values.filter(~gaps)
    if known.is_empty():
        return Filled(values, 0, "no value is known")
    if method == "model":
        return _modelled(frame, column, gaps, rng, features)
    value = _simple(known, method)
    return Filled(_put(values, gaps, value), n, f"{method.replace('_', ' ')}: {value}")


def _gaps(values: pl.Series) -> pl.Series:
    absent = values.is_null()
    return absent | values.is_nan().fill_null(value=False) if values.dtype.is_float() else absent


def _simple(known: pl.Series, method: str) -> object:
    if method == "median":
        return known.median()
    counted = known.value_counts(name="n").sort("n", known.name, descending=[True, False])
    return counted[known.name][0]


def _put(values: pl.Series, gaps: pl.Series, value: object) -> pl.Series:
    kind = pl.Float64 if values.dtype.is_integer() and isinstance(value, float) else values.dtype
    filler = pl.lit(value).cast(kind)
    return pl.select(
        pl.when(gaps).then(filler).otherwise(values.cast(kind)).alias(values.name)
    ).to_series()


def _modelled(
    frame: pl.DataFrame,
    column: str,
    gaps: pl.Series,
    rng: np.random.Generator,
    features: tuple[str, ...] | None,
) -> Filled:
    values = frame[column]
    number = values.dtype.is_numeric()
    simple = "median" if number else "most_frequent"
    known = values.filter(~gaps)
    names = [c for c in features or tuple(frame.columns) if c != column and _usable(frame[c])]
    least = known.n_unique()
    if len(known) < FEWEST or not names or least < 2 or (not number and least > _MANY):
        value = _simple(known, simple)
        why = f"{len(known)} known values, {len(names)} usable columns"
        filled = _put(values, gaps, value)
        return Filled(
            filled,
            int(gaps.sum()),
            f"{simple.replace('_', ' ')}: {value} ({why}: too little for a model)",
        )
    table = np.column_stack([_coded(frame[c]) for c in names])  # [n, c]
    at = np.flatnonzero((~gaps).to_numpy())
    if len(at) > _MOST:
        at = np.sort(rng.choice(at, _MOST, replace=False))
    held = rng.random(len(at)) < 0.2
    if not held.any() or held.all():
        held[:1] = True
    target = values.cast(pl.Float64).to_numpy() if number else values.to_numpy()
    seed = int(rng.integers(2**31))
    trial = _trees(table[at[~held]], target[at[~held]], number=number, seed=seed)
    error, floor, unit = _judged(trial.predict(table[at[held]]), target[at], held, number=number)
    fitted = _trees(table[at], target[at], number=number, seed=seed)
    guess = fitted.predict(table[gaps.to_numpy()])
    whole = target.copy() if not number else target.astype(np.float64)
    whole[gaps.to_numpy()] = guess
    kind = pl.Float64 if number else values.dtype
    how = f"model on {', '.join(names)}: {unit} {error:.3g}, {simple.replace('_', ' ')} {floor:.3g}"
    return Filled(pl.Series(column, whole.tolist(), dtype=kind), int(gaps.sum()), how)


def _usable(values: pl.Series) -> bool:
    if values.dtype.is_numeric() or values.dtype == pl.Boolean:
        return values.null_count() < len(values)
    return values.dtype == pl.String and 1 < values.n_unique() <= _MANY


def _coded(values: pl.Series) -> NDArray[np.float64]:
    if values.dtype == pl.String:
        words = values.drop_nulls().unique().sort().to_list()
        values = values.replace_strict(words, list(range(len(words))), default=None)
    return values.cast(pl.Float64).fill_null(np.nan).to_numpy()


def _trees(x: NDArray[np.float64], y: NDArray[Any], *, number: bool, seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    kind = HistGradientBoostingRegressor if number else HistGradientBoostingClassifier
    return kind(max_iter=60, random_state=seed).fit(x, y)


def _judged(
    guess: NDArray[Any],
    target: NDArray[Any],
    held: NDArray[np.bool_],
    *,
    number: bool,
) -> tuple[float, float, str]:
    truth = target[held]
    if number:
        middle = np.median(target[~held].astype(np.float64))
        apart = np.abs(truth.astype(np.float64) - guess.astype(np.float64)).mean()
        return float(apart), float(np.abs(truth.astype(np.float64) - middle).mean()), "mean error"
    words, counts = np.unique(target[~held], return_counts=True)
    usual = words[counts.argmax()]
    return float(np.mean(guess != truth)), float(np.mean(truth != usual)), "share wrong"

"""From what a caller wrote (text or values) to the options of the lifecycle, or a refusal."""

import difflib
import math
from collections.abc import Mapping, Sequence
from datetime import date
from functools import reduce
from typing import Any

import narwhals as nw

from lifeloop.errors import InputError
from lifeloop.tables.registry import TABLES
from lifeloop.tables.source import COLUMNS, Source
from lifeloop.tables.spec import Option, Spec

Where = Mapping[str, str | Sequence[str]]


def spec_of(name: str) -> Spec:
    """Return the table of this name, or refuse with the nearest one."""
    if name not in TABLES:
        near = difflib.get_close_matches(name, list(TABLES), n=1, cutoff=0.5)
        raise InputError(
            "there is no such table",
            got=name,
            allowed=", ".join(TABLES),
            hint=f"did you mean {near[0]!r}?" if near else None,
        )
    return TABLES[name]


def parsed(spec: Spec, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of one table as its function takes them; None means not said.

    Raises
    ------
    InputError
        An option that the table does not have, or a value that is not of its kind.
    """
    known = {option.name: option for option in spec.options}
    unknown = sorted(name for name in options if name not in known)
    if unknown:
        raise InputError(
            f"table {spec.name!r} has no option {unknown[0]!r}",
            got=unknown,
            allowed=", ".join(known) or "no options",
        )
    said = {name: value for name, value in options.items() if value is not None}
    return {name: _value(known[name], value) for name, value in said.items()}


def day(name: str, value: date | str | None) -> date | None:
    """Return a date from ISO text."""
    if value is None or isinstance(value, date):
        return value
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise InputError(f"{name} is not a date", got=value, allowed="YYYY-MM-DD") from None


def names(by: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the attributes to split by; text may list several, separated by commas."""
    if by is None:
        return ()
    listed = by.split(",") if isinstance(by, str) else by
    return tuple(name.strip() for name in listed if name.strip())


def condition(source: Source, where: Where | None) -> nw.Expr | None:
    """Return the events that a filter keeps: every name has one of its values.

    A name is a column of the events, else an attribute of the user, else one of the item.

    Raises
    ------
    InputError
        A name that none of them has.
    """
    if not where:
        return None
    parts = [_one_of(source, name, _listed(values)) for name, values in where.items()]
    return reduce(lambda a, b: a & b, parts)


def _one_of(source: Source, name: str, values: list[str]) -> nw.Expr:
    if name in COLUMNS:
        return nw.col(name).cast(nw.String).is_in(values)
    for key, frame in (
        ("user_id", source.users_with(frozenset({name}))),
        ("item_id", source.items_with(frozenset({name}))),
    ):
        if name in frame.columns:
            kept = frame.filter(frame[name].cast(str).is_in(values))[key].to_list()
            return nw.col(key).is_in(kept)
    raise InputError(
        f"where names {name!r}, which neither events nor users nor items have",
        got=name,
        allowed=", ".join(COLUMNS),
    )


def _listed(values: str | Sequence[str]) -> list[str]:
    return [values] if isinstance(values, str) else list(values)


def _value(option: Option, value: Any) -> Any:
    try:
        if option.kind == "integer":
            return _whole(value)
        if option.kind == "number":
            number = float(value)
            if not math.isfinite(number):
                raise ValueError
            return number
        if option.kind == "pairs":
            return _pairs(value)
    except (TypeError, ValueError):
        allowed = {"integer": "a whole number", "number": "a number", "pairs": "1-7,8-14"}
        raise InputError(
            f"{option.name} cannot be used", got=value, allowed=allowed[option.kind]
        ) from None
    if value not in option.choices:
        raise InputError(
            f"{option.name} cannot be used", got=value, allowed=", ".join(option.choices)
        )
    return value


def _whole(value: Any) -> int:
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise ValueError
    return int(value)


def _pairs(value: Any) -> tuple[tuple[int, int], ...]:
    if isinstance(value, str):
        value = [part.split("-") for part in value.split(",")]
    return tuple((_whole(low), _whole(high)) for low, high in value)

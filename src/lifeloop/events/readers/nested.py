"""Records inside records: paths such as ``properties.products[].sku``, and one row per line.

A path is names joined by dots; ``[]`` after a name stands for every element of a list. The rows
of a record are the elements of its lines (``line_items[]``); everything else of the record is
repeated on each. Lists in lists work: ``refunds[].refund_line_items[]``.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Record = Mapping[str, Any]
Fields = tuple[dict[str, Any], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Nested:
    """How records become rows.

    Attributes
    ----------
    paths : our field -> paths, the first one with a value wins. Where a record has lines, a field
        with a path into them is read from them only: an order's total is not the total of a line.
    lines : list paths; the first one that the record has makes its rows.
    lines_only : a record without lines gives no row, otherwise it is one row.
    keep : paths that are kept in the leftovers; None keeps everything.
    before : called with each record first; None from it leaves the record out.
    fill_down : (key column, columns) of tables that say an order's facts on its first row only.
    """

    paths: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    lines: tuple[str, ...] = ()
    lines_only: bool = False
    keep: tuple[str, ...] | None = None
    before: Callable[[Record], Record | None] | None = None
    fill_down: tuple[str, tuple[str, ...]] | None = None


def nested_of(mapping: Mapping[str, str]) -> Nested | None:
    """Return the paths of a caller's mapping, None where no column of it is a path.

    Examples
    --------
    >>> nested_of({"item_id": "line_items[].sku"}).lines
    ('line_items[]',)
    """
    fields = {k: v for k, v in mapping.items() if "." not in k}
    if not any("[]" in path or path.count(".") > 1 for path in fields.values()):
        return None
    lists = [path[: path.rfind("[]") + 2] for path in fields.values() if "[]" in path]
    lines = tuple(dict.fromkeys(sorted(lists, key=len, reverse=True)))[:1]
    return Nested({ours: (path,) for ours, path in fields.items()}, lines)


def unnested(record: Record, nested: Nested) -> Iterator[Fields]:
    """Yield (our fields, leftovers) of each row of one record."""
    if nested.before is not None:
        changed = nested.before(record)
        if changed is None:
            return
        record = changed
    record = {name: _opened(value) for name, value in record.items()}
    rows = _rows(record, nested)
    if rows is None:
        if not nested.lines_only:
            yield _fields(record, {}, nested)
        return
    for number, chosen in enumerate(rows, start=1):
        fields, extras = _fields(record, chosen, nested)
        if fields.get("event_id") is not None and len(rows) > 1:
            fields["event_id"] = f"{fields['event_id']}:{number}"  # one message, many lines
        yield fields, extras


Chosen = dict[str, Any]
"""List path -> the element that is looked at."""


def _rows(record: Record, nested: Nested) -> list[Chosen] | None:
    for path in nested.lines:
        found: list[Chosen] = [{}]
        prefix = ""
        for part in path.split("[]")[:-1]:
            prefix += part
            deeper: list[Chosen] = []
            for chosen in found:
                value = _value(record, prefix, chosen)
                elements = value if isinstance(value, list) else []
                deeper += [{**chosen, f"{prefix}[]": element} for element in elements]
            found = deeper
            prefix += "[]"
        if found:
            return found
    return None


def _fields(record: Record, chosen: Chosen, nested: Nested) -> Fields:
    fields: dict[str, Any] = {}
    for ours, paths in nested.paths.items():
        inside = [p for p in paths if any(p.startswith(prefix) for prefix in chosen)]
        for path in inside or paths:
            value = _value(record, path, chosen)
            if value not in (None, ""):
                fields[ours] = value
                break
    if nested.keep is not None:
        kept = {_last(path): _value(record, path, chosen) for path in nested.keep}
        return fields, {k: v for k, v in kept.items() if v not in (None, "", [], {})}
    extras = {k: v for k, v in record.items() if f"{k}[]" not in chosen and v is not None}
    for element in chosen.values():
        if isinstance(element, dict):
            inner = (f"{p}[]" for p in chosen)
            extras |= {k: v for k, v in element.items() if k not in inner and v is not None}
    used = {path for paths in nested.paths.values() for path in paths}
    return fields, {k: v for k, v in extras.items() if k not in used}


def _value(record: Record, path: str, chosen: Chosen) -> Any:
    """Return what a path leads to; None where it leads nowhere."""
    at: Any = record
    rest = path
    for prefix in sorted(chosen, key=len, reverse=True):
        if path == prefix or path.startswith(f"{prefix}."):
            at, rest = chosen[prefix], path[len(prefix) :].removeprefix(".")
            break
    if isinstance(at, dict) and rest in at:  # a name that has dots itself
        return at[rest]
    for part in rest.split(".") if rest else []:
        name, _, is_list = part.partition("[")
        at = _opened(at.get(name)) if isinstance(at, Mapping) else None
        if is_list and isinstance(at, list):  # a list that makes no rows: its first element
            at = at[0] if at else None
        if at is None:
            return None
    return at


def _opened(value: Any) -> Any:
    """Return JSON that lies in a text, as exports to tables have it."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _last(path: str) -> str:
    return path.rstrip("[]").rsplit(".", 1)[-1]

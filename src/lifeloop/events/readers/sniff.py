"""How a text table is written: its delimiter, and whether its first row is a header."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lifeloop.events.fields import Kind, field_of

DELIMITERS = (",", "\t", ";", "|", "::", " ")
_QUOTED = re.compile(r'"(?:[^"]|"")*"')
_NUMERIC = re.compile(r"^[+-]?[\d.,:/ \-TZ]*\d[\d.,:/ \-TZ]*$")


@dataclass(frozen=True, slots=True)
class Dialect:
    """Delimiter, column names, and whether the first row is a header."""

    delimiter: str
    columns: tuple[str, ...]
    header: bool


def sniff(lines: Sequence[str], kind: Kind, mapping: Mapping[str, str]) -> Dialect:
    """Return how a table is written, from its first complete lines that are not blank.

    The delimiter is the one whose first row names most of our fields, then the one that splits
    most lines alike, then the one that splits finest. The first row is a header where it names a
    field or a column of the mapping, or where it is all words above numbers.
    """
    delimiter = max(DELIMITERS, key=lambda mark: _merit(mark, lines, kind, mapping))
    if not any(_merit(delimiter, lines, kind, mapping)):
        delimiter = ","
    first = _cells(lines[0], delimiter)
    header = _is_header(first, [_cells(line, delimiter) for line in lines[1:]], kind, mapping)
    names = _unique(first) if header else [str(i) for i in range(len(first))]
    return Dialect(delimiter, tuple(names), header)


def _merit(
    mark: str, lines: Sequence[str], kind: Kind, mapping: Mapping[str, str]
) -> tuple[int, float, int]:
    counts = [_QUOTED.sub("", line).count(mark) for line in lines]
    if not counts[0]:
        return (0, 0.0, 0)
    alike = sum(count == counts[0] for count in counts) / len(counts)
    cells = _cells(lines[0], mark)
    if mark == " " and not (alike == 1 and len(lines) > 1 and all(map(_NUMERIC.match, lines[1:]))):
        return (0, 0.0, 0)  # words have spaces too
    return (_known(cells, kind, mapping), alike, counts[0] * len(mark))


def _known(cells: Sequence[str], kind: Kind, mapping: Mapping[str, str]) -> int:
    named = set(mapping.values())
    return sum(cell in named or field_of(cell, kind) is not None for cell in cells if cell)


def _is_header(
    first: Sequence[str], rest: Sequence[Sequence[str]], kind: Kind, mapping: Mapping[str, str]
) -> bool:
    named = {column for key, column in mapping.items() if not column.isdecimal() and "." not in key}
    if named & set(first):
        return True
    if any(field_of(cell, kind) is not None for cell in first if not cell.isdecimal()):
        return True
    if any(not cell or _NUMERIC.match(cell) for cell in first) or len(set(first)) < len(first):
        return False
    positions = [int(column) for column in mapping.values() if column.isdecimal()]
    if positions and not rest:
        return False
    return (
        any(
            all(len(row) > i and _NUMERIC.match(row[i] or "x") for row in rest) and rest
            for i in range(len(first))
        )
        or not positions
    )


def _cells(line: str, delimiter: str) -> list[str]:
    quoted: list[str] = []

    def hide(match: re.Match[str]) -> str:
        quoted.append(match[0][1:-1].replace('""', '"'))
        return f"\x00{len(quoted) - 1}\x00"

    hidden = _QUOTED.sub(hide, line) if delimiter != "::" else line
    return [
        re.sub(r"\x00(\d+)\x00", lambda m: quoted[int(m[1])], cell).strip(" \ufeff\r")
        for cell in hidden.split(delimiter)
    ]


def _unique(names: Sequence[str]) -> list[str]:
    found: list[str] = []
    for place, name in enumerate(names):
        name = name or f"column_{place}"
        number = 2
        fresh = name
        while fresh in found:
            fresh, number = f"{name}_{number}", number + 1
        found.append(fresh)
    return found

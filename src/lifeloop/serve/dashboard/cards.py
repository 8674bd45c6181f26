"""One table as a card: its picture, its numbers, the people behind them, its files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from lifeloop.contracts import Table
from lifeloop.errors import InputError
from lifeloop.serve.dashboard.filters import Filters
from lifeloop.serve.dashboard.view import View
from lifeloop.tables import TABLES

CELLS = ("period", "cohort", "offset", "age", "active_days", "measure", "from", "to", "date")
"""Columns that, beside the split, say which cell a row is."""

PREVIEW = 40
"""Rows of a card's table; the page of the table has all of them."""

NO_MEMBERS = ("stages", "rfm")
"""Tables whose rows are people already."""


@dataclass(frozen=True, slots=True)
class Card:
    """What the template of a card is given.

    ``error`` says why the table cannot be made as asked, ``reason`` why the log cannot show it;
    ``options`` are the table's own; ``query`` is the address of both filters and options.
    """

    name: str
    title: str
    help: str
    query: str
    table: Table | None = None
    error: str | None = None
    picture: bool = False
    columns: tuple[Any, ...] = ()
    rows: tuple[Mapping[str, Any], ...] = ()
    members: str | None = None
    cells: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    wide: bool = False

    @property
    def reason(self) -> str | None:
        """Why there is nothing to see, in words."""
        return self.error or (self.table.reason if self.table is not None else None)

    def link(self, row: Mapping[str, Any]) -> str:
        """Return the address of the people behind one row."""
        pairs = [("cell", f"{name}:{row[name]}") for name in self.cells if row[name] is not None]
        joint = "&" if self.query else ""
        return f"/dashboard/members/{self.name}?{self.query}{joint}{urlencode(pairs)}"


def card(view: View, name: str, filters: Filters, *, wide: bool = False, **options: Any) -> Card:
    """Return the card of a table under the filters of a page.

    Parameters
    ----------
    view : View
        The page.
    name : str
        One of ``tables.TABLES``.
    filters : Filters
        Of the page.
    wide : bool
        The card takes the whole width.
    **options
        Those of the table.
    """
    said = view.said
    query = filters.query(**options)
    shown: dict[str, Any] = {
        "name": name,
        "title": said.title(name),
        "help": said.help(name),
        "query": query,
        "options": options,
        "wide": wide,
    }
    try:
        table = view.desk.table(name, **filters.asked(), **options, lang=view.lang)
    except InputError as error:
        return Card(**shown, error=str(error))
    if table.reason is not None or table.rows.is_empty():
        return Card(**shown, table=table)
    return Card(
        **shown,
        table=table,
        picture=drawable(table),
        columns=table.columns,
        rows=tuple(preview(table)),
        members=None if name in NO_MEMBERS else f"/dashboard/members/{name}?{query}",
        cells=cells_of(table),
    )


def cards(view: View, names: Sequence[str], filters: Filters) -> list[Card]:
    """Return the cards of the tables that there are."""
    return [card(view, name, filters) for name in names if name in TABLES]


def drawable(table: Table) -> bool:
    """Return whether the table has a picture."""
    from lifeloop.charts import drawn, nobody

    bare = table.rows.is_empty() or table.facts.get("members") or nobody(table)
    return table.name in drawn() and not bare


def preview(table: Table) -> list[Mapping[str, Any]]:
    """Return the newest rows of a table over time, the first ones of any other."""
    over_time = table.columns and "period" in table.rows.columns
    rows = table.rows.tail(PREVIEW).reverse() if over_time else table.rows.head(PREVIEW)
    return list(rows.iter_rows(named=True))


def cells_of(table: Table) -> tuple[str, ...]:
    """Return the columns that name the cell of a row."""
    split = tuple(table.facts.get("by", ()))
    return tuple(c.name for c in table.columns if c.name in (*CELLS, *split))

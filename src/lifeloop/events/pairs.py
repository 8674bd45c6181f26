"""The textbook's pair of files: ``user_data.csv`` (user_id, …, rating) and ``item_data.csv``.

Either each user row names its item, and the files are joined by item_id; or the two files lie
side by side, row n of one belonging to row n of the other (the rating beside the user, the item
in the other file). Nothing in the files proves the second, so it must be confirmed.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from lifeloop.errors import InputError
from lifeloop.events.fields import Kind, field_of
from lifeloop.events.problems import refusal
from lifeloop.events.readers import Batch, ReadOptions, batches_of, tables_of
from lifeloop.events.readers.batch import RawBatch
from lifeloop.events.readers.table import Table, named

Batches = Iterator[Batch]
_RATING = ("user_id", "item_id", "rating", "text", "occurred_at", "type")
"""Fields of the events that a pair holds; every other column describes its user or its item."""


@dataclass(frozen=True, slots=True)
class PairPlan:
    """How two files belong together, to be shown before it is done.

    ``joined``: each row of the users' file names its item. ``row_aligned``: row n belongs to
    row n. ``none``: no ratings come of them, and ``message`` says why.
    """

    kind: Literal["joined", "row_aligned", "none"]
    users: Path
    items: Path
    message: str
    rows: int = 0


def detect_pair(path_users: str | Path, path_items: str | Path) -> PairPlan:
    """Look at both files and say how they belong together; reads, and changes nothing."""
    users, items = Path(path_users), Path(path_items)
    in_users, n_users = _looked_at(users)
    in_items, n_items = _looked_at(items)
    if "user_id" not in in_users or "item_id" not in in_items:
        lacks = (
            f"{users.name} has no user_id"
            if "user_id" not in in_users
            else (f"{items.name} has no item_id")
        )
        return PairPlan("none", users, items, f"the files are no pair: {lacks}")
    if "item_id" in in_users:
        said = f"each row of {users.name} names its item; joined to {items.name} by item_id"
        return PairPlan("joined", users, items, said, n_users)
    if "rating" not in in_users and "rating" not in in_items:
        said = f"neither file has a rating, and {users.name} names no item: no events come of them"
        return PairPlan("none", users, items, said)
    if n_users != n_items:
        return PairPlan(
            "none",
            users,
            items,
            f"{users.name} names no item, and the files cannot lie side by side: "
            f"{n_users} rows against {n_items}",
        )
    return PairPlan(
        "row_aligned",
        users,
        items,
        f"{users.name} names no item, but both files have {n_users} rows: row n of one seems to "
        f"belong to row n of the other, so that the rating in row n is of the item in row n",
        n_users,
    )


def read_pair(
    plan: PairPlan, *, confirmed: bool = False, options: ReadOptions | None = None
) -> tuple[Batches, Batches, Batches]:
    """Return the batches of users, of items, and of the ratings as events without a time.

    Raises
    ------
    InputError
        The files are no pair, or lie side by side and that is not confirmed.
    """
    options = options or ReadOptions()
    if plan.kind == "none":
        raise refusal(
            InputError(
                f"the two files cannot be imported together: {plan.message}",
                allowed="user_id and rating in the users' file, item_id in the items' file",
                hint="import them one by one: lifeloop import users | items | events",
            ),
            "no_pair",
        )
    if plan.kind == "row_aligned" and not confirmed:
        raise refusal(
            InputError(
                f"this has to be confirmed: {plan.message}",
                allowed="files that are joined by item_id need no confirmation",
                hint="if that is so, repeat with --row-aligned",
            ),
            "not_confirmed",
        )
    rated = replace(options, default_type="rating")
    users = batches_of(_profiles(plan.users, "user", options), "user", options=options)
    items = batches_of(_profiles(plan.items, "item", options), "item", options=options)
    side = plan.items if plan.kind == "row_aligned" else None
    events = batches_of(_ratings(plan.users, side, rated), "event", options=rated)
    return users, items, events


def _looked_at(path: Path) -> tuple[set[str], int]:
    """Return which of our fields a file holds and how many rows."""
    fields: set[str] = set()
    rows = 0
    for table in tables_of(path, "user", options=ReadOptions()):
        if not fields:
            fields = {name for name in (_field(c) for c in table.frame.columns) if name}
        rows += table.frame.height + len(table.bad)
    return fields, rows


def _field(column: str) -> str | None:
    """Return the field of a column where it belongs to the rating rather than to a profile."""
    found = field_of(column, "event")
    return found[0] if found and found[0] in _RATING else None


def _profiles(path: Path, kind: Kind, options: ReadOptions) -> Iterator[RawBatch]:
    """The file without the columns of the rating, which is not a trait of a person or a thing."""
    mine = f"{kind}_id"

    def kept() -> Iterator[Table]:
        for table in tables_of(path, kind, options=options):
            columns = [c for c in table.frame.columns if _field(c) in (None, mine)]
            yield replace(table, frame=table.frame.select(columns))

    return named(kept(), kind, options=options)


def _ratings(users: Path, items: Path | None, options: ReadOptions) -> Iterator[RawBatch]:
    tables = tables_of(users, "user", options=options)
    whole = (
        tables
        if items is None
        else _side_by_side(tables, tables_of(items, "item", options=options))
    )

    def kept() -> Iterator[Table]:
        for table in whole:
            yield replace(
                table, frame=table.frame.select(c for c in table.frame.columns if _field(c))
            )

    return named(kept(), "event", options=options)


def _side_by_side(left: Iterator[Table], right: Iterator[Table]) -> Iterator[Table]:
    """Lay two tables beside each other, row by row."""
    a, b = next(left), next(right)
    yield _beside(a, b, 0)
    while True:
        while not a.frame.height and (following := next(left, None)) is not None:
            a = following
        while not b.frame.height and (following := next(right, None)) is not None:
            b = following
        if a.bad or b.bad:
            raise refusal(
                InputError(
                    "a row cannot be read, so the rows after it would belong to the wrong rows",
                    got=(a.bad or b.bad)[0].text,
                    hint=f"repair line {(a.bad or b.bad)[0].line} first",
                ),
                (a.bad or b.bad)[0].reason,
            )
        n = min(a.frame.height, b.frame.height)
        if not n:
            return
        yield _beside(a, b, n)
        a = replace(a, frame=a.frame[n:], lines=a.lines[n:])
        b = replace(b, frame=b.frame[n:], lines=b.lines[n:])


def _beside(a: Table, b: Table, n: int) -> Table:
    # Users and ratings come from the left file, items from the right one.
    left = [c for c in a.frame.columns if _field(c) not in (None, "item_id")]
    held = {_field(c) for c in left}
    right = [c for c in b.frame.columns if _field(c) and _field(c) not in held | {"user_id"}]
    frame = a.frame[:n].select(left).hstack(b.frame[:n].select(right).get_columns())
    return replace(a, frame=frame, lines=a.lines[:n])

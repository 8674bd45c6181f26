"""Users as numbers, for as long as nobody asks who they are.

A log in order of time names another user on every row. Looking each name up in a table of names
waits for memory as soon as that table is larger than the cache, so the time grows faster than the
log. Two hashes of a name stand for it here: one picks a place in a small table of numbers, the
other is kept there to be compared.
"""

import secrets
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lifeloop.contracts import Bool, Int

SEEDS = (secrets.randbits(63), secrets.randbits(63))
"""Of the two hashes, new in each process: nobody can choose names that collide."""

ROWS_PER_PLACE = 8
FEWEST, MOST = 10, 24
"""A table has a place for so many rows, as a power of two: 2^24 places are 128 MB."""

TURNS = 16
"""So many tables are tried until everybody has a place; then names are looked up after all."""

PART = 1 << 18
"""Rows at a time, so that what is computed on the way stays in the cache."""

MIX = np.uint64(0x9E37_79B9_7F4A_7C15)
"""Odd, near 2^64 over the golden ratio (Knuth, The Art of Computer Programming 3, section 6.4):
the place in the next table depends on all lower bits of the one before."""


@dataclass(frozen=True, slots=True)
class Names:
    """Who the users are: ``names`` and ``numbers`` [n] of each row of a table."""

    names: pl.Series
    numbers: pl.Series

    def sorted(self, seen: pl.Series) -> tuple[pl.Series, Int]:
        """Return the names [U], sorted, of the numbers seen [m], and the place of each number.

        The second array [largest number + 1] holds the place among the first at the users' own
        numbers, and 0 at all others.
        """
        known = (
            self.numbers.is_not_null().arg_true().to_numpy() if self.numbers.null_count() else None
        )
        numbers = self.numbers.to_numpy() if known is None else self.numbers.drop_nulls().to_numpy()
        size = 1 + (int(numbers.max()) if len(numbers) else 0)
        kind: type[np.signedinteger[Any]] = np.int32 if len(self.numbers) < 1 << 31 else np.int64
        row: NDArray[Any] = np.full(size, -1, dtype=kind)
        row[numbers] = np.arange(len(numbers), dtype=kind) if known is None else known
        there: Bool = row >= 0
        if len(seen) < len(numbers):
            there[:] = False
            there[seen.to_numpy()] = True
        users = np.flatnonzero(there)
        names = self.names.gather(row[users]).cast(pl.String)
        order = names.arg_sort()
        places: Int = np.zeros(size, dtype=np.int32)
        places[users[order.to_numpy()]] = np.arange(len(users), dtype=np.int32)
        return names.gather(order), places


def numbered(events: pl.DataFrame, *, also: Collection[str] = ()) -> tuple[pl.DataFrame, Names]:
    """Return the events with numbers in place of ``user_id`` and of ``also``, which name users."""
    columns = [events[name] for name in ("user_id", *sorted(also))]
    if len(columns) == 1:
        found = [user_numbers(columns[0])]
    else:
        known = [column.cast(pl.String).drop_nulls().alias("names") for column in columns]
        numbers = user_numbers(pl.concat(known))
        found, begin = [], 0
        for column, names in zip(columns, known, strict=True):
            empty = pl.Series(column.name, [None], dtype=numbers.dtype)
            own = numbers[begin : begin + len(names)]
            found.append(
                empty.new_from_index(0, len(column)).scatter(column.is_not_null().arg_true(), own)
            )
            begin += len(names)
    return events.with_columns(found), Names(columns[0], found[0])


def user_numbers(names: pl.Series) -> pl.Series:
    """Return a number per row, the same for the same name and for no other. [n] -> Int32 [n].

    The numbers have gaps and are others in the next process; null stays null.

    Two names get one number where one hash agrees in 64 bits and the other in the bits b of a
    place, 10 at least: among U users with a chance of U² / 2^(65 + b), which is 8e-16 for 500,000
    users in 20 million rows (b = 22).
    """
    if isinstance(names.dtype, pl.Categorical):
        return names.to_physical().cast(pl.Int32)
    place, mark = (names.hash(seed=seed).to_numpy() for seed in SEEDS)
    found = _placed(place, mark)
    if found is None:
        return names.cast(pl.Categorical).to_physical().cast(pl.Int32)
    numbers = pl.Series(names.name, found)
    return numbers.set(names.is_null(), None) if names.null_count() else numbers


def _placed(place: NDArray[np.uint64], mark: NDArray[np.uint64]) -> Int | None:
    # Everybody's mark is written to their place and read back. Who wrote last has it, on all of
    # their rows; who reads another's mark goes on to the next table.
    bits = min(max((len(place) // ROWS_PER_PLACE).bit_length(), FEWEST), MOST)
    numbers: Int = np.empty(len(place), dtype=np.int32)
    rows: NDArray[np.int64] | None = None  # None: all of them
    first = 0
    for _ in range(TURNS):
        table = np.zeros(1 << bits, dtype=np.uint64)
        at: Int = np.empty(len(place), dtype=np.int32)
        for part in parts(len(place)):
            at[part] = place[part] >> np.uint64(64 - bits)
            table[at[part]] = mark[part]
        mine = np.empty(len(place), dtype=bool)
        for part in parts(len(place)):
            np.equal(table[at[part]], mark[part], out=mine[part])
        lost = np.flatnonzero(~mine)
        at += np.int32(first)
        if rows is None:
            numbers, rows = at, lost
        else:
            numbers[rows] = at
            rows = rows[lost]
        if not len(rows):
            return numbers
        first += 1 << bits
        crowded = 2 * len(lost) > len(place)
        place, mark = place[lost] * MIX, mark[lost]
        bits = min(bits + 2 * crowded, MOST)
    return None


def parts(n: int) -> list[slice]:
    """Return the slices of ``PART`` rows that n rows come in."""
    return [slice(begin, min(begin + PART, n)) for begin in range(0, n, PART)]

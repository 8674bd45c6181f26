"""What is known of every item at the moment of a request: how many use it, since when, how lately.

Uses are kept per item and day, so that a window can end at any moment: a held-out query is told
what was true when it was asked, as a live request is.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lifeloop.contracts import UNTIMED, Double, Float, Int, Long, TrainData
from lifeloop.models import arrays as ar
from lifeloop.models.data import DAY_US
from lifeloop.models.rank.codes import Codebooks

WINDOWS = (1, 7, 28, 90, 365)
"""Days before the request in which uses are counted."""
CODE = "code"
"""How the names of semantic codes begin: trees take them as categories, not as numbers."""
SPAN = 1 << 24
"""Room for days in a key; day 0 is the first day with an event."""


@dataclass(frozen=True, slots=True, eq=False)
class ItemFacts:
    """Uses per item and day, and totals. NaN where no time is known."""

    log_users: Float  # [I] log(1 + people)
    per_user: Float  # [I] uses per person
    key: Long  # [D] item · SPAN + day, ascending
    upto: Long  # [D+1] uses before each entry
    first_day: int
    content: Float  # [c, d] unit rows
    content_ix: Int  # [I]
    log_price: Float  # [I] NaN where unknown
    books: Codebooks | None = None
    codes: Float | None = None  # [I, L] semantic codes, NaN where an item has no vector
    text_width: int = 0  # of the texts in a vector that has pictures or sounds too; 0: all of it
    day: Int = field(init=False, repr=False)  # [D+1] of each entry, and one more

    def __post_init__(self) -> None:
        """Note once on which day each entry is: requests look a few of them up."""
        day = np.append(self.key % SPAN, 0).astype(np.int32)
        object.__setattr__(self, "day", day)

    @property
    def levels(self) -> int:
        """How many semantic codes an item has."""
        return 0 if self.books is None else self.books.levels

    @classmethod
    def names(cls, levels: int = 0) -> tuple[str, ...]:
        """Return the names of the columns of ``at``, with as many semantic codes."""
        return (
            "log_users",
            "repeats_per_user",
            *(f"log_uses_{w}d" for w in WINDOWS),
            "trend",
            "days_since_first_use",
            "days_since_last_use",
            "log_price",
            *(f"{CODE}{level + 1}" for level in range(levels)),
        )

    @classmethod
    def of(cls, data: TrainData, books: Codebooks | None = None) -> Self:
        """Count; nothing random."""
        n = data.n_items
        pair = np.unique(data.user_ix.astype(np.int64) * max(1, n) + data.item_ix)
        users = np.bincount(pair % max(1, n), minlength=n).astype(np.float64)
        uses = np.bincount(data.item_ix, minlength=n).astype(np.float64)
        timed = data.t_us != UNTIMED
        day = data.t_us[timed] // DAY_US
        first = int(day.min()) if day.size else 0
        key, count = np.unique(
            data.item_ix[timed].astype(np.int64) * SPAN + (day - first), return_counts=True
        )
        return cls(
            log_users=np.log1p(users).astype(np.float32),
            per_user=(uses / np.maximum(users, 1.0)).astype(np.float32),
            key=key.astype(np.int64),
            upto=np.concatenate([[0], np.cumsum(count)]).astype(np.int64),
            first_day=first,
            content=_unit(data.content),
            content_ix=data.content_ix,
            log_price=np.full(n, np.nan, np.float32)
            if data.price is None
            else np.log(data.price).astype(np.float32),
            books=books,
            codes=None if books is None else _coded(books, data.content, data.content_ix),
            text_width=data.blocks[0] if data.blocks else 0,
        )

    def at(self, item_ix: Int, as_of_us: int) -> list[Float | Double]:
        """Return one column [C] per name, as known at ``as_of_us``."""
        columns: list[Float | Double] = [self.log_users[item_ix], self.per_user[item_ix]]
        codes = [] if self.codes is None else list(self.codes[item_ix].T)
        if not self.key.size or as_of_us <= 0:
            unknown = [np.full(len(item_ix), np.nan)] * (len(WINDOWS) + 3)
            return [*columns, *unknown, self.log_price[item_ix], *codes]
        today = int(as_of_us // DAY_US) - self.first_day
        base = item_ix.astype(np.int64) * SPAN
        # of each item: its first day, where the windows begin, after today, its last; all looked up
        # at once and in order, so that each search begins where the one before ended
        days = [0, *(max(0, today - w + 1) for w in reversed(WINDOWS)), max(0, today) + 1, SPAN]
        places = np.searchsorted(self.key, base[:, None] + np.array(days))  # [C, 3 + windows]
        begun, now, end = places[:, 0], places[:, -2], places[:, -1]
        held = self.upto[now]
        since = self.upto[np.minimum(places[:, -3:0:-1], now[:, None])]  # [C, windows]
        counts = list((held[:, None] - since).T.astype(np.float64))
        trend = np.log((counts[2] + 1.0) / (counts[3] / 3.0 + 1.0))
        used, met = end > begun, now > begun
        oldest = np.where(used, today - self.day[np.where(used, begun, -1)], np.nan)
        newest = np.where(met, today - self.day[np.where(met, now - 1, -1)], np.nan)
        known = (*(np.log1p(c) for c in counts), trend, oldest, newest)
        return [*columns, *known, self.log_price[item_ix], *codes]

    def cosines(self, item_ix: Int, others: Int) -> Double:
        """Return [m, n] cosines of contents, NaN where either has none."""
        a, b = self.content_ix[item_ix], self.content_ix[others]
        if not len(self.content):
            return np.full((len(a), len(b)), np.nan)
        found = (self.content[a] @ self.content[b].T).astype(np.float64)
        found[a < 0] = np.nan
        found[:, b < 0] = np.nan
        return found

    def nearness(self, item_ix: Int, words: Float) -> Double:
        """Return [m] cosines of what items say with a unit vector of words; NaN for silent items.

        Pictures and sounds of an item do not count: words are compared with words.
        """
        if not len(self.content):
            return np.full(len(item_ix), np.nan)
        own = self.content_ix[item_ix]
        width = self.text_width or self.content.shape[1]
        text = self.content[own, :width]  # [m, d]
        size = np.linalg.norm(text, axis=1)
        told = (own >= 0) & (size > 0)
        found = np.full(len(item_ix), np.nan)
        found[told] = (text[told] @ words[:width]) / size[told]
        return found

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the whole state."""
        return {
            "facts.text_width": np.array([self.text_width], dtype=np.int64),
            "facts.log_users": self.log_users,
            "facts.per_user": self.per_user,
            "facts.key": self.key,
            "facts.upto": self.upto,
            "facts.first_day": np.array([self.first_day], dtype=np.int64),
            "facts.content": self.content,
            "facts.content_ix": self.content_ix,
            "facts.log_price": self.log_price,
            **({} if self.books is None else self.books.arrays()),
        }

    @classmethod
    def load(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild from ``arrays``."""
        names = ("log_users", "per_user", "key", "upto", "content", "content_ix", "log_price")
        books = Codebooks.load(arrays)
        held = {name: ar.needed(arrays, f"facts.{name}") for name in names}
        return cls(
            first_day=int(ar.needed(arrays, "facts.first_day")[0]),
            text_width=int(arrays["facts.text_width"][0]) if "facts.text_width" in arrays else 0,
            books=books,
            codes=None if books is None else _coded(books, held["content"], held["content_ix"]),
            **held,
        )


def _unit(content: Float) -> Float:
    """Return rows of length 1; all-zero ones stay."""
    norms = np.linalg.norm(content.astype(np.float64), axis=1, keepdims=True)  # [c, 1]
    unit = np.divide(content, norms, out=np.zeros(content.shape), where=norms > 0)
    return np.asarray(unit, dtype=np.float32)


def _coded(books: Codebooks, content: Float, content_ix: Int) -> Float:
    codes = books.codes(content, content_ix).astype(np.float32)
    codes[codes < 0] = np.nan
    return codes

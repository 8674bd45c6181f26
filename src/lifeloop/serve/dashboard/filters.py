"""What a page shows, as its address says it: window, grain, split, conditions."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any, Self, cast, get_args
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from lifeloop.errors import InputError
from lifeloop.lifecycle.calendar import Grain

GRAINS: tuple[str, ...] = get_args(Grain)
PRESETS = (30, 90, 365)
"""Days back from the last day of the data that one press asks for."""


@dataclass(frozen=True, slots=True)
class Filters:
    """The window and conditions of one page; its address is made of the same."""

    start: str | None = None
    end: str | None = None
    grain: Grain = "week"
    by: str | None = None
    where: tuple[str, ...] = ()
    bots: bool = False

    @classmethod
    def of(cls, query: QueryParams, *, grain: Grain = "week") -> Self:
        """Return the filters of an address.

        Raises
        ------
        InputError
            A date, grain or condition that cannot be read.
        """
        asked = query.get("grain") or grain
        if asked not in GRAINS:
            raise InputError("this is no length of a period", got=asked, allowed=", ".join(GRAINS))
        where = tuple(dict.fromkeys(pair for pair in query.getlist("where") if pair))
        for pair in where:
            name, colon, value = pair.partition(":")
            if not (name and colon and value):
                raise InputError("a condition is no pair", got=pair, allowed="field:value")
        start, end = _date("start", query.get("start")), _date("end", query.get("end"))
        if start and end and end < start:
            raise InputError(
                "the window ends before it starts",
                got=f"{start} to {end}",
                hint="swap the two days",
            )
        return cls(
            start=start,
            end=end,
            grain=cast(Grain, asked),
            by=query.get("by") or None,
            where=where,
            bots=query.get("bots") == "1",
        )

    def asked(self) -> dict[str, Any]:
        """Return the arguments of ``tables.table_of``."""
        where: dict[str, list[str]] = {}
        for pair in self.where:
            name, _, value = pair.partition(":")
            where.setdefault(name, []).append(value)
        return {
            "start": self.start,
            "end": self.end,
            "grain": self.grain,
            "by": self.by,
            "where": where or None,
            "include_bots": self.bots,
        }

    def whole(self) -> dict[str, Any]:
        """Return the same arguments without the split."""
        return {name: value for name, value in self.asked().items() if name != "by"}

    def pairs(self) -> list[tuple[str, str]]:
        """Return the filters as pairs of an address; what is as usual is left out."""
        named = [("start", self.start), ("end", self.end), ("grain", self.grain), ("by", self.by)]
        pairs = [(name, value) for name, value in named if value]
        pairs += [("where", pair) for pair in self.where]
        return [*pairs, ("bots", "1")] if self.bots else pairs

    def query(self, **more: Any) -> str:
        """Return the filters as the query of an address, with ``more`` behind them."""
        extra = [(name, str(value)) for name, value in more.items() if value is not None]
        return urlencode([*self.pairs(), *extra])

    def without(self, pair: str) -> Self:
        """Return the filters without one condition."""
        return replace(self, where=tuple(held for held in self.where if held != pair))

    def lasting(self, days: int, *, last: date) -> Self:
        """Return the filters over the last ``days`` days."""
        start = last - timedelta(days=days - 1)
        return replace(self, start=start.isoformat(), end=None)

    @property
    def narrow(self) -> bool:
        """Whether anything but the grain was chosen."""
        return bool(self.start or self.end or self.by or self.where or self.bots)


def own_options(query: QueryParams, names: tuple[str, ...]) -> Mapping[str, str]:
    """Return the options of a table that an address says."""
    return {name: query[name] for name in names if query.get(name)}


def _date(name: str, text: str | None) -> str | None:
    if not text:
        return None
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise InputError(
            f"{name} is not a day", got=text, allowed="YYYY-MM-DD", hint="pick it again"
        ) from None

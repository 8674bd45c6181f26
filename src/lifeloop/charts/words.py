"""The words on tables and pictures, per language, from ``en.toml`` and ``zh.toml``.

A word that a catalogue lacks is shown as its name in data: an attribute of somebody's own users
has no translation. Sentences of ``notes`` must be in every catalogue; a test compares them.
"""

import re
import tomllib
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any, get_args

from lifeloop.contracts import ColumnKind
from lifeloop.errors import InputError

LANGUAGES = ("en", "zh")


@dataclass(frozen=True, slots=True)
class Words:
    """One catalogue. ``lang`` is its language."""

    lang: str
    catalogue: dict[str, Any]

    def title(self, table: str) -> str:
        """Return the title of a table."""
        return str(self._at("titles", table, table))

    def help(self, table: str) -> str:
        """Return one sentence on what a table counts."""
        return str(self._at("help", table, ""))

    def column(self, name: str) -> str:
        """Return the heading of a column."""
        return str(self._at("columns", name, name))

    def value(self, name: str) -> str:
        """Return a state, stage, rate or status in words."""
        return str(self._at("values", name, name))

    def reason(self, text: str) -> str:
        """Return why something is null, in this language (English is the text itself)."""
        if text in self.catalogue.get("reasons", {}):
            return str(self.catalogue["reasons"][text])
        told = self._matched("patterns", text)
        return told if told == text else told.replace(" or ", str(self._at("values", "or", " or ")))

    def rule(self, text: str) -> str:
        """Return the rule that decides a stage, in this language (English is the text itself)."""
        return self._matched("rules", text)

    def note(self, name: str, **values: Any) -> str:
        """Return a sentence with its numbers filled in."""
        return str(self.catalogue["notes"][name]).format(**values)

    def _matched(self, part: str, text: str) -> str:
        for pattern, told in self.catalogue.get(part, {}).items():
            if re.search(pattern, text):
                return re.sub(pattern, str(told), text)
        return text

    def _at(self, part: str, name: str, default: str) -> Any:
        return self.catalogue.get(part, {}).get(name, default)


@lru_cache(maxsize=len(LANGUAGES))
def words(lang: str) -> Words:
    """Return the words of a language.

    Raises
    ------
    InputError
        A language without a catalogue.
    """
    if lang not in LANGUAGES:
        raise InputError("no texts in this language", got=lang, allowed=", ".join(LANGUAGES))
    text = resources.files("lifeloop.charts").joinpath(f"{lang}.toml").read_text("utf-8")
    return Words(lang, tomllib.loads(text))


def kind_of(name: str, dtype: str, catalogue: Words) -> ColumnKind:
    """Return how a column is read, from its name and its Polars type."""
    if dtype in ("String", "Enum"):
        return "text"
    if dtype == "Date" or dtype.startswith("Datetime"):
        return "date"
    if dtype == "Boolean":
        return "boolean"
    stem = name.removesuffix("_low").removesuffix("_high")
    kind: ColumnKind
    for kind in get_args(ColumnKind):
        if stem in catalogue.catalogue["kinds"].get(kind, ()):
            return kind
    return "integer" if dtype.startswith(("Int", "UInt")) else "number"

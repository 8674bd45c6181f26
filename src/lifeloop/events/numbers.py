"""Numbers as people write them: decimal commas, thousands, currency signs, full-width digits.

A text that can be read one way is read; one that can be read two ways is refused, because a wrong
guess is wrong by a thousand:

- ``12.5``, ``1e3``: as they are. ``12,50``: a decimal comma. ``1.234,56``, ``1,234.56``: the last
  mark is the decimal one. ``1,234,567`` and ``1.234.567``: thousands. ``1 234,5``, ``1'234.5`` too.
- ``1,234`` is refused: it may be 1234 or 1.234. So is ``1.234`` where the same column also writes
  decimal commas. ``--map value.decimal=,`` (or ``.``) says which it is.
"""

import math
import re
import unicodedata

import polars as pl

from lifeloop.errors import InputError

BAD, AMBIGUOUS = "bad_number", "ambiguous_number"
_SIGNS = re.compile(r"^(?:[A-Z]{3}|[$€£¥₹₩₽₺฿元円￥])\s*|\s*(?:[A-Z]{3}|[$€£¥₹₩₽₺฿元円])$")
_SPACES = re.compile(r"(?<=\d)[\s\u00a0\u202f'’](?=\d{3}(?:\D|$))")
_PLAIN = re.compile(r"^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$")
_MARKED = re.compile(r"^[+-]?\d[\d.,]*$")
_THOUSANDS = re.compile(r"^[+-]?[1-9]\d{0,2}([.,])\d{3}(?:\1\d{3})*$")
_POINT_OR_THOUSAND = r"^[+-]?[1-9]\d{0,2}\.\d{3}$"
_COMMA = r"\d,\d{1,2}\D*$"


def parse_number(text: str, *, decimal: str | None = None) -> float | str:
    """Return the number that a text says, or why it says none.

    Parameters
    ----------
    decimal : "." or ",", optional
        The decimal mark, where it is known.

    Returns
    -------
    float, or ``"bad_number"`` or ``"ambiguous_number"``

    Examples
    --------
    >>> parse_number("1.234,56 €"), parse_number("12,50"), parse_number("1,234")
    (1234.56, 12.5, 'ambiguous_number')
    >>> parse_number("1,234", decimal=","), parse_number("(3.20)"), parse_number("１２．５")
    (1.234, -3.2, 12.5)
    """
    bare = unicodedata.normalize("NFKC", text).strip().replace("−", "-")
    negative = bare.startswith("(") and bare.endswith(")")
    bare = bare[1:-1].strip() if negative else bare
    if bare.endswith("-"):
        negative, bare = not negative, bare[:-1].strip()
    bare = _SIGNS.sub("", _SIGNS.sub("", bare)).strip()
    bare = _SPACES.sub("", bare)
    if bare.startswith("-") and len(bare) > 1 and not bare[1].isdigit():  # -£3
        bare = "-" + _SIGNS.sub("", bare[1:]).strip()
    point = _pointed(bare, decimal)
    if point is None:
        return BAD
    if point == AMBIGUOUS:
        return AMBIGUOUS
    number = float(point)
    if not math.isfinite(number):
        return BAD
    return -number if negative else number


def parse_numbers(
    values: pl.Series, *, decimal: str | None = None
) -> tuple[pl.Series, pl.Series | None, bool]:
    """Return numbers of a text column, why some are none, and whether any had to be interpreted.

    Parameters
    ----------
    values : Series[String] [n]
        Null is absent.

    Returns
    -------
    (Series[Float64] [n], Series[String] [n] or None, bool)
    """
    numbers = values.cast(pl.Float64, strict=False)
    odd = values.is_not_null() & (numbers.is_null() | ~numbers.is_finite())
    written = values.filter(odd)
    commas = bool(written.str.contains(_COMMA).any())
    if decimal == "," or commas:
        doubtful = values.str.contains(_POINT_OR_THOUSAND).fill_null(value=False)
        odd = odd | doubtful
    if not odd.any():
        return numbers, None, False
    read = {
        text: _read(text, decimal, commas=commas) for text in values.filter(odd).unique().to_list()
    }
    numeric = {t: v for t, v in read.items() if isinstance(v, float)}
    failed = {t: v for t, v in read.items() if isinstance(v, str)}
    replaced = values.replace_strict(
        list(numeric), list(numeric.values()), default=None, return_dtype=pl.Float64
    )
    numbers = pl.select(pl.when(odd).then(replaced).otherwise(numbers)).to_series()
    why = values.replace_strict(
        list(failed), list(failed.values()), default=None, return_dtype=pl.String
    )
    return numbers, why if failed else None, bool(numeric)


def checked_decimal(mark: str) -> str:
    """Return a decimal mark that was given. Raises ``InputError`` for any but two."""
    if mark not in (".", ","):
        raise InputError("unknown decimal mark", got=mark, allowed=". or ,")
    return mark


def _read(text: str, decimal: str | None, *, commas: bool) -> float | str:
    if decimal is None and commas and re.match(_POINT_OR_THOUSAND, text):
        return AMBIGUOUS
    return parse_number(text, decimal=decimal)


def _pointed(text: str, decimal: str | None) -> str | None:
    """Return the text with a decimal point and no thousands; None where it is no number."""
    if decimal is None and _PLAIN.match(text):
        return text
    if decimal == "." and _PLAIN.match(text):
        return text
    if not _MARKED.match(text):
        return None
    if decimal is not None:
        other = "," if decimal == "." else "."
        whole, _, part = text.partition(decimal)
        if decimal in part or other in part or not _grouped(whole, other):
            return None
        return f"{whole.replace(other, '')}.{part}"
    marks = [c for c in text if c in ".,"]
    if len(set(marks)) == 1 and len(marks) == 1:
        return AMBIGUOUS if _THOUSANDS.match(text) else text.replace(",", ".")
    if len(set(marks)) == 1:
        return text.replace(marks[0], "") if _THOUSANDS.match(text) else None
    return _pointed(text, marks[-1])


def _grouped(whole: str, mark: str) -> bool:
    return mark not in whole or bool(
        re.match(rf"^[+-]?\d{{1,3}}(?:{re.escape(mark)}\d{{3}})+$", whole)
    )

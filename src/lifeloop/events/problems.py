"""Why a row is refused: the words shared by readers, parsers, reports and quarantine."""

from collections.abc import Sequence
from typing import TypeVar

from lifeloop.errors import InputError

REASONS: dict[str, str] = {
    "missing_user_id": "neither user_id nor anonymous_id is given",
    "missing_item_id": "item_id is empty",
    "missing_type": "nothing says what happened (type)",
    "placeholder_id": "an id is only a placeholder, such as null, undefined, anonymous or 0",
    "reserved_prefix": "a user_id starts with anon:, which names visitors without an account",
    "id_too_long": "an id has more than 1,024 characters",
    "bad_time": "a time is impossible, or outside the years 1970 to 2100",
    "ambiguous_time": "day and month cannot be told apart: give the format, "
    "--map occurred_at.format=%d/%m/%Y",
    "bad_number": "a number is not finite or not a number",
    "ambiguous_number": "a number can be read two ways, such as 1,234: say the decimal mark, "
    "--map value.decimal=,",
    "bad_flag": "a yes-or-no value is neither",
    "bad_json": "not a JSON object",
    "nul_character": "a text holds a NUL character",
    "column_count": "the row has another number of columns than the header",
    "unbalanced_quote": "a quotation mark is never closed",
    "bad_encoding": "bytes that are not text in the file's encoding, or half a character",
}
"""Reason -> what it means."""

NO_ROWS = "no_rows"
"""Reason of a file that holds no row at all."""

_E = TypeVar("_E", bound=InputError)


def refusal(error: _E, reason: str, problems: Sequence[str] = ()) -> _E:
    """Return ``error`` with the attributes ``reason`` (one word) and ``problems`` (all of them)."""
    vars(error)["reason"] = reason
    vars(error)["problems"] = tuple(problems) or (str(error),)
    return error

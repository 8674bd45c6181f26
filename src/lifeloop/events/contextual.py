"""What an event's context says about it: the title of its item, its unit price, its user agent."""

import json

import polars as pl

from lifeloop.events.fields import field_of

_SEEN = 2_000
_AGENT = ("useragent", "ua", "httpuseragent", "rawuseragent")


def with_context(events: pl.DataFrame) -> pl.DataFrame:
    """Add ``title``, ``unit_price`` and ``user_agent`` from the JSON of ``context``.

    The keys are found in the first rows that have a context, one level of nesting included; a
    title is what would be an item's title, or else its description.
    """
    context = events["context"]
    keys = _keys(context)
    return events.with_columns(
        _text(context, keys.get("title") or keys.get("description")).alias("title"),
        _text(context, keys.get("unit_price")).cast(pl.Float64, strict=False).alias("unit_price"),
        _text(context, keys.get("user_agent")).alias("user_agent"),
    )


def user_agents(context: pl.Series) -> pl.Series:
    """Return the user agent that each context names, null where it names none [n]."""
    return _text(context, _keys(context).get("user_agent"))


def _keys(context: pl.Series) -> dict[str, str]:
    """Return what is looked for -> its JSON path."""
    found: dict[str, str] = {}
    for text in context.drop_nulls().head(_SEEN).unique().to_list():
        row = json.loads(text)
        for key, value in row.items():
            _offer(found, key, _path(key))
            if isinstance(value, dict):
                for inner in value:
                    _offer(found, inner, f"{_path(key)}{_path(inner)[1:]}")
    return found


def _offer(found: dict[str, str], key: str, path: str) -> None:
    if "".join(c for c in key.lower() if c.isalnum()) in _AGENT:
        found.setdefault("user_agent", path)
    elif key == "unit_price":
        found["unit_price"] = path
    elif (field := field_of(key, "item")) and field[0] in ("title", "description"):
        found.setdefault(field[0], path)


def _path(key: str) -> str:
    return "$['" + key.replace("\\", "\\\\").replace("'", "\\'") + "']"


def _text(context: pl.Series, path: str | None) -> pl.Series:
    if path is None:
        return pl.Series([None], dtype=pl.String).new_from_index(0, len(context))
    return context.str.json_path_match(path)

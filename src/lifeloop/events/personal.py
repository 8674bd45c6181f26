"""E-mail addresses as ids: they are personal data, and a keyed hash serves as well."""

import re
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import polars as pl

from lifeloop.events.fields import field_of

_EMAIL = r"^\s*[^@\s,;:/]+@[^@\s,;:/]+\.[^@\s,;:/.]{2,}\s*$"
PREFIX = "mail_"


def emails(ids: pl.Series) -> pl.Series:
    """Return where an id is an e-mail address [n]."""
    return ids.str.contains(_EMAIL).fill_null(value=False)


def is_email(text: str) -> bool:
    """Return whether an id is an e-mail address."""
    return re.match(_EMAIL, text) is not None


def person_id(user_id: str, *, key: bytes | None) -> str:
    """Return the id under which somebody is stored: with a key, an address as its pseudonym."""
    return pseudonym(user_id, key=key) if key is not None and is_email(user_id) else user_id


def pseudonym(address: str, *, key: bytes) -> str:
    """Return the id that stands for an address: keyed, so that nobody without the key can tell.

    Spaces and case do not matter: one mailbox is one person. blake2b, 128 bits.

    Examples
    --------
    >>> pseudonym("Ada@Example.org ", key=b"k") == pseudonym("ada@example.org", key=b"k")
    True
    """
    digest = blake2b(address.strip().lower().encode(), key=key, digest_size=16)
    return PREFIX + digest.hexdigest()


def pseudonymised_raw(raw: Mapping[str, Any], *, key: bytes) -> dict[str, Any]:
    """Return a refused row with its e-mail ids as pseudonyms."""
    row = dict(raw)
    for name, value in raw.items():
        found = field_of(name, "event")
        if found is None or found[0] not in ("user_id", "anonymous_id"):
            continue
        if isinstance(value, str) and re.match(_EMAIL, value):
            row[name] = pseudonym(value, key=key)
    return row


def pseudonymised(frame: pl.DataFrame, *, key: bytes) -> pl.DataFrame:
    """Return rows whose e-mail ids (user and anonymous) are pseudonyms; other ids stay."""
    columns = []
    for name in ("user_id", "anonymous_id"):
        if name not in frame.columns:
            continue
        ids = frame[name]
        found = ids.filter(emails(ids)).unique().to_list()
        if found:
            columns.append(ids.replace({a: pseudonym(a, key=key) for a in found}))
    return frame.with_columns(columns)

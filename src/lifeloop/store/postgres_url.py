"""What a PostgreSQL URL says: how to connect, in which schema, and what may be shown of it."""

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from lifeloop.errors import StoreError

CONNECT_S = 10
"""How long to wait for a server that does not answer, unless the URL says otherwise."""

_SECRET = ("password", "sslpassword", "passfile")
_SCHEMA = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")


@dataclass(frozen=True, slots=True)
class Address:
    """One database, and the schema of it that is lifeloop's."""

    conninfo: str  # for libpq; holds the password, so it is never shown
    shown: str  # the URL without any password
    schema: str | None  # None: where the server puts this user's tables
    secrets: tuple[str, ...]  # what a message must never repeat

    def __repr__(self) -> str:
        return f"Address({self.shown!r})"


def read_url(url: str) -> Address:
    """Read ``postgresql://user:password@host:port/database?schema=name&libpq_option=value``.

    Raises
    ------
    StoreError
        If libpq would not understand the URL, or the schema is not a plain name.
    """
    try:
        parts = urlsplit(url)
        given = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise _unreadable() from None
    options = [(name, value) for name, value in given if name != "schema"]
    named = [value for name, value in given if name == "schema"]
    schema = named[-1] if named else None
    if schema is not None and not _SCHEMA.fullmatch(schema):
        raise StoreError(
            "the schema of the database URL is not a plain name",
            got=schema,
            allowed="letters, digits and _, at most 63, not beginning with a digit",
            hint="correct ?schema= in the URL",
        )
    query = urlencode(options, quote_via=quote)
    try:
        plain = f"postgresql://{parts.netloc}{parts.path}" + (f"?{query}" if query else "")
        asked = conninfo_to_dict(plain)
        known = {name: str(value) for name, value in asked.items() if value is not None}
        conninfo = make_conninfo(**_completed(known, schema))
    except (ProgrammingError, UnicodeError):
        raise _unreadable() from None  # libpq's own words may repeat the password
    return Address(
        conninfo=conninfo,
        shown=_shown(parts.netloc, parts.path, [o for o in given if o[0] not in _SECRET]),
        schema=schema,
        secrets=tuple(known[name] for name in _SECRET if known.get(name)),
    )


def _completed(known: dict[str, str], schema: str | None) -> dict[str, str]:
    done = {"connect_timeout": str(CONNECT_S), "application_name": "lifeloop", **known}
    done["client_encoding"] = "utf8"
    if schema is not None:
        # Only this schema: a table of the same name elsewhere must never be taken for ours.
        own = f'-c search_path="{schema}"'
        done["options"] = f"{known['options']} {own}" if "options" in known else own
    return done


def _shown(netloc: str, path: str, options: list[tuple[str, str]]) -> str:
    person, at, host = netloc.rpartition("@")
    query = urlencode(options, quote_via=quote)
    return f"postgresql://{person.split(':')[0]}{at}{host}{path}" + (f"?{query}" if query else "")


def _unreadable() -> StoreError:
    return StoreError(
        "the database URL cannot be read",
        got="postgresql://…",  # never the password
        allowed="postgresql://user:password@host:5432/database?schema=name, as libpq reads it",
        hint="write special characters of user and password as %XX, and check every option",
    )

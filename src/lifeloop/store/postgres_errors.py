"""What PostgreSQL raises, as an error that says what happened and what to do."""

import psycopg

from lifeloop.errors import InputError, LifeloopError, StoreError, StoreFull
from lifeloop.store.postgres_url import Address

_AGAIN = "repeat the call; rows that carry an event_id are never stored twice"
_UNDER_WAY = "57P01 57P02 57P03 57P05 25P03 25P04"  # ended by the server, not by the statement


def translated(error: BaseException | None, address: Address, *, committing: bool) -> LifeloopError:
    """Return the error to raise for ``error``; ``committing``: the commit had been sent."""
    state = getattr(error, "sqlstate", None) or ""
    where = address.shown
    if isinstance(error, UnicodeError):
        return _not_text(where)
    if isinstance(error, psycopg.DataError) and (
        not state or state[:3] == "22P" or state == "22021"
    ):
        return _not_text(where)
    if was_lost(error):
        return _lost(error, address, committing=committing)
    if state == "53100":
        return StoreFull(
            "the disk of the PostgreSQL server is full; nothing of this call was stored",
            got=where,
            hint="free space on the server, then repeat the call",
        )
    if state == "54000":
        return InputError(
            "a name is longer than PostgreSQL can look up (about 2,600 bytes)",
            got=where,
            hint="send the id itself, not a document",
        )
    if state in ("55P03", "57014"):
        return StoreError(
            f"the database did not answer in time ({told(error, address)})",
            got=where,
            hint="repeat the call, and look for a writer that hangs (pg_stat_activity)",
        )
    if state == "42501":
        return StoreError(
            f"this user may not do that in the database ({told(error, address)})",
            got=where,
            hint="grant it, or give lifeloop a schema of its own: add ?schema=lifeloop to the URL",
        )
    if state == "25006":
        return StoreError(
            "the database accepts no writes: it is a read-only standby, or this was a read",
            got=where,
            hint="name the primary server in the URL",
        )
    return StoreError(f"PostgreSQL failed: {told(error, address)}", got=where)


def unreachable(error: BaseException | None, address: Address) -> StoreError:
    """Return the error of a connection that could not be made."""
    return StoreError(
        f"PostgreSQL cannot be reached ({told(error, address)})",
        got=address.shown,
        hint="check that the server runs, and the host, port, user, password and database of the "
        "URL; then repeat the call",
    )


def was_lost(error: BaseException | None) -> bool:
    """Return whether the connection is gone, and not only the statement."""
    state = getattr(error, "sqlstate", None) or ""
    if state:
        return state[:2] == "08" or state in _UNDER_WAY.split()
    return isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError))


def told(error: object, address: Address) -> str:
    """Return the first line of a message, without the password should it repeat that."""
    lines = str(error).strip().splitlines()
    text = lines[0] if lines else type(error).__name__
    for secret in address.secrets:
        text = text.replace(secret, "…")
    return text


def _lost(error: BaseException | None, address: Address, *, committing: bool) -> StoreError:
    fate = (
        "it may or may not have stored this call"
        if committing
        else "nothing of this call was stored"
    )
    return StoreError(
        f"the connection to PostgreSQL was lost ({told(error, address)}); {fate}",
        got=address.shown,
        hint=f"check that the server runs; {_AGAIN}",
    )


def _not_text(where: str) -> InputError:
    return InputError(
        "PostgreSQL cannot hold a text with a NUL character or half a surrogate pair, "
        "and cannot look one up",
        got=where,
        hint="remove the character where the text comes from",
    )

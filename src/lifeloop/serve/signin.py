"""People who sign in to the dashboard: accounts (argon2), sessions, and a token per form."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import parse_qs

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from fastapi import Request

from lifeloop.contracts import Kept
from lifeloop.errors import InputError, UnknownId
from lifeloop.serve.problems import Problem

COOKIE = "lifeloop_session"
CSRF_FIELD = "csrf"
CSRF_HEADER = "x-csrf-token"
SESSION_S = 12 * 3600
_ACCOUNT, _SESSION = "account", "session"
_SHORTEST, _FORM_BYTES = 10, 100_000


@dataclass(frozen=True, slots=True)
class Session:
    """Who is signed in; ``csrf`` goes into every form, or into the header ``x-csrf-token``."""

    account: str
    csrf: str
    until_us: int


def create_account(kept: Kept, name: str, *, at_us: int, password: str | None = None) -> str:
    """Make (or give a new password to) an account; return the password.

    Raises
    ------
    InputError
        No name, or a password that is too short.
    """
    if not name.strip():
        raise InputError("an account needs a name", got=name)
    chosen = secrets.token_urlsafe(12) if password is None else password
    if len(chosen) < _SHORTEST:
        raise InputError("the password is too short", allowed=f"{_SHORTEST} characters or more")
    kept.put(_ACCOUNT, name, {"hash": _hasher().hash(chosen)}, at_us=at_us)
    return chosen


def accounts(kept: Kept) -> list[str]:
    """Return the names of all accounts."""
    return list(kept.every(_ACCOUNT))


def in_use(kept: Kept, *, at_us: int) -> bool:
    """Return whether anybody is signed in."""
    return any(body["until_us"] > at_us for body in kept.every(_SESSION).values())


def remove_account(kept: Kept, name: str) -> None:
    """Remove an account and end its sessions. Raises ``UnknownId``."""
    if not kept.drop(_ACCOUNT, name):
        raise UnknownId("there is no such account", got=name, hint="lifeloop accounts list")
    for key, body in kept.every(_SESSION).items():
        if body["account"] == name:
            kept.drop(_SESSION, key)


def sign_in(kept: Kept, name: str, password: str, *, at_us: int) -> str | None:
    """Return the token of a new session, None where name and password do not go together."""
    held = kept.get(_ACCOUNT, name)
    try:  # as slow for a name that does not exist
        _hasher().verify(_nobody() if held is None else held["hash"], password)
    except (VerificationError, InvalidHashError):
        return None
    if held is None:
        return None
    for key, body in kept.every(_SESSION).items():
        if body["until_us"] <= at_us:
            kept.drop(_SESSION, key)
    token = secrets.token_urlsafe(32)
    body = {
        "account": name,
        "csrf": secrets.token_urlsafe(24),
        "until_us": at_us + SESSION_S * 1_000_000,
    }
    kept.put(_SESSION, _digest(token), body, at_us=at_us)
    return token


def session_of(kept: Kept, token: str | None, *, at_us: int) -> Session | None:
    """Return the session of a token while it lasts."""
    body = kept.get(_SESSION, _digest(token)) if token else None
    if body is None or body["until_us"] <= at_us:
        return None
    return Session(body["account"], body["csrf"], body["until_us"])


def sign_out(kept: Kept, token: str) -> None:
    """End a session."""
    kept.drop(_SESSION, _digest(token))


def signed_in(request: Request) -> Session:
    """Return the session of a page's request; the gate has let nobody else in (dependency)."""
    session: Session = request.state.session
    return session


async def form(request: Request) -> dict[str, str]:
    """Return a urlencoded form whose token is right (dependency of every POST of a page).

    Raises
    ------
    Problem
        403 without the token of this session, 413 above 100 kB.
    """
    raw = bytearray()
    async for part in request.stream():
        raw += part
        if len(raw) > _FORM_BYTES:
            raise Problem(413, "the form is too large", allowed=f"{_FORM_BYTES:,} bytes")
    fields = {
        name: values[-1]
        for name, values in parse_qs(raw.decode("utf-8", "replace"), keep_blank_values=True).items()
    }
    session: Any = getattr(request.state, "session", None)
    given = request.headers.get(CSRF_HEADER) or fields.pop(CSRF_FIELD, "")
    if session is not None and not hmac.compare_digest(given.encode(), session.csrf.encode()):
        raise Problem(
            403,
            "this form is not from a page of ours",
            hint="load the page again and repeat",
            error="forbidden",
        )
    return fields


@cache
def _hasher() -> PasswordHasher:
    return PasswordHasher()


@cache
def _nobody() -> str:
    return _hasher().hash(secrets.token_urlsafe(12))


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()

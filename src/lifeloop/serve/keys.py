"""API keys: long random secrets, stored hashed, each with roles.

A key reads ``ll_<id>_<secret>``; the secret has 256 random bits, so one round of SHA-256 is as
good a hash as any slow one (there is nothing to guess; docs/decisions/0040-api-keys.md).
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from lifeloop.contracts import Kept
from lifeloop.errors import InputError, UnknownId

Role = Literal["ingest", "read", "operate", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)
KIND = "api_key"

_IMPLIES: Mapping[str, frozenset[str]] = {
    "ingest": frozenset({"ingest"}),
    "read": frozenset({"read"}),
    "operate": frozenset({"ingest", "read", "operate"}),
    "admin": frozenset(ROLES),
}
_KEY = re.compile(r"ll_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")


@dataclass(frozen=True, slots=True)
class Key:
    """One key as it is kept: everything but the secret."""

    id: str
    name: str
    roles: tuple[str, ...]
    digest: str
    created_us: int

    @property
    def may(self) -> frozenset[str]:
        """Every role that the key's roles give."""
        return frozenset().union(*(_IMPLIES[role] for role in self.roles))

    def public(self) -> dict[str, Any]:
        """Return what may be shown."""
        return {
            "id": self.id,
            "name": self.name,
            "roles": list(self.roles),
            "created_us": self.created_us,
        }


def create(kept: Kept, *, name: str, roles: Collection[str], at_us: int) -> tuple[Key, str]:
    """Make a key; the text returned beside it is shown once and kept nowhere.

    Raises
    ------
    InputError
        No role, or one that does not exist.
    """
    unknown = sorted(set(roles) - set(ROLES))
    if unknown or not roles:
        raise InputError(
            "a key needs roles that exist", got=unknown or None, allowed=", ".join(ROLES)
        )
    key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    ordered = tuple(role for role in ROLES if role in roles)
    key = Key(key_id, name, ordered, _digest(secret), at_us)
    _keep(kept, key)
    return key, f"ll_{key_id}_{secret}"


def listed(kept: Kept) -> list[Key]:
    """Return every key, oldest first."""
    return [_key(key_id, body) for key_id, body in kept.every(KIND).items()]


def rotate(kept: Kept, key_id: str, *, at_us: int) -> tuple[Key, str]:
    """Give a key a new secret under its old id, name and roles; the old one ends at once."""
    held = kept.get(KIND, key_id)
    if held is None:
        raise _unknown(key_id)
    secret = secrets.token_urlsafe(32)
    old = _key(key_id, held)
    key = Key(key_id, old.name, old.roles, _digest(secret), at_us)
    _keep(kept, key)
    return key, f"ll_{key_id}_{secret}"


def revoke(kept: Kept, key_id: str) -> None:
    """End a key."""
    if not kept.drop(KIND, key_id):
        raise _unknown(key_id)


def find(keys: Mapping[str, Key], text: str | None) -> Key | None:
    """Return the key that this text is, None where it is none of them.

    The secret is compared in constant time, also where the id is unknown.
    """
    match = _KEY.fullmatch(text or "")
    if match is None:
        return None
    key = keys.get(match[1])
    held = "" if key is None else key.digest
    same = hmac.compare_digest(held.ljust(64), _digest(match[2]))
    return key if same else None


def _keep(kept: Kept, key: Key) -> None:
    body = {
        "name": key.name,
        "roles": list(key.roles),
        "digest": key.digest,
        "created_us": key.created_us,
    }
    kept.put(KIND, key.id, body, at_us=key.created_us)


def _key(key_id: str, body: Mapping[str, Any]) -> Key:
    return Key(key_id, body["name"], tuple(body["roles"]), body["digest"], body["created_us"])


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _unknown(key_id: str) -> UnknownId:
    return UnknownId("there is no such key", got=key_id, hint="lifeloop keys list")

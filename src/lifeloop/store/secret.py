"""The one key of a project: without it nobody can tell who was erased, or whose id is hashed.

Nothing uses it itself but only what ``derived`` makes of it, so that the hashed id of an address
and the tombstone of the same address have nothing in common.
"""

import hmac
import os
import secrets
import stat
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lifeloop.errors import StoreError

VARIABLE = "LIFELOOP_KEY"
"""Environment variable that holds the key, for servers that share no folder."""

FILE = "project.key"
_SHORTEST = 32  # characters


@dataclass(frozen=True, slots=True)
class Secret:
    """Where one project keeps its key: the environment, else a file that only its owner reads."""

    folder: Path

    def held(self) -> bytes | None:
        """Return the key, None where none was made yet.

        Raises
        ------
        StoreError
            If the key is too short to be one, or others may read its file.
        """
        given = os.environ.get(VARIABLE)
        if given is not None:
            return _sound(given, VARIABLE)
        path = self.folder / FILE
        try:
            with path.open(encoding="ascii") as file:
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                text = file.read().strip()
        except FileNotFoundError:
            return None
        if mode & 0o077:
            raise StoreError(
                "others may read the key of the project",
                got=f"{path} with mode {mode:o}",
                allowed="mode 600",
                hint=f"chmod 600 {path}",
            )
        return _sound(text, str(path))

    def made(self) -> bytes:
        """Return the key, made and synced first where there is none; two makers agree on one."""
        key = self.held()
        if key is not None:
            return key
        path = self.folder / FILE
        draft = self.folder / f".{FILE}.{secrets.token_hex(8)}"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(secrets.token_hex(32) + "\n")
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileExistsError):
                os.link(draft, path)  # whole or not at all, and never over another's
        finally:
            draft.unlink()
        folder = os.open(self.folder, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
        key = self.held()
        if key is None:
            raise StoreError("the key of the project vanished as it was made", got=str(path))
        return key


@cache
def derived(key: bytes, purpose: str) -> bytes:
    """Return the key for one purpose, 32 bytes: HMAC-SHA-256(key, purpose)."""
    return hmac.digest(key, f"lifeloop {purpose}".encode(), "sha256")


def mark(key: bytes, kind: str, name: str) -> str:
    """Return what stands for a person who was erased: a keyed hash (HMAC-SHA-256, hex)."""
    own = derived(key, "tombstones")
    return hmac.digest(own, f"{kind}\0{name}".encode("utf-8", "surrogatepass"), "sha256").hex()


def _sound(text: str, where: str) -> bytes:
    if len(text) < _SHORTEST:
        raise StoreError(
            "the key of the project is too short to keep a secret",
            got=f"{where} with {len(text)} characters",
            allowed=f"at least {_SHORTEST}",
            hint="put the key of this project there, or for a new project: openssl rand -hex 32",
        )
    return text.encode()

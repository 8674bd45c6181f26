"""The ledger of erasures: every tombstone once more, outside the database and its backups.

A backup from before an erasure still holds the person. The ledger lies beside the key, is no part
of a backup, and is applied when one is restored: ``at_us kind mark`` on a line, appended and synced
before the erasure commits. It names nobody, as the tombstones do not.
"""

import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lifeloop.errors import StoreError, StoreFull

FILE = "erasures.log"

_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT)
_NO_SPACE = (errno.EFBIG, errno.ENOSPC, errno.EDQUOT)

Marks = dict[str, tuple[str, int]]
"""mark -> (kind, when)"""


@dataclass(frozen=True, slots=True)
class Ledger:
    """The ledger in one folder."""

    folder: Path

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self.folder / FILE

    def marks(self) -> Marks:
        """Return every mark; a line that a crash cut off is none."""
        try:
            text = self.path.read_text("ascii", errors="replace")
        except FileNotFoundError:
            return {}
        found: Marks = {}
        for line in text.split("\n"):
            parts = line.split(" ")
            if len(parts) == 3 and len(parts[2]) == 64 and parts[0].lstrip("-").isdigit():
                found.setdefault(parts[2], (parts[1], int(parts[0])))
        return found

    def add(self, marks: Mapping[str, tuple[str, int]]) -> int:
        """Append what is not there yet, durably; return how many.

        A folder that nobody may write to (a read-only container) keeps no ledger: an erasure is
        not refused for that, and ``lifeloop doctor`` says so.
        """
        known = self.marks()
        fresh = {mark: told for mark, told in marks.items() if mark not in known}
        if not fresh:
            return 0
        lines = "".join(f"{at_us} {kind} {mark}\n" for mark, (kind, at_us) in fresh.items())
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                end = os.lseek(descriptor, 0, os.SEEK_END)
                torn = end > 0 and os.pread(descriptor, 1, end - 1) != b"\n"
                os.write(descriptor, ("\n" * torn + lines).encode("ascii"))
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            folder = os.open(self.folder, os.O_RDONLY)
            os.fsync(folder)
            os.close(folder)
        except OSError as error:
            if error.errno in _READ_ONLY:
                return 0
            if error.errno in _NO_SPACE:
                raise StoreFull(
                    "the disk of the ledger of erasures is full; nobody was erased",
                    got=str(self.path),
                    hint="free space, then repeat the call",
                ) from error
            raise StoreError(
                f"the ledger of erasures cannot be written ({error}); nobody was erased",
                got=str(self.path),
            ) from error
        return len(fresh)

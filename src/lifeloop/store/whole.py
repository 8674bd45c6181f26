"""A file that is whole and on the disk, or not there at all."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import IO
from uuid import uuid4

from lifeloop.errors import StoreError, StoreFull

_NO_SPACE = (27, 28, 122)  # EFBIG, ENOSPC, EDQUOT


@contextmanager
def whole_file(path: Path, what: str) -> Iterator[IO[bytes]]:
    """Open a draft beside ``path`` that takes its place, synced, when the block has ended.

    Raises
    ------
    StoreError
        If it cannot be written (``StoreFull``: the disk is full); ``path`` is then as it was
        before. ``what`` names it in the message.
    """
    _swept(path)
    draft = None
    try:
        with _draft(path) as raw:
            draft = Path(raw.name)
            yield raw
            raw.flush()
            os.fsync(raw.fileno())
        draft.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise StoreFull(
                f"the disk of the {what} is full; no {what} was made",
                got=str(path),
                hint="free space, or name another place",
            ) from error
        raise StoreError(
            f"the {what} cannot be written ({error}); none was made",
            got=str(path),
            hint="name a file in a folder that is there and may be written to",
        ) from error
    finally:
        if draft is not None:
            draft.unlink(missing_ok=True)


def _draft(path: Path) -> IO[bytes]:
    """Open a draft and hold its lock, by which others know that somebody lives who writes it."""
    while True:
        raw = path.with_name(f".{path.name}.{uuid4().hex[:8]}.draft").open("xb")
        fcntl.flock(raw, fcntl.LOCK_EX)
        if os.fstat(raw.fileno()).st_nlink:  # nobody swept it away before it was locked
            return raw
        raw.close()


def _swept(path: Path) -> None:
    """Remove the drafts of processes that died: nobody holds their lock."""
    for draft in path.parent.glob(f".{escape(path.name)}.*.draft"):
        with suppress(OSError), draft.open("rb") as held:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            draft.unlink()


def made_folder(folder: Path) -> None:
    """Make a folder and those above it that are missing, so that a loss of power keeps them."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for place in missing:
        sync_folder(place.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

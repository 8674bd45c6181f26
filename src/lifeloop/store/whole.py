"""A file that is whole and on the disk, or not there at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from lifeloop.errors import StoreFull

_NO_SPACE = (27, 28, 122)  # EFBIG, ENOSPC, EDQUOT


@contextmanager
def whole_file(path: Path, what: str) -> Iterator[IO[bytes]]:
    """Open a draft beside ``path`` that takes its place, synced, when the block has ended.

    Raises
    ------
    StoreFull
        If the disk is full; ``path`` is then as it was before. ``what`` names it in the message.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    try:
        with draft.open("wb") as raw:
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
        raise
    finally:
        draft.unlink(missing_ok=True)


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

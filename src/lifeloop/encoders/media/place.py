"""Files that items name: found below one folder, and never anywhere else."""

import os
import stat
from pathlib import Path

from lifeloop.errors import UnreadableFile

MOST_BYTES = 4 << 30
"""Larger files are not read: no picture and no sound of an item is."""


def located(name: str, root: Path) -> Path:
    """Return the file that an item names, which lies below ``root``.

    Names come with the data, so a name that leads out of the folder is refused. A link that the
    operator put into the folder is followed. Nothing is fetched from an address.

    Raises
    ------
    UnreadableFile
        With the reason in ``what``: an address, outside the folder, not there, not a plain file,
        empty, or too large.
    """
    asked = name.strip()
    if "://" in asked or asked.startswith(("data:", "//")):
        raise UnreadableFile("an address, which is not fetched", got=_short(name))
    base = Path(os.path.normpath(root.absolute()))
    path = Path(os.path.normpath(base / asked))
    if not asked or path == base or base not in path.parents:
        raise UnreadableFile("outside the media folder", got=_short(name), allowed=str(base))
    try:
        state = path.stat()
    except (OSError, ValueError):  # ValueError: a NUL in the name
        raise UnreadableFile("not there", got=_short(name)) from None
    if not stat.S_ISREG(state.st_mode):
        raise UnreadableFile("not a plain file", got=_short(name))
    if state.st_size == 0:
        raise UnreadableFile("an empty file", got=_short(name))
    if state.st_size > MOST_BYTES:
        raise UnreadableFile("over 4 GiB", got=_short(name))
    return path


def _short(name: str) -> str:
    return name if len(name) <= 80 else f"{name[:77]}..."

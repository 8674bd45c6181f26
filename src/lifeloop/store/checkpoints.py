"""The state of a training in files, one per training, so that an interrupted one goes on."""

from dataclasses import dataclass
from pathlib import Path

from lifeloop.store.whole import made_folder, whole_file


@dataclass(frozen=True, slots=True)
class FileCheckpoints:
    """A folder of states; a file is the newest whole state or the one before it, never half of one.

    Parameters
    ----------
    folder : Path
        Made at the first save. What is left in it belongs to trainings that did not end.
    """

    folder: Path

    def load(self, key: str) -> bytes | None:
        """Return what was saved last under ``key``, None where nothing is kept."""
        path = self._path(key)
        return path.read_bytes() if path.is_file() else None

    def save(self, key: str, state: bytes) -> None:
        """Replace what was kept under ``key``.

        Raises
        ------
        StoreFull
            The disk is full.
        """
        made_folder(self.folder)
        with whole_file(self._path(key), "checkpoint") as file:
            file.write(state)

    def clear(self, key: str) -> None:
        """Forget ``key``: that training is over."""
        self._path(key).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key[:32]}.checkpoint"

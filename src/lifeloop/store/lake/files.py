"""Files of the lake, at a local path or any fsspec URL: written whole, or not at all."""

import os
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import fsspec
from fsspec.implementations.local import LocalFileSystem

from lifeloop.errors import StoreError, StoreFull
from lifeloop.store.whole import made_folder, sync_folder

_NO_SPACE = (27, 28, 122)  # EFBIG, ENOSPC, EDQUOT


class Files:
    """The files under one URL, by their path inside it."""

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            self._fs, root = fsspec.core.url_to_fs(url)
        except (ValueError, ImportError) as error:
            raise StoreError(
                f"the URL of the lake cannot be opened ({error})",
                got=url,
                allowed="a folder, or a URL that fsspec knows (s3://…, gs://…, memory://…)",
                hint="correct [storage] lake, or install the fsspec driver of that scheme",
            ) from None
        self._root = root.rstrip("/")
        self._local = isinstance(self._fs, LocalFileSystem)

    def read(self, path: str) -> bytes | None:
        """Return the bytes of a file, None where there is none."""
        try:
            return bytes(self._fs.cat_file(self._at(path)))
        except FileNotFoundError:
            return None

    def write(self, path: str, data: bytes) -> None:
        """Put a file in place of an earlier one; a reader sees the one or the other, whole."""
        try:
            if self._local:
                _write_durably(Path(self._at(path)), data)
            else:
                self._fs.pipe_file(self._at(path), data)  # one put, which object stores keep whole
        except OSError as error:
            if error.errno in _NO_SPACE:
                raise StoreFull(
                    "the disk of the lake is full; the lake is as it was before",
                    got=self.url,
                    hint="free space, then repeat the call",
                ) from error
            raise StoreError(f"a file of the lake cannot be written ({error})", got=path) from error

    def delete(self, path: str) -> None:
        """Remove a file if it is there."""
        with suppress(FileNotFoundError):
            self._fs.rm_file(self._at(path))

    def paths(self) -> list[str]:
        """Return the path of every file, sorted."""
        if not self._fs.exists(self._root):
            return []
        found = [str(name) for name in self._fs.find(self._root)]
        start = len(self._root.lstrip("/")) + 1
        return sorted(name.lstrip("/")[start:] for name in found)

    def _at(self, path: str) -> str:
        return f"{self._root}/{path}"


def _write_durably(path: Path, data: bytes) -> None:
    made_folder(path.parent)
    draft = path.with_name(f".{path.name}.{uuid4().hex[:8]}.draft")
    try:
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        with suppress(OSError):
            draft.unlink()
        raise
    sync_folder(path.parent)

"""Vectors on disk, by encoder and content, so that nothing is encoded twice."""

import hashlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from lifeloop.contracts import Bool, Encoder, Float, Progress, silent
from lifeloop.errors import StoreError, StoreFull

BATCH = 64
"""Texts per encoder call and per flush: about a second of E5."""

_ASKED_AT_ONCE = 500
_BUSY_S = 30.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS vectors (
    encoder TEXT NOT NULL, text_hash BLOB NOT NULL, vector BLOB, PRIMARY KEY (encoder, text_hash)
) WITHOUT ROWID
"""


class Named(Protocol):
    """What the cache must know of an encoder: ``id`` covers its weights and all its settings."""

    @property
    def id(self) -> str:
        """Stable name."""
        ...

    @property
    def d(self) -> int:
        """Width of the vectors."""
        ...


@dataclass(frozen=True, slots=True)
class VectorCache:
    """A folder that remembers what each encoder made of each text.

    The key is (encoder id, BLAKE2b-128 of the text): another encoder of the same width never
    answers. Every batch is committed, so that an interrupted run resumes where it stopped, and
    several processes may write at once (SQLite). A damaged row is encoded
    again. The folder may be deleted at any time; only time is lost.
    """

    folder: Path

    def encode(
        self, encoder: Encoder, texts: Sequence[str], *, progress: Progress = silent
    ) -> tuple[Float, Bool]:
        """Return ``encoder.encode(texts)``, asking the encoder only for texts unseen so far.

        Returns
        -------
        vectors : Float [n, d]
            Unit rows, zero where the mask is False.
        mask : Bool [n]
            False where there was nothing to encode.

        Raises
        ------
        StoreError
            The cache file is damaged or cannot be written; ``StoreFull`` on a full disk.
        """
        keys = [_key(text) for text in texts]

        def made(rows: Sequence[int]) -> tuple[Float, Bool]:
            return encoder.encode([texts[i] for i in rows])

        return self.keep(encoder, keys, made, step="encode texts", progress=progress)

    def keep(
        self,
        encoder: "Named",
        keys: Sequence[bytes],
        make: Callable[[Sequence[int]], tuple[Float, Bool]],
        *,
        step: str,
        nothing: bool = True,
        progress: Progress = silent,
    ) -> tuple[Float, Bool]:
        """Return the vectors of contents by their hash; ``make`` is asked for unseen ones.

        Parameters
        ----------
        keys : sequence of bytes
            Hash of each content [n].
        make : callable
            Given places in ``keys``, returns their vectors [m, d] and mask [m].
        step : str
            What progress is called.
        nothing : bool
            Whether it is remembered too that there is nothing in a content. Without, it is tried
            anew each time, so that ``make`` can say why.
        """
        vectors = np.zeros((len(keys), encoder.d), dtype=np.float32)
        mask = np.zeros(len(keys), dtype=np.bool_)
        with self._open() as connection:
            known = _known(connection, encoder, list(dict.fromkeys(keys)))
            if not nothing:
                known = {key: row for key, row in known.items() if row is not None}
            fresh: dict[bytes, int] = {}
            for n, key in enumerate(keys):
                if key not in known:
                    fresh.setdefault(key, n)
            done = len(known)
            total = done + len(fresh)
            progress(step, done, total)
            for batch in _chunks(list(fresh), BATCH):
                made, made_mask = make([fresh[key] for key in batch])
                rows: dict[bytes, Float | None] = dict(
                    zip(batch, _rows(made, made_mask), strict=True)
                )
                stays = {k: row for k, row in rows.items() if nothing or row is not None}
                _write(connection, encoder, stays)
                known |= rows
                done += len(batch)
                progress(step, done, total)
        for n, key in enumerate(keys):
            row = known[key]
            if row is not None:
                vectors[n], mask[n] = row, True
        return vectors, mask

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        path = self.folder / "vectors.sqlite"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unusable(path, error) from error
        try:
            connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
            try:
                connection.execute("PRAGMA synchronous=NORMAL")
                with _writing(connection):
                    connection.execute(_SCHEMA)
                yield connection
            finally:
                connection.close()
        except sqlite3.Error as error:
            raise _unusable(path, error) from error


def in_batches(
    encoder: Encoder, texts: Sequence[str], *, progress: Progress = silent
) -> tuple[Float, Bool]:
    """Return ``encoder.encode(texts)``, made in batches so that progress can be shown."""
    vectors = np.zeros((len(texts), encoder.d), dtype=np.float32)
    mask = np.zeros(len(texts), dtype=np.bool_)
    for start in range(0, len(texts), BATCH):
        stop = min(start + BATCH, len(texts))
        vectors[start:stop], mask[start:stop] = encoder.encode(texts[start:stop])
        progress("encode texts", stop, len(texts))
    return vectors, mask


def _known(
    connection: sqlite3.Connection, encoder: Named, keys: list[bytes]
) -> dict[bytes, Float | None]:
    known: dict[bytes, Float | None] = {}
    for batch in _chunks(keys, _ASKED_AT_ONCE):
        marks = ",".join("?" * len(batch))
        rows = connection.execute(
            f"SELECT text_hash, vector FROM vectors WHERE encoder = ? AND text_hash IN ({marks})",
            [encoder.id, *batch],
        )
        for key, blob in rows:
            if blob is None:
                known[key] = None
            elif len(blob) == 4 * encoder.d:
                row = np.frombuffer(blob, dtype="<f4").astype(np.float32)
                if np.isfinite(row).all():
                    known[key] = row
    return known


def _write(connection: sqlite3.Connection, encoder: Named, rows: dict[bytes, Float | None]) -> None:
    with _writing(connection):
        connection.executemany(
            "INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)",
            [
                (encoder.id, key, None if row is None else row.astype("<f4").tobytes())
                for key, row in rows.items()
            ],
        )


def _unusable(path: Path, error: Exception) -> StoreError:
    full = "full" in str(error).lower() or "no space" in str(error).lower()
    return (StoreFull if full else StoreError)(
        f"the vector cache {path} could not be used ({error})",
        hint="free space on the disk" if full else "delete the file: it is only a cache",
    )


@contextmanager
def _writing(connection: sqlite3.Connection) -> Iterator[None]:
    """Take the write lock at once: waiting for it is safe, upgrading a read lock is not.

    No write-ahead log either: several processes that switch it on at once fail without waiting.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _rows(vectors: Float, mask: Bool) -> list[Float | None]:
    return [row if seen else None for row, seen in zip(vectors, mask, strict=True)]


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _chunks(keys: list[bytes], size: int) -> Iterator[list[bytes]]:
    for start in range(0, len(keys), size):
        yield keys[start : start + size]

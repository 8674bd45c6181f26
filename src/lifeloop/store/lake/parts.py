"""From rows to files of the lake and back."""

from collections.abc import Iterator
from hashlib import blake2b
from io import BytesIO

import polars as pl

from lifeloop.errors import StoreError
from lifeloop.store.lake.files import Files
from lifeloop.store.lake.manifest import TABLES, Part

_UNTIMED = "untimed"


def write_parts(files: Files, table: str, frame: pl.DataFrame, *, zone: str) -> Iterator[Part]:
    """Write rows, events one file per local day; yield what was written."""
    if not frame.height:
        return
    if table != "events":
        yield _written(files, table, frame, day=None)
        return
    local = pl.from_epoch("t_us", time_unit="us").dt.replace_time_zone("UTC")
    day = local.dt.convert_time_zone(zone).dt.date().cast(pl.String).fill_null(_UNTIMED)
    for (name,), rows in (
        frame.with_columns(day=day).sort("day").group_by("day", maintain_order=True)
    ):
        yield _written(files, table, rows.drop("day"), day=str(name))


def read_part(files: Files, part: Part) -> pl.DataFrame:
    """Return the rows of one file with exactly the columns of its table.

    Raises
    ------
    StoreError
        If the file is gone, or is not what was written.
    """
    data = files.read(part.path)
    if data is None or _hash(data) != part.hash:
        raise StoreError(
            "a file of the lake is " + ("missing" if data is None else "not what was written"),
            got=f"{part.path} in {files.url}",
            hint="write the lake anew from the store: lifeloop lake rebuild",
        )
    frame = pl.read_parquet(BytesIO(data))
    return frame.select(
        pl.col(name).cast(kind) if name in frame.columns else pl.lit(None, dtype=kind).alias(name)
        for name, kind in TABLES[part.table].items()
    )


def parquet(frame: pl.DataFrame) -> bytes:
    """Return rows as Parquet: the same rows in the same order give the same bytes."""
    out = BytesIO()
    frame.rechunk().write_parquet(out, compression="zstd", row_group_size=262_144)
    return out.getvalue()


def _written(files: Files, table: str, rows: pl.DataFrame, *, day: str | None) -> Part:
    order = "by_seq" if table == "superseded" else "seq"
    rows = rows.sort(order, "seq") if order != "seq" else rows.sort("seq")
    first, last = int(rows[order][0]), int(rows[order][-1])
    data = parquet(rows)
    digest = _hash(data)
    folder = table if day is None else f"{table}/day={day}"
    path = f"{folder}/{first:012}-{last:012}-{digest[:8]}.parquet"
    files.write(path, data)
    return Part(table, path, day, rows.height, first, last, digest)


def _hash(data: bytes) -> str:
    return blake2b(data, digest_size=16).hexdigest()

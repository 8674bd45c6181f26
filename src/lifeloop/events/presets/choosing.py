"""From a preset's name and files to parts that the public import reads."""

import difflib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import polars as pl

from lifeloop.errors import InputError
from lifeloop.events.datasets.dataset import Dataset, Part
from lifeloop.events.presets.shape import Peek, Preset, Shape, peek
from lifeloop.events.readers import ReadOptions
from lifeloop.events.readers.reading import rows_if_any

_ORDER = {"user": 0, "item": 1, "event": 2}
_GATHER = 20


@cache
def presets() -> dict[str, Preset]:
    """Return every preset by its name."""
    from lifeloop.events.presets import analytics, recommenders, shops

    made = (
        recommenders.GORSE,
        analytics.POSTHOG,
        analytics.SEGMENT,
        shops.SHOPIFY,
        recommenders.MOVIELENS,
        shops.RETAILROCKET,
        shops.TAOBAO,
    )
    return {preset.name: preset for preset in made}


def preset_names() -> tuple[str, ...]:
    """Return the systems whose exports are read."""
    return tuple(presets())


def read_preset(
    name: str, paths: list[Path], *, work: Path, zone: str, currency: str | None
) -> Dataset:
    """Return the files of an export in the order in which they are to be imported.

    Parameters
    ----------
    name : one of ``preset_names()``
    paths : files, or folders of which every file is looked at.
    work : folder for files that have to be rewritten; the caller removes it.
    zone, currency : of times and money that carry none, unless the system says otherwise.

    Raises
    ------
    InputError
        No such preset; no file of a known shape; a named file that fits none.
    """
    preset = _preset(name)
    found = [peek(path) for path in _files(paths)]
    parts: list[Part] = []
    links: list[Part] = []
    unknown: list[Peek] = []
    if preset.convert is not None:
        made = preset.convert(found, work)
        parts += [Part(kind, path, options) for kind, path, options in made]
    for file in found:
        shapes = [shape for shape in preset.shapes if shape.accepts(file)]
        parts += [_part(s, file, preset, work, zone, currency) for s in shapes if not s.links]
        links += [_part(s, file, preset, work, zone, currency) for s in shapes if s.links]
        if not shapes:
            unknown.append(file)
    parts = [part for part in parts if _has_rows(part, parts)]
    if not parts:
        raise _nothing(preset, found)
    left = [f.path.name for f in unknown if f.path not in {part.path for part in parts}]
    notes = preset.notes
    if left:
        notes += (f"not files of {preset.title}, left out: {', '.join(left)}",)
    parts.sort(key=lambda part: _ORDER[part.kind])
    return Dataset(
        name=preset.name,
        scenario="ecommerce",
        parts=tuple(parts),
        notes=notes,
        links=tuple(links),
    )


def _has_rows(part: Part, parts: list[Part]) -> bool:
    """Return whether a file that is read for several kinds has any row of this one."""
    if part.options.nested is None and not part.path.name.endswith(".items.parquet"):
        return True
    if sum(other.path == part.path for other in parts) < 2 and part.kind != "item":
        return True
    rows = rows_if_any(part.path, part.kind, options=part.options)
    return any(raw.frame.height or raw.rejected for raw in rows)


def _preset(name: str) -> Preset:
    if name not in presets():
        near = difflib.get_close_matches(name.lower(), preset_names(), n=1)
        raise InputError(
            "unknown preset",
            got=name,
            allowed=", ".join(preset_names()),
            hint=f"did you mean {near[0]!r}?" if near else "map the columns yourself with --map",
        )
    return presets()[name]


def _files(paths: list[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            named = (p for p in sorted(path.iterdir()) if p.is_file() and p.stat().st_size)
            yield from (p for p in named if p.suffix.lower() not in (".md", ".zip", ".html"))
        else:
            yield path


def _part(
    shape: Shape, file: Peek, preset: Preset, work: Path, zone: str, currency: str | None
) -> Part:
    options = ReadOptions(
        mapping=shape.mapping,
        zone=shape.zone or zone,
        source=preset.name,
        default_type=shape.default_type,
        currency=currency,
        types=shape.types,
        nested=shape.nested,
    )
    if not shape.distinct:
        return Part(shape.kind, file.path, options)
    path = work / f"{file.path.name}.items.parquet"
    return Part("item", _newest(file.path, path, options), ReadOptions(source=preset.name))


def _newest(path: Path, out: Path, options: ReadOptions) -> Path:
    """Write one row per item with its newest values; memory grows with the items only."""
    held: list[pl.DataFrame] = []
    for raw in rows_if_any(path, "item", options=options):
        if "item_id" not in raw.frame.columns:
            continue
        frame = raw.frame.filter(pl.col("item_id").is_not_null())
        held.append(frame.cast(pl.String))
        if len(held) >= _GATHER:
            held = [_last(held)]
    items = _last(held) if held else pl.DataFrame(schema={"item_id": pl.String})
    out.parent.mkdir(parents=True, exist_ok=True)
    items.write_parquet(out)
    return out


def _last(frames: list[pl.DataFrame]) -> pl.DataFrame:
    whole = pl.concat(frames, how="diagonal")
    newest = pl.all().exclude("item_id").drop_nulls().last()
    return whole.group_by("item_id", maintain_order=True).agg(newest)


def _nothing(preset: Preset, found: list[Peek]) -> InputError:
    seen = "; ".join(f"{f.path.name}: {', '.join(f.columns[:8])}" for f in found[:5])
    known = "; ".join(f"{s.title} ({', '.join(s.needs)})" for s in preset.shapes)
    return InputError(
        f"no file is an export of {preset.title}",
        got=seen or "no file",
        allowed=known,
        hint=f"see {preset.documentation}, or import the file with --map",
    )

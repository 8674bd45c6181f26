"""Items by text, picture and sound: which fields name the files, and all of it as one space."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from lifeloop.contracts import Float, Int, Progress, silent
from lifeloop.encoders import VectorCache, centred, corpus_mean
from lifeloop.encoders.centre import FEW
from lifeloop.encoders.fusion import Modality, fuse
from lifeloop.encoders.media.files import encode_files, notes_on
from lifeloop.encoders.media.opening import open_pictures, open_sounds
from lifeloop.media_settings import MediaEncoding


@dataclass(frozen=True, slots=True, eq=False)
class Joined:
    """The items' vectors over all modalities, and what was found on the way."""

    content: Float  # [c, d] unit rows
    content_ix: Int  # [I]
    blocks: tuple[int, ...]  # widths of the modalities; (): there is only one
    parts: tuple[dict[str, Any], ...]  # one per modality, for the manifest
    notes: tuple[str, ...]


def joined(
    items: pl.DataFrame,
    text: Modality | None,
    settings: MediaEncoding,
    *,
    home: Path,
    interactions: pl.DataFrame | None,
    cache: VectorCache | None,
    seed: int = 0,
    progress: Progress = silent,
) -> Joined:
    """Return the vectors of a catalogue by its texts, pictures and sounds.

    Parameters
    ----------
    items : polars.DataFrame
        ``ITEM_SCHEMA``, I rows.
    text : Modality or None
        The items' texts as vectors; they are the first block.
    interactions : polars.DataFrame, optional
        What taught the weights: ``user_id``, ``item_id``, ``t_us``, ``seq``, ``weight``. Must not
        hold what a test asks for. Without, all modalities weigh the same.

    Raises
    ------
    InputError, MissingExtra
        An encoder asked for by name is not there.
    """
    made: list[Modality] = [] if text is None else [text]
    ids, notes = {}, []
    for name, fields, opened, wanted in (
        ("picture", settings.pictures, open_pictures, settings.picture_encoder),
        ("sound", settings.sounds, open_sounds, settings.sound_encoder),
    ):
        names = named_files(items, fields)
        count = sum(one is not None for one in names)
        if not count:
            continue
        encoder, why = opened(wanted, home=home)
        if encoder is None:
            if why:
                notes.append(f"{count:,} items name a {name}, but {why}")
            continue
        files = encode_files(
            names,
            encoder,
            root=home / Path(settings.folder).expanduser(),
            cache=cache,
            step=f"encode {name}s",
            progress=progress,
        )
        notes += notes_on(name, files)
        if not len(files.vectors):
            continue
        vectors = files.vectors
        if len(vectors) >= FEW:
            vectors = centred(vectors, corpus_mean(vectors))
        says = np.asarray(vectors.any(axis=1))  # none is left of a picture equal to the mean
        rows = np.where((files.rows >= 0) & says[files.rows], files.rows, -1).astype(np.int32)
        made.append(Modality(name, vectors, rows))
        ids[name] = encoder.id
    if not ids:
        nothing = np.zeros((0, 1), np.float32), np.full(items.height, -1, np.int32)
        content, content_ix = nothing if text is None else (text.vectors, text.rows)
        return Joined(content, content_ix, (), (), tuple(notes))
    ordered = items["item_id"].to_list()
    fused = fuse(made, used_in_a_row(interactions, ordered), rng=np.random.default_rng(seed))
    parts = tuple(
        {
            "name": one.name,
            "encoder": ids.get(one.name, "the text encoder"),
            "d": int(one.vectors.shape[1]),
            "items": int((one.rows >= 0).sum()),
            "weight": round(float(weight), 4),
            "pairs": fused.pairs,
        }
        for one, weight in zip(made, fused.weights, strict=True)
    )
    blocks = fused.blocks if len(made) > 1 else ()
    return Joined(fused.content, fused.content_ix, blocks, parts, tuple(notes))


def named_files(items: pl.DataFrame, fields: Sequence[str]) -> list[str | None]:
    """Return the file that each item names [I]: a column, else an attribute; the first there is."""
    found: list[str | None] = [None] * items.height
    attributes = (
        items["attributes"].to_list() if "attributes" in items.columns else [None] * items.height
    )
    for field in reversed(fields):
        own = items[field].to_list() if field in items.columns else [None] * items.height
        for n, (value, told) in enumerate(zip(own, attributes, strict=True)):
            if value is None and told and field in told:  # a cheap look before parsing
                value = _attribute(told, field)
            if isinstance(value, str) and value.strip():
                found[n] = value
    return found


def used_in_a_row(interactions: pl.DataFrame | None, item_ids: Sequence[str]) -> tuple[Int, Int]:
    """Return pairs of different items that somebody used one after the other, as indices."""
    if interactions is None or interactions.is_empty():
        return np.empty(0, np.int32), np.empty(0, np.int32)
    place = pl.DataFrame(
        {"item_id": list(item_ids), "ix": np.arange(len(item_ids), dtype=np.int32)},
        schema={"item_id": pl.String, "ix": pl.Int32},
    )
    rows = (
        interactions.filter(pl.col("weight") > 0)
        .join(place, on="item_id", how="inner", maintain_order="left")
        .sort(["user_id", "t_us", "seq"], maintain_order=True)
    )
    ix, user = rows["ix"].to_numpy(), rows["user_id"].rank("dense").to_numpy()
    pair = (user[1:] == user[:-1]) & (ix[1:] != ix[:-1])
    return ix[:-1][pair], ix[1:][pair]


def _attribute(told: str, field: str) -> Any:
    try:
        held = json.loads(told)
    except ValueError:
        return None
    return held.get(field) if isinstance(held, dict) else None

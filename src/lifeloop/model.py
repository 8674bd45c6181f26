"""One bundle, opened: the fitted parts, the catalogue they index, and the reader of texts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lifeloop.config import Recommend, Scenario
from lifeloop.contracts import Bool, Double, Float, Int, Long, Snapshot
from lifeloop.encoders import PREFIX, situations
from lifeloop.errors import BundleError
from lifeloop.events.records import ITEM_SCHEMA
from lifeloop.models import (
    FittedBayesianRating,
    FittedBlend,
    FittedRanked,
    FittedRating,
    from_parts,
    to_parts,
)
from lifeloop.policy.masks import Combined, available, combine, repeat_windows
from lifeloop.reading import TextReader, load_reader, reader_arrays
from lifeloop.screening import services
from lifeloop.store.bundles import load_bundle, pack_texts, save_bundle, unpack_texts

ALWAYS_FROM = np.iinfo(np.int64).min
ALWAYS_UNTIL = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class Material:
    """What a training or an evaluation starts from: liking as rows, and the whole catalogue."""

    interactions: pl.DataFrame
    items: pl.DataFrame
    notes: tuple[str, ...]

    @property
    def situation(self) -> dict[str, str]:
        """Field of a situation -> its column in ``interactions``."""
        own = [name for name in self.interactions.columns if name.startswith(PREFIX)]
        return {name.removeprefix(PREFIX): name for name in own}

    @property
    def kinds(self) -> list[str | None]:
        """Return the narrowest category of each item, None where it has none."""
        return self.items["categories"].list.last().to_list()


@dataclass(frozen=True, slots=True, eq=False)
class Shelf:
    """What is available and in stock from ``since_us`` (inclusive) to ``until_us``."""

    since_us: int
    until_us: int
    open: Combined

    @classmethod
    def of(cls, from_us: Long, until_us: Long, in_stock: Bool, *, as_of_us: int) -> "Shelf":
        """Return the shelf at one moment, and how long it stays as it is."""
        changes = np.concatenate([from_us, until_us])
        past = changes <= as_of_us
        masks = {
            "not available now": available(from_us, until_us, as_of_us=as_of_us),
            "out of stock": in_stock,
        }
        return cls(
            since_us=int(changes.max(where=past, initial=ALWAYS_FROM)),
            until_us=int(changes.min(where=~past, initial=ALWAYS_UNTIL)),
            open=combine(masks, n=len(from_us)),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Catalogue:
    """What the policy must know of each item, by item index, and the items' content vectors."""

    item_ids: tuple[str, ...]
    content: Float  # [c, d] unit rows
    content_ix: Int  # [I], -1: no vector
    from_us: Long  # [I] available from
    until_us: Long  # [I] available until (exclusive)
    in_stock: Bool  # [I]
    repeat_days: Double  # [I] days before it may be shown again after use; inf: never
    blocks: Long = field(default_factory=lambda: np.zeros(0, np.int64))  # widths of modalities
    ix: Mapping[str, int] = field(default_factory=dict)
    _shelf: list[Shelf] = field(default_factory=list, init=False, repr=False)

    def shelf(self, as_of_us: int) -> Combined:
        """Return which items anybody may be shown now; worked out when that changes."""
        for held in self._shelf:
            if held.since_us <= as_of_us < held.until_us:
                return held.open
        held = Shelf.of(self.from_us, self.until_us, self.in_stock, as_of_us=as_of_us)
        self._shelf[:] = [held]
        return held.open

    @property
    def n_items(self) -> int:
        """How many items there are."""
        return len(self.item_ids)

    @classmethod
    def of(
        cls,
        items: pl.DataFrame,
        content: Float,
        content_ix: Int,
        *,
        rules: Recommend,
        blocks: Sequence[int] = (),
    ) -> "Catalogue":
        """Return the catalogue of item rows (``ITEM_SCHEMA``), in their order."""
        ids = tuple(items["item_id"].to_list())
        stock = items["stock"].cast(pl.Float64)
        return cls(
            item_ids=ids,
            content=content,
            content_ix=content_ix,
            from_us=items["available_from_us"].fill_null(ALWAYS_FROM).to_numpy(),
            until_us=items["available_until_us"].fill_null(ALWAYS_UNTIL).to_numpy(),
            in_stock=(stock.is_null() | (stock > 0)).to_numpy(),
            repeat_days=repeat_windows(
                items["kind"].to_list(),
                items["categories"].to_list(),
                default_days=rules.repeat_window_days,
                by_kind=rules.repeat_window_by_kind,
            ),
            blocks=np.array(blocks, dtype=np.int64),
            ix={item_id: index for index, item_id in enumerate(ids)},
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the whole state; ids are UTF-8 bytes with their ends."""
        return {
            **{f"ids.{name}": a for name, a in pack_texts(self.item_ids).items()},
            "content": self.content,
            "content_ix": self.content_ix,
            "from_us": self.from_us,
            "until_us": self.until_us,
            "in_stock": self.in_stock,
            "repeat_days": self.repeat_days,
            "blocks": self.blocks,
        }

    @classmethod
    def load(cls, arrays: Mapping[str, NDArray[Any]]) -> "Catalogue":
        """Rebuild from ``arrays``."""
        packed = {k.removeprefix("ids."): v for k, v in arrays.items() if k.startswith("ids.")}
        ids = tuple(unpack_texts(packed))
        rest = {k: v for k, v in arrays.items() if not k.startswith("ids.")}
        return cls(item_ids=ids, ix={item_id: i for i, item_id in enumerate(ids)}, **rest)


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """Everything one request needs, all from one bundle."""

    bundle: str
    manifest: Mapping[str, Any]
    catalogue: Catalogue
    blend: FittedBlend | FittedRanked
    rating: FittedRating | FittedBayesianRating
    reader: TextReader | None

    def ordered(self, *, trees: bool, whole: bool = False) -> "Model":
        """Return the same with or without the trees that order the candidates, if it has any.

        ``whole``: every part speaks of every item, also where it has an index of the nearest; as
        where a request is about a few items that need not be among them.
        """
        blend = self.blend
        if isinstance(blend, FittedRanked):
            plain = blend.blend.whole() if whole else blend.blend
            kept = blend if plain is blend.blend else replace(blend, blend=plain)
            return (
                self if trees and kept is blend else replace(self, blend=kept if trees else plain)
            )
        plain = blend.whole() if whole else blend
        return self if plain is blend else replace(self, blend=plain)


def material(snapshot: Snapshot, scenario: Scenario) -> Material:
    """Return the evidence of liking and the catalogue, items known only from events included.

    Bots are out, and services (postage, fees) are no items; an event weighs what its type says
    (``[events.<type>] weight``), and a rating below the type's ``rating_from`` weighs nothing.
    """
    types = scenario.events
    weights = pl.DataFrame(
        {
            "type": list(types),
            "weight": [spec.weight for spec in types.values()],
            "rating_from": [spec.rating_from for spec in types.values()],
        },
        schema={"type": pl.String, "weight": pl.Float32, "rating_from": pl.Float64},
    )
    no_items = services(snapshot, scenario)
    events = snapshot.events.filter(
        pl.col("item_id").is_not_null()
        & pl.col("is_bot").ne_missing(True)
        & ~pl.col("item_id").is_in(no_items)
    )
    context = situations(
        events, scenario.models.context, zone=scenario.locale.zone, users=snapshot.users
    )
    events = events.hstack(context)
    disliked = pl.col("rating").is_not_null() & (pl.col("rating") < pl.col("rating_from"))
    interactions = events.join(weights, on="type", how="left", maintain_order="left").select(
        "user_id",
        "item_id",
        "t_us",
        "seq",
        "type",
        pl.when(disliked.fill_null(value=False))
        .then(0.0)
        .otherwise(pl.col("weight").fill_null(0.0))
        .cast(pl.Float32)
        .alias("weight"),
        "rating",
        *context.columns,
    )
    known = snapshot.items.filter(~pl.col("item_id").is_in(no_items))
    seen = interactions["item_id"].unique()
    missing = seen.filter(~seen.is_in(known["item_id"].implode())).sort()
    notes = []
    if no_items:
        notes.append(f"services, which are not recommended: {', '.join(no_items[:20])}")
    if len(missing):
        bare = pl.DataFrame({"item_id": missing}).with_columns(
            pl.lit(None, dtype=dtype).alias(name)
            for name, dtype in ITEM_SCHEMA.items()
            if name != "item_id"
        )
        known = pl.concat([known.select(list(ITEM_SCHEMA)), bare.select(list(ITEM_SCHEMA))])
        notes.append(f"{len(missing)} items are known from events only, without any text")
    return Material(interactions=interactions, items=known.sort("item_id"), notes=tuple(notes))


def save_model(
    folder: Path,
    bundle: str,
    *,
    blend: FittedBlend | FittedRanked,
    rating: FittedRating | FittedBayesianRating,
    catalogue: Catalogue,
    reader: TextReader | None,
    manifest: Mapping[str, Any],
) -> None:
    """Write one bundle; complete or not there at all."""
    parts: dict[str, Mapping[str, NDArray[Any]]] = dict(to_parts(blend))
    parts["rating"] = rating.arrays()
    parts["catalogue"] = catalogue.arrays()
    if reader is not None:
        parts["text"] = reader_arrays(reader)
    save_bundle(folder, bundle, parts, manifest)


def open_model(folder: Path, bundle: str) -> Model:
    """Load one bundle (memory-mapped).

    Raises
    ------
    BundleError
        Missing, damaged, of another version, or with parts of another bundle.
    """
    loaded = load_bundle(folder, bundle)
    # views as plain arrays: slicing a memory map by hand costs ten times more
    parts = {
        name: {key: np.asarray(array) for key, array in held.items()}
        for name, held in loaded.parts.items()
    }
    for name in ("rating", "catalogue"):
        if name not in parts:
            raise BundleError(f"bundle {bundle} lacks its part {name!r}", hint="lifeloop train")
    catalogue = Catalogue.load(parts.pop("catalogue"))
    told = parts.pop("rating")
    rating = FittedBayesianRating.load(told) if "alpha" in told else FittedRating.load(told)
    text, made_by = parts.pop("text", None), str(loaded.manifest.get("encoder"))
    blend = from_parts(parts)
    if not isinstance(blend, FittedBlend | FittedRanked):
        raise BundleError(f"bundle {bundle} holds no blend", got=blend.name, hint="lifeloop train")
    return Model(
        bundle=bundle,
        manifest=loaded.manifest,
        catalogue=catalogue,
        blend=blend,
        rating=rating,
        reader=None if text is None else load_reader(text, made_by, home=folder.parent),
    )

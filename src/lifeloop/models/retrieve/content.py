"""Items that say the same as what the user used or wrote: the way in for new items."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self, cast

import numpy as np
from numpy.typing import NDArray

from lifeloop.contracts import Bool, Candidates, Double, Float, Int, Long, Queries, TrainData
from lifeloop.errors import InputError
from lifeloop.models import arrays as ar
from lifeloop.models.data import part_of
from lifeloop.models.retrieve.fold import fold, weight_unit
from lifeloop.models.retrieve.masked import NOTHING, block_sizes, shared_length
from lifeloop.models.retrieve.near import FROM, Index, index, opened
from lifeloop.models.retrieve.topk import retrieve

Similarity = Literal["cosine", "euclidean"]

SILENT = 1e-9
"""A profile shorter than this is likes that cancel out: it says nothing."""

NEAREST = 50
"""Newest distinct contents of a history that are compared one by one (Euclidean)."""


@dataclass(frozen=True, slots=True)
class Content:
    """Score items by their content vectors v (unit length) against the history h and the query q.

    ``cosine``: score_i = ⟨p / ‖p‖, v_i⟩ with the profile p = Σ_h w_h v_h + stated · q.
    ``euclidean``: score_i = Σ_h w_h / (1 + ‖v_h − v_i‖) / Σ_h w_h over the newest 50 items, q
    being one more of weight ``stated``: close to a few of them beats lukewarm to all.

    Where vectors have blocks (texts, pictures, sounds; ``encoders/fusion.py``), ``cosine`` counts
    the blocks that both have, and an item that shares none with the person has no score.

    Parameters
    ----------
    similarity : {"cosine", "euclidean"}
        As above.
    half_life_events : float or None
        How fast the history fades, see ``fold``.
    stated : float
        Weight of what the user wrote, against the weight of one item used (1).
    """

    similarity: Similarity = "cosine"
    half_life_events: float | None = None
    stated: float = 1.0
    name: str = "content"

    def fit(self, data: TrainData, *, rng: np.random.Generator) -> "FittedContent":
        """Keep the vectors; nothing random."""
        norms = np.linalg.norm(data.content.astype(np.float64), axis=1, keepdims=True)  # [c, 1]
        if not np.isfinite(norms).all():
            raise InputError("content vectors are not finite", hint="use train_data to check them")
        # vectors of another making may be unscaled; an all-zero one says nothing
        unit = np.divide(data.content, norms, out=np.zeros(data.content.shape), where=norms > 0)
        content_ix = data.content_ix
        if len(norms):
            says = norms[:, 0] > 0
            content_ix = np.where((content_ix >= 0) & says[content_ix], content_ix, -1)
        return FittedContent(
            name=self.name,
            similarity=self.similarity,
            content=unit.astype(np.float32),
            content_ix=content_ix.astype(np.int32),
            weight_unit=weight_unit(data.weight),
            stated=self.stated,
            half_life_events=self.half_life_events,
            blocks=data.blocks,
        )


@dataclass(frozen=True, slots=True, eq=False)
class FittedContent:
    """The distinct vectors; each is scored once, then gathered to the items that share it."""

    name: str
    similarity: Similarity
    content: Float  # [c, d]
    content_ix: Int  # [I]
    weight_unit: float
    stated: float
    half_life_events: float | None
    blocks: tuple[int, ...] = ()  # widths of the modalities; (): one
    near: Index | None = None  # of a large catalogue; None: every vector is read
    with_vector: Int | None = field(init=False)  # items that have one; None: all
    _row: Long = field(init=False, repr=False)  # of ``content``, of each item that has a vector
    _sizes: Double | None = field(init=False, repr=False)  # [c, M] of the blocks
    _sharing: tuple[Long, Int] | None = field(init=False, repr=False)  # [c+1], items of each vector

    def __post_init__(self) -> None:
        """Note once which items have a vector."""
        has = self.content_ix >= 0
        object.__setattr__(
            self, "with_vector", None if has.all() else np.flatnonzero(has).astype(np.int32)
        )
        # as indexing wants it, once and not for every request
        object.__setattr__(self, "_row", self.content_ix[has].astype(np.intp))
        sizes = block_sizes(self.content, self.blocks) if self.blocks else None
        object.__setattr__(self, "_sizes", sizes)
        sharing = None if self.near is None else _items_of(self.content_ix, len(self.content))
        object.__setattr__(self, "_sharing", sharing)

    @property
    def n_items(self) -> int:
        """Size of the catalogue."""
        return len(self.content_ix)

    def at(self, half_life_events: float | None) -> Self:
        """Return the same model with another half-life of the history."""
        return replace(self, half_life_events=half_life_events)

    def indexed(self, *, rng: np.random.Generator, least: int = FROM) -> Self:
        """Return the same with an index, where the vectors are many and compared by cosine.

        It then speaks of the ``near.NEAREST`` vectors nearest to a profile and of no others.
        Raises ``MissingExtra`` where one is needed and FAISS is not installed.
        """
        if len(self.content) < least or self.similarity != "cosine" or self.blocks:
            return self
        known = self.content_ix[self.content_ix >= 0]
        n_sharing = np.bincount(known, minlength=len(self.content))
        return replace(self, near=index(self.content, n_sharing, n_items=self.n_items, rng=rng))

    def whole(self) -> Self:
        """Return the same without the index: it speaks of every item that has a vector."""
        return self if self.near is None else replace(self, near=None)

    def spread(self, queries: Queries, b: int) -> float | None:
        """Return the root mean square of the scores of all items, where ``row`` has not all."""
        if self.near is None:
            return None
        direction = self._direction(queries, b)
        return None if direction is None else self.near.rms(direction)

    def closest(self, direction: Float) -> tuple[Int, Float]:
        """Return the items [m] whose vectors the index finds nearest, ascending, and ⟨p, v⟩ [m]."""
        if self.near is None or self._sharing is None:
            raise InputError("there is no index of the vectors", hint="see indexed()")
        rows, inner = self.near.nearest(direction)
        start, item = self._sharing
        n = start[rows + 1] - start[rows]  # [m]
        first = np.concatenate([[0], np.cumsum(n)[:-1]]) if len(n) else n
        item_ix = item[np.repeat(start[rows] - first, n) + np.arange(int(n.sum()))]
        order = np.argsort(item_ix)
        return item_ix[order], np.repeat(inner, n)[order]

    def vectors(self, item_ix: Int) -> tuple[Float, Bool]:
        """Return the vectors [m, d] of items and a mask [m], False where there is none."""
        row = self.content_ix[item_ix]
        mask: Bool = row >= 0
        found = np.zeros((len(row), self.content.shape[1]), dtype=np.float32)
        found[mask] = self.content[row[mask]]
        return found, mask

    def score(self, queries: Queries) -> Float:
        """Return [B, I]; -inf for items without a vector and queries that say nothing."""
        scores = np.full((len(queries), self.n_items), -np.inf, dtype=np.float32)
        for b in range(len(queries)):
            item_ix, row = self.row(queries, b)
            scores[b, slice(None) if item_ix is None else item_ix] = row
        return scores

    def row(self, queries: Queries, b: int) -> tuple[Int | None, Float]:
        """Return the items that have a vector (None: all) and their scores for query b."""
        nothing = np.empty(0, np.int32), np.empty(0, np.float32)
        if not len(self.content):
            return nothing
        if self.similarity == "cosine":
            pointing = self._direction(queries, b)
            if pointing is None:
                return nothing
            direction = pointing.astype(np.float32)
            if self.near is not None:
                return self.closest(direction)
            # einsum and not BLAS: one answer whatever the threads, and no waiting for them
            by_content = np.einsum("cd,d->c", self.content, direction)
            if self._sizes is not None:
                return self._by_what_both_have(by_content, direction)
        else:
            profile, weight, _ = self._profile(queries, b)
            if not len(weight):
                return nothing
            near = 1.0 / (1.0 + _distances(profile, self.content))  # [h, c]
            by_content = ((weight / weight.sum()) @ near).astype(np.float32)
        return self.with_vector, self.of_items(by_content)

    def of_items(self, by_content: Float) -> Float:
        """Return what is said of each vector [c] of the items that have one, in their order."""
        return by_content[self._row]

    def retrieve(self, queries: Queries, k: int, *, allowed: Bool | None = None) -> Candidates:
        """Return the most similar allowed items."""
        return retrieve(self, queries, k=k, allowed=allowed, n_items=self.n_items, personal=True)

    def contributions(self, queries: Queries, b: int, item_ix: int) -> Double:
        """Return each event's share; what the user wrote is the bias."""
        return np.asarray(self.traces(queries, b, np.array([item_ix], dtype=np.int32))[0])

    def traces(self, queries: Queries, b: int, item_ix: Int) -> Double:
        """Return the contributions [m, n+1] to m items at once."""
        one = part_of(queries, b, b + 1)
        amounts = np.zeros((len(item_ix), len(one.item_ix) + 1))
        profile, weight, event = self._profile(one, 0)
        target, mask = self.vectors(item_ix)  # [m, d]
        if not len(weight):
            return amounts
        if self.similarity == "cosine":
            norm = np.linalg.norm(np.einsum("h,hd->d", weight, profile))
            if norm < SILENT:
                return amounts
            shares = weight[:, None] * np.einsum("hd,md->hm", profile, target) / norm
            if self._sizes is not None:
                whole = np.einsum("h,hd->d", weight, profile)[None, :] / norm
                length = shared_length(
                    block_sizes(target, self.blocks), block_sizes(whole, self.blocks)[0]
                )  # [m]
                shares = np.divide(
                    shares, length, out=np.zeros_like(shares), where=length > NOTHING
                )
        else:
            near = 1.0 / (1.0 + _distances(profile, target))
            shares = (weight / weight.sum())[:, None] * near
        shares = shares * mask
        # the event -1, what the user wrote, is the last column
        amounts[:, event] = shares.T
        return amounts

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the whole state."""
        return {
            "name": ar.text(self.name),
            "similarity": ar.text(self.similarity),
            "content": self.content,
            "content_ix": self.content_ix,
            "weight_unit": ar.number(self.weight_unit),
            "stated": ar.number(self.stated),
            "half_life_events": ar.number(self.half_life_events),
            "blocks": np.array(self.blocks, dtype=np.int64),
            **({} if self.near is None else self.near.arrays()),
        }

    @classmethod
    def load(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild from ``arrays``."""
        return cls(
            name=ar.read_text(arrays, "name"),
            similarity=cast(Similarity, ar.read_text(arrays, "similarity")),
            content=ar.needed(arrays, "content"),
            content_ix=ar.needed(arrays, "content_ix"),
            weight_unit=ar.read_number(arrays, "weight_unit"),
            stated=ar.read_number(arrays, "stated"),
            half_life_events=ar.read_optional(arrays, "half_life_events"),
            blocks=tuple(int(width) for width in arrays.get("blocks", ())),
            near=opened(arrays),
        )

    def _by_what_both_have(self, inner: Float, direction: Float) -> tuple[Int | None, Float]:
        """Return the items that share a modality with the query, and their cosines over those."""
        own, asked = self._sizes, block_sizes(direction[None, :], self.blocks)[0]
        length = shared_length(own, asked) if own is not None else np.ones(len(inner))  # [c]
        told = length > NOTHING
        cosine = np.divide(inner, length, out=np.zeros(len(inner)), where=told).astype(np.float32)
        known = (self.content_ix >= 0) & told[self.content_ix]
        if known.all():
            return None, cosine[self.content_ix]
        item_ix = np.flatnonzero(known).astype(np.int32)
        return item_ix, cosine[self.content_ix[item_ix]]

    def exact(self, queries: Queries, b: int, item_ix: Int) -> Float:
        """Return the cosines [m] of some items, -inf where there is none; no index is asked."""
        told = np.full(len(item_ix), -np.inf, np.float32)
        direction = self._direction(queries, b)
        row = self.content_ix[item_ix]
        has = row >= 0
        if direction is not None:
            told[has] = self.content[row[has]] @ direction.astype(np.float32)
        return told

    def _direction(self, queries: Queries, b: int) -> Double | None:
        """Return the unit profile [d] of query b, None where it says nothing."""
        key = ("direction", self)
        if len(queries) == 1 and key in queries.memo:
            known: Double | None = queries.memo[key]
            return known
        profile, weight, _ = self._profile(queries, b)
        pointing: Double | None = None
        if len(weight):
            whole = np.einsum("h,hd->d", weight, profile)
            norm = np.linalg.norm(whole)
            pointing = None if norm < SILENT else np.asarray(whole / norm)
        if len(queries) == 1:  # a request asks this several times; a batch would keep them all
            queries.memo[key] = pointing
        return pointing

    def _profile(self, queries: Queries, b: int) -> tuple[Double, Double, Long]:
        """Return vectors [h, d], weights [h] and events of query b [h] (-1: what was written)."""
        one = part_of(queries, b, b + 1)
        key = ("profile", self)
        if one is queries and key in one.memo:
            known: tuple[Double, Double, Long] = one.memo[key]
            return known
        item, weight, event = fold(
            one,
            n_items=self.n_items,
            weight_unit=self.weight_unit,
            half_life_events=self.half_life_events,
        ).row(0)
        row = self.content_ix[item]
        has = np.flatnonzero(row >= 0)
        if self.similarity == "euclidean":
            has = has[-NEAREST:]
        vectors = self.content[row[has]].astype(np.float64)  # [h, d]
        weight, event = weight[has], event[has]
        if one.vectors is not None and one.mask is not None and one.mask[0]:
            stated = one.vectors[0].astype(np.float64)
            if stated.shape != (self.content.shape[1],):
                raise InputError(
                    "the query vector is not of the bundle's encoder",
                    got=stated.shape,
                    allowed=f"width {self.content.shape[1]}",
                )
            stated = stated / max(float(np.linalg.norm(stated)), 1e-12)
            vectors = np.concatenate([vectors, stated[None, :]])
            weight = np.concatenate([weight, [self.stated]])
            event = np.concatenate([event, [-1]])
        if one is queries:
            one.memo[key] = vectors, weight, event
        return vectors, weight, event


def _items_of(content_ix: Int, n: int) -> tuple[Long, Int]:
    """Return (start [n+1], items): row r is shared by the items start[r] to start[r+1]."""
    order = np.argsort(content_ix, kind="stable")
    start = np.searchsorted(content_ix[order], np.arange(n + 1))
    return start.astype(np.int64), order.astype(np.int32)


def _distances(left: Double, right: Float) -> Double:
    """Return ‖l − r‖ [h, c] of unit vectors: √(2 − 2⟨l, r⟩)."""
    # in float32 the root would make 3e-4 of the rounding between two equal vectors
    inner = left @ right.T.astype(np.float64)
    return np.asarray(np.sqrt(np.maximum(2.0 - 2.0 * inner, 0.0)))

"""From what an item says to how it is used: the way in for new items that learns from old ones.

Two films may say much the same and be watched by different people. So the text vectors are mapped
into the space of use, where items that the same people use are near:

    Z = U Λ of  X D^(−½) = W Λ Uᵀ      (X people × items, D people per item; rank r)
    M = argmin Σ_i c_i ‖z_i − Mᵀ[v_i; 1]‖² + λ‖M‖²,   c_i = n_i / (n_i + κ)
    t_i = (1 − s) Mᵀ[v_i; 1] + s Σ_j k_ij c_j z_j / Σ_j k_ij c_j,   k_ij = max(⟨v_i, v_j⟩, 0)²
    ẑ_i = a_i z_i + (1 − a_i) t_i,                    a_i = n_i / (n_i + κ)
    score_i = ⟨p/‖p‖, ẑ_i/‖ẑ_i‖⟩ · exp(γ (ℓ_i − mean ℓ)),   p = Σ_h w_h ẑ_h/‖ẑ_h‖

An item nobody used is served from its text alone (a = 0), one used often from its use (a → 1); κ is
how many uses are worth as much as the text, from the residuals: E‖z_i − t_i‖² = τ² + σ²/n_i, and
κ = σ²/τ². j runs over the 30 nearest texts of used items. ℓ is log(1 + uses), itself mapped from
the text and mixed in the same way: some kinds of
things are used more than others, new ones included. λ, s and γ are the best of a few by NDCG@10 on
items left out in folds, for people of the training data.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lifeloop.contracts import Bool, Candidates, Double, Float, Int, Long, Queries, TrainData
from lifeloop.errors import InputError
from lifeloop.models import arrays as ar
from lifeloop.models.data import part_of
from lifeloop.models.retrieve.fold import fold, weight_unit
from lifeloop.models.retrieve.mapping import (
    GAMMAS,
    LEAST_ITEMS,
    MOST_TEXTS,
    RIDGES,
    SHARES,
    choose_map,
    fit_ridge,
    kappa_of,
    most_used,
    space_of,
    told_by_nearest,
    trust_in,
    unit_rows,
    uses_of,
    with_one,
)
from lifeloop.models.retrieve.topk import retrieve

SILENT = 1e-9


@dataclass(frozen=True, slots=True)
class Mapped:
    """Score by the cosine of person and item in the space of use, texts mapped into it.

    Parameters
    ----------
    rank : int
        Width of the space of use.
    half_life_events : float or None
        How fast the history fades, see ``fold``.
    n_items : int
        The most-used items have a place of their own; the others are served from their text.
    stated : float
        Weight of what the person wrote (q, mapped as a text is) against one item used (1).
    only_with_text : bool
        Say nothing at all where no item has a text.
    ridge, near, gamma : float or None
        λ, s and γ; None: the best of a few. ``settled`` keeps what one fit chose.

    References
    ----------
    gantner2010
    """

    rank: int = 128
    half_life_events: float | None = None
    n_items: int = 5000
    stated: float = 1.0
    only_with_text: bool = False
    ridge: float | None = None
    near: float | None = None
    gamma: float | None = None
    name: str = "text_map"

    def settled(self, fitted: "FittedMapped") -> "Mapped":
        """Return the same with the λ, s and γ that ``fitted`` chose, for fits on other events."""
        if not np.isfinite(fitted.ridge):
            return self
        return replace(self, ridge=fitted.ridge, near=fitted.near, gamma=fitted.gamma)

    def fit(self, data: TrainData, *, rng: np.random.Generator) -> "FittedMapped":
        """Learn the space, the map and how many uses the text is worth."""
        uses, content = uses_of(data), unit_rows(data.content.astype(np.float64))
        own = space_of(data, uses, self.rank, rng=rng).astype(np.float64)  # [I, r]
        level = np.log1p(uses)[:, None]  # [I, 1]
        has = data.content_ix >= 0
        known = own.any(axis=1)
        if self.only_with_text and not has.any():
            known = np.zeros_like(known)
        if int(known.sum()) > self.n_items:
            known = most_used(uses, self.n_items) & known
        teach = np.flatnonzero(known & has)
        usual = float(level[known].mean()) if known.any() else 0.0
        text = np.zeros((len(content), self.rank + 1))  # [c, r+1] what each text says
        text[:, -1] = usual
        weights = np.zeros((content.shape[1] + 1, self.rank))
        kappa, ridge, gamma, near = np.inf, np.nan, 0.0, 0.0
        if len(teach) >= LEAST_ITEMS:
            lesson = content[data.content_ix[teach]]  # [t, d]
            target = np.concatenate([own, level], axis=1)[teach]  # [t, r+1]
            shares = SHARES if len(content) <= MOST_TEXTS else SHARES[:1]
            ridge, near, gamma, residual = choose_map(
                data,
                lesson,
                target,
                teach,
                ridges=RIDGES if self.ridge is None else (self.ridge,),
                shares=shares if self.near is None else (self.near,),
                gammas=GAMMAS if self.gamma is None else (self.gamma,),
                rng=rng,
            )
            kappa = kappa_of(residual, uses[teach])
            trust = trust_in(uses[teach], kappa)
            solved = fit_ridge(lesson, target, trust, ridge)
            text, weights = with_one(content) @ solved, solved[:, :-1]
            if near > 0:
                text = (1.0 - near) * text + near * told_by_nearest(content, lesson, target, trust)
            text[~content.any(axis=1)] = 0.0
        places = np.flatnonzero(known)
        read = text[data.content_ix[places]] * has[places, None] if len(text) else None
        said = np.zeros((len(places), self.rank + 1)) if read is None else read
        said[~has[places], -1] = usual
        share = trust_in(uses[places], kappa if np.isfinite(kappa) else 0.0)
        share = np.where(said[:, :-1].any(axis=1), share, 1.0)[:, None]
        mixed = share * np.concatenate([own, level], axis=1)[places] + (1.0 - share) * said
        whole = np.concatenate([mixed, text])  # [m+c, r+1]
        row = np.where(has, len(places) + data.content_ix, -1)
        row[places] = np.arange(len(places))
        table = unit_rows(whole[:, :-1])
        says: Bool = np.asarray(table.any(axis=1))
        row = np.where((row >= 0) & says[row], row, -1) if len(table) else row * 0 - 1
        centre = float(mixed[:, -1].mean()) if len(mixed) else 0.0
        return FittedMapped(
            name=self.name,
            table=table.astype(np.float32),
            place=row.astype(np.int32),
            scale=np.exp(gamma * (whole[:, -1] - centre)).astype(np.float32),
            to_space=weights.astype(np.float32),
            weight_unit=weight_unit(data.weight),
            half_life_events=self.half_life_events,
            stated=self.stated,
            kappa=float(kappa),
            ridge=float(ridge),
            gamma=gamma,
            near=near,
        )


@dataclass(frozen=True, slots=True, eq=False)
class FittedMapped:
    """One unit vector per often used item and per text; items know which is theirs."""

    name: str
    table: Float  # [R, r]
    place: Int  # [I] row of the table; -1: nothing is known of the item
    scale: Float  # [R] exp(γ (ℓ − mean ℓ))
    to_space: Float  # [d+1, r] M; the last row is the mean
    weight_unit: float
    half_life_events: float | None
    stated: float
    kappa: float
    ridge: float
    gamma: float
    near: float  # s
    known: Int | None = field(init=False)  # items of which something is known; None: all

    def __post_init__(self) -> None:
        """Note once which items have a vector."""
        has = self.place >= 0
        known = None if has.all() else np.flatnonzero(has).astype(np.int32)
        object.__setattr__(self, "known", known)

    @property
    def n_items(self) -> int:
        """Size of the catalogue."""
        return len(self.place)

    @property
    def vectors(self) -> Float:
        """Return the vector of each item [I, r], zero where nothing is known."""
        found = np.zeros((self.n_items, self.table.shape[1]), dtype=np.float32)
        has = self.place >= 0
        found[has] = self.table[self.place[has]]
        return found

    def at(self, half_life_events: float | None) -> Self:
        """Return the same model with another half-life of the history."""
        return replace(self, half_life_events=half_life_events)

    def score(self, queries: Queries) -> Float:
        """Return [B, I] cosines; -inf for items of which nothing is known, and silent people."""
        scores = np.full((len(queries), self.n_items), -np.inf, dtype=np.float32)
        for b in range(len(queries)):
            item_ix, row = self.row(queries, b)
            scores[b, slice(None) if item_ix is None else item_ix] = row
        return scores

    def row(self, queries: Queries, b: int) -> tuple[Int | None, Float]:
        """Return the items of which something is known (None: all) and their scores."""
        nothing = np.empty(0, np.int32), np.empty(0, np.float32)
        if not len(self.table):
            return nothing
        person, _, _ = self._person(queries, b)
        if person is None:
            return nothing
        # einsum and not BLAS: one answer whatever the threads, and no waiting for them
        by_row = np.einsum("kr,r->k", self.table, person.astype(np.float32)) * self.scale
        if self.known is None:
            return None, by_row[self.place]
        return self.known, by_row[self.place[self.known]]

    def retrieve(self, queries: Queries, k: int, *, allowed: Bool | None = None) -> Candidates:
        """Return the best allowed items."""
        return retrieve(self, queries, k=k, allowed=allowed, n_items=self.n_items, personal=True)

    def contributions(self, queries: Queries, b: int, item_ix: int) -> Double:
        """Return each event's share of the cosine; what the person wrote is the bias."""
        return np.asarray(self.traces(queries, b, np.array([item_ix], dtype=np.int32))[0])

    def traces(self, queries: Queries, b: int, item_ix: Int) -> Double:
        """Return the contributions [m, n+1] to m items at once."""
        width = int(queries.indptr[b + 1] - queries.indptr[b]) + 1
        amounts = np.zeros((len(item_ix), width))
        person, parts, event = self._person(queries, b)
        own = np.flatnonzero(self.place[item_ix] >= 0)
        if person is None or not len(own):
            return amounts
        at = self.place[item_ix[own]]
        target = self.table[at].astype(np.float64) * self.scale[at, None]  # [m, r]
        # the event -1, what the person wrote, is the last column
        amounts[own[:, None], event[None, :]] = np.einsum("hr,mr->mh", parts, target)
        return amounts

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the whole state."""
        return {
            "name": ar.text(self.name),
            "table": self.table,
            "place": self.place,
            "scale": self.scale,
            "to_space": self.to_space,
            "weight_unit": ar.number(self.weight_unit),
            "half_life_events": ar.number(self.half_life_events),
            "stated": ar.number(self.stated),
            "kappa": np.array([self.kappa]),
            "ridge": np.array([self.ridge]),
            "gamma": np.array([self.gamma]),
            "near": np.array([self.near]),
        }

    @classmethod
    def load(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild from ``arrays``."""
        return cls(
            name=ar.read_text(arrays, "name"),
            table=ar.needed(arrays, "table"),
            place=ar.needed(arrays, "place"),
            scale=ar.needed(arrays, "scale"),
            to_space=ar.needed(arrays, "to_space"),
            weight_unit=ar.read_number(arrays, "weight_unit"),
            half_life_events=ar.read_optional(arrays, "half_life_events"),
            stated=ar.read_number(arrays, "stated"),
            kappa=float(ar.needed(arrays, "kappa")[0]),
            ridge=float(ar.needed(arrays, "ridge")[0]),
            gamma=float(ar.needed(arrays, "gamma")[0]),
            near=float(ar.needed(arrays, "near")[0]),
        )

    def _person(self, queries: Queries, b: int) -> tuple[Double | None, Double, Long]:
        """Return the unit vector of query b, the part of it that each item (event -1: what the
        person wrote) gives [h, r], and its event [h]."""
        one = part_of(queries, b, b + 1)
        item, weight, event = fold(
            one,
            n_items=self.n_items,
            weight_unit=self.weight_unit,
            half_life_events=self.half_life_events,
        ).row(0)
        has = np.flatnonzero(self.place[item] >= 0)
        parts = weight[has, None] * self.table[self.place[item[has]]].astype(np.float64)  # [h, r]
        event = event[has]
        if one.vectors is not None and one.mask is not None and one.mask[0]:
            said = self._said(one.vectors[0].astype(np.float64))
            parts = np.concatenate([parts, self.stated * said[None, :]])
            event = np.concatenate([event, [-1]])
        norm = float(np.linalg.norm(parts.sum(axis=0)))
        if norm < SILENT:
            return None, parts, event
        return parts.sum(axis=0) / norm, parts / norm, event

    def _said(self, words: Double) -> Double:
        """Return where words lie in the space of use [r], a unit vector or zero."""
        if words.shape != (len(self.to_space) - 1,):
            raise InputError(
                "the query vector is not of the bundle's encoder",
                got=words.shape,
                allowed=f"width {len(self.to_space) - 1}",
            )
        unit = words / max(float(np.linalg.norm(words)), 1e-12)
        return np.asarray(unit_rows((unit @ self.to_space[:-1] + self.to_space[-1])[None, :])[0])

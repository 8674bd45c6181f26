"""From what an item says to how it is used: the way in for new items that learns from old ones.

Two films may say much the same and be watched by different people. So the text vectors are mapped
into the space of use, where items that the same people use are near:

    Z = U Λ of  X D^(−½) = W Λ Uᵀ      (X people × items, D people per item; rank r)
    M = argmin Σ_i c_i ‖z_i − Mᵀ[v_i; 1]‖² + λ‖M‖²,   c_i = n_i / (n_i + κ)
    ẑ_i = a_i z_i + (1 − a_i) Mᵀ[v_i; 1],             a_i = n_i / (n_i + κ)
    score_i = ⟨p/‖p‖, ẑ_i/‖ẑ_i‖⟩ · exp(γ (ℓ_i − mean ℓ)),   p = Σ_h w_h ẑ_h/‖ẑ_h‖

An item nobody used is served from its text alone (a = 0), one used often from its use (a → 1); κ is
how many uses are worth as much as the text, from the residuals: E‖z_i − Mᵀv_i‖² = τ² + s²/n_i, and
κ = s²/τ². ℓ is log(1 + uses), itself mapped from the text and mixed in the same way: some kinds of
things are used more than others, new ones included. λ and γ are the best of a few by NDCG@10 on
items left out in folds, for people of the training data.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lifeloop.contracts import Bool, Candidates, Double, Float, Int, Long, Queries, TrainData
from lifeloop.models import arrays as ar
from lifeloop.models.data import part_of
from lifeloop.models.retrieve.fold import fold, weight_unit
from lifeloop.models.retrieve.topk import retrieve

RIDGES = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
GAMMAS = (0.0, 0.25, 0.5, 1.0)
FOLDS = 4
ASKED = 300
"""People of the training data on whom λ and γ are chosen."""
LEAST_ITEMS = 20
"""With fewer used items that have a text there is nothing to learn a map from."""
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

    References
    ----------
    gantner2010
    """

    rank: int = 128
    half_life_events: float | None = None
    name: str = "text_map"

    def fit(self, data: TrainData, *, rng: np.random.Generator) -> "FittedMapped":
        """Learn the space, the map and how many uses the text is worth."""
        uses, content = _uses(data), _unit(data.content.astype(np.float64))
        own = _space(data, uses, self.rank, rng=rng).astype(np.float64)  # [I, r]
        level = np.log1p(uses)[:, None]  # [I, 1]
        has = data.content_ix >= 0
        known = own.any(axis=1)
        teach = np.flatnonzero(known & has)
        vectors, levels = (
            np.zeros_like(own),
            np.full_like(level, float(level[known].mean()) if known.any() else 0.0),
        )
        kappa, ridge, gamma = np.inf, np.nan, 0.0
        if len(teach) >= LEAST_ITEMS:
            text = content[data.content_ix[teach]]  # [t, d]
            target = np.concatenate([own, level], axis=1)[teach]  # [t, r+1]
            ridge, gamma, residual = _chosen(data, text, target, teach, uses, rng=rng)
            kappa = _kappa(residual, uses[teach])
            weights = _ridge_fit(text, target, _trust(uses[teach], kappa), ridge)
            every = np.flatnonzero(has)
            told = _with_one(content[data.content_ix[every]]) @ weights
            vectors[every], levels[every] = told[:, :-1], told[:, -1:]
        share = np.where(known, _trust(uses, kappa if np.isfinite(kappa) else 0.0), 0.0)
        share = np.where(known & ~vectors.any(axis=1), 1.0, share)[:, None]
        unit = _unit(share * own + (1.0 - share) * vectors)
        mixed = (share * level + (1.0 - share) * levels)[:, 0]
        centre = float(mixed[known].mean()) if known.any() else 0.0
        return FittedMapped(
            name=self.name,
            vectors=unit.astype(np.float32),
            scale=np.exp(gamma * (mixed - centre)).astype(np.float32),
            weight_unit=weight_unit(data.weight),
            half_life_events=self.half_life_events,
            kappa=float(kappa),
            ridge=float(ridge),
            gamma=gamma,
        )


@dataclass(frozen=True, slots=True, eq=False)
class FittedMapped:
    """One unit vector per item in the space of use, zero where nothing is known of it."""

    name: str
    vectors: Float  # [I, r]
    scale: Float  # [I] exp(γ (ℓ − mean ℓ))
    weight_unit: float
    half_life_events: float | None
    kappa: float
    ridge: float
    gamma: float

    @property
    def n_items(self) -> int:
        """Size of the catalogue."""
        return len(self.vectors)

    def at(self, half_life_events: float | None) -> Self:
        """Return the same model with another half-life of the history."""
        return replace(self, half_life_events=half_life_events)

    def score(self, queries: Queries) -> Float:
        """Return [B, I] cosines; -inf for items of which nothing is known, and silent people."""
        scores = np.full((len(queries), self.n_items), -np.inf, dtype=np.float32)
        known = self.vectors.any(axis=1)
        for b in range(len(queries)):
            person, _, _ = self._person(queries, b)
            if person is not None:
                # einsum and not BLAS: one answer whatever the threads, and no waiting for them
                scores[b] = np.einsum("ir,r->i", self.vectors, person.astype(np.float32))
                scores[b] *= self.scale
                scores[b, ~known] = -np.inf
        return scores

    def retrieve(self, queries: Queries, k: int, *, allowed: Bool | None = None) -> Candidates:
        """Return the best allowed items."""
        return retrieve(self, queries, k=k, allowed=allowed, n_items=self.n_items, personal=True)

    def contributions(self, queries: Queries, b: int, item_ix: int) -> Double:
        """Return each event's share of the cosine; the bias is 0."""
        return np.asarray(self.traces(queries, b, np.array([item_ix], dtype=np.int32))[0])

    def traces(self, queries: Queries, b: int, item_ix: Int) -> Double:
        """Return the contributions [m, n+1] to m items at once."""
        width = int(queries.indptr[b + 1] - queries.indptr[b]) + 1
        amounts = np.zeros((len(item_ix), width))
        person, parts, event = self._person(queries, b)
        if person is None:
            return amounts
        target = self.vectors[item_ix].astype(np.float64) * self.scale[item_ix, None]
        amounts[:, event] = np.einsum("hr,mr->mh", parts, target)
        return amounts

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the whole state."""
        return {
            "name": ar.text(self.name),
            "vectors": self.vectors,
            "scale": self.scale,
            "weight_unit": ar.number(self.weight_unit),
            "half_life_events": ar.number(self.half_life_events),
            "kappa": np.array([self.kappa]),
            "ridge": np.array([self.ridge]),
            "gamma": np.array([self.gamma]),
        }

    @classmethod
    def load(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild from ``arrays``."""
        return cls(
            name=ar.read_text(arrays, "name"),
            vectors=ar.needed(arrays, "vectors"),
            scale=ar.needed(arrays, "scale"),
            weight_unit=ar.read_number(arrays, "weight_unit"),
            half_life_events=ar.read_optional(arrays, "half_life_events"),
            kappa=float(ar.needed(arrays, "kappa")[0]),
            ridge=float(ar.needed(arrays, "ridge")[0]),
            gamma=float(ar.needed(arrays, "gamma")[0]),
        )

    def _person(self, queries: Queries, b: int) -> tuple[Double | None, Double, Any]:
        """Return the unit vector of query b, the part of it that each item gives, and its event."""
        item, weight, event = fold(
            part_of(queries, b, b + 1),
            n_items=self.n_items,
            weight_unit=self.weight_unit,
            half_life_events=self.half_life_events,
        ).row(0)
        parts = weight[:, None] * self.vectors[item].astype(np.float64)  # [h, r]
        norm = float(np.linalg.norm(parts.sum(axis=0)))
        if norm < SILENT:
            return None, parts, event
        return parts.sum(axis=0) / norm, parts / norm, event


def _uses(data: TrainData) -> Double:
    pair = np.unique(data.user_ix.astype(np.int64) * max(1, data.n_items) + data.item_ix)
    return np.bincount(pair % max(1, data.n_items), minlength=data.n_items).astype(np.float64)


def _space(data: TrainData, uses: Double, rank: int, *, rng: np.random.Generator) -> Float:
    """Return Z [I, r]: item by item use, people by use, brought to rank r."""
    from scipy.sparse import csr_matrix
    from sklearn.utils.extmath import randomized_svd

    used = np.flatnonzero(uses > 0)
    space = np.zeros((data.n_items, rank), dtype=np.float32)
    if len(used) < 2 or data.n_users < 2:
        return space
    place = np.full(data.n_items, -1, dtype=np.int64)
    place[used] = np.arange(len(used))
    pair = np.unique(data.user_ix.astype(np.int64) * data.n_items + data.item_ix)
    user, item = pair // data.n_items, pair % data.n_items
    value = 1.0 / np.sqrt(uses[item])
    matrix = csr_matrix((value, (user, place[item])), shape=(data.n_users, len(used)))
    k = min(rank, min(matrix.shape) - 1)
    _, size, right = randomized_svd(matrix, k, n_iter=4, random_state=int(rng.integers(2**31)))
    space[used, :k] = (right * size[:, None]).T.astype(np.float32)
    return space


def _chosen(
    data: TrainData,
    text: Double,
    target: Double,
    teach: Long,
    uses: Double,
    *,
    rng: np.random.Generator,
) -> tuple[float, float, Double]:
    """Return the best λ and γ on items left out, and the squared residuals [t] under that λ."""
    fold_of = rng.permutation(len(teach)) % FOLDS
    trust = _trust(uses[teach], float(np.median(uses[teach])))
    people = rng.permutation(data.n_users)[:ASKED]
    used = np.zeros((len(people), data.n_items), dtype=np.bool_)
    place = np.full(data.n_users, -1, dtype=np.int64)
    place[people] = np.arange(len(people))
    mine = place[data.user_ix] >= 0
    used[place[data.user_ix[mine]], data.item_ix[mine]] = True
    used = used[:, teach]  # [p, t]
    unit = _unit(target[:, :-1])
    errors = np.zeros((len(RIDGES), len(teach)))
    gain = np.zeros((len(RIDGES), len(GAMMAS)))
    for left in range(FOLDS):
        out, kept = fold_of == left, fold_of != left
        persons = _unit(used[:, kept].astype(np.float64) @ unit[kept])  # [p, r]
        for r, ridge in enumerate(RIDGES):
            weights = _ridge_fit(text[kept], target[kept], trust[kept], ridge)
            made = _with_one(text[out]) @ weights
            errors[r, out] = ((target[out] - made)[:, :-1] ** 2).sum(axis=1)
            cosine = persons @ _unit(made[:, :-1]).T  # [p, o]
            for g, gamma in enumerate(GAMMAS):
                scale = np.exp(gamma * (made[:, -1] - made[:, -1].mean()))
                gain[r, g] += _ndcg(cosine * scale, used[:, out])
    best_ridge, best_gamma = divmod(int(np.argmax(gain)), len(GAMMAS))
    return RIDGES[best_ridge], GAMMAS[best_gamma], errors[best_ridge]


def _ndcg(score: Double, target: Bool, k: int = 10) -> float:
    """Return the mean NDCG@k over the rows with a target."""
    asked = target.any(axis=1)
    if not asked.any():
        return 0.0
    score, target = score[asked], target[asked]
    k = min(k, score.shape[1])
    discount = 1.0 / np.log2(np.arange(k) + 2.0)
    order = np.argsort(-score, axis=1, kind="stable")[:, :k]
    gain = np.take_along_axis(target, order, axis=1) @ discount
    ideal = np.cumsum(discount)[np.minimum(target.sum(axis=1), k) - 1]
    return float((gain / ideal).mean())


def _unit(rows: Double) -> Double:
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(np.divide(rows, norm, out=np.zeros_like(rows), where=norm > 0))


def _ridge_fit(text: Double, target: Double, trust: Double, ridge: float) -> Double:
    """Return W [d+1, r]; the last row, the mean, is not shrunk."""
    told = _with_one(text)  # [t, d+1]
    penalty = np.full(told.shape[1], ridge)
    penalty[-1] = 1e-6
    gram = told.T @ (trust[:, None] * told) + np.diag(penalty)
    return np.asarray(np.linalg.solve(gram, told.T @ (trust[:, None] * target)))


def _kappa(residual: Double, n: Double) -> float:
    """Return s²/τ² of E residual = τ² + s²/n, by least squares with both ≥ 0."""
    from scipy.optimize import nnls

    design = np.stack([np.ones(len(n)), 1.0 / n], axis=1)
    (tau2, s2), _ = nnls(design, residual)
    return float(s2 / tau2) if tau2 > 0 else float(np.median(n))


def _trust(n: Double, kappa: float) -> Double:
    return np.asarray(np.where(n > 0, n / np.maximum(n + kappa, 1e-12), 0.0))


def _with_one(rows: Double) -> Double:
    return np.concatenate([rows, np.ones((len(rows), 1))], axis=1)

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
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lifeloop.contracts import Bool, Candidates, Double, Float, Int, Long, Queries, TrainData
from lifeloop.errors import InputError
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
    n_items : int
        The most-used items have a place of their own; the others are served from their text.
    stated : float
        Weight of what the person wrote (q, mapped as a text is) against one item used (1).
    only_with_text : bool
        Say nothing at all where no item has a text.

    References
    ----------
    gantner2010
    """

    rank: int = 128
    half_life_events: float | None = None
    n_items: int = 5000
    stated: float = 1.0
    only_with_text: bool = False
    name: str = "text_map"

    def fit(self, data: TrainData, *, rng: np.random.Generator) -> "FittedMapped":
        """Learn the space, the map and how many uses the text is worth."""
        uses, content = _uses(data), _unit(data.content.astype(np.float64))
        own = _space(data, uses, self.rank, rng=rng).astype(np.float64)  # [I, r]
        level = np.log1p(uses)[:, None]  # [I, 1]
        has = data.content_ix >= 0
        known = own.any(axis=1)
        if self.only_with_text and not has.any():
            known = np.zeros_like(known)
        if int(known.sum()) > self.n_items:
            known = _most_used(uses, self.n_items) & known
        teach = np.flatnonzero(known & has)
        usual = float(level[known].mean()) if known.any() else 0.0
        text = np.zeros((len(content), self.rank + 1))  # [c, r+1] what each text says
        text[:, -1] = usual
        weights = np.zeros((content.shape[1] + 1, self.rank))
        kappa, ridge, gamma = np.inf, np.nan, 0.0
        if len(teach) >= LEAST_ITEMS:
            lesson = content[data.content_ix[teach]]  # [t, d]
            target = np.concatenate([own, level], axis=1)[teach]  # [t, r+1]
            ridge, gamma, residual = _chosen(data, lesson, target, teach, rng=rng)
            kappa = _kappa(residual, uses[teach])
            solved = _ridge_fit(lesson, target, _trust(uses[teach], kappa), ridge)
            text, weights = _with_one(content) @ solved, solved[:, :-1]
            text[~content.any(axis=1)] = 0.0
        places = np.flatnonzero(known)
        read = text[data.content_ix[places]] * has[places, None] if len(text) else None
        said = np.zeros((len(places), self.rank + 1)) if read is None else read
        said[~has[places], -1] = usual
        share = _trust(uses[places], kappa if np.isfinite(kappa) else 0.0)
        share = np.where(said[:, :-1].any(axis=1), share, 1.0)[:, None]
        mixed = share * np.concatenate([own, level], axis=1)[places] + (1.0 - share) * said
        whole = np.concatenate([mixed, text])  # [m+c, r+1]
        row = np.where(has, len(places) + data.content_ix, -1)
        row[places] = np.arange(len(places))
        table = _unit(whole[:, :-1])
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
        return np.asarray(_unit((unit @ self.to_space[:-1] + self.to_space[-1])[None, :])[0])


def _most_used(uses: Double, n: int) -> Bool:
    chosen = np.zeros(len(uses), dtype=np.bool_)
    chosen[np.argsort(-uses, kind="stable")[:n]] = True
    return chosen


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
    *,
    rng: np.random.Generator,
) -> tuple[float, float, Double]:
    """Return the best λ and γ on items left out, and the squared residuals [t] under that λ."""
    fold_of = rng.permutation(len(teach)) % FOLDS
    uses = np.expm1(target[:, -1])
    trust = _trust(uses, float(np.median(uses)))
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
        sums = _sums(text[kept], target[kept], trust[kept])
        for r, ridge in enumerate(RIDGES):
            made = _with_one(text[out]) @ _solved(*sums, ridge)
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
    return _solved(*_sums(text, target, trust), ridge)


def _sums(text: Double, target: Double, trust: Double) -> tuple[Double, Double]:
    told = _with_one(text)  # [t, d+1]
    weighed = trust[:, None] * told
    return told.T @ weighed, weighed.T @ target


def _solved(gram: Double, moment: Double, ridge: float) -> Double:
    penalty = np.full(len(gram), ridge)
    penalty[-1] = 1e-6
    return np.asarray(np.linalg.solve(gram + np.diag(penalty), moment))


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

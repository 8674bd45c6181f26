"""What is used more in one situation than in another, joined to a person's scores at the request.

For a field (hour, weekday, device, place, channel) with the value c, an item i and its category g,

    λ_gc = log (n_gc + κ p_c) / ((n_g + κ) p_c),        p_c the share of c among all events,
    λ_ic = log (n_ic + κ p_c e^{λ_gc}) / ((n_i + κ) p_c),
    factor_i = exp( clip( Σ_f a_f λ_{i,c_f}, ±log 5 ) ),
    score_i ← score_i · factor_i, or score_i / factor_i where the score is below 0.

So an item with few events says what its category says, a category with few events says nothing, and
an unknown value changes nothing. κ, in events, is the one of a few under which the counts are most
likely (Dirichlet-multinomial). The power a_f of each field is learned on the validation slice,
where every later event has a situation of its own: NDCG@10 of the person's blend reordered by the
factor. A field keeps its power only where the gain is above one standard error; else it is 0 and
the field changes nothing.

References
----------
minka2000 (the Dirichlet-multinomial likelihood); adomavicius2011 (contextual post-filtering)
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lifeloop.contracts import Double, Float, Int, TrainData
from lifeloop.errors import BundleError
from lifeloop.models import arrays as ar

STRENGTHS = (3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0)
LEAST_EVENTS = 10
"""An item with fewer events says what its category says."""
MOST_OWN = 20_000
"""Items that have a row of their own at most, the most used first."""
MOST = float(np.log(5.0))
"""A situation changes a score by a factor of 5 at most."""
NAME = "context"
_KEPT = 64


@dataclass(frozen=True, slots=True, eq=False)
class FittedContext:
    """Lifts per value of every field, for items and categories."""

    fields: tuple[str, ...]  # [F]
    values: tuple[tuple[str, ...], ...]  # [F] by code
    start: Int  # [F] row of code 0 of each field
    lift: Float  # [V, R] λ; rows of items, then categories, then 0
    row: Int  # [I] which of the R says what is known of the item
    powers: Double  # [F] a
    strength: Double  # [F] κ
    name: str = NAME
    _factors: dict[tuple[int, ...], Float] = field(default_factory=dict, init=False, repr=False)

    @property
    def n_items(self) -> int:
        """Size of the catalogue."""
        return len(self.row)

    def codes(self, values: Mapping[str, str]) -> Int:
        """Return [1, F] codes of one situation, -1 where a field or its value is unknown."""
        told = [values.get(name) for name in self.fields]
        return np.array(
            [[_place(known, value) for known, value in zip(self.values, told, strict=True)]],
            dtype=np.int32,
        )

    def counts(self, codes: Int) -> tuple[str, ...]:
        """Return the fields that change scores in this situation [F]."""
        pairs = zip(self.fields, codes, self.powers, strict=True)
        return tuple(name for name, code, power in pairs if code >= 0 and power > 0)

    def gain(self, codes: Int) -> Float | None:
        """Return factor_i − 1 [I], None where the situation says nothing."""
        key = tuple(int(c) if p > 0 else -1 for c, p in zip(codes, self.powers, strict=True))
        if max(key, default=-1) < 0:
            return None
        held = self._factors.get(key)
        if held is None:
            whole = np.zeros(self.lift.shape[1], dtype=np.float32)  # [R]
            for first, code, power in zip(self.start, key, self.powers, strict=True):
                if code >= 0:
                    whole += np.float32(power) * self.lift[first + code]
            held = np.expm1(np.clip(whole, -MOST, MOST))[self.row]
            if len(self._factors) >= _KEPT:
                self._factors.clear()
            self._factors[key] = held
        return held

    def told(self) -> dict[str, float]:
        """Return the power of each field."""
        return dict(zip(self.fields, self.powers.tolist(), strict=True))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the whole state."""
        words = json.dumps([list(self.fields), [list(v) for v in self.values]], ensure_ascii=False)
        return {
            "words": ar.text(words),
            "start": self.start,
            "lift": self.lift,
            "row": self.row,
            "powers": self.powers,
            "strength": self.strength,
        }

    @classmethod
    def load(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild from ``arrays``."""
        fields, values = json.loads(ar.read_text(arrays, "words"))
        made = cls(
            fields=tuple(fields),
            values=tuple(tuple(v) for v in values),
            start=ar.needed(arrays, "start"),
            lift=ar.needed(arrays, "lift"),
            row=ar.needed(arrays, "row"),
            powers=ar.needed(arrays, "powers"),
            strength=ar.needed(arrays, "strength"),
        )
        if len(made.powers) != len(made.fields) or len(made.start) != len(made.fields):
            raise BundleError(
                "the context of the bundle is not of one making",
                got=(len(made.powers), len(made.start)),
                allowed=f"{len(made.fields)} fields",
                hint="lifeloop train",
            )
        return made


def lifts(data: TrainData) -> FittedContext | None:
    """Count what is used in which situation; None where no field has two values or more."""
    told = data.situation
    if told is None:
        return None
    kept = [f for f, values in enumerate(told.values) if len(values) > 1]
    if not kept:
        return None
    n_items = data.n_items
    uses = np.bincount(data.item_ix, minlength=n_items)  # [I]
    kind = np.full(n_items, -1, np.int32) if data.kind_ix is None else data.kind_ix
    n_kinds = int(kind.max(initial=-1)) + 1
    own = np.flatnonzero(uses >= LEAST_EVENTS)
    if len(own) > MOST_OWN:
        own = np.sort(own[np.argsort(-uses[own], kind="stable")[:MOST_OWN]])
    row = np.where(kind >= 0, len(own) + kind, len(own) + n_kinds).astype(np.int32)
    row[own] = np.arange(len(own), dtype=np.int32)
    blocks, strength, start = [], [], [0]
    for f in kept:
        block, kappa = _lift(data, told.codes[:, f], len(told.values[f]), own, kind, n_kinds)
        blocks.append(block)
        strength.append(kappa)
        start.append(start[-1] + len(block))
    return FittedContext(
        fields=tuple(told.fields[f] for f in kept),
        values=tuple(told.values[f] for f in kept),
        start=np.array(start[:-1], dtype=np.int32),
        lift=np.concatenate(blocks).astype(np.float32),
        row=row,
        powers=np.zeros(len(kept)),
        strength=np.array(strength),
    )


def with_powers(made: FittedContext | None, powers: Mapping[str, float]) -> FittedContext | None:
    """Return the lifts of the fields that have a power above 0; None where none has."""
    if made is None:
        return None
    kept = [f for f, name in enumerate(made.fields) if powers.get(name, 0.0) > 0]
    if not kept:
        return None
    sizes = [len(made.values[f]) for f in kept]
    rows = [
        slice(int(made.start[f]), int(made.start[f]) + n) for f, n in zip(kept, sizes, strict=True)
    ]
    return replace(
        made,
        fields=tuple(made.fields[f] for f in kept),
        values=tuple(made.values[f] for f in kept),
        start=np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int32),
        lift=np.concatenate([made.lift[own] for own in rows]),
        powers=np.array([powers[made.fields[f]] for f in kept]),
        strength=made.strength[kept],
    )


def shifted(total: Float, gain: Float) -> Float:
    """Return what a situation adds to scores; 0 where nothing is known (-inf).

    Parameters
    ----------
    total, gain : float32 arrays [m]
        Scores, and factor − 1 of the same items.
    """
    known = total > -np.inf
    more = np.multiply(total, gain, where=known, out=np.zeros(total.shape, np.float32))
    below = np.nonzero(known & (total < 0))
    more[below] /= -(1.0 + np.broadcast_to(gain, total.shape)[below])
    return more


def _lift(
    data: TrainData, code: Int, n_values: int, own: NDArray[Any], kind: Int, n_kinds: int
) -> tuple[Double, float]:
    """Return λ [C, items + categories + 1] of one field, and κ of the items."""
    known = code >= 0
    item, value = data.item_ix[known], code[known]
    share = np.bincount(value, minlength=n_values) / max(1, len(value))  # [C], all > 0
    share = np.maximum(share, 1e-9)
    of_kind = np.zeros((n_kinds, n_values))
    group = kind[item]
    some = group >= 0
    np.add.at(of_kind, (group[some], value[some]), 1.0)
    kind_prior = np.broadcast_to(share, of_kind.shape)
    kind_lift = _log_lift(of_kind, kind_prior, _likeliest(of_kind, kind_prior), share)  # [G, C]
    place = np.full(data.n_items, -1, dtype=np.int64)
    place[own] = np.arange(len(own))
    at = place[item]
    of_item = np.zeros((len(own), n_values))
    np.add.at(of_item, (at[at >= 0], value[at >= 0]), 1.0)
    whose = kind[own]
    prior = (
        np.where((whose >= 0)[:, None], np.exp(kind_lift[whose] if n_kinds else 0.0), 1.0) * share
    )  # [m, C]
    prior /= prior.sum(axis=1, keepdims=True)
    kappa = _likeliest(of_item, prior)
    item_lift = _log_lift(of_item, prior, kappa, share)
    return np.concatenate([item_lift, kind_lift, np.zeros((1, n_values))]).T, kappa


def _log_lift(counts: Double, prior: Double, kappa: float, share: Double) -> Double:
    whole = counts.sum(axis=1, keepdims=True)
    return np.asarray(np.log((counts + kappa * prior) / ((whole + kappa) * share)))


def _likeliest(counts: Double, prior: Double) -> float:
    """Return the κ of ``STRENGTHS`` under which the counts [m, C] are most likely."""
    from scipy.special import gammaln

    if not counts.any():
        return STRENGTHS[-1]
    some = np.argsort(-counts.sum(axis=1), kind="stable")[:2000]
    n, p = counts[some], prior[some]
    whole = n.sum(axis=1)
    value = [
        float((gammaln(k) - gammaln(k + whole)).sum() + (gammaln(n + k * p) - gammaln(k * p)).sum())
        for k in STRENGTHS
    ]
    return STRENGTHS[int(np.argmax(value))]


def _place(known: Sequence[str], value: str | None) -> int:
    return known.index(value) if value is not None and value in known else -1

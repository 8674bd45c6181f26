"""How much each field of a situation counts: learned from what people did later, and when.

Every moment of the validation slice has a situation of its own. The person's blend, as known at the
cut, is reordered by the lifts of that situation, and NDCG@10 counts what was done in that moment.

1. Each field alone: its power is chosen on one half of the people and judged on the other, and the
   other way round. It is kept if the gain over no context is above ``SURE`` standard errors.
2. The powers of the fields kept, together: one at a time is set to a few values (``POWERS``) and
   kept where NDCG@10 gains, until nothing does.

Letters: N moments, C candidates of a moment, F fields.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lifeloop.contracts import Bool, Double, Float, Long
from lifeloop.models.blended import FittedBlend
from lifeloop.models.context import MOST, FittedContext, lifts, shifted
from lifeloop.models.data import part_of
from lifeloop.models.holdout import Holdout
from lifeloop.models.retrieve.topk import best

POWERS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5)
SURE = 1.0
MOST_PEOPLE, MOST_MOMENTS = 500, 6
LEAST_PEOPLE = 50
DEPTH = 300


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """What the blend says of the candidates of each moment, and what was done."""

    total: Float  # [N, C]; -inf pads
    lift: Float  # [F, N, C]
    target: Bool  # [N, C]
    n_targets: Long  # [N]
    person: Long  # [N]

    def ndcg(self, powers: Double) -> Double:
        """Return NDCG@10 [N] under some powers [F]."""
        log = np.clip(np.einsum("f,fnc->nc", powers.astype(np.float32), self.lift), -MOST, MOST)
        score = self.total + shifted(self.total, np.expm1(log))
        score = np.where(self.target, np.nextafter(score, np.float32(-np.inf)), score)
        k = min(10, score.shape[1])
        top = np.argpartition(-score, k - 1, axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(score, top, axis=1), axis=1, kind="stable")
        hit = np.take_along_axis(np.take_along_axis(self.target, top, axis=1), order, axis=1)
        discount = 1.0 / np.log2(np.arange(10) + 2.0)
        ideal = np.cumsum(discount)[np.minimum(self.n_targets, 10) - 1]
        return np.asarray(hit @ discount[:k] / ideal)


def learn_powers(
    blends: Sequence[FittedBlend], cuts: Sequence[Holdout], *, repeats: bool
) -> tuple[dict[str, float], tuple[str, ...]]:
    """Return the power of every field that helps, and what was found.

    Parameters
    ----------
    blends, cuts : sequences of the same length
        The blend as fitted on each slice's earlier events, and the slice.
    repeats : bool
        Whether items of the history may be recommended.
    """
    made = [lifts(cut.data) for cut in cuts]
    if not made or made[0] is None:
        return {}, ()
    fields = made[0].fields
    tables = [
        _moments(blend, cut, own, repeats=repeats, first=1_000_000 * n)
        for n, (blend, cut, own) in enumerate(zip(blends, cuts, made, strict=True))
        if own is not None and own.fields == fields and cut.later is not None
    ]
    held = _joined(tables)
    people = np.unique(held.person) if held is not None else np.empty(0, np.int64)
    if held is None or len(people) < LEAST_PEOPLE:
        return {}, (
            f"context ({', '.join(fields)}) not used: {len(people)} people to learn its weight "
            f"from, {LEAST_PEOPLE} needed",
        )
    none = held.ndcg(np.zeros(len(fields)))
    half = np.isin(held.person, people[::2])
    kept, told = [], []
    for f, name in enumerate(fields):
        each = np.array([held.ndcg(power * np.eye(len(fields))[f]) for power in POWERS])  # [Q, N]
        out = np.where(half, each[each[:, ~half].mean(axis=1).argmax()], 0.0)
        out = np.where(half, out, each[each[:, half].mean(axis=1).argmax()])
        gain, error = _gain(out - none, held.person)
        helps = gain > SURE * error and gain > 0
        if helps:
            kept.append(f)
        told.append(f"{name} {gain:+.4f} ± {error:.4f}{'' if helps else ' (left out)'}")
    powers = _searched(held, kept, len(fields))
    found = {name: float(powers[f]) for f, name in enumerate(fields) if powers[f] > 0}
    after = float(held.ndcg(powers).mean())
    note = (
        f"context, {len(held.person)} moments of {len(people)} people, gain of each field alone on "
        f"people not chosen on: {', '.join(told)}; NDCG@10 {none.mean():.4f} without context, "
        f"{after:.4f} with {', '.join(f'{n} {p:g}' for n, p in found.items()) or 'none'}"
    )
    return found, (note,)


def _moments(
    blend: FittedBlend, cut: Holdout, context: FittedContext, *, repeats: bool, first: int
) -> Moments | None:
    later, some = cut.later, cut.thinned(MOST_PEOPLE)
    if later is None or later.situation is None or not len(some.queries):
        return None
    codes = later.situation.codes[:, [later.situation.fields.index(f) for f in context.fields]]
    lo = np.searchsorted(later.user_ix, some.user_ix)
    hi = np.searchsorted(later.user_ix, some.user_ix, side="right")
    rows: list[tuple[Float, Float, Bool, int, int]] = []
    for b in range(len(some.queries)):
        one = part_of(some.queries, b, b + 1)
        items, own = later.item_ix[lo[b] : hi[b]], codes[lo[b] : hi[b]]  # [e], [e, F]
        if not repeats:
            new = ~np.isin(items, one.item_ix)
            items, own = items[new], own[new]
        if not len(items):
            continue
        total = blend.scored(one).total[0]
        may = np.ones(blend.n_items, np.bool_)
        if not repeats:
            may[one.item_ix] = False
        top = best(total, DEPTH, allowed=may)
        situations, which = np.unique(own, axis=0, return_inverse=True)
        spread = np.linspace(0, len(situations) - 1, min(MOST_MOMENTS, len(situations)))
        for m in np.unique(spread.astype(np.int64)):
            done = np.unique(items[which.reshape(-1) == m])
            picked = np.union1d(top, done)
            lift = np.zeros((len(context.fields), len(picked)), np.float32)
            for f, code in enumerate(situations[m]):
                if code >= 0:
                    lift[f] = context.lift[context.start[f] + code][context.row[picked]]
            target = np.isin(picked, done)
            rows.append((total[picked], lift, target, len(done), first + int(some.user_ix[b])))
    if not rows:
        return None
    width, n_fields = max(len(row[0]) for row in rows), len(context.fields)
    made = Moments(
        total=np.full((len(rows), width), -np.inf, np.float32),
        lift=np.zeros((n_fields, len(rows), width), np.float32),
        target=np.zeros((len(rows), width), np.bool_),
        n_targets=np.array([row[3] for row in rows], np.int64),
        person=np.array([row[4] for row in rows], np.int64),
    )
    for n, (total, lift, target, _, _) in enumerate(rows):
        made.total[n, : len(total)] = total
        made.lift[:, n, : len(total)] = lift
        made.target[n, : len(total)] = target
    return made


def _joined(tables: Sequence[Moments | None]) -> Moments | None:
    held = [table for table in tables if table is not None]
    if not held:
        return None
    width = max(table.total.shape[1] for table in held)
    more = [width - table.total.shape[1] for table in held]
    pairs = list(zip(held, more, strict=True))
    return Moments(
        total=np.concatenate(
            [np.pad(t.total, [(0, 0), (0, m)], constant_values=-np.inf) for t, m in pairs]
        ),
        lift=np.concatenate([np.pad(t.lift, [(0, 0), (0, 0), (0, m)]) for t, m in pairs], axis=1),
        target=np.concatenate([np.pad(t.target, [(0, 0), (0, m)]) for t, m in pairs]),
        n_targets=np.concatenate([t.n_targets for t in held]),
        person=np.concatenate([t.person for t in held]),
    )


def _gain(difference: Double, person: Long) -> tuple[float, float]:
    """Return the mean over people of each one's mean difference, and its standard error."""
    _, which = np.unique(person, return_inverse=True)
    each = np.bincount(which, weights=difference) / np.bincount(which)
    return float(each.mean()), float(each.std() / np.sqrt(len(each)))


def _searched(held: Moments, kept: Sequence[int], n_fields: int) -> Double:
    powers = np.zeros(n_fields)
    value = float(held.ndcg(powers).mean())
    while True:
        before = value
        for f in kept:
            for power in POWERS:
                trial = powers.copy()
                trial[f] = power
                found = float(held.ndcg(trial).mean())
                if found > value:
                    value, powers = found, trial
        if value == before:
            return powers

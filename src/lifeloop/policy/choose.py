"""From scored candidates to a slate, position by position, with exact propensities.

At each position every eligible candidate j has the utility

    a_j = score_j / scale − λ · max similarity of j to the items already chosen

and is drawn with p_j = softmax(a / τ)_j over what is left; that p_j, conditional on the items
before it, is the propensity that is logged. τ = 0 takes the largest a_j with certainty. The
softmax is the only randomness, masks apply before each draw, and nothing reorders afterwards.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lifeloop.contracts import Bool, Double, Float, Int, PolicyState, Slate
from lifeloop.errors import InputError

Similarity = Callable[[int], NDArray[np.floating]] | NDArray[np.floating] | tuple[Float, Bool]
"""Column function, matrix [m, m], or vectors [m, d] with a mask [m] (cosine; none where False)."""

ALL_EXCLUDED = "nothing_allowed"
"""No candidate was eligible."""
TOO_FEW = "few_allowed"
"""All eligible candidates were chosen, and they are fewer than were asked for."""


def choose(
    scores: Float | Double,
    *,
    similarity: Similarity | None,
    allowed: Bool,
    state: PolicyState,
    k: int,
    rng: np.random.Generator,
) -> Slate:
    """Return k of the m candidates in the order drawn.

    Parameters
    ----------
    scores : float array [m]
        Higher is better. -inf is not eligible; NaN and +inf are refused.
    similarity : callable, array or pair, optional
        Of candidates to each other; None where there is none (then λ has nothing to act on).
    allowed : bool array [m]
        The masks, combined.
    state : PolicyState
        Temperature τ ≥ 0, diversity λ ≥ 0, scale > 0.
    k : int
        Length wanted; fewer are returned, with a reason, if fewer are eligible.
    rng : numpy.random.Generator
        Used once per position when τ > 0, never when τ = 0.

    Notes
    -----
    Equal utilities under τ = 0 go to the candidate given first.
    """
    scores = np.asarray(scores, dtype=np.float64)
    _check(scores, allowed, state)
    column = _column(similarity, len(scores))
    eligible = allowed & (scores > -np.inf)
    base = _scaled(scores, state.scale)  # [m]
    n_picks = min(max(k, 0), int(eligible.sum()))
    picked, propensity, utility = [], [], []
    closest = np.full(len(scores), -np.inf)
    for position in range(n_picks):
        penalty = state.diversity * closest if position and state.diversity else 0.0
        a = np.where(eligible, base - penalty, -np.inf)
        j, p = _drawn(a, state.temperature, rng)
        picked.append(j)
        propensity.append(p)
        utility.append(float(a[j]))
        eligible[j] = False
        if state.diversity and position + 1 < n_picks:
            closest = np.maximum(closest, column(j))
    reason = None
    if len(picked) < k:
        reason = TOO_FEW if picked else ALL_EXCLUDED
    return Slate(
        picked=np.array(picked, dtype=np.int32),
        propensity=np.array(propensity, dtype=np.float64),
        utility=np.array(utility, dtype=np.float64),
        reason=reason,
    )


def propensities(
    scores: Float | Double,
    picked: Int,
    *,
    similarity: Similarity | None,
    allowed: Bool,
    state: PolicyState,
) -> Double:
    """Return the conditional propensity of each position of a slate that was already drawn.

    What ``choose`` logs, recomputed: for audits and for evaluating another policy's slate.
    A position that the policy could not have filled this way has propensity 0.
    """
    scores = np.asarray(scores, dtype=np.float64)
    _check(scores, allowed, state)
    column = _column(similarity, len(scores))
    eligible = allowed & (scores > -np.inf)
    base = _scaled(scores, state.scale)
    found = np.zeros(len(picked))
    closest = np.full(len(scores), -np.inf)
    for position, j in enumerate(picked):
        if not eligible[j]:
            break
        penalty = state.diversity * closest if position and state.diversity else 0.0
        found[position] = _softmax(np.where(eligible, base - penalty, -np.inf), state.temperature)[
            j
        ]
        eligible[j] = False
        if state.diversity:
            closest = np.maximum(closest, column(j))
    return found


def _scaled(scores: Double, scale: float) -> Double:
    # beyond 1e300 utilities count as equal, so that no difference of two is undefined
    with np.errstate(over="ignore"):
        return np.asarray(np.clip(scores / scale, -1e300, 1e300))


def _drawn(a: Double, temperature: float, rng: np.random.Generator) -> tuple[int, float]:
    if temperature == 0:
        return int(a.argmax()), 1.0
    p = _softmax(a, temperature)
    edges = np.cumsum(p)
    # side="right" steps over candidates of probability 0; the last real one closes the range
    j = int(np.searchsorted(edges, rng.random() * edges[-1], side="right"))
    j = min(j, int(np.flatnonzero(p)[-1]))
    return j, float(p[j])


def _softmax(a: Double, temperature: float) -> Double:
    if temperature == 0:
        p = np.zeros(len(a))
        p[int(a.argmax())] = 1.0
        return p
    with np.errstate(over="ignore", under="ignore"):
        p = np.exp((a - a.max()) / temperature)
    return np.asarray(p / p.sum())


def _column(similarity: Similarity | None, m: int) -> Callable[[int], Double]:
    if similarity is None:
        return lambda j: np.zeros(m)
    if callable(similarity):
        return lambda j: _clean(similarity(j), m)
    if isinstance(similarity, tuple):
        vectors, mask = similarity
        vectors = np.asarray(vectors, dtype=np.float64)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit = np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0)
        unit = np.where(mask[:, None], unit, 0.0)  # no vector: similar to nothing
        return lambda j: _clean(unit @ unit[j], m)
    matrix = np.asarray(similarity)
    if matrix.shape != (m, m):
        raise InputError(
            "the similarity does not fit the candidates", got=matrix.shape, allowed=f"[{m}, {m}]"
        )
    return lambda j: _clean(matrix[:, j], m)


def _clean(column: NDArray[np.floating], m: int) -> Double:
    told: Double = np.asarray(column, dtype=np.float64)
    if told.shape != (m,):
        raise InputError("a similarity column does not fit", got=told.shape, allowed=f"[{m}]")
    if np.isfinite(told).all():
        return told
    return np.asarray(np.nan_to_num(told, nan=0.0, posinf=1.0, neginf=-1.0))


def _check(scores: Double, allowed: Bool, state: PolicyState) -> None:
    problems = []
    if scores.ndim != 1 or allowed.shape != scores.shape:
        problems.append(f"scores {scores.shape} and allowed {allowed.shape} are not one [m]")
    if np.isnan(scores).any() or np.isposinf(scores).any():
        problems.append("scores hold NaN or +inf")
    if not (state.temperature >= 0 and np.isfinite(state.temperature)):
        problems.append(f"temperature {state.temperature} is not a number of 0 or more")
    if not (state.diversity >= 0 and np.isfinite(state.diversity)):
        problems.append(f"diversity {state.diversity} is not a number of 0 or more")
    if not (state.scale > 0 and np.isfinite(state.scale)):
        problems.append(f"scale {state.scale} is not a number above 0")
    if problems:
        raise InputError("the slate cannot be chosen: " + "; ".join(problems))

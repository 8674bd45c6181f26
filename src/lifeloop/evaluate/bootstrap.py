"""How sure the numbers are: the bootstrap over users, paired between models."""

from dataclasses import dataclass

import numpy as np

from lifeloop.contracts import Double

DRAWS = 2000
_CELLS = 4_000_000


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over users with its standard error and 95% percentile interval.

    ``p`` is the two-sided bootstrap p-value of a mean of 0; None where it makes no sense.
    """

    mean: float
    se: float
    lo: float
    hi: float
    p: float


def bootstrap(per_user: Double, *, seed: int, draws: int = DRAWS) -> tuple[Interval, ...]:
    """Resample users with replacement; the same resamples serve every column.

    Differences between models are bootstrapped by passing the column of differences: both
    models then face the same users in every draw, which is the paired bootstrap.

    Parameters
    ----------
    per_user : Double [U, m]
        One column per quantity, no NaN, U ≥ 1.
    seed : int
        Of the resamples.
    draws : int
        Number of resamples; the smallest p is 2 / (draws + 1).

    Returns
    -------
    tuple of Interval, one per column
        ``se`` is the standard deviation of the resampled means.

    References
    ----------
    efron1993, chapters 6, 13, 16
    """
    n = len(per_user)
    rng = np.random.default_rng(seed)
    means = np.empty((draws, per_user.shape[1]))
    step = max(1, _CELLS // max(1, n))
    for start in range(0, draws, step):
        size = min(step, draws - start)
        # How often each user is drawn says all that a resample is.
        drawn = rng.integers(n, size=(size, n)) + n * np.arange(size)[:, None]
        times = np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n)  # [size, U]
        means[start : start + size] = times @ per_user / n  # [size, m]
    lo, hi = np.quantile(means, [0.025, 0.975], axis=0)
    below = (np.count_nonzero(means <= 0, axis=0) + 1) / (draws + 1)
    above = (np.count_nonzero(means >= 0, axis=0) + 1) / (draws + 1)
    p = np.minimum(1.0, 2.0 * np.minimum(below, above))
    return tuple(
        Interval(float(m), float(s), float(a), float(b), float(q))
        for m, s, a, b, q in zip(per_user.mean(axis=0), means.std(axis=0), lo, hi, p, strict=True)
    )

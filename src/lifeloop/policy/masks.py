"""Who may be on the slate: rules as masks over the candidates, and the words for what they took.

Letters used in shapes: m candidates (or items), e events of the history.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lifeloop.contracts import UNTIMED, Bool, Double, Int, Long

DAY_US = 86_400_000_000
ALWAYS, FOREVER = np.iinfo(np.int64).min, np.iinfo(np.int64).max
"""Limits of availability that are none."""

NEVER = np.inf
"""Repeat window of an item that is never to come back."""


@dataclass(frozen=True, slots=True, eq=False)
class Combined:
    """What every rule together allows, and how many each rule took (each item once)."""

    allowed: Bool  # [m]
    excluded: Mapping[str, int]

    @property
    def n_allowed(self) -> int:
        """How many may be shown."""
        return int(np.count_nonzero(self.allowed))


def available(from_us: Long, until_us: Long, *, as_of_us: int) -> Bool:
    """Return [m], True where from ≤ as_of < until; ``ALWAYS`` and ``FOREVER`` are no limits."""
    return np.asarray((from_us <= as_of_us) & (as_of_us < until_us))


def in_stock(stock: Double) -> Bool:
    """Return [m], False where the stock is known and not above 0; NaN (unknown) is not sold out."""
    return np.asarray(np.isnan(stock) | (stock > 0))


def repeat_windows(
    kinds: Sequence[str | None],
    categories: Sequence[Sequence[str]],
    *,
    default_days: float | None,
    by_kind: Mapping[str, float],
) -> Double:
    """Return [m] days before a consumed item may come back; ``NEVER`` for no return.

    An item's own kind decides first, then its categories in their order, then the default.
    """
    default = NEVER if default_days is None else default_days
    windows = np.full(len(kinds), default, dtype=np.float64)
    if by_kind:
        for i, (kind, names) in enumerate(zip(kinds, categories, strict=True)):
            for name in (kind, *(names or ())):
                if name is not None and name in by_kind:
                    windows[i] = by_kind[name]
                    break
    return windows


def outside_repeat_window(
    consumed_ix: Int, consumed_us: Long, *, windows_days: Double, as_of_us: int
) -> Bool:
    """Return [m], False for items consumed less than their window ago.

    Parameters
    ----------
    consumed_ix : int array [e]
        Items of the consuming events.
    consumed_us : int64 array [e]
        Their times; ``UNTIMED`` counts as inside every window above 0, because nobody can say
        that it is over.
    windows_days : float array [m]
        From ``repeat_windows``.
    """
    free = np.ones(len(windows_days), dtype=np.bool_)
    window = windows_days[consumed_ix]
    timed = consumed_us != UNTIMED
    elapsed = (as_of_us - np.where(timed, consumed_us, as_of_us)) / DAY_US  # [e]
    free[consumed_ix[elapsed < window]] = False
    return free


def combine(masks: Mapping[str, Bool], *, n: int) -> Combined:
    """Return the conjunction of named masks; an item counts for the first rule that took it."""
    allowed = np.ones(n, dtype=np.bool_)
    excluded: dict[str, int] = {}
    for reason, mask in masks.items():
        taken = int(np.count_nonzero(allowed & ~mask))
        if taken:
            excluded[reason] = taken
        allowed &= mask
    return Combined(allowed=allowed, excluded=excluded)


def say_shortfall(combined: Combined, *, asked: int, got: int) -> str | None:
    """Return why a slate is short, in words, or None if it is not.

    For example "3 of 10: of 40 items, 37 already bought within 30 days".
    """
    if got >= asked:
        return None
    total = len(combined.allowed)
    if not combined.excluded:
        return f"{got} of {asked}: only {total} items to choose from"
    taken = ", ".join(f"{count} {reason}" for reason, count in combined.excluded.items())
    return f"{got} of {asked}: of {total} items, {taken}"

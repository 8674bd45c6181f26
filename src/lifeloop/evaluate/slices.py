"""The same numbers for parts of the users and parts of the items."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lifeloop.contracts import Double, Long

HISTORY_EDGES = (1, 5, 20, 100)
"""Lower ends of the history lengths: 1–4, 5–19, 20–99, 100 and more events."""

AGE_EDGES_DAYS = (0, 7, 30, 90)
"""Lower ends of the item ages: 0–6, 7–29, 30–89, 90 and more days since first seen."""


def by_group(
    per_user: Mapping[str, Double], groups: Sequence[str], *, metrics: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Return per group its users and the mean of each metric with its standard error.

    The standard error is s / √n; null, with a reason, for a single user.
    """
    of = np.asarray(groups, dtype=object)
    result: dict[str, dict[str, Any]] = {}
    for group in _in_order(groups):
        inside = of == group
        n = int(inside.sum())
        row: dict[str, Any] = {"n": n}
        for name in metrics:
            values = per_user[name][inside]
            row[name] = float(values.mean())
            row[f"{name}_se"] = float(values.std(ddof=1) / np.sqrt(n)) if n > 1 else None
        if n == 1:
            row["reason"] = "one user: no standard error"
        result[group] = row
    return result


def history_groups(lengths: Long) -> list[str]:
    """Return the name of each history's length group, such as ``"5-19"``."""
    return _named(lengths.astype(np.float64), HISTORY_EDGES)


def age_groups(age_days: Double) -> list[str]:
    """Return the age group of each target's item; NaN is ``"unseen"`` (not seen in training)."""
    known = ~np.isnan(age_days)
    names = np.full(len(age_days), "unseen", dtype=object)
    names[known] = _named(np.maximum(age_days[known], 0.0), AGE_EDGES_DAYS)
    return [str(name) for name in names]


def by_item_age(ranks: Double, groups: Sequence[str], k: int) -> dict[str, dict[str, Any]]:
    """Return per age group how many targets it has and the share of them among the first k."""
    of = np.asarray(groups, dtype=object)
    return {
        group: {
            "n_targets": int((of == group).sum()),
            f"recall@{k}": float((ranks[of == group] <= k).mean()),
        }
        for group in _in_order(groups)
    }


def _named(values: Double, edges: tuple[int, ...]) -> list[str]:
    names = [f"{lo}-{hi - 1}" for lo, hi in itertools.pairwise(edges)] + [f"{edges[-1]}+"]
    place = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(names) - 1)
    return [names[int(n)] for n in place]


def _in_order(groups: Sequence[str]) -> list[str]:
    """Ranges by their lower end, then names by the alphabet."""
    return sorted(
        set(groups),
        key=lambda g: (
            (not g[:1].isdigit(), int(g.rstrip("+").split("-")[0]), g)
            if g[:1].isdigit()
            else (True, 0, g)
        ),
    )

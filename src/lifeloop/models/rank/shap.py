"""TreeSHAP of the whole slate at once, from tables made when the trees are opened.

A leaf is reached where each of the d features on its path lies in an interval. Which of the d
conditions hold is all that a leaf's Shapley values depend on, so they are worked out once for each
of the 2^d patterns and looked up afterwards: the same values as LightGBM's own, in half of the
time. Path-dependent TreeSHAP [lundberg2020]; with o_j = 1 where condition j holds and z_j the share
of training rows that meet it, a leaf of value v adds to feature j

    v (o_j − z_j) ∫₀¹ ∏_{i≠j} ((1 − t) z_i + t o_i) dt,

the weights of the Shapley sum being Beta integrals; Gauss-Legendre nodes integrate it exactly.

Letters used in shapes: S conditions of all leaves, K leaves, m items, F features.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np

from lifeloop.contracts import Bool, Double, Float, Int, Long

MOST = 12
"""Features on one path at most: a leaf's table has 2^d · d entries."""


class _Leaf(NamedTuple):
    value: float
    feature: list[int]  # [d]
    above: list[float]  # [d] x must not be at or below this; NaN: no bound
    upto: list[float]  # [d] x must be at or below this
    missing: list[bool]  # [d] whether a missing value meets the condition
    share: list[float]  # [d] of the training rows


@dataclass(frozen=True, slots=True, eq=False)
class ShapTables:
    """The conditions of every leaf, leaf by leaf, and the Shapley values of every pattern."""

    feature: Int  # [S]
    above: Double  # [S]
    upto: Double  # [S]
    missing: Bool  # [S]
    bit: Int  # [S]
    leaf: Int  # [S]
    start: Long  # [K] first condition of each leaf
    offset: Long  # [S] where the 2^d values of a condition begin
    table: Double
    base: float
    n_features: int

    @classmethod
    def of(cls, booster: Any) -> Self | None:
        """Return the tables of a LightGBM model; None where a path is long or of categories."""
        trees = booster.dump_model()["tree_info"]
        try:
            leaves = [leaf for tree in trees for leaf in _leaves(tree["tree_structure"], {})]
        except _Unread:
            return None
        known = sorted((leaf for leaf in leaves if leaf.feature), key=lambda leaf: len(leaf.share))
        alone = sum(leaf.value for leaf in leaves if not leaf.feature)
        if not known or len(known[-1].feature) > MOST:
            return None
        sizes = np.array([len(leaf.feature) for leaf in known])  # [K] ascending
        start = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        within = np.arange(int(sizes.sum())) - np.repeat(start, sizes)
        width = np.repeat(2**sizes, sizes)  # [S]
        tables = []
        for d in np.unique(sizes).tolist():
            same = [leaf for leaf in known if len(leaf.feature) == d]
            tables.append(
                _values(np.array([x.value for x in same]), np.array([x.share for x in same]))
            )
        expected = sum(leaf.value * float(np.prod(leaf.share)) for leaf in known)
        return cls(
            feature=np.concatenate([leaf.feature for leaf in known]).astype(np.int32),
            above=np.concatenate([leaf.above for leaf in known]),
            upto=np.concatenate([leaf.upto for leaf in known]),
            missing=np.concatenate([leaf.missing for leaf in known]).astype(np.bool_),
            bit=(1 << within).astype(np.int32),
            leaf=np.repeat(np.arange(len(known)), sizes).astype(np.int32),
            start=start.astype(np.int64),
            offset=np.concatenate([[0], np.cumsum(width)[:-1]]).astype(np.int64),
            table=np.concatenate(tables),
            base=alone + expected,
            n_features=int(booster.num_feature()),
        )

    def shares(self, features: Float) -> Double:
        """Return [m, F+1]: what each feature adds to the score of m items, the base last."""
        x = features.astype(np.float64)[:, self.feature]  # [m, S]
        holds = (x <= self.upto) & ~(x <= self.above)
        holds |= self.missing & np.isnan(x)
        pattern = np.add.reduceat(holds * self.bit, self.start, axis=1)  # [m, K]
        amounts = self.table[self.offset + pattern[:, self.leaf]]  # [m, S]
        told = np.full((len(features), self.n_features + 1), self.base)
        for row, amount in zip(told, amounts, strict=True):
            row[:-1] = np.bincount(self.feature, weights=amount, minlength=self.n_features)
        return told


class _Unread(Exception):
    """A split that the tables do not describe."""


def _leaves(
    node: Mapping[str, Any], path: Mapping[int, tuple[float, float, bool, float]]
) -> Iterator[_Leaf]:
    """Yield the leaves below a node; ``path``: feature -> above, up to, missing, share."""
    if "leaf_value" in node:
        rows = [list(column) for column in zip(*path.values(), strict=True)] or [[], [], [], []]
        yield _Leaf(float(node["leaf_value"]), list(path), *rows)
        return
    if node["decision_type"] != "<=" or node["missing_type"] == "Zero":
        raise _Unread
    j, at, n = node["split_feature"], float(node["threshold"]), _count(node)
    # without missing values in training one of later counts as 0
    left = node["default_left"] if node["missing_type"] == "NaN" else at >= 0.0
    above, upto, missing, share = path.get(j, (np.nan, np.inf, True, 1.0))
    for side, goes in (("left_child", left), ("right_child", not left)):
        child = node[side]
        lower = above if side == "left_child" else float(np.fmax(above, at))
        upper = min(upto, at) if side == "left_child" else upto
        held = (lower, upper, missing and bool(goes), share * _count(child) / n)
        yield from _leaves(child, {**path, j: held})


def _count(node: Mapping[str, Any]) -> int:
    return int(node["leaf_count"] if "leaf_value" in node else node["internal_count"])


def _values(value: Double, share: Double) -> Double:
    """Return the Shapley values of leaves [n] with d conditions each [n, d], as [n · d · 2^d]."""
    d = share.shape[1]
    nodes, weights = np.polynomial.legendre.leggauss((d + 1) // 2)
    t, w = (nodes + 1.0) / 2.0, weights / 2.0  # [T] on 0 to 1
    holds = (np.arange(2**d)[:, None] >> np.arange(d)) & 1  # [2^d, d]
    o, z = holds[None, :, :, None], share[:, None, :, None]
    g = (1.0 - t) * z + t * o  # [n, 2^d, d, T]
    inner = (g.prod(axis=2, keepdims=True) / g) @ w  # [n, 2^d, d]
    told = value[:, None, None] * (holds - share[:, None, :]) * inner
    return np.ascontiguousarray(told.transpose(0, 2, 1)).reshape(-1)

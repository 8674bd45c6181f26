"""What an evaluation found, as values and as plain JSON data without NaN."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lifeloop.contracts import Double
from lifeloop.evaluate.bootstrap import Interval, bootstrap

_WITHOUT_LISTS = "no list of this model has what the metric needs"


@dataclass(frozen=True, slots=True)
class ModelResult:
    """One model's numbers. ``per_user`` holds the accuracy metrics, in the report's user order.

    ``overall`` holds what belongs to the lists as a whole; None where it cannot be said.
    """

    per_user: Mapping[str, Double]  # metric -> [U]
    overall: Mapping[str, float | None]
    by_stage: Mapping[str, Mapping[str, Any]]
    by_history: Mapping[str, Mapping[str, Any]]
    by_item_age: Mapping[str, Mapping[str, Any]]
    fit_s: float
    score_s: float
    empty_lists: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """One protocol, one set of targets, all models on the same users."""

    protocol: str
    k: int
    repeats: bool
    targets_hash: str
    order: str
    user_ids: tuple[str, ...]
    n_items: int
    n_train: int
    n_targets: int
    models: Mapping[str, ModelResult]
    seed: int
    left_out: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def value(self, model: str, metric: str) -> float | None:
        """Return one number of the report, such as ``value("ease", "ndcg@10")``."""
        result = self.models[model]
        if metric in result.per_user:
            return float(result.per_user[metric].mean())
        return result.overall[metric]

    def compare(self, left: str, right: str, metric: str) -> Interval:
        """Return the paired difference left − right of one accuracy metric over users."""
        difference = self.models[left].per_user[metric] - self.models[right].per_user[metric]
        return bootstrap(difference[:, None], seed=self.seed)[0]

    def to_dict(self, *, data: str | None = None) -> dict[str, Any]:
        """Return plain JSON data: null and a reason where a number cannot be given."""
        return {
            "data": data,
            "protocol": self.protocol,
            "k": self.k,
            "repeats": self.repeats,
            "targets_hash": self.targets_hash,
            "order": self.order,
            "n_users": len(self.user_ids),
            "n_items": self.n_items,
            "n_train": self.n_train,
            "n_targets": self.n_targets,
            "left_out": dict(self.left_out),
            "notes": list(self.notes),
            "models": {name: _model(result, self) for name, result in self.models.items()},
            "paired": {
                f"{left} - {right}": {
                    f"{metric}@{self.k}": _difference(
                        self.compare(left, right, f"{metric}@{self.k}")
                    )
                    for metric in ("ndcg", "hr")
                }
                for left, right in _pairs(list(self.models))
            },
        }


def _model(result: ModelResult, report: Report) -> dict[str, Any]:
    names = list(result.per_user)
    sure = bootstrap(np.column_stack([result.per_user[n] for n in names]), seed=report.seed)
    row: dict[str, Any] = {}
    for name, interval in zip(names, sure, strict=True):
        row[name] = interval.mean
        row[f"{name}_se"] = interval.se
        row[f"{name}_ci"] = [interval.lo, interval.hi]
    reasons = {}
    for name, value in result.overall.items():
        row[name] = value
        if value is None:
            reasons[name] = _WITHOUT_LISTS
    return row | {
        "empty_lists": result.empty_lists,
        "fit_s": round(result.fit_s, 3),
        "score_s": round(result.score_s, 3),
        "by_stage": {name: dict(part) for name, part in result.by_stage.items()},
        "by_history": {name: dict(part) for name, part in result.by_history.items()},
        "by_item_age": {name: dict(part) for name, part in result.by_item_age.items()},
        "notes": list(result.notes),
        "reasons": reasons,
    }


def _difference(interval: Interval) -> dict[str, float]:
    return {"diff": interval.mean, "lo": interval.lo, "hi": interval.hi, "p": interval.p}


def _pairs(names: Sequence[str]) -> list[tuple[str, str]]:
    """Everything against the floor, and the product against everything."""
    floor = "popularity" if "popularity" in names else next(iter(names), "")
    ours = [("lifeloop", name) for name in names if "lifeloop" in names and name != "lifeloop"]
    others = [(name, floor) for name in names if name not in ("lifeloop", floor)]
    if "lifeloop" in names and floor == "lifeloop":
        others = []
    return list(dict.fromkeys(ours + others))

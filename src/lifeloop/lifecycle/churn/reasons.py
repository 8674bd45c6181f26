"""Why a risk is high, in words: the facts that TreeSHAP says raise it most."""

import numpy as np
from numpy.typing import NDArray

from lifeloop.lifecycle.churn.hazard import Hazard
from lifeloop.lifecycle.churn.panel import TEXT
from lifeloop.lifecycle.definitions import PRODUCT_STAGES

Floats = NDArray[np.float64]

TEXTS = {
    "silent_days": "silent for {:.0f} days",
    "silent_ratio": "silent {:.1f} times as long as usual",
    "usual_gap": "usually comes every {:.1f} days",
    "tenure_days": "known for {:.0f} days",
    "active_days": "active on {:.0f} days so far",
    "active_7": "active on {:.0f} of the last 7 days",
    "active_28": "active on {:.0f} of the last 28 days",
    "active_84": "active on {:.0f} of the last 84 days",
    "trend_28": "{:+.0f} active days against the 28 days before",
    "events_28": "{:.0f} events in the last 28 days",
    "orders": "an order on {:.0f} days so far",
    "orders_84": "an order on {:.0f} of the last 84 days",
    "money": "spent {:,.2f} so far",
    "money_84": "spent {:,.2f} in the last 84 days",
    "order_silent_days": "no order for {:.0f} days",
    "refunds": "{:.0f} refunds so far",
    "at_risk": "at risk already: {:.0f}",
    "times_churned": "churned {:.0f} times before",
}
"""The words of each feature; zh.toml has a pattern for each."""

UNKNOWN = {
    "usual_gap": "came on one day only",
    "silent_ratio": "came on one day only",
    "order_silent_days": "no order so far",
}
"""What it means that a feature is not known."""


WROTE = "what they wrote"
"""The fact that all numbers of the vector of text are together."""


def reasons(hazard: Hazard, features: Floats, *, k: int = 3) -> list[list[str | None]]:
    """Return for each user the ``k`` facts that raise the risk most, the strongest first.

    Facts that lower it are not reasons of the risk; where fewer than ``k`` raise it, None. All
    numbers of the vector of text are one fact: what the user wrote.

    Parameters
    ----------
    hazard : Hazard
        The model.
    features : array [N, F]
        From ``hazard.matrix``.
    k : int
        Reasons per user.
    """
    shares = hazard.shares(features)  # [N, F]
    written = np.array([name.startswith(TEXT) for name in hazard.names])
    names = [*(n for n in hazard.names if not n.startswith(TEXT)), *([WROTE] * hazard.reads_text)]
    values = features[:, ~written]
    if hazard.reads_text:
        shares = np.column_stack([shares[:, ~written], shares[:, written].sum(axis=1)])
        values = np.column_stack([values, np.zeros(len(features))])
    best = np.argsort(-shares, axis=1, kind="stable")[:, :k]
    return [
        [told(names[f], float(values[n, f])) if shares[n, f] > 0 else None for f in row]
        for n, row in enumerate(best)
    ]


def told(name: str, value: float) -> str:
    """Return one feature with its value in words."""
    if name == WROTE:
        return name
    if not np.isfinite(value):
        return UNKNOWN.get(name, f"{name} is not known")
    if name == "product_stage":
        return f"product stage: {PRODUCT_STAGES[int(value)]}"
    text = TEXTS.get(name)
    return f"{name} = {value:.3g}" if text is None else text.format(value)

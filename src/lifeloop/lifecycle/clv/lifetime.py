"""Predicted value: incremental purchases times spend, discounted."""

import numpy as np
from numpy.typing import NDArray

from lifeloop.errors import InputError
from lifeloop.lifecycle.clv.histories import Histories
from lifeloop.lifecycle.clv.purchases import PurchaseModel

Floats = NDArray[np.float64]


def lifetime_value(
    model: PurchaseModel, h: Histories, *, spend: Floats, periods: int, discount: float = 0.0
) -> Floats:
    """Return the value of each customer over the next ``periods``, [N], in the data's currency.

    Σ_t (E[X(t)] - E[X(t-1)]) · E[spend] / (1 + d)^t, t = 1 … ``periods`` in the model's unit.

    Parameters
    ----------
    model : PurchaseModel
        Fitted on histories of the same unit.
    h : Histories
        The customers.
    spend : array [N]
        Expected money per purchase, from ``SpendModel.expected``.
    periods : int
        At least 1.
    discount : float
        Rate per period of the model's unit, at least 0.

    Raises
    ------
    InputError
        A horizon below 1, a discount below 0, or spend that is not a finite number per customer.

    References
    ----------
    spec/lifecycle.md, section 2 (LTV predicted).
    """
    if periods < 1 or not (np.isfinite(discount) and discount >= 0):
        raise InputError(
            "no value for this horizon and discount",
            got=(periods, discount),
            allowed="periods of at least 1 and a discount rate of at least 0",
        )
    if spend.shape != h.x.shape or not np.isfinite(spend).all():
        raise InputError("spend must be one finite number per customer", got=spend.shape)
    total, before = np.zeros(len(h.x)), np.zeros(len(h.x))
    for t in range(1, periods + 1):
        until = model.next_purchases(h, t=float(t))
        total += (until - before) / (1 + discount) ** t
        before = until
    return np.asarray(total * spend, np.float64)

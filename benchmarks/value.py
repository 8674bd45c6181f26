"""Fit BG/NBD to a million simulated customers with weekly histories: python benchmarks/value.py.

Seed 11; a BG/NBD population with the CDNOW parameters, first purchases in 26 weeks, read at 52.
The simulated parameters stand beside the fitted ones. They differ by more than chance: rounding to
weeks joins purchases, which is what makes histories equal and also what moves the parameters.
"""

import json
import time

import numpy as np

from lifeloop.lifecycle.clv import Histories, fit_purchases

N = 1_000_000
TRUE = {"r": 0.2426, "alpha": 4.4135, "a": 0.7929, "b": 2.4258}


def simulated(rng: np.random.Generator) -> Histories:
    """Return N histories; purchases of one week are one, as the models ask."""
    age = rng.integers(26, 52, N).astype(float)
    rate = rng.gamma(TRUE["r"], 1 / TRUE["alpha"], N)
    leave = rng.beta(TRUE["a"], TRUE["b"], N)
    x, t_x, now = np.zeros(N), np.zeros(N), np.zeros(N)
    on = np.arange(N)
    while len(on):
        now[on] += rng.exponential(1 / np.maximum(rate[on], 1e-300))
        on = on[now[on] < age[on]]
        week = np.ceil(now[on])
        fresh = week > t_x[on]
        x[on] += fresh
        t_x[on] = week
        on = on[rng.random(len(on)) >= leave[on]]
    return Histories(x, t_x, age, "week")


def main() -> None:
    """Print what was measured as JSON."""
    histories = simulated(np.random.default_rng(11))
    begun = time.perf_counter()
    rows, _ = histories.collapsed()
    model = fit_purchases(histories, name="bg")
    spent = time.perf_counter() - begun
    fitted = dict(zip(model.estimate.names, model.estimate.values.tolist(), strict=True))
    out = {"customers": N, "distinct": len(rows.x), "seconds": round(spent, 2)}
    print(json.dumps({**out, "fitted": fitted, "true": TRUE}, indent=2))


if __name__ == "__main__":
    main()

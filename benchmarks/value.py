"""Fit every purchase model to a million simulated customers: python benchmarks/value.py.

Weekly histories; seconds hold the search for equal histories, the fit and its standard errors.
Pareto/NBD with covariates has one of two values that changes nothing.

Seed 11; a BG/NBD population with the CDNOW parameters, first purchases in 26 weeks, read at 52.
The simulated parameters stand beside the fitted ones. They differ by more than chance: rounding to
weeks joins purchases, which is what makes histories equal and also what moves the parameters.
"""

import json
import time
from dataclasses import replace

import numpy as np

from lifeloop.lifecycle.clv import Histories, fit_purchases
from lifeloop.lifecycle.clv.purchases import NAMES

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
    rows, _ = histories.collapsed()
    traits = np.random.default_rng(12).integers(0, 2, (N, 1)).astype(float)
    out: dict[str, object] = {"customers": N, "distinct": len(rows.x), "true": TRUE}
    for name in NAMES:
        read = histories if name != "pareto_cov" else replace(histories, z=traits, z_names=("z",))
        begun = time.perf_counter()
        model = fit_purchases(read, name=name)  # type: ignore[arg-type]
        spent = time.perf_counter() - begun
        values = model.estimate.values.round(4).tolist()
        fitted = dict(zip(model.estimate.names, values, strict=True))
        out[name] = {"seconds": round(spent, 1), "fitted": fitted}
    print(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()

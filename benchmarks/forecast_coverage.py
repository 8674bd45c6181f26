"""Forecast of real logs from several days: python benchmarks/forecast_coverage.py PROJECT ….

Each PROJECT is a folder that lifeloop has imported a log into. From every ``STEP``-th day back
from the end, ``N`` of them, 28 days are forecast with what was known then; printed are the share of
days and states within the 95% band and the error of daily active users (of stages: the mean over
them) beside last week's numbers repeated. The last day is left out: it may be incomplete.
"""

import json
import sys

import numpy as np

from lifeloop.lifecycle.forecast.flows import NAMES, flows_of, stretches_of
from lifeloop.lifecycle.forecast.weekly import active_error, ahead, same_weekdays
from lifeloop.loop import Lifeloop
from lifeloop.tables import read_source

HORIZON, STEP, N, LEAST = 28, 14, 10, 84


def main() -> None:
    """Print one JSON object per project and kind of state."""
    for folder in sys.argv[1:]:
        with Lifeloop.open(folder) as loop:
            source = read_source(loop.store, loop.scenario, moment=loop.moment())
        options = {"zone": source.zone, "as_of": source.moment.as_of_us}
        for of in ("states", "stages"):
            view, rows = stretches_of(source.events, of, source.definitions, options)
            flows = flows_of(rows, NAMES[of], last=view.log.last_day - 1)
            told = []
            for k in range(N):
                known = len(flows.counts) - HORIZON - k * STEP
                if known < LEAST:
                    break
                past, truth = flows.until(known), flows.counts[known : known + HORIZON]
                made = ahead(past, horizon=HORIZON, rng=np.random.default_rng(1))
                inside = (made.fan.low <= truth) & (truth <= made.fan.high)
                width = (made.fan.high - made.fan.low) / np.maximum(made.fan.mean, 1)
                naive = same_weekdays(past, HORIZON, "last_week")
                told.append(
                    {
                        "known_days": known,
                        "origins": made.origins,
                        "coverage": round(float(inside.mean()), 4),
                        "median_width": round(float(np.median(width)), 4),
                        "mape": round(active_error(flows, made.fan.mean, truth), 4),
                        "mape_last_week": round(active_error(flows, naive, truth), 4),
                    }
                )
            keys = ("coverage", "median_width", "mape", "mape_last_week")
            mean = {key: round(float(np.mean([row[key] for row in told])), 4) for key in keys}
            print(json.dumps({"log": folder, "of": of, "windows": len(told), **mean}), flush=True)
            for row in told:
                print("  ", json.dumps(row), flush=True)


if __name__ == "__main__":
    main()

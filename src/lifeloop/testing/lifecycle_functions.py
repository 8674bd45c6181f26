"""Every lifecycle function, callable alike, with a tiny log that exercises all of them.

A law that holds for all functions is written once over ``FUNCTIONS``; ``public_functions`` finds
those that exist, so that a new one without an entry is noticed.
"""

import inspect
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import polars as pl

from lifeloop import lifecycle as lc

START = datetime(2024, 2, 20, tzinfo=UTC)
START_US = int(START.timestamp()) * 1_000_000
MINUTE_US, DAY_US = 60_000_000, 86_400_000_000
DEFINITIONS = lc.StageDefinitions(joins=("sign_up",), activates=("cart",), burn_in_days=3)
TYPES = ("visit", "sign_up", "cart", "purchase", "refund", "csat", "nps", "impression")

FUNCTIONS: dict[str, Callable[..., pl.DataFrame]] = {
    "active_users": lc.active_users,
    "active_day_histogram": lc.active_day_histogram,
    "activity_states": lc.activity_states,
    "growth_accounting": lc.growth_accounting,
    "retention": lc.retention,
    "retention:unbounded": lambda e, **o: lc.retention(e, kind="unbounded", **o),
    "retention:bracket": lambda e, **o: lc.retention(
        e, kind="bracket", brackets=[(0, 2), (3, 9)], **o
    ),
    "retention:recurring": lambda e, **o: lc.retention(e, cohort="recurring", **o),
    "retention_curve": lc.retention_curve,
    "signup_conversion": lc.signup_conversion,
    "activation": lambda e, **o: lc.activation(e, activates=["cart"], times=2, **o),
    "conversion": lc.conversion,
    "orders": lambda e, **o: lc.orders(e, repeat_within_days=10, **o),
    "observed_ltv": lambda e, **o: lc.observed_ltv(e, margin=0.3, **o),
    "observed_ltv:order": lambda e, **o: lc.observed_ltv(e, entry="order", **o),
    "rfm": lc.rfm,
    "sessions": lc.sessions,
    "traffic": lc.traffic,
    "satisfaction": lc.satisfaction,
    "referrals": lambda e, **o: lc.referrals(e, activates=["cart"], **o),
    "return_rates": lc.return_rates,
    "stages": lambda e, **o: lc.stages(e, definitions=DEFINITIONS, **o),
    "churn_rate": lambda e, **o: lc.churn_rate(e, definitions=DEFINITIONS, **o),
    "stage_counts": lambda e, **o: lc.stage_counts(e, definitions=DEFINITIONS, **o),
    "transitions": lambda e, **o: lc.transitions(e, definitions=DEFINITIONS, **o),
}
"""Public name, and after a colon a way of asking it, to a function of (events, **options)."""

Row = tuple[int, int, int, str, int | None, float | None, float | None, int | None, bool | None]
"""User, day, minute, type, order, value, rating, referrer, is_bot."""


def public_functions() -> set[str]:
    """Return the names of ``lifeloop.lifecycle`` that take a log and the shared options."""
    found = set()
    for name in lc.__all__:
        value = getattr(lc, name)
        if inspect.isfunction(value):
            parameters = inspect.signature(value).parameters
            if next(iter(parameters)) == "events" and "options" in parameters:
                found.add(name)
    return found


def log_of(rows: Sequence[Row]) -> pl.DataFrame:
    """Return the event frame of rows: ids by place, one channel and item for a few users each."""
    columns = list(zip(*rows, strict=True)) or [()] * 9
    user, day, minute, kind, order, value, rating, referrer, bot = columns
    n = len(rows)
    return pl.DataFrame(
        {
            "event_id": [f"e{k}" for k in range(n)],
            "seq": range(n),
            "user_id": [f"u{u}" for u in user],
            "t_us": [
                START_US + d * DAY_US + m * MINUTE_US for d, m in zip(day, minute, strict=True)
            ],
            "type": list(kind),
            "item_id": [f"i{k % 3}" for k in range(n)],
            "order_id": [None if o is None else f"o{o}" for o in order],
            "value": list(value),
            "rating": list(rating),
            "referrer_id": [None if r is None else f"u{r}" for r in referrer],
            "is_bot": list(bot),
            "channel": [(None, "web", "app")[u % 3] for u in user],
        },
        schema={
            **dict.fromkeys(("event_id", "user_id", "type", "item_id"), pl.String),
            "seq": pl.Int64,
            "t_us": pl.Int64,
            "value": pl.Float64,
            "rating": pl.Float64,
            **dict.fromkeys(("order_id", "referrer_id", "channel"), pl.String),
            "is_bot": pl.Boolean,
        },
    )

"""Predicted value of every customer: a model chosen by a hold-out in time, money, discount.

N customers, D draws.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lifeloop.errors import InputError, Unfit
from lifeloop.lifecycle.clv.formulas import expected_next
from lifeloop.lifecycle.clv.futures import purchases_drawn
from lifeloop.lifecycle.clv.histories import DAYS_PER, Histories, histories_of
from lifeloop.lifecycle.clv.holdout import HoldOut, competing, hold_out, read
from lifeloop.lifecycle.clv.purchases import PurchaseModel, fit_purchases
from lifeloop.lifecycle.clv.typical import Spend, spend_of

Floats = NDArray[np.float64]

UNIT = "week"
DRAWS, BLOCK = 200, 5_000
LEAST_DAYS = 14
"""A hold-out shorter than this judges nothing."""

YEAR = 365.25


@dataclass(frozen=True, slots=True)
class Terms:
    """What a value is: over which days, in which periods, discounted how, which share is margin.

    ``discount`` is the rate of a year: money a year away counts 1 / (1 + discount).
    """

    horizon_days: int = 364
    period_days: int = 14
    discount: float = 0.10
    margin: float = 1.0

    def __post_init__(self) -> None:
        if self.horizon_days < 1 or self.period_days < 1:
            raise InputError(
                "a value needs days to come",
                got=(self.horizon_days, self.period_days),
                allowed="horizon_days and period_days of 1 or more",
            )
        if not (np.isfinite(self.discount) and self.discount >= 0):
            raise InputError("discount is a yearly rate", got=self.discount, allowed="0 or more")
        if not (np.isfinite(self.margin) and self.margin > 0):
            raise InputError("margin is a share of revenue", got=self.margin, allowed="above 0")


@dataclass(frozen=True, eq=False)
class Prediction:
    """Every customer's value, and how it was found.

    ``customers``: user_id, first_day, last_day (day numbers), orders (days with a purchase),
    p_alive, purchases, spend, value, value_low, value_high, variance. ``level`` multiplies every
    prediction; ``level_sd`` is how far whole totals were off in earlier hold-outs (of the
    logarithm), ``model_sd`` what the uncertain parameters add.
    """

    customers: pl.DataFrame
    model: PurchaseModel
    spend: Spend
    held: HoldOut | None
    level: float
    level_sd: float
    model_sd: float

    def interval(self, value: float, variance: float) -> tuple[float, float]:
        """Return the 95% interval of a sum of values with this variance of single customers."""
        spread = 1.96 * np.sqrt(variance + value**2 * (self.level_sd**2 + self.model_sd**2))
        return max(value - spread, 0.0), value + spread


def predict(
    days: pl.DataFrame,
    *,
    as_of: int,
    terms: Terms,
    rng: np.random.Generator,
    traits: pl.DataFrame | None = None,
) -> Prediction:
    """Return the value of every customer over ``terms.horizon_days`` after ``as_of``.

    Σ_k (E[X(t_k)] - E[X(t_(k-1))]) · E[spend] · margin / (1 + d)^t_k over the periods, times the
    level. Of a single customer the interval is of what may happen, drawn from the models; the
    error of whole totals, which no customer model knows (a season, a change of prices), is taken
    from two earlier hold-outs. The level is 1 unless the correction of the older one would have
    brought the newer one nearer.

    Parameters
    ----------
    days : DataFrame
        ``user_id``, ``day``, ``value`` (above 0): purchases by local day.
    as_of : int
        The last day known.
    terms : Terms
        What is asked.
    traits : DataFrame, optional
        Attributes of customers (``covariates_of``): Pareto/NBD with covariates competes as well.

    Raises
    ------
    Unfit
        No purchase, or no model that fits: the message says why.
    """
    known = days.filter(pl.col("day") <= as_of, pl.col("value") > 0)
    if known.is_empty():
        raise Unfit("no purchase has a value above 0", hint="import the value of the order lines")
    held, level, level_sd = _judged(known, as_of, terms.horizon_days, traits)
    table = histories_of(known, as_of=as_of, unit=UNIT)
    h = read(table, unit=UNIT, traits=traits)
    model = _fitted(h, held)
    daily = known.group_by("user_id", "day").agg(pl.col("value").sum()).sort("user_id", "day")
    spend = spend_of(daily, table["x"].to_numpy(), table["monetary"].to_numpy())
    purchases, worth = _expected(model, h, terms)
    value = worth * spend.expected * terms.margin * level
    low, high, variance = _spread(
        model, h, spend, table["monetary"].to_numpy(), terms=terms, level=level, rng=rng,
        scale=np.divide(worth, purchases, out=np.ones_like(worth), where=purchases > 0),
        level_sd=level_sd,
    )  # fmt: skip
    ends = daily.group_by("user_id").agg(
        first_day=pl.col("day").min(), last_day=pl.col("day").max()
    )
    customers = table.select("user_id", orders=(pl.col("x") + 1).cast(pl.Int64)).with_columns(
        p_alive=pl.Series(model.p_alive(h)),
        purchases=pl.Series(purchases * level),
        spend=pl.Series(spend.expected),
        value=pl.Series(value),
        value_low=pl.Series(low),
        value_high=pl.Series(high),
        variance=pl.Series(variance),
    )
    customers = customers.join(ends, on="user_id", how="left", maintain_order="left")
    model_sd = _model_sd(model, h, terms, weight=spend.expected, rng=rng)
    return Prediction(customers, model, spend, held, level, level_sd, model_sd)


def held_days(first: int, as_of: int, horizon_days: int) -> int:
    """Return how many days are held out: the horizon, at most a fifth of the log."""
    return min(horizon_days, (as_of - first) // 5)


def _judged(
    known: pl.DataFrame, as_of: int, horizon_days: int, traits: pl.DataFrame | None
) -> tuple[HoldOut | None, float, float]:
    first = int(str(known["day"].min()))
    span = held_days(first, as_of, horizon_days)
    if span < LEAST_DAYS:
        return None, 1.0, 0.0
    try:
        newer = hold_out(known, split=as_of - span, end=as_of, unit=UNIT, traits=traits)
    except Unfit:
        return None, 1.0, 0.0
    off = _log_error(newer)
    then = as_of - span
    try:
        older = _log_error(hold_out(known, split=then - span, end=then, unit=UNIT, traits=traits))
    except Unfit:
        return newer, 1.0, abs(off)
    if abs(off - older) < abs(off):
        return newer, float(np.exp(-off)), abs(off - older)
    return newer, 1.0, float(np.sqrt((off**2 + older**2) / 2))


def _log_error(held: HoldOut) -> float:
    row = held.models.filter(pl.col("model") == held.chosen).row(0, named=True)
    return float(np.log(max(row["predicted"], 1e-9) / row["actual"]))


def _fitted(h: Histories, held: HoldOut | None) -> PurchaseModel:
    names = competing(h)
    if held is not None:
        usable = held.models.filter(pl.col("model").is_in(names), pl.col("deviance").is_not_null())
        best = usable.sort("deviance")["model"].to_list()
        names.sort(key=lambda name: best.index(name) if name in best else len(best))
    made, faults = [], []
    for name in names:
        try:
            made.append(fit_purchases(h, name=name))
        except Unfit as fault:
            faults.append(str(fault))
            continue
        if held is not None:
            return made[0]
    if not made:
        raise Unfit(faults[0])
    # without a hold-out the likelihood decides, less one for every parameter (Akaike)
    return max(made, key=lambda m: m.estimate.log_likelihood - len(m.estimate.values))


def _expected(model: PurchaseModel, h: Histories, terms: Terms) -> tuple[Floats, Floats]:
    total, worth, before = np.zeros(len(h.x)), np.zeros(len(h.x)), np.zeros(len(h.x))
    ends = [*range(terms.period_days, terms.horizon_days, terms.period_days), terms.horizon_days]
    for end in ends:
        total = model.next_purchases(h, t=end / DAYS_PER[UNIT])
        worth += (total - before) / (1 + terms.discount) ** (end / YEAR)
        before = total
    return total, worth


def _spread(
    model: PurchaseModel,
    h: Histories,
    spend: Spend,
    monetary: Floats,
    *,
    terms: Terms,
    scale: Floats,
    level: float,
    level_sd: float,
    rng: np.random.Generator,
) -> tuple[Floats, Floats, Floats]:
    n = len(h.x)
    low, high, variance = np.empty(n), np.empty(n), np.empty(n)
    t = terms.horizon_days / DAYS_PER[UNIT]
    for begin in range(0, n, BLOCK):
        at = slice(begin, begin + BLOCK)
        part = h.rows(at)
        count = purchases_drawn(model, part, t=t, rng=rng, n=DRAWS)  # [B, D]
        money = _money(spend, part.x, monetary[at], spend.expected[at], count, rng)
        money *= scale[at, None] * terms.margin * level
        variance[at] = money.var(axis=1)
        money *= np.exp(level_sd * rng.standard_normal(DRAWS))
        low[at], high[at] = np.quantile(money, [0.025, 0.975], axis=1)
    return low, high, variance


def _money(
    spend: Spend,
    x: Floats,
    monetary: Floats,
    expected: Floats,
    count: NDArray[np.int64],
    rng: np.random.Generator,
) -> Floats:
    if spend.model is None:
        drawn = rng.gamma(np.maximum(spend.shape * count, 1e-12)) / spend.shape
        return np.where(count > 0, drawn * expected[:, None], 0.0)
    p, q, v = spend.model.estimate.values
    rate = rng.gamma(p * x[:, None] + q, size=count.shape) / (v + x * monetary)[:, None]
    return np.where(count > 0, rng.gamma(np.maximum(p * count, 1e-12)) / rate, 0.0)


def _model_sd(
    model: PurchaseModel, h: Histories, terms: Terms, *, weight: Floats, rng: np.random.Generator
) -> float:
    # of the total's logarithm; equal histories once, with the spend of all who share one
    if model.estimate.covariance is None:
        return 0.0
    rows, which = h.distinct()
    shares = np.bincount(which, weights=weight)
    t = terms.horizon_days / DAYS_PER[UNIT]
    with np.errstate(all="ignore"):  # a draw far from the estimate may have no expectation
        totals = np.array(
            [
                float(shares @ expected_next(model.name, theta, rows, t))
                for theta in model.estimate.draws(rng, n=50)
            ]
        )
    good = totals[np.isfinite(totals) & (totals > 0)]
    return float(np.log(good).std()) if len(good) > 10 else 0.0

"""The picture of a table: which one it gets, and as PNG."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import polars as pl

from lifeloop.charts.words import Words, words
from lifeloop.contracts import Table
from lifeloop.errors import InputError
from lifeloop.lifecycle.segments import NONE

Draw = Callable[[Table, Words], dict[str, Any]]

STAGES = (
    "acquisition", "activation", "retention", "conversion", "loyalty", "at_risk", "resurrected",
    "churned",
)  # fmt: skip
STATES = (
    "new", "current", "reactivated", "resurrected", "at_risk_wau", "at_risk_mau", "dormant",
)  # fmt: skip


def chart(table: Table, *, lang: str = "en") -> dict[str, Any]:
    """Return the Vega-Lite specification of a table, with its data inside.

    The page and the PNG show the same one.

    Raises
    ------
    InputError
        A table without rows (the message says why), of users behind cells, or without a picture.
    """
    if table.rows.is_empty():
        why = table.reason or "it has no rows"
        raise InputError(f"there is nothing to draw for {table.name!r}: {why}")
    if nobody(table):
        why = "; ".join(table.notes) or "every row counts 0 users"
        raise InputError(f"there is nobody to draw for {table.name!r}: {why}")
    draw = _pictures().get(table.name)
    if draw is None or table.facts.get("members"):
        raise InputError(
            "this table has no picture",
            got=table.name + (" with members" if table.facts.get("members") else ""),
            allowed=", ".join(drawn()),
        )
    said = words(lang)
    return draw(_joined(table, said), said)


def _joined(table: Table, said: Words) -> Table:
    # One segment for each combination of attributes, in the column of the first.
    split = [name for name in table.facts.get("by", ()) if name in table.rows.columns]
    if not split:
        return table
    known = pl.col(split).cast(pl.String).replace(NONE, said.value(NONE))
    label = pl.concat_str(known, separator=" · ")
    return replace(table, rows=table.rows.with_columns(label.alias(split[0])).drop(split[1:]))


def nobody(table: Table) -> bool:
    """Return whether a table that counts users per row counts none: its picture would be bare."""
    return "n" in table.rows.columns and not table.rows["n"].sum()


def drawn() -> tuple[str, ...]:
    """Return the names of the tables that have a picture."""
    return tuple(_pictures())


def png(specification: Mapping[str, Any], *, scale: float = 2.0) -> bytes:
    """Return a specification as a PNG image, drawn without a browser or network.

    Raises
    ------
    InputError
        The picture has Chinese words, and no installed font has their characters.
    """
    import vl_convert

    if any("\u4e00" <= c <= "\u9fff" for c in str(specification)) and not has_chinese_font():
        raise InputError(
            "no installed font has Chinese characters",
            hint="install one (Debian: apt-get install fonts-noto-cjk), or draw with --lang en",
        )
    image: bytes = vl_convert.vegalite_to_png(dict(specification), scale=scale)
    return image


@lru_cache(maxsize=1)
def has_chinese_font() -> bool:
    """Return whether two Chinese characters come out different, and not both as an empty box."""
    import vl_convert

    def image(text: str) -> bytes:
        svg = (
            '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="40">'
            f'<text y="30" font-size="30" font-family="sans-serif">{text}</text></svg>'
        )
        made: bytes = vl_convert.svg_to_png(svg)
        return made

    return image("\u4e2d") != image("\u56fd")


@lru_cache(maxsize=1)
def _pictures() -> Mapping[str, Draw]:
    # Altair takes a third of a second to import: not before a picture is wanted.
    from lifeloop.charts.ahead import calibration, fan, ranked, ratios, steps
    from lifeloop.charts.bars import stacked
    from lifeloop.charts.flow import flow
    from lifeloop.charts.heat import heat
    from lifeloop.charts.plain import by_stage, curve, grid, histogram
    from lifeloop.charts.trend import returns, trend

    rate = partial(trend, measures=("rate",), share=True, interval=True)
    return {
        "traffic": partial(trend, measures=("visitors", "sessions"), share=False),
        "sessions": partial(
            trend, measures=("length_mean_s", "length_mean_nonzero_s"), share=False
        ),
        "signup_conversion": rate,
        "activation": rate,
        "active_users": partial(trend, measures=("mau", "wau", "dau"), share=False),
        "active_day_histogram": histogram,
        "activity_states": partial(stacked, parts=STATES),
        "return_rates": returns,
        "growth_accounting": partial(
            stacked, parts=("returning", "resurrecting", "new", "dormant")
        ),
        "retention": partial(heat, across="offset", value="rate", share=True),
        "retention_curve": curve,
        "churn_rate": rate,
        "conversion": rate,
        "orders": partial(trend, measures=("net",), share=False),
        "observed_ltv": partial(heat, across="age", value="ltv", share=False),
        "rfm": grid,
        "referrals": rate,
        "satisfaction": partial(trend, measures=("csat",), share=True, interval=True),
        "stage_counts": partial(stacked, parts=STAGES),
        "transitions": flow,
        "stages": partial(by_stage, order=STAGES),
        "survival": partial(steps, across="days", value="survival", share=True, shape="step-after"),
        "churn_effects": ratios,
        "churn_risk": partial(ranked, name=("user_id",), value="value_at_risk", interval=False),
        "churn_calibration": partial(
            calibration, stated="stated", observed="observed", share=True, interval=True
        ),
        "churn_backtest": partial(ranked, name=("model",), value="brier", interval=False),
        "predicted_ltv": partial(ranked, name=(), value="ltv"),
        "customer_value": partial(ranked, name=("user_id",), value="value"),
        "ltv_by_age": partial(steps, across="age", value="ltv", share=False, shape="linear"),
        "ltv_backtest": partial(
            ranked, name=("model",), value="total_error", interval=False, share=True
        ),
        "ltv_calibration": partial(
            calibration,
            stated="value_predicted",
            observed="value_actual",
            share=False,
            interval=False,
        ),
        "forecast": fan,
        "forecast_backtest": partial(
            ranked, name=("model",), value="mape", interval=False, share=True
        ),
        "stage_value": partial(ranked, name=("state",), value="value"),
        "move_value": partial(ranked, name=("from", "to"), value="gain"),
    }

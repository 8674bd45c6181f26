"""Settings of the way in and of the cleaning, two sections of a scenario."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Action = Literal["keep", "set_aside"]
MissingMethod = Literal["leave", "median", "most_frequent", "model"]
OutlierMethod = Literal["none", "robust_z", "iqr"]
ScaleMethod = Literal["none", "standard", "robust", "minmax", "log", "quantile"]

_MONEY: dict[str, OutlierMethod] = {
    "value": "robust_z",
    "quantity": "robust_z",
    "price": "robust_z",
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Missing(_Strict):
    """How absent values are filled, per column; a column that is not named is left."""

    events: dict[str, MissingMethod] = Field(
        default_factory=dict, description="column of events -> leave, median, most_frequent, model"
    )
    items: dict[str, MissingMethod] = Field(default_factory=dict, description="the same of items")
    users: dict[str, MissingMethod] = Field(default_factory=dict, description="the same of users")


class Normalise(_Strict):
    """How columns are brought to one scale for features."""

    events: dict[str, ScaleMethod] = Field(
        default_factory=dict,
        description="column of events -> none, standard, robust, minmax, log, quantile",
    )
    items: dict[str, ScaleMethod] = Field(default_factory=dict, description="the same of items")
    users: dict[str, ScaleMethod] = Field(default_factory=dict, description="the same of users")


class Clean(_Strict):
    """What cleaning does; nothing of it ever removes a row from history."""

    exact_duplicates: Action = Field(
        "set_aside", description="order lines that repeat another line in every column"
    )
    near_duplicates: Action = Field(
        "keep", description="order lines that repeat another within near_seconds, but for a text"
    )
    near_seconds: float = Field(60.0, ge=0, description="two submissions of one order, this close")
    service_lines: Action = Field("set_aside", description="postage, fees, discounts, samples")
    service_items: tuple[str, ...] = Field((), description="item ids that are never products")
    product_items: tuple[str, ...] = Field((), description="item ids that are always products")
    without_price: Action = Field(
        "set_aside", description="order lines of price 0 or less: gifts, stock corrections"
    )
    unknown_currency: Action = Field(
        "set_aside", description="money in another currency that rates does not name"
    )
    rates: dict[str, float] = Field(
        default_factory=dict, description="currency -> units of locale.currency that one is worth"
    )
    cancellation_prefix: str = Field(
        "C", description="an order id of this and digits only is a cancellation; '' is none"
    )
    unmatched_refunds: Action = Field(
        "keep", description="refunds whose purchase is not in the data (bought before it begins)"
    )
    bots: Action = Field("set_aside", description="visitors that are programs")
    bot_events_per_minute: int = Field(120, ge=1, description="more actions in a minute is a bot")
    bot_hours_per_day: int = Field(23, ge=1, le=24, description="active in as many hours of a day")
    bot_regular_gaps: int = Field(50, ge=3, description="as many pauses of one length is a bot")
    unify_case: bool = Field(False, description="item ids that differ in case only are one item")
    outliers: dict[str, OutlierMethod] = Field(
        default_factory=lambda: dict(_MONEY),
        description="column -> none, robust_z, iqr; flagged, and capped for features only",
    )
    robust_z: float = Field(
        5.0, gt=0, description="robust z (0.6745·(x − median)/MAD) of an outlier"
    )
    iqr_factor: float = Field(
        3.0, gt=0, description="outlier beyond the quartiles by this many IQR"
    )
    log_outliers: bool = Field(
        True, description="judge outliers on log(1 + |x|), because money has a long tail"
    )
    missing: Missing = Missing()
    normalise: Normalise = Normalise()


class Intake(_Strict):
    """What is let in."""

    max_event_types: int = Field(
        1_000, ge=1, description="more types that the scenario does not name refuse the import"
    )
    emails: Literal["warn", "hash"] = Field(
        "warn", description="e-mail addresses as ids: said, or stored as a keyed hash"
    )

"""What the stages of one business mean, as the rules need it."""

from dataclasses import dataclass

from lifeloop.config import Scenario
from lifeloop.lifecycle.frame import PASSIVE

PRODUCT_STAGES = ("acquisition", "activation", "retention", "conversion", "loyalty")
"""From lowest to highest (spec/lifecycle.md section 2)."""

OVERLAYS = ("at_risk", "resurrected", "churned")
"""From lowest to highest precedence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageDefinitions:
    """Which events move a user, and every threshold. See ``StageDefinitions.of``.

    ``passive`` events happen to a user and are not activity. ``ends`` are the events that end
    a contract: the user is churned from that day until active again.
    """

    joins: tuple[str, ...] = ()
    activates: tuple[str, ...] = ()
    activate_times: int = 1
    activate_within_days: int = 14
    orders: tuple[str, ...] = ("purchase",)
    refunds: tuple[str, ...] = ("refund",)
    passive: tuple[str, ...] = tuple(sorted(PASSIVE))
    ends: tuple[str, ...] = ()
    loyal_orders: int = 3
    active_within_days: int = 29
    at_risk_gap_days: int = 21
    churned_gap_days: int = 30
    resurrected_days: int = 7
    burn_in_days: int = 28

    @classmethod
    def of(cls, scenario: Scenario) -> "StageDefinitions":
        """Return the definitions that a scenario declares."""
        s = scenario.stages
        return cls(
            joins=s.joins,
            activates=s.activates,
            activate_times=s.activate_times,
            activate_within_days=s.activate_within_days,
            orders=scenario.order_types,
            refunds=scenario.refund_types,
            passive=scenario.passive_types,
            ends=s.ends,
            loyal_orders=s.loyal_orders,
            active_within_days=s.active_within_days,
            at_risk_gap_days=s.at_risk_gap_days,
            churned_gap_days=s.churned_gap_days,
            resurrected_days=s.resurrected_days,
            burn_in_days=scenario.time.burn_in_days,
        )

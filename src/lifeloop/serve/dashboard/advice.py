"""The next best action for one person: what their stage asks for, by the rules, and with what.

It names no probability: what an action would change is told by an experiment, not by this page.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lifeloop.contracts import StageResult
from lifeloop.lifecycle import StageDefinitions
from lifeloop.serve.dashboard.preview import Preview, Shown
from lifeloop.serve.dashboard.view import View


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do, why now, and the item to do it with."""

    action: str
    why: str
    item: Mapping[str, Any] | None


def advice(view: View, seen: Preview) -> Advice:
    """Return what to do for a person in this stage."""
    stage, texts = seen.stage, view.t["advice"]
    d = StageDefinitions.of(view.service.loop.scenario)
    known = _known(stage, d)
    kind = stage.stage if f"{stage.stage}_why" in texts else "acquisition"
    if kind == "at_risk" and known["left"] <= 0:
        kind = "churned"
    first = seen.items[0] if seen.items else None
    item = None if first is None else _item(first)
    return Advice(texts[kind], texts[f"{kind}_why"].format(**known), item)


def _item(shown: Shown) -> Mapping[str, Any]:
    return {"id": shown.item_id, "title": shown.title, "why": shown.reason}


def _known(stage: StageResult, d: StageDefinitions) -> dict[str, Any]:
    orders = int(stage.facts.get("orders") or 0)
    gap = int(stage.gap_days or 0)
    return {
        "gap": gap,
        "orders": orders,
        "more": max(d.loyal_orders - orders, 0),
        "loyal": d.loyal_orders,
        "left": d.churned_gap_days - gap,
        "churned": d.churned_gap_days,
        "within": d.activate_within_days,
        "usual": int(stage.facts.get("at_risk_after_days") or d.at_risk_gap_days),
        "days": d.resurrected_days,
    }

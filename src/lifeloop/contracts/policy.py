"""How one slate is chosen and how it is remembered.

Letters used in shapes: B queries, L history length, n events, I items, d vector width,
k slate or candidate length.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lifeloop.contracts.words import Double, Int


@dataclass(frozen=True, slots=True)
class PolicyState:
    """The settings of one choice. temperature 0 is greedy; diversity is λ of the MMR penalty."""

    temperature: float = 0.0
    diversity: float = 0.0
    scale: float = 1.0
    stage: str | None = None


@dataclass(frozen=True, slots=True)
class Slate:
    """The chosen items in order, with the exact conditional propensity of each position.

    ``picked`` indexes the candidates given; ``reason`` says why the slate is short, if it is.
    """

    picked: Int  # [<= k]
    propensity: Double  # [<= k]
    utility: Double  # [<= k] penalised score at the moment of the draw
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """One slate as it was decided, logged before it is answered.

    ``candidate_scores`` are the deterministic scores before the draw; ``propensities[j]`` is
    the probability of the item at position j given the items before it, None for slates that
    are not part of off-policy evaluation (cached, degraded).
    """

    request_id: str
    user_id: str
    t_us: int
    surface: str
    bundle: str | None
    seq: int
    stage: str | None
    policy: Mapping[str, Any]
    rng_seed: int
    candidate_ids: tuple[str, ...]
    candidate_scores: tuple[float, ...]
    slate_ids: tuple[str, ...]
    propensities: tuple[float, ...] | None
    level: str
    context: Mapping[str, Any] = field(default_factory=dict)

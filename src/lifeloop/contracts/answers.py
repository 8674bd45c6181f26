"""What a caller gets back."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Evidence:
    """A true reason: how much of the score came from which of the user's events or facts."""

    text: str
    items: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One recommended item.

    ``source`` is the part of the model that added most; ``propensity`` is the probability of
    this item at this position given those before it, None where nothing was drawn; ``fallback``
    is true where nothing personal was known.
    """

    item_id: str
    title: str | None
    score: float
    rank: int
    source: str
    reason: Evidence
    propensity: float | None
    stage: str | None = None
    bundle: str | None = None
    fallback: bool = False


@dataclass(frozen=True, slots=True)
class Recommendations(Sequence[Recommendation]):
    """A slate as answered: iterate over it for the recommendations.

    ``fallback`` is None for a personal slate, else the named fallback (``no_history``, …);
    ``shortfall`` says why there are fewer than asked; ``logged`` whether the decision is kept;
    ``level`` how the slate came about (``full``, a named fallback, ``rerank``,
    ``no_ranker``, ``cached``, ``popularity`` or ``none``); ``context_unused`` names what of the
    context is logged and had no part in the choice, ``context_hints`` the keys that were
    probably meant.
    """

    user_id: str
    request_id: str
    items: tuple[Recommendation, ...]
    stage: str
    bundle: str | None
    fallback: str | None
    shortfall: str | None
    logged: bool
    level: str = "full"
    context_unused: tuple[str, ...] = ()
    context_hints: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.items)

    def to_dict(self) -> dict[str, Any]:
        """Return the answer as plain JSON data; the rows are ``recommendations``."""
        body = asdict(self)
        body["recommendations"] = body.pop("items")
        return body

    def __getitem__(self, index: Any) -> Any:
        return self.items[index]


@dataclass(frozen=True, slots=True)
class StageResult:
    """Where one user stands on one date, and the rule that put them there.

    ``stage`` is what is shown: the overlay if there is one, else the product stage.
    """

    user_id: str
    date: str
    stage: str
    product_stage: str
    overlay: str | None
    activity: str | None
    since: str | None
    rule: str
    existing: bool
    gap_days: int | None
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Prediction:
    """A predicted rating, or the reason why there is none (then ``value`` is None)."""

    user_id: str
    item_id: str
    value: float | None
    basis: str
    reason: str | None = None

"""The fitted blend: every part scores the request once, and every amount can be traced.

Linear: score_i = Σ_p w_p · s_p,i / rms(s_p), rms over the catalogue of the request's own scores;
what a part cannot score counts as 0. Because each term is a part's score times a number of the
request, the amounts of the parts and of the history's events add up to the score.

Reciprocal rank: score_i = Σ_p w_p / (60 + rank_p,i) over the ``DEPTH`` best of each part (Cormack,
Clarke, Büttcher, SIGIR 2009); a part's term is shared among its events in proportion to its own
amounts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self, cast

import numpy as np
from numpy.typing import NDArray

from lifeloop.contracts import (
    Bool,
    Candidates,
    Double,
    FittedRetriever,
    Float,
    Queries,
)
from lifeloop.models import arrays as ar
from lifeloop.models.context import FittedContext
from lifeloop.models.data import part_of
from lifeloop.models.retrieve.asked import AskedFor
from lifeloop.models.retrieve.content import FittedContent
from lifeloop.models.retrieve.mapped import FittedMapped
from lifeloop.models.retrieve.popularity import FittedPopularity
from lifeloop.models.retrieve.topk import has_history, retrieve
from lifeloop.models.scored import Scored, answer, named

Rule = Literal["linear", "rrf"]
_CONTEXT = "context."
LAST_WORD = 1e-3
"""Share of the largest weight that popularity keeps where nothing was learned for it."""


@dataclass(frozen=True, slots=True, eq=False)
class FittedBlend:
    """Parts, their weights and what was noted while they were learned."""

    name: str
    rule: Rule
    parts: tuple[FittedRetriever, ...]
    weights: Double  # [P] ≥ 0
    cold: Double  # [P] the same for people without any history
    fresh: Double  # [P] the same for items that nobody has used; see models.fresh
    is_fresh: Bool  # [I]
    notes: tuple[str, ...]
    n_items: int
    settings: tuple[str, ...] = ()  # [P] of each part, JSON; see models.warm
    left_out: tuple[str, ...] = ()  # names of parts that were worth nothing; see models.learned
    context: FittedContext | None = None  # what situations change; None: nothing
    unseen: Double | None = None  # [2] content and map for new items, where it was learned
    words: Double | None = None  # [2] the same for people known by their words alone

    def scored(self, queries: Queries) -> Scored:
        """Score every item once, for everything that a request needs."""
        used = has_history(queries)
        content = next((part for part in self.parts if isinstance(part, FittedContent)), None)
        return answer(
            self.parts,
            np.where(used, self.weights[:, None], self.cold[:, None]),
            np.where(used, self.fresh[:, None], self.cold[:, None]),
            queries=queries,
            is_fresh=self.is_fresh,
            linear=self.rule == "linear",
            words=None if content is None else AskedFor(content),
            context=self.context,
        )

    def score(self, queries: Queries) -> Float:
        """Return [B, I]; -inf where no part can say anything."""
        return self.scored(queries).total

    def retrieve(self, queries: Queries, k: int, *, allowed: Bool | None = None) -> Candidates:
        """Return the best allowed items; the reason is ``no_history`` for a fallback slate."""
        found = retrieve(self, queries, k=k, allowed=allowed, n_items=self.n_items, personal=True)
        return named(found, queries)

    def contributions(self, queries: Queries, b: int, item_ix: int) -> Double:
        """Return one amount per history event of query b, plus the bias last."""
        return self.scored(part_of(queries, b, b + 1)).contributions(0, item_ix)

    def whole(self) -> Self:
        """Return the same without indexes: every part speaks of every item that it can score."""
        parts = tuple(p.whole() if isinstance(p, FittedContent) else p for p in self.parts)
        same = all(a is b for a, b in zip(parts, self.parts, strict=True))
        return self if same else replace(self, parts=parts)

    def part(self, name: str) -> FittedRetriever | None:
        """Return the fitted part of that name, None where the blend has none."""
        return next((part for part in self.parts if part.name == name), None)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the whole state; arrays of parts are prefixed ``<place>.<kind>/``."""
        from lifeloop.models.state import kind_of

        own: dict[str, NDArray[Any]] = {
            "name": ar.text(self.name),
            "rule": ar.text(self.rule),
            "weights": self.weights,
            "cold": self.cold,
            "fresh": self.fresh,
            "is_fresh": self.is_fresh,
            "notes": ar.text("\n".join(self.notes)),
            "settings": ar.text("\n".join(self.settings)),
            "left_out": ar.text("\n".join(self.left_out)),
            "n_items": np.array([self.n_items], dtype=np.int64),
        }
        if self.unseen is not None:
            own["unseen"] = self.unseen
        if self.words is not None:
            own["words"] = self.words
        if self.context is not None:
            own |= {f"{_CONTEXT}{name}": a for name, a in self.context.arrays().items()}
        for place, part in enumerate(self.parts):
            for key, value in part.arrays().items():
                own[f"{place:02d}.{kind_of(part)}/{key}"] = value
        return own

    @classmethod
    def load(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild from ``arrays``."""
        from lifeloop.models.state import rebuild

        held: dict[str, dict[str, NDArray[Any]]] = {}
        for key, value in arrays.items():
            place, _, name = key.partition("/")
            if name:
                held.setdefault(place, {})[name] = value
        notes = ar.read_text(arrays, "notes")
        settings = ar.read_text(arrays, "settings") if "settings" in arrays else ""
        left_out = ar.read_text(arrays, "left_out") if "left_out" in arrays else ""
        context = {k.removeprefix(_CONTEXT): v for k, v in arrays.items() if k.startswith(_CONTEXT)}
        return cls(
            name=ar.read_text(arrays, "name"),
            rule=cast(Rule, ar.read_text(arrays, "rule")),
            parts=tuple(rebuild(p.partition(".")[2], held[p]) for p in sorted(held)),
            weights=ar.needed(arrays, "weights"),
            cold=ar.needed(arrays, "cold"),
            fresh=ar.needed(arrays, "fresh"),
            is_fresh=ar.needed(arrays, "is_fresh"),
            notes=tuple(notes.split("\n")) if notes else (),
            n_items=int(ar.needed(arrays, "n_items")[0]),
            settings=tuple(settings.split("\n")) if settings else (),
            left_out=tuple(left_out.split("\n")) if left_out else (),
            context=FittedContext.load(context) if context else None,
            unseen=arrays.get("unseen"),
            words=arrays.get("words"),
        )


def filled(parts: Sequence[FittedRetriever], weights: Double) -> Double:
    """Return the weights [P] with a last word for popularity, where it had none.

    The parts that know the person may have something to say of a few items only; what many use
    then fills the list, below all of them.
    """
    common = np.array([isinstance(part, FittedPopularity) for part in parts])
    if not common.any() or weights[common].any():
        return weights
    told = weights.astype(np.float64).copy()
    told[np.flatnonzero(common)[0]] = LAST_WORD * max(float(weights.max()), 1e-12)
    return told


def cold_weights(
    parts: Sequence[FittedRetriever],
    weights: Double,
    words: Double | None = None,
    common: Double | None = None,
) -> Double:
    """Return the weights [P] for people without history.

    What they wrote comes first, then what others use, as learned; the rest is silent.

    Parameters
    ----------
    words : float array [2], optional
        What content and the map of texts into the space of use weigh where there are words
        (``newcomers.learn_words``); content alone where nothing was learned.
    common : float array [P], optional
        What the parts that are the same for everybody weigh for new people
        (``newcomers.learn_common``); as in ``weights`` where nothing was learned.
    """
    by_text, by_use = (1.0, 0.0) if words is None else (float(words[0]), float(words[1]))
    same_for_all = np.array([isinstance(part, FittedPopularity) for part in parts])
    common = np.where(same_for_all, weights if common is None else common, 0.0)
    if not common.any():
        common = same_for_all.astype(np.float64)
    told = 0.1 * common / max(float(common.max()), 1e-12)
    told[[isinstance(part, FittedContent) for part in parts]] = by_text
    told[[isinstance(part, FittedMapped) for part in parts]] = by_use
    return np.asarray(told)

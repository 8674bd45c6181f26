"""What the validation slices said of the parts of a blend, and which parts are worth serving."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from lifeloop.contracts import Double, FittedRetriever, Retriever
from lifeloop.models.blended import Rule
from lifeloop.models.fresh import Unseen
from lifeloop.models.holdout import Holdout
from lifeloop.models.newcomers import ByWords, Common
from lifeloop.models.retrieve.content import FittedContent
from lifeloop.models.retrieve.mapped import FittedMapped
from lifeloop.models.retrieve.popularity import FittedPopularity


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """What the inner slices said, and the parts as fitted on what came before each."""

    cuts: tuple[Holdout, ...]  # newest first
    parts: tuple[Retriever, ...]  # [P] with the settings chosen
    rule: Rule
    half_lives: tuple[tuple[float | None] | None, ...]  # [P]
    weights: Double  # [P]
    notes: tuple[str, ...]
    fitted: tuple[tuple[FittedRetriever, ...], ...]  # per cut [P]; empty: too little to learn from
    powers: Mapping[str, float] = field(default_factory=dict)  # of fields of a situation
    unseen: Unseen | None = None  # what content and the map weigh for new items
    words: ByWords | None = None  # and for people who are known by their words alone
    common: Common | None = None  # which popularity serves people without history
    left_out: tuple[str, ...] = ()  # names of parts that are worth nothing to anybody

    def lean(self) -> "Learned":
        """Return the same without parts that would add nothing to any score, and a note of them.

        To fit such a part, to keep it and to load it costs as much as one that speaks. Popularity
        and content stay: they serve people without history and items without people.
        """
        if not self.fitted or self.rule != "linear":
            return self
        keep = [p for p, part in enumerate(self.fitted[0]) if self._speaks(p, part)]
        if len(keep) == len(self.parts):
            return self
        left_out = tuple(part.name for p, part in enumerate(self.parts) if p not in keep)
        return replace(
            self,
            parts=tuple(self.parts[p] for p in keep),
            half_lives=tuple(self.half_lives[p] for p in keep),
            weights=np.asarray(self.weights[keep]),
            fitted=tuple(tuple(each[p] for p in keep) for each in self.fitted),
            common=None if self.common is None else self.common.of(keep),
            left_out=left_out,
            notes=(*self.notes, f"left out, as they add nothing here: {', '.join(left_out)}"),
        )

    def _speaks(self, p: int, part: FittedRetriever) -> bool:
        if self.weights[p] > 0 or isinstance(part, FittedPopularity | FittedContent):
            return True
        if not isinstance(part, FittedMapped):
            return False
        new_items = self.unseen is not None and self.unseen.mapped > 0
        return new_items or (self.words is not None and bool(self.words.weights[1] > 0))

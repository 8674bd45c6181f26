"""What was asked for just now, beside a history: items near the words of the request.

    term_i = ρ · (max_j total_j / max_j ⟨q, v_j⟩) · ⟨q, v_i⟩

A long history would drown one query in any sum of learned weights, so the best match of the query
weighs what the best item of the history does: an item that suits both comes first, then what suits
the words. Words of people without a history are the content part's (``blended.cold_weights``).
"""

from dataclasses import dataclass

import numpy as np

from lifeloop.contracts import Float, Int, Queries
from lifeloop.models.retrieve.content import FittedContent

SHARE = 1.0
"""ρ: the best match against the best item of the history."""
LEAST = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class AskedFor:
    """Stands among the parts of a blend; its vectors are the content part's."""

    content: FittedContent
    name: str = "content_query"

    def row(self, queries: Queries, b: int) -> tuple[Int | None, Float]:
        """Return the items that have a vector (None: all) and ⟨q, v⟩, nothing without words."""
        nothing = np.empty(0, np.int32), np.empty(0, np.float32)
        if queries.vectors is None or queries.mask is None or not queries.mask[b]:
            return nothing
        words = queries.vectors[b]
        words = words / max(float(np.linalg.norm(words)), 1e-12)
        if not len(self.content.content):
            return nothing
        if self.content.near is not None:
            item_ix, inner = self.content.closest(words.astype(np.float32))
            return item_ix, np.maximum(inner, 0.0)
        near = np.einsum("cd,d->c", self.content.content, words.astype(np.float32))
        near = np.maximum(near, 0.0)  # what is unlike the words loses nothing by it
        return self.content.with_vector, self.content.of_items(near)

    def unit(self, total: Float, near: Float) -> float:
        """Return what one unit of nearness adds to the totals [I] of a request."""
        peak = float(near.max(initial=0.0))
        best = float(total.max(initial=-np.inf))
        if peak < LEAST or not np.isfinite(best):
            return 0.0
        return SHARE * max(best, LEAST) / peak

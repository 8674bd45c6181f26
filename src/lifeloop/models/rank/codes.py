"""Semantic codes: an item's vector as a few numbers, each finer than the one before.

Residual quantisation (Chen, Guan, Wang 2010): r_0 = v, c_l = argmin_k ‖r_l − m_lk‖,
r_{l+1} = r_l − m_{l,c_l}, where the centres m_l are those of k-means on r_l. Items that say or
look alike share their first codes, so trees can learn of a kind what they cannot of one item; they
stand beside what the retrievers know of the very item, never instead of it [chen2010rq].
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lifeloop.contracts import Float, Int
from lifeloop.errors import BundleError, InputError
from lifeloop.models import arrays as ar

MOST_CODES = 32
"""Codes per level; LightGBM splits categories of this number well."""
LEAST_ROWS = 20
"""Distinct vectors per code: with fewer there are fewer codes."""
MOST_ROWS = 20_000
"""Vectors that k-means looks at."""
MOST_LEVELS = 8
DRIFT = 1.2
"""How much worse the centres may describe the vectors of today than those they were made from."""


@dataclass(frozen=True, slots=True, eq=False)
class Codebooks:
    """The centres of every level, and how much of a vector is left after the last."""

    centres: Float  # [L, K, d]
    left: float  # mean ‖r_L‖² / mean ‖v‖² where they were made

    @property
    def levels(self) -> int:
        """How many codes an item has."""
        return len(self.centres)

    def codes(self, content: Float, content_ix: Int) -> Int:
        """Return [I, L]; -1 where an item has no vector."""
        made, _ = self._quantised(content)
        found = np.full((len(content_ix), self.levels), -1, dtype=np.int32)
        has = content_ix >= 0
        found[has] = made[content_ix[has]]
        return found

    def still_fit(self, content: Float) -> "Codebooks":
        """Return itself, if the vectors are still of the space that the centres divide.

        Raises
        ------
        BundleError
            The width is another, or more than ``DRIFT`` times as much is left of the vectors:
            another encoder, or one that was fitted anew to another catalogue.
        """
        if content.shape[1] == self.centres.shape[2]:
            _, left = self._quantised(content)
            if left <= DRIFT * self.left:
                return self
            told = f"{left:.2f} of the vectors is left over, {self.left:.2f} when they were made"
        else:
            told = f"width {content.shape[1]}, {self.centres.shape[2]} when they were made"
        raise BundleError(
            "the semantic codes of the last bundle do not describe the vectors of today",
            got=told,
            hint="train anew: lifeloop train",
        )

    def _quantised(self, content: Float) -> tuple[Int, float]:
        rest = content.astype(np.float32)
        made = np.empty((len(rest), self.levels), dtype=np.int32)
        for level, centres in enumerate(self.centres):
            made[:, level] = _nearest(rest, centres)
            rest = rest - centres[made[:, level]]
        whole = float(np.square(content, dtype=np.float64).sum())
        return made, float(np.square(rest, dtype=np.float64).sum()) / max(whole, 1e-12)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the whole state."""
        return {"codes.centres": self.centres, "codes.left": ar.number(self.left)}

    @classmethod
    def load(cls, arrays: Mapping[str, NDArray[Any]]) -> Self | None:
        """Rebuild from ``arrays``, None where there are none."""
        if "codes.centres" not in arrays:
            return None
        return cls(ar.needed(arrays, "codes.centres"), ar.read_number(arrays, "codes.left"))


def fit_codebooks(content: Float, *, levels: int, rng: np.random.Generator) -> Codebooks | None:
    """Return the centres of ``levels`` levels, None for no levels or too few vectors.

    Parameters
    ----------
    content : Float [c, d]
        Distinct item vectors.

    Raises
    ------
    InputError
        More levels than ``MOST_LEVELS``, or fewer than none.
    """
    if not 0 <= levels <= MOST_LEVELS:
        raise InputError("levels of codes", got=levels, allowed=f"0 to {MOST_LEVELS}")
    size = min(MOST_CODES, len(content) // LEAST_ROWS)
    if not levels or size < 2:
        return None
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    some = content
    if len(content) > MOST_ROWS:
        some = content[np.sort(rng.choice(len(content), MOST_ROWS, replace=False))]
    rest, centres = some.astype(np.float32), []
    for _ in range(levels):
        with threadpool_limits(1):  # one answer whatever the threads
            seed = int(rng.integers(2**31))
            found = KMeans(size, n_init=1, max_iter=50, random_state=seed).fit(rest)
        centres.append(np.asarray(found.cluster_centers_, dtype=np.float32))
        rest = rest - centres[-1][_nearest(rest, centres[-1])]
    made = Codebooks(np.stack(centres), 1.0)
    _, left = made._quantised(content)
    return Codebooks(made.centres, left)


def _nearest(rows: Float, centres: Float) -> Int:
    """Return the nearest centre of each row; the lower one where two are as near."""
    # ‖r − m‖² = ‖r‖² − 2⟨r, m⟩ + ‖m‖²; the first is the same for all centres
    inner = np.einsum("cd,kd->ck", rows, centres)
    far = np.einsum("kd,kd->k", centres, centres)[None, :] - 2.0 * inner
    return np.asarray(far.argmin(axis=1), dtype=np.int32)

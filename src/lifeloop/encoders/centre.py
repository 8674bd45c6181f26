"""Taking the common part out of vectors, so that cosines tell items apart."""

import numpy as np

from lifeloop.contracts import Bool, Float

_NOTHING_LEFT = 1e-6


def corpus_mean(vectors: Float, mask: Bool | None = None) -> Float:
    """Return the mean of the rows [d] (of those with ``mask``), zeros where there are none."""
    rows = vectors if mask is None else vectors[mask]
    if len(rows) == 0:
        return np.zeros(vectors.shape[1], dtype=np.float32)
    mean: Float = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    return mean


def centred(vectors: Float, mean: Float) -> Float:
    """Subtract ``mean`` from each row and bring it back to length 1: (v − m) / ‖v − m‖.

    Embedding models put all texts into a narrow cone (E5: unrelated texts have cosine .8);
    without their common direction the cosine spreads over its whole range. The mean is learned
    on the catalogue, saved with the models, and the same mean serves the query texts.

    Parameters
    ----------
    vectors : Float [n, d]
        Unit rows; zero rows (nothing to encode) stay zero.
    mean : Float [d]
        From ``corpus_mean``.

    Returns
    -------
    Float [n, d]
        Unit rows; zero where nothing is left (a row equal to the mean).
    """
    left = np.asarray(vectors - mean, dtype=np.float32)
    left[~vectors.any(axis=1)] = 0.0
    norm = np.linalg.norm(left, axis=1, keepdims=True)
    return np.where(norm > _NOTHING_LEFT, left / np.maximum(norm, _NOTHING_LEFT), 0).astype(
        np.float32
    )

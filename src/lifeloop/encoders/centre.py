"""Taking the common part out of vectors, so that cosines tell items apart."""

import numpy as np

from lifeloop.contracts import Bool, Encoder, Float
from lifeloop.encoders.fallback import WithFallback
from lifeloop.encoders.hashing import NgramHash
from lifeloop.encoders.tfidf import FittedTfidfSvd

_NOTHING_LEFT = 1e-6
FEW = 8
"""Under as many distinct texts a mean is no common part: it is the texts themselves."""


def corpus_mean(vectors: Float, mask: Bool | None = None) -> Float:
    """Return the mean of the rows [d] (of those with ``mask``), zeros where there are none."""
    rows = vectors if mask is None else vectors[mask]
    if len(rows) == 0:
        return np.zeros(vectors.shape[1], dtype=np.float32)
    mean: Float = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    return mean


def common_part(encoder: Encoder, content: Float) -> Float:
    """Return what is to be subtracted from this encoder's vectors [d]: the mean of the catalogue.

    Zeros for encoders that count n-grams (their vectors have no common direction), and where
    there are too few texts to tell one. With ``WithFallback`` only the model's block has one.
    """
    mean = np.zeros(content.shape[1], dtype=np.float32)
    model = encoder.model if isinstance(encoder, WithFallback) else encoder
    if isinstance(model, FittedTfidfSvd | NgramHash):
        return mean
    block = content[:, : model.d]
    read: Bool = np.asarray(block.any(axis=1))
    if int(read.sum()) >= FEW:
        mean[: model.d] = corpus_mean(block, read)
    return mean


def centred(vectors: Float, mean: Float) -> Float:
    """Subtract ``mean`` from each row and bring it back to length 1: (v − m) / ‖v − m‖.

    Embedding models put all texts into a narrow cone (E5: unrelated texts have cosine .8);
    without their common direction the cosine spreads over its whole range. The mean is learned
    on the catalogue, saved with the models, and the same mean serves the query texts. A row that
    is zero wherever the mean is not (another block of ``WithFallback``) has no part of it.

    Parameters
    ----------
    vectors : Float [n, d]
        Unit rows; zero rows (nothing to encode) stay zero.
    mean : Float [d]
        From ``common_part`` or ``corpus_mean``.

    Returns
    -------
    Float [n, d]
        Unit rows; zero where nothing is left (a row equal to the mean).
    """
    if not mean.any():
        return vectors
    left = np.asarray(vectors - mean, dtype=np.float32)
    apart = ~vectors[:, mean != 0].any(axis=1)
    left[apart] = vectors[apart]
    norm = np.linalg.norm(left, axis=1, keepdims=True)
    return np.where(norm > _NOTHING_LEFT, left / np.maximum(norm, _NOTHING_LEFT), 0).astype(
        np.float32
    )

"""Cosines of vectors made of blocks, by the blocks that both have (``encoders/fusion.py``)."""

from collections.abc import Sequence

import numpy as np

from lifeloop.contracts import Double, Float

NOTHING = 1e-12


def block_sizes(vectors: Float | Double, blocks: Sequence[int]) -> Double:
    """Return ‖v_m‖² of each block m of each row [c, M]; 0 where it has nothing there."""
    ends = np.cumsum(blocks)
    return np.stack(
        [
            np.square(vectors[:, end - width : end], dtype=np.float64).sum(axis=1)
            for end, width in zip(ends, blocks, strict=True)
        ],
        axis=1,
    )


def shared_length(own: Double, asked: Double) -> Double:
    """Return ‖v_S‖ · ‖q_S‖ [c] over the blocks S that a row and the query both have.

    The inner product of both divided by it is their cosine over S; 0 where they share no block.

    Parameters
    ----------
    own : Double [c, M]
        From ``block_sizes``.
    asked : Double [M]
        The same of the query.
    """
    both = (own > NOTHING) & (asked > NOTHING)  # [c, M]
    return np.asarray(np.sqrt((own * both).sum(axis=1) * (both * asked).sum(axis=1)))

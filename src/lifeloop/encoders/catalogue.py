"""The whole catalogue as vectors, each distinct text encoded once."""

import numpy as np
import polars as pl

from lifeloop.contracts import Encoder, Float, Int, Progress, silent
from lifeloop.encoders.cache import VectorCache, in_batches
from lifeloop.encoders.text import item_text


def encode_catalogue(
    items: pl.DataFrame,
    encoder: Encoder,
    *,
    cache: VectorCache | None = None,
    progress: Progress = silent,
) -> tuple[Float, Int]:
    """Encode every item's text; equal texts share one row.

    Parameters
    ----------
    items : pl.DataFrame
        ``ITEM_SCHEMA``, I rows.
    encoder : Encoder
        Fitted.
    cache : VectorCache, optional
        Answers texts this encoder has seen and keeps the new ones, batch by batch.
    progress : Progress
        Counts distinct texts.

    Returns
    -------
    content : Float [c, d]
        Unit rows, in the order in which their texts first appear.
    content_ix : Int [I]
        The row of each item, -1 where the item has no text or the encoder cannot read it.
    """
    number: dict[str, int] = {}
    text_ix = np.array(
        [number.setdefault(text, len(number)) for text in item_text(items)], dtype=np.int64
    )
    texts = list(number)
    if cache is None:
        vectors, mask = in_batches(encoder, texts, progress=progress)
    else:
        vectors, mask = cache.encode(encoder, texts, progress=progress)
    row_of_text = np.where(mask, np.cumsum(mask) - 1, -1).astype(np.int32)
    return vectors[mask], row_of_text[text_ix]

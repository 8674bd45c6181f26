"""Which items are nearest to an item or to a text by content: to look with one's own eyes."""

from dataclasses import dataclass

import numpy as np

from lifeloop.errors import InputError, UnknownId
from lifeloop.model import Model
from lifeloop.models.retrieve.masked import NOTHING, block_sizes, shared_length


@dataclass(frozen=True, slots=True)
class Near:
    """One item and its cosine to what was asked."""

    item_id: str
    cosine: float
    title: str | None = None


def nearest(model: Model, asked: str, *, k: int = 10) -> tuple[str, tuple[Near, ...]]:
    """Return how ``asked`` was understood (``"item"`` or ``"text"``) and the k nearest items.

    An id of the catalogue is an item; everything else is text. Items that share the asked item's
    very text are among them, with cosine 1. Items are compared by what both have of text, picture
    and sound; who shares none of it is left out. Availability does not matter here.

    Raises
    ------
    UnknownId
        The item has no text, so nothing can be near to it.
    InputError
        The bundle has no text encoder, or it can read nothing in the text.
    """
    catalogue = model.catalogue
    ix = catalogue.ix.get(asked)
    if ix is not None:
        row = int(catalogue.content_ix[ix])
        if row < 0:
            raise UnknownId(
                "this item has no text, picture or sound that an encoder can read",
                got=asked,
                hint="lifeloop nearest 'some words' looks for text",
            )
        vector = np.asarray(catalogue.content[row])
    else:
        if model.reader is None:
            raise InputError(
                "the active bundle reads no text", got=asked, hint="lifeloop train with an encoder"
            )
        vector = model.reader.read(asked)
        if not vector.any():
            raise InputError("the text encoder can read nothing in this", got=asked)
    by_content = catalogue.content @ vector.astype(np.float32)  # [c]
    known = catalogue.content_ix >= 0
    if len(catalogue.blocks):
        blocks = catalogue.blocks.tolist()
        length = shared_length(
            block_sizes(catalogue.content, blocks), block_sizes(vector[None, :], blocks)[0]
        )
        told = length > NOTHING
        by_content = np.divide(by_content, length, out=np.zeros(len(told)), where=told)
        known &= told[catalogue.content_ix]
    has = np.flatnonzero(known)
    if ix is not None:
        has = has[has != ix]
    score = by_content[catalogue.content_ix[has]]
    best = np.lexsort((has, -score))[:k]
    found = tuple(Near(catalogue.item_ids[has[n]], round(float(score[n]), 6)) for n in best)
    return ("text" if ix is None else "item"), found

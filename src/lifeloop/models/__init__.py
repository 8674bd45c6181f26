"""Retrievers, the blend and rating prediction: fit -> fitted, history folded in per request."""

from lifeloop.models.blend import Blend
from lifeloop.models.blended import FittedBlend
from lifeloop.models.data import histories, queries, train_data
from lifeloop.models.rank.reranked import FittedRanked, RankedScored
from lifeloop.models.rating import FittedRating, Rated, RatingModel
from lifeloop.models.registry import NAMES, build
from lifeloop.models.scored import Scored
from lifeloop.models.state import from_parts, to_parts

__all__ = [
    "NAMES",
    "Blend",
    "FittedBlend",
    "FittedRanked",
    "FittedRating",
    "RankedScored",
    "Rated",
    "RatingModel",
    "Scored",
    "build",
    "from_parts",
    "histories",
    "queries",
    "to_parts",
    "train_data",
]

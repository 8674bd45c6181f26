"""Retrievers, the blend and rating prediction: fit -> fitted, history folded in per request."""

from lifeloop.models.blend import Blend
from lifeloop.models.blended import FittedBlend
from lifeloop.models.data import histories, queries, train_data
from lifeloop.models.drift import Drift, drift
from lifeloop.models.gibbs import BayesianRating, FittedBayesianRating
from lifeloop.models.rank.ranked import Ranked
from lifeloop.models.rank.reranked import FittedRanked, RankedScored
from lifeloop.models.rating import FittedRating, Rated, RatingModel
from lifeloop.models.registry import NAMES, build
from lifeloop.models.scored import Scored
from lifeloop.models.state import from_parts, to_parts
from lifeloop.models.warm import refreshed

__all__ = [
    "NAMES",
    "BayesianRating",
    "Blend",
    "Drift",
    "FittedBayesianRating",
    "FittedBlend",
    "FittedRanked",
    "FittedRating",
    "Ranked",
    "RankedScored",
    "Rated",
    "RatingModel",
    "Scored",
    "build",
    "drift",
    "from_parts",
    "histories",
    "queries",
    "refreshed",
    "to_parts",
    "train_data",
]

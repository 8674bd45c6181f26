"""Retrievers: popularity, content, kNN, transitions, EASE, ridge. Each folds the history in."""

from lifeloop.models.retrieve.chance import Chance
from lifeloop.models.retrieve.content import Content
from lifeloop.models.retrieve.ease import Ease
from lifeloop.models.retrieve.itemknn import ItemKNN
from lifeloop.models.retrieve.popularity import Popularity
from lifeloop.models.retrieve.sequential import SequentialRidge
from lifeloop.models.retrieve.transitions import Transitions

__all__ = ["Chance", "Content", "Ease", "ItemKNN", "Popularity", "SequentialRidge", "Transitions"]

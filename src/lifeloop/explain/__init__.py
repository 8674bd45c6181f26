"""Reasons that are true of the score."""

from lifeloop.explain.reasons import Explained, Facts, Happened, Language, Past, explain, explained

__all__ = ["Explained", "Facts", "Happened", "Language", "Past", "explain", "explained"]

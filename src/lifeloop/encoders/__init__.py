"""Text to vectors, cached by content so that nothing is encoded twice."""

from lifeloop.encoders.cache import VectorCache
from lifeloop.encoders.catalogue import encode_catalogue
from lifeloop.encoders.centre import centred, corpus_mean
from lifeloop.encoders.e5 import E5
from lifeloop.encoders.text import clean_text, item_text
from lifeloop.encoders.tfidf import FittedTfidfSvd, TfidfSvd

__all__ = [
    "E5",
    "FittedTfidfSvd",
    "TfidfSvd",
    "VectorCache",
    "centred",
    "clean_text",
    "corpus_mean",
    "encode_catalogue",
    "item_text",
]

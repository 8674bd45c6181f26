"""Text to vectors, cached by content so that nothing is encoded twice."""

from lifeloop.encoders.cache import VectorCache
from lifeloop.encoders.catalogue import encode_catalogue
from lifeloop.encoders.centre import centred, common_part, corpus_mean
from lifeloop.encoders.context import (
    KEYS,
    PREFIX,
    Situation,
    nearest_keys,
    situation_of,
    situations,
    zone_of,
)
from lifeloop.encoders.e5 import E5
from lifeloop.encoders.endpoint import Endpoint
from lifeloop.encoders.fallback import WithFallback, query_side, unreadable
from lifeloop.encoders.hashing import NgramHash
from lifeloop.encoders.onnx import OnnxText
from lifeloop.encoders.opening import Chosen, UnreadableText, built, choose, open_encoder
from lifeloop.encoders.script import scripts
from lifeloop.encoders.sentence import SentenceModel
from lifeloop.encoders.text import clean_text, item_text
from lifeloop.encoders.tfidf import FittedTfidfSvd, TfidfSvd
from lifeloop.encoders.transformer import Transformer
from lifeloop.encoders.words import WordVectors

__all__ = [
    "E5",
    "KEYS",
    "PREFIX",
    "Chosen",
    "Endpoint",
    "FittedTfidfSvd",
    "NgramHash",
    "OnnxText",
    "SentenceModel",
    "Situation",
    "TfidfSvd",
    "Transformer",
    "UnreadableText",
    "VectorCache",
    "WithFallback",
    "WordVectors",
    "built",
    "centred",
    "choose",
    "clean_text",
    "common_part",
    "corpus_mean",
    "encode_catalogue",
    "item_text",
    "nearest_keys",
    "open_encoder",
    "query_side",
    "scripts",
    "situation_of",
    "situations",
    "unreadable",
    "zone_of",
]

"""Vectors of a benchmark's texts by each encoder, kept on disk between runs."""

import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lifeloop.contracts import Encoder, Float, Int
from lifeloop.encoders import VectorCache, centred, choose, common_part, query_side
from lifeloop.reading import TextReader
from lifeloop.text_settings import TextEncoding

HOME = Path(".bench")
"""Holds the vector cache and the built MiniLM."""


def minilm(*, int8: bool = True) -> Path:
    """Return the folder of the exported MiniLM, built where it is not there."""
    from lifeloop.encoders.export import export, minilm_folder

    name = "minilm" if int8 else "minilm-fp32"
    into = HOME / "encoders" / name
    if not (into / "lifeloop_encoder.json").is_file():
        export(minilm_folder(), into, name=name, int8=int8)
    return into


def encoder_of(name: str, texts: list[str]) -> Encoder:
    """Return an encoder by its name in the settings; TF-IDF is fitted to the texts."""
    if name == "minilm":
        minilm()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return choose(texts, name, TextEncoding(), home=HOME).encoder


def vectors_of(
    name: str, item_ids: list[str], texts: Mapping[str, str]
) -> tuple[Float, Int, TextReader]:
    """Return content [c, d], the row of each item [I] (-1: no text), and the reader of queries."""
    told = [texts.get(item, "") for item in item_ids]
    distinct = list(dict.fromkeys(t for t in told if t))
    encoder = encoder_of(name, distinct)
    made, mask = VectorCache(HOME / "vectors").encode(encoder, distinct)
    mean = common_part(encoder, made[mask])
    place = {t: n for n, t in enumerate(np.array(distinct, dtype=object)[mask])}
    rows = np.array([place.get(t, -1) for t in told], dtype=np.int32)
    reader = TextReader(query_side(encoder), mean, name)
    return centred(made[mask], mean), rows, reader

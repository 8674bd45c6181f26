"""A text encoder on trial: does it find what people did next better than plain words do?"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lifeloop.config import Models, Scenario
from lifeloop.contracts import Float, Int, Progress, Store, silent
from lifeloop.encoders import VectorCache, item_text, scripts
from lifeloop.errors import InputError
from lifeloop.evaluate import Catalogue, evaluate
from lifeloop.measure import Protocol
from lifeloop.model import material
from lifeloop.models import build
from lifeloop.moment import Moment
from lifeloop.reading import Encoded, encode_items
from lifeloop.screening import screened

_TIMED = 64


@dataclass(frozen=True, slots=True)
class Trial:
    """One encoder against two floors: TF-IDF + SVD, and itself with the texts dealt at random."""

    encoder: str
    d: int
    texts: int
    unread: float  # share of the items' texts for which there is no vector
    texts_per_s: float
    scripts: dict[str, float]
    ndcg: dict[str, float]  # "encoder", "tfidf", "shuffled" -> NDCG@10 of content alone
    users: int
    notes: tuple[str, ...]

    @property
    def worth_it(self) -> bool:
        """Whether the encoder beats both floors."""
        return self.ndcg["encoder"] > max(self.ndcg["tfidf"], self.ndcg["shuffled"])


def try_encoder(
    store: Store,
    scenario: Scenario,
    *,
    name: str,
    home: Path,
    moment: Moment,
    protocol: Protocol = "time",
    progress: Progress = silent,
) -> Trial:
    """Encode the catalogue, and rank items for what people did next by content alone.

    Only the vectors differ between the three: the same split, histories and retriever.

    Raises
    ------
    InputError
        There is no text to encode, or the data cannot be split.
    """
    snapshot = screened(store.snapshot(as_of_us=moment.as_of_us), scenario)
    found = material(snapshot, scenario)
    texts = item_text(found.items)
    if not any(texts):
        raise InputError("no item has a text", hint="import items with titles or descriptions")
    cache = VectorCache(home / "cache")
    vectors: dict[str, tuple[Float, Int]] = {}
    made: dict[str, Encoded] = {}
    for label, wanted in (("encoder", name), ("tfidf", "tfidf")):
        settings = _with(scenario.models, wanted)
        made[label] = encode_items(found.items, settings, cache=cache, home=home, progress=progress)
        vectors[label] = made[label].content, made[label].content_ix
    content, content_ix = vectors["encoder"]
    vectors["shuffled"] = content, shuffled(content_ix, seed=scenario.models.seed)
    interactions = found.interactions
    ids = found.items["item_id"].to_list()
    ndcg, users = {}, 0
    for label, (rows, rows_ix) in vectors.items():
        report = evaluate(
            interactions,
            {"content": build(["content"], scenario.models)[0]},
            protocol=protocol,
            catalogue=Catalogue(ids, rows, rows_ix),
            rng=np.random.default_rng(scenario.models.seed),
        )
        ndcg[label] = float(np.mean(report.models["content"].per_user["ndcg@10"]))
        users = len(report.user_ids)
    chosen = made["encoder"]
    if chosen.encoder is None:
        raise InputError("there is no encoder to try", got=name)
    return Trial(
        encoder=chosen.encoder.id,
        d=chosen.encoder.d,
        texts=len(set(texts) - {""}),
        unread=float(np.mean(content_ix < 0)),
        texts_per_s=_speed(chosen, texts),
        scripts={k: round(v, 4) for k, v in scripts(texts).items()},
        ndcg=ndcg,
        users=users,
        notes=chosen.notes,
    )


def shuffled(content_ix: Int, *, seed: int) -> Int:
    """Return the same rows dealt to other items: whatever a model gains by them is not meaning."""
    rng = np.random.default_rng(seed)
    mixed = content_ix.copy()
    has = np.flatnonzero(content_ix >= 0)
    mixed[has] = content_ix[rng.permutation(has)]
    return mixed


def _with(settings: Models, name: str) -> Models:
    # texts alone are on trial
    media = {"picture_encoder": "none", "sound_encoder": "none"}
    return Models.model_validate({**settings.model_dump(), "text_encoder": name, "media": media})


def _speed(chosen: Encoded, texts: Sequence[str]) -> float:
    if chosen.encoder is None:
        return 0.0
    some = [text for text in dict.fromkeys(texts) if text][:_TIMED]
    chosen.encoder.encode(some[:1])
    begun = time.perf_counter()
    chosen.encoder.encode(some)
    return len(some) / max(time.perf_counter() - begun, 1e-9)

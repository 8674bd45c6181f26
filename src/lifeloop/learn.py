"""Snapshot -> fit -> evaluate -> publish: how the models learn from the store."""

import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from lifeloop.config import Scenario
from lifeloop.contracts import Progress, Store, silent
from lifeloop.encoders.cache import VectorCache
from lifeloop.errors import InputError, NoModel
from lifeloop.foretold import Foretold
from lifeloop.model import Catalogue, material, save_model
from lifeloop.models import BayesianRating, RatingModel, build, train_data
from lifeloop.moment import Clock, Moment
from lifeloop.reading import encode_items
from lifeloop.renewal import fitted, last_model, moved_since, renewal_notes
from lifeloop.screening import screened
from lifeloop.store.checkpoints import FileCheckpoints
from lifeloop.written import Told, Writings

SCHEMA = 1
RANKER = {
    "linear": "lifeloop",
    "trees": "ranked",
    "tree": "ranked_tree",
    "logistic": "ranked_logistic",
}
"""The model that each setting ``models.ranker`` names."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def train(
    store: Store,
    scenario: Scenario,
    *,
    home: Path,
    moment: Moment,
    clock: Clock,
    refresh: bool = False,
    progress: Progress = silent,
) -> Mapping[str, Any]:
    """Learn from everything known at ``moment`` and make the new bundle the active one.

    Parameters
    ----------
    home : Path
        Project folder; the bundle goes to ``home/bundles``, vectors to ``home/cache``.
    clock : callable
        Returns now in microseconds UTC: when the bundle was made, which is also its name.
    refresh : bool
        Count anew and keep what the active bundle has learned (half-lives, ridges, weights and
        trees), see ``models.warm``; where that cannot be, all is learned, and a note says why.

    Returns
    -------
    Mapping
        The manifest of the new bundle, with what was measured on the inner validation slice and
        how inputs and scores moved since the active bundle (``drift``).

    Raises
    ------
    InputError
        The store holds no item at all, neither in the catalogue nor in an event.
    """
    watch = _Watch()
    progress("read the store", 0, None)
    snapshot = screened(store.snapshot(as_of_us=moment.as_of_us), scenario)
    found, seq = material(snapshot, scenario), snapshot.seq
    trees = scenario.models.ranker != "linear"  # the ranker alone is told what people wrote
    wrote = Told.of(snapshot, scenario.models.text) if trees else None
    del snapshot  # the fits need the memory
    progress("read the store", 1, 1)
    if found.items.is_empty():
        raise InputError(
            "there is nothing to recommend: the store holds no item",
            hint="lifeloop import items FILE, or import events that name items",
        )
    watch.lap("read_s")
    cache = VectorCache(home / "cache")
    encoded = encode_items(
        found.items,
        scenario.models,
        cache=cache,
        home=home,
        interactions=found.interactions,
        progress=progress,
    )
    content, content_ix, encoder = encoded.content, encoded.content_ix, encoded.encoder
    watch.lap("encode_s")
    catalogue = Catalogue.of(
        found.items, content, content_ix, rules=scenario.recommend, blocks=encoded.blocks
    )
    data, user_ids = train_data(
        found.interactions,
        item_ids=catalogue.item_ids,
        content=content,
        content_ix=content_ix,
        as_of_us=moment.as_of_us,
        price=found.items["price"].cast(pl.Float32).fill_null(float("nan")).to_numpy(),
        kinds=found.kinds,
        situation=found.situation,
        blocks=encoded.blocks,
    )
    told = Foretold(home, zone=scenario.locale.zone).of_users(user_ids)
    data = replace(data, predicted=told)
    if wrote is not None and encoded.reader is not None:
        settings = scenario.models.text
        data = replace(data, written=Writings.of(encoded.reader, wrote, user_ids, settings))
    rng = np.random.default_rng(scenario.models.seed)
    progress("fit the models", 0, None)
    wanted = RANKER[scenario.models.ranker]
    kept = FileCheckpoints(home / "cache" / "training")
    (specification,) = build([wanted], scenario.models, checkpoints=kept)
    last = last_model(store, home)
    blend, renewed = fitted(specification, data, last if refresh else None, scenario, rng=rng)
    watch.lap("fit_s")
    moved = None if last is None else moved_since(last, blend, data, catalogue.item_ids)
    watch.lap("drift_s")
    # A low rating is no evidence of liking, but it is evidence of rating: all of them are used.
    rated = found.interactions.filter(pl.col("rating").is_not_null())
    ratings, _ = train_data(
        rated.with_columns(weight=pl.lit(1.0, dtype=pl.Float32)),
        item_ids=catalogue.item_ids,
        content=content,
        content_ix=content_ix,
        as_of_us=moment.as_of_us,
        blocks=encoded.blocks,
    )
    bayesian = scenario.models.ratings == "bayesian"
    rating = (BayesianRating() if bayesian else RatingModel()).fit(ratings, rng=rng)
    progress("fit the models", 1, 1)
    watch.lap("rating_s")
    created_us, bundle = _name(home / "bundles", clock(), scenario)
    created = _EPOCH + timedelta(microseconds=created_us)
    manifest = {
        "schema": SCHEMA,
        "bundle": bundle,
        "created": created.isoformat(timespec="seconds"),
        "as_of_us": moment.as_of_us,
        "as_of_why": moment.why,
        "seq": seq,
        "scenario": scenario.name,
        "config_hash": scenario.hash,
        "encoder": None if encoder is None else encoder.id,
        "modalities": list(encoded.modalities),
        "users": data.n_users,
        "items": data.n_items,
        "interactions": len(data.user_ix),
        "distinct_texts": len(content),
        "seconds": watch.laps,
        "learned_in": bundle,
        "refreshes": 0,
        **renewed,
        "drift": None if moved is None else moved.to_dict(),
        "notes": [*found.notes, *encoded.notes, *renewal_notes(renewed, moved), *blend.notes],
    }
    save_model(
        home / "bundles",
        bundle,
        blend=blend,
        rating=rating,
        catalogue=catalogue,
        reader=encoded.reader,
        manifest=manifest,
    )
    store.publish(bundle, manifest, at_us=created_us)
    return manifest


def encode_ahead(
    store: Store,
    scenario: Scenario,
    *,
    home: Path,
    moment: Moment,
    progress: Progress = silent,
) -> None:
    """Encode what the items say now, so that the next training finds it in the cache.

    Every batch is kept: ``progress`` may raise to stop it, and the training does the rest.
    """
    found = material(screened(store.snapshot(as_of_us=moment.as_of_us), scenario), scenario)
    cache = VectorCache(home / "cache")
    encode_items(found.items, scenario.models, cache=cache, home=home, progress=progress)


def previous_bundle(store: Store) -> str:
    """Return the bundle that was active before the present one.

    Raises
    ------
    NoModel
        No other bundle was ever active.
    """
    active = store.active_bundle()
    earlier = [bundle for bundle, _ in store.activations()]
    while earlier and earlier[-1] == active:
        earlier.pop()
    if not earlier:
        raise NoModel("there is no earlier bundle to go back to", hint="lifeloop models list")
    return earlier[-1]


def _name(folder: Path, now_us: int, scenario: Scenario) -> tuple[int, str]:
    """Return when a bundle is made and its id; a clock that stands still makes no two alike."""
    while True:
        bundle = f"{_EPOCH + timedelta(microseconds=now_us):%Y%m%dT%H%M%S%f}-{scenario.hash[:8]}"
        if not (folder / bundle).exists():
            return now_us, bundle
        now_us += 1


class _Watch:
    """Seconds per step, for the manifest."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = round(now - self._last, 2)
        self._last = now

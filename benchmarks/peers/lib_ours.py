"""lifeloop's own models under the same runner; PYTHONPATH holds src."""

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lifeloop.config import Models
from lifeloop.contracts import UNTIMED, TrainData
from lifeloop.models.blend import Blend
from lifeloop.models.data import histories, taken
from lifeloop.models.neural.sasrec import Sasrec
from lifeloop.models.rank.ranked import Ranked
from lifeloop.models.registry import NAMES, build
from lifeloop.store.checkpoints import FileCheckpoints

ALONE_ROUNDS, ROUNDS, HOUR_ROUNDS = 16, 4, 30
"""Of a transformer alone, and as a part of a blend, for five minutes of two cores; for an hour."""
RATE = 2e-3
"""Twice the default, chosen on validation inside ml-1m; on tiny data it learns by heart."""


def data_of(known):
    held = np.load(Path(known.folder) / "content.npz")
    timed = known.t_s >= 0
    content = held["content"].astype(np.float32)
    norms = np.linalg.norm(content, axis=1, keepdims=True)
    return TrainData(
        user_ix=known.user,
        item_ix=known.item,
        t_us=np.where(timed, known.t_s * 1_000_000, UNTIMED).astype(np.int64),
        weight=np.ones(len(known.user), np.float32),
        rating=np.full(len(known.user), np.nan, np.float32),
        n_users=known.n_users,
        item_ids=tuple(str(i) for i in range(known.n_items)),
        content=np.divide(content, norms, out=np.zeros_like(content), where=norms > 0),
        content_ix=held["content_ix"],
        as_of_us=max(0, known.as_of_s) * 1_000_000,
        price=held["price"],
    )


def fitter(name, *, change=None, **chosen):
    """Return the runner's ``fit`` of a model; ``change`` holds settings of its transformer."""

    def fit(known, settings, seed):
        data = data_of(known)
        models = Models(**chosen, **settings)
        (model,) = build([name], models, horizon=known.horizon, repeats=not known.seen_out)
        model = timed(model, float(os.environ["PEER_FIT_S"]), change or {})
        fitted = model.fit(data, rng=np.random.default_rng(seed))
        every = histories(data, np.arange(known.n_users, dtype=np.int32))
        moment = np.full(known.n_users, data.as_of_us)
        moment[known.asked] = known.request_s * 1_000_000
        every = _at(every, moment)

        def recommend(users, k):
            asked = taken(every, np.asarray(users, dtype=np.int64))
            may = None
            if known.seen_out:
                may = np.ones((len(users), known.n_items), dtype=np.bool_)
                row = np.repeat(np.arange(len(users)), np.diff(asked.indptr))
                may[row, asked.item_ix] = False
            return fitted.retrieve(asked, k, allowed=may).item_ix

        recommend.notes = tuple(getattr(fitted, "notes", ()))
        if USED:
            told = f"{len(USED)} trainings of networks were kept from an earlier run: "
            recommend.notes += (f"{told}their time is not in fit s",)
        return recommend

    return fit


USED = []
"""Keys of trainings that an earlier run of the bench began."""


@dataclass(frozen=True)
class Kept(FileCheckpoints):
    """Checkpoints that outlive their training, so that a bench cut short trains nothing twice."""

    def load(self, key):
        found = super().load(key)
        if found is not None:
            USED.append(key)
        return found

    def clear(self, key):
        pass


def timed(model, seconds, change):
    """Return what trains in rounds so that it stops as the peers do, in seconds of CPU.

    A part of a blend has a stated number of rounds instead: it is trained twice, before the
    validation slice and for all.
    """
    if isinstance(model, Ranked):
        return replace(model, blend=timed(model.blend, None, change))
    if isinstance(model, Blend):
        return replace(model, parts=tuple(timed(p, None, change) for p in model.parts))
    if isinstance(model, Sasrec):
        change = {"rate": RATE, "seconds": seconds} | change
        where = os.environ.get("PEER_CHECKPOINTS")
        kept = None if where is None else Kept(Path(where))
        return replace(model, clock=time.process_time, checkpoints=kept, **change)
    return replace(model, seconds=seconds) if hasattr(model, "seconds") else model


def _at(asked, moment):
    shift = (moment - asked.as_of_us) / 86_400_000_000
    age = asked.age_days + np.repeat(shift, np.diff(asked.indptr))
    return replace(asked, age_days=np.maximum(age, 0).astype(np.float32), as_of_us=moment)


MODELS = {name: (None, fitter(name)) for name in NAMES}
alone = {"rounds": ALONE_ROUNDS, "patience": ALONE_ROUNDS, "seconds": None}
MODELS["sasrec_rounds"] = (None, fitter("sasrec", change=alone))
MODELS["sasrec_at_request"] = (None, fitter("sasrec", change={"at_request": True}))
for blended in ("lifeloop", "ranked"):
    for ending, rounds in (("networks", ROUNDS), ("networks_hour", HOUR_ROUNDS)):
        long = {"rounds": rounds, "patience": rounds}
        MODELS[f"{blended}_{ending}"] = (None, fitter(blended, change=long, networks=("sasrec",)))

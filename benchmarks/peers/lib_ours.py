"""lifeloop's own models under the same runner; PYTHONPATH holds src."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from lifeloop.config import Models
from lifeloop.contracts import UNTIMED, TrainData
from lifeloop.models.data import histories, taken
from lifeloop.models.registry import NAMES, build


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


def fitter(name):
    def fit(known, settings, seed):
        data = data_of(known)
        chosen = Models(**settings)
        (model,) = build([name], chosen, horizon=known.horizon, repeats=not known.seen_out)
        if hasattr(model, "seconds"):  # trains in rounds: stops as the peers do
            model = replace(model, seconds=float(os.environ["PEER_FIT_S"]))
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
        return recommend

    return fit


def _at(asked, moment):
    shift = (moment - asked.as_of_us) / 86_400_000_000
    age = asked.age_days + np.repeat(shift, np.diff(asked.indptr))
    return replace(asked, age_days=np.maximum(age, 0).astype(np.float32), as_of_us=moment)


MODELS = {name: (None, fitter(name)) for name in NAMES}

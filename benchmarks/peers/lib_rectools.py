"""RecTools: SASRec and BERT4Rec (PyTorch Lightning), on the CPU's two cores."""

import logging
import os
import warnings
from datetime import timedelta
from functools import partial

os.environ["CUDA_VISIBLE_DEVICES"] = ""
warnings.filterwarnings("ignore")
logging.getLogger("lightning").setLevel(logging.ERROR)
logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import Timer
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import BERT4RecModel, SASRecModel

torch.set_num_threads(2)


def fitted(kind, known, s, seed):
    torch.manual_seed(seed)
    rows = pd.DataFrame(
        {
            Columns.User: known.user,
            Columns.Item: known.item,
            Columns.Weight: 1.0,
            # the order of arrival as days: ties in time keep their order
            Columns.Datetime: pd.Timestamp("2000-01-01")
            + pd.to_timedelta(np.arange(len(known.user)), unit="s"),
        }
    )
    data = Dataset.construct(rows)
    model = kind(
        **s, n_blocks=2, n_heads=2, batch_size=128, verbose=0, get_trainer_func=partial(trainer, s)
    )
    model.fit(data)

    def recommend(users, k):
        found = model.recommend(
            np.asarray(users),
            data,
            k=k,
            filter_viewed=known.seen_out,
            on_unsupported_targets="ignore",
        )
        lists = np.full((len(users), k), -1, dtype=np.int64)
        place = {int(u): i for i, u in enumerate(users)}
        row = found[Columns.User].map(place).to_numpy()
        lists[row, found[Columns.Rank].to_numpy() - 1] = found[Columns.Item].to_numpy()
        return lists

    return recommend


def trainer(s):
    return Trainer(
        max_epochs=s["epochs"],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Timer(timedelta(seconds=float(os.environ["PEER_FIT_S"])), interval="epoch")],
    )


def space(trial):
    return {
        "n_factors": trial.suggest_categorical("n_factors", [64, 128]),
        "session_max_len": 50,
        "dropout_rate": trial.suggest_float("dropout_rate", 0.1, 0.4),
        "lr": trial.suggest_float("lr", 5e-4, 5e-3, log=True),
        "epochs": trial.suggest_int("epochs", 3, 40, log=True),
    }


def sasrec(known, s, seed):
    return fitted(SASRecModel, known, s, seed)


def bert4rec(known, s, seed):
    return fitted(BERT4RecModel, known, s, seed)


MODELS = {"sasrec": (space, sasrec), "bert4rec": (space, bert4rec)}

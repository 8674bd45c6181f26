"""RecBole: SASRec, BPR and LightGCN. Its sequential models do not mask the history: done here."""

import logging
import os
import tempfile
import time
import warnings
from pathlib import Path

os.environ["CUDA_VISIBLE_DEVICES"] = ""
warnings.filterwarnings("ignore")

import numpy as np
import torch
from recbole.config import Config
from recbole.data import create_dataset
from recbole.data.utils import create_samplers, get_dataloader
from recbole.utils import get_model, get_trainer, init_seed

torch.set_num_threads(2)
logging.disable(logging.WARNING)


def fitted(name, known, s, seed):
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work) / "known"
        folder.mkdir()
        with (folder / "known.inter").open("w") as file:
            file.write("user_id:token\titem_id:token\ttimestamp:float\n")
            first = known.start()
            for n, (user, item) in enumerate(zip(known.user, known.item, strict=True)):
                # the place in the history: float32 cannot tell seconds since 1970 apart
                file.write(f"{user}\t{item}\t{n - first[user]}\n")
        told = {
            "data_path": work,
            "checkpoint_dir": work,
            "show_progress": False,
            "state": "ERROR",
            "seed": seed,
            "use_gpu": False,
            "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
            "eval_args": {
                "split": {"RS": [1.0, 0.0, 0.0]},
                "group_by": "user",
                "order": "TO",
                "mode": "full",
            },
            "train_batch_size": 2048,
            **s,
        }
        if name == "SASRec":
            told |= {"train_neg_sample_args": None, "loss_type": "CE"}
        config = Config(model=name, dataset="known", config_dict=told)
        init_seed(seed, True)
        data = create_dataset(config)
        built = data.build()
        samplers = create_samplers(config, data, built)
        train = get_dataloader(config, "train")(config, built[0], samplers[0], shuffle=True)
        model = get_model(name)(config, train._dataset).to("cpu")
        trainer = get_trainer(config["MODEL_TYPE"], name)(config, model)
        over = time.perf_counter() + float(os.environ["PEER_FIT_S"])
        for epoch in range(int(s["epochs"])):
            trainer._train_epoch(train, epoch, show_progress=False)
            if time.perf_counter() > over:
                break
    model.eval()
    mine = {"item": data.field2token_id["item_id"], "user": data.field2token_id["user_id"]}
    item_of = np.full(len(mine["item"]), -1, dtype=np.int64)
    inner = np.zeros(known.n_items, dtype=np.int64)
    for token, place in mine["item"].items():
        if token != "[PAD]":
            item_of[place], inner[int(token)] = int(token), place
    start = known.start()
    length = int(config["MAX_ITEM_LIST_LENGTH"] or 50)

    def recommend(users, k):
        lists = np.full((len(users), k), -1, dtype=np.int64)
        for lo in range(0, len(users), 256):
            part = users[lo : lo + 256]
            with torch.no_grad():
                scores = model.full_sort_predict(asked(part)).reshape(len(part), -1).numpy()
            scores = scores.copy()
            scores[:, 0] = -np.inf
            for b, user in enumerate(part):
                if known.seen_out:
                    scores[b, inner[known.item[start[user] : start[user + 1]]]] = -np.inf
            top = np.argsort(-scores, axis=1, kind="stable")[:, :k]
            finite = np.isfinite(np.take_along_axis(scores, top, axis=1))
            lists[lo : lo + len(part), : top.shape[1]] = np.where(finite, item_of[top], -1)
        return lists

    def asked(part):
        if name != "SASRec":
            at = [mine["user"].get(str(u), 0) for u in part]
            return {"user_id": torch.tensor(at)}
        rows = np.zeros((len(part), length), dtype=np.int64)
        sizes = []
        for b, user in enumerate(part):
            own = inner[known.item[start[user] : start[user + 1]]][-length:]
            rows[b, : len(own)] = own
            sizes.append(max(1, len(own)))
        return {"item_id_list": torch.tensor(rows), "item_length": torch.tensor(sizes)}

    return recommend


def sasrec_space(trial):
    return {
        "hidden_size": 64,
        "inner_size": 256,
        "n_layers": 2,
        "n_heads": 2,
        "MAX_ITEM_LIST_LENGTH": 50,
        "hidden_dropout_prob": trial.suggest_float("hidden_dropout_prob", 0.1, 0.5),
        "attn_dropout_prob": trial.suggest_float("attn_dropout_prob", 0.1, 0.5),
        "learning_rate": trial.suggest_float("learning_rate", 5e-4, 5e-3, log=True),
        "epochs": trial.suggest_int("epochs", 2, 12, log=True),
    }


def bpr_space(trial):
    return {
        "embedding_size": trial.suggest_categorical("embedding_size", [32, 64, 128]),
        "learning_rate": trial.suggest_float("learning_rate", 3e-4, 1e-2, log=True),
        "epochs": trial.suggest_int("epochs", 10, 60, log=True),
    }


def gcn_space(trial):
    return bpr_space(trial) | {
        "n_layers": trial.suggest_int("n_layers", 1, 3),
        "reg_weight": trial.suggest_float("reg_weight", 1e-6, 1e-2, log=True),
    }


MODELS = {
    "sasrec": (sasrec_space, lambda known, s, seed: fitted("SASRec", known, s, seed)),
    "bpr": (bpr_space, lambda known, s, seed: fitted("BPR", known, s, seed)),
    "lightgcn": (gcn_space, lambda known, s, seed: fitted("LightGCN", known, s, seed)),
}

"""What text encoders are worth: ``python -m benchmarks.encoders [export] [floors] [chinese]``.

- export: MiniLM from torch to ONNX fp32 and int8: mean cosine to the original and texts per
  second on one thread, over titles and reviews. Targets: .999, .97, int8 at least 3 times torch.
- floors: content alone with one retriever on items that nobody in training used: the encoder,
  TF-IDF + SVD, and the encoder with its texts shuffled.
- chinese: reviews of ten shop categories: how often the nearest neighbour, and the nearest five,
  are of the same category (chance: .10), per encoder.

The logs come from ``LIFELOOP_DATA`` (../shared/data). Vectors are kept in ``.bench``.
"""

import json
import sys
import time
from typing import Any

import numpy as np

from benchmarks.cold import Cold, cold_items, ndcg_on
from benchmarks.encoding import encoder_of, minilm, vectors_of
from benchmarks.texts import LOGS, chinese_reviews, films, instruments
from lifeloop.contracts import Encoder
from lifeloop.models.retrieve.content import Content
from lifeloop.trial import shuffled

SPEED_TEXTS = 192


def exported() -> dict[str, Any]:
    """Agreement with the original and texts per processor second, best of five passes."""
    import torch

    from lifeloop.encoders import OnnxText, Transformer
    from lifeloop.encoders.export import minilm_folder

    torch.set_num_threads(1)
    titles = [t[:60] for t in films().texts.values()]
    reviews = instruments().written["text"].to_list()
    rng = np.random.default_rng(0)
    picked = {
        "titles": [titles[i] for i in rng.choice(len(titles), SPEED_TEXTS, replace=False)],
        "reviews": [reviews[i][:1000] for i in rng.choice(len(reviews), 64, replace=False)],
    }
    encoders: dict[str, Encoder] = {
        "torch": Transformer(minilm_folder()),
        "onnx fp32": OnnxText(minilm(int8=False)),
        "onnx int8": OnnxText(minilm()),
    }
    told: dict[str, Any] = {}
    for kind, texts in picked.items():
        made = {name: encoder.encode(texts)[0] for name, encoder in encoders.items()}
        speed = dict.fromkeys(encoders, 0.0)
        for _ in range(5):
            for name, encoder in encoders.items():
                begun = time.process_time()
                encoder.encode(texts)
                speed[name] = max(speed[name], len(texts) / (time.process_time() - begun))
        told[kind] = {
            name: {
                "cosine_to_torch": round(float((made["torch"] * made[name]).sum(1).mean()), 4),
                "texts_per_s": round(speed[name], 1),
                "times_torch": round(speed[name] / speed["torch"], 2),
            }
            for name in encoders
        }
    return told


def floors(names: tuple[str, ...] = ("e5", "minilm")) -> dict[str, Any]:
    """NDCG@10 of content alone on items that are new, per log and encoder."""
    told: dict[str, Any] = {}
    for log_name, make in LOGS.items():
        cold = cold_items(make())
        told[log_name] = {"items": len(cold.new_ix), "people": len(cold.queries)}
        for name in ("tfidf", "hash", *names):
            content, rows, _ = vectors_of(name, list(cold.item_ids), cold.texts)
            told[log_name][name] = _content(cold, content, rows)
            if name in names:
                mixed = shuffled(rows, seed=0)
                told[log_name][f"{name}, shuffled"] = _content(cold, content, mixed)
    return told


def _content(cold: Cold, content: Any, rows: Any) -> float:
    fitted = Content().fit(cold.data(content, rows), rng=np.random.default_rng(0))
    return round(ndcg_on(fitted, cold), 4)


def chinese(names: tuple[str, ...] = ("tfidf", "hash", "minilm", "e5")) -> dict[str, Any]:
    """Share of nearest neighbours in the same category."""
    rows = chinese_reviews()
    texts, cats = rows["review"].to_list(), rows["cat"].to_numpy()
    told: dict[str, Any] = {"reviews": len(texts), "categories": len(set(cats))}
    for name in names:
        ids = [str(n) for n in range(len(texts))]
        content, row, _ = vectors_of(name, ids, dict(zip(ids, texts, strict=True)))
        own = np.where(row[:, None] >= 0, content[row], 0.0)
        near = own @ own.T
        np.fill_diagonal(near, -2.0)
        top = np.argsort(-near, axis=1, kind="stable")[:, :5]
        same = cats[top] == cats[:, None]
        made_by = encoder_of(name, texts).id if name != "tfidf" else "tfidf-svd/128"
        told[name] = {
            "encoder": made_by,
            "nearest_1": round(float(same[:, 0].mean()), 4),
            "nearest_5": round(float(same.mean()), 4),
        }
    mixed = np.random.default_rng(0).permutation(cats)
    told["chance"] = round(float((mixed[:, None] == cats[None, :]).mean()), 4)
    return told


PARTS = {"export": exported, "floors": floors, "chinese": chinese}


def main() -> None:
    """Print one JSON object per part asked for."""
    for part in sys.argv[1:] or list(PARTS):
        print(json.dumps({part: PARTS[part]()}, ensure_ascii=False, indent=1), flush=True)


if __name__ == "__main__":
    main()

"""From lists to one table: every model's numbers with intervals, paired against the best peer."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from lifeloop.evaluate import metrics
from lifeloop.evaluate.bootstrap import bootstrap

SEED = 7


def measured(folder: Path) -> dict[str, dict[str, Any]]:
    """Return {model: numbers} of all lists that lie in a split's folder."""
    held = np.load(folder / "targets.npz")
    known = np.load(folder / "known.npz")
    n_items, n_users = int(known["n_items"]), int(known["n_users"])
    pairs = np.unique(known["user"].astype(np.int64) * n_items + known["item"])
    people = np.bincount(pairs % n_items, minlength=n_items)
    found = {}
    for path in sorted(folder.glob("lists.*.npz")):
        got = np.load(path)
        lists = got["lists"]
        ranks = [
            np.flatnonzero(np.isin(row, held["targets"][lo:hi])) + 1.0
            for row, lo, hi in zip(lists, held["indptr"], held["indptr"][1:], strict=False)
        ]
        full = [
            np.concatenate([own, np.full(hi - lo - len(own), np.inf)])
            for own, lo, hi in zip(ranks, held["indptr"], held["indptr"][1:], strict=False)
        ]
        per_user = np.column_stack(
            [
                [metrics.ndcg(r, 10) for r in full],
                [metrics.hit_rate(r, 10) for r in full],
                [metrics.recall(r, 20) for r in full],
            ]
        )
        sure = bootstrap(per_user, seed=SEED)
        about = json.loads(str(got["about"]))
        found[f"{about['library']}:{about['model']}"] = {
            "ndcg@10": sure[0].mean,
            "ndcg@10_ci": [sure[0].lo, sure[0].hi],
            "hr@10": sure[1].mean,
            "recall@20": sure[2].mean,
            "coverage@10": metrics.coverage(lists[:, :10], n_items),
            "popularity_percentile@10": float(
                np.nanmean(metrics.popularity_percentile(lists[:, :10], people))
            ),
            "novelty_bits@10": float(np.nanmean(metrics.novelty(lists[:, :10], people, n_users))),
            "short_lists": int((lists[:, 9] < 0).sum()),
            **about,
            "_per_user": per_user[:, 0],
        }
    return found


def paired(found: dict[str, dict[str, Any]]) -> tuple[str | None, dict[str, dict[str, float]]]:
    """Return the best peer by NDCG@10 and each of ours minus it, with its interval."""
    peers = [name for name in found if not name.startswith("ours:")]
    ours = [name for name in found if name.startswith("ours:")]
    if not peers:
        return None, {}
    best = max(peers, key=lambda name: found[name]["ndcg@10"])
    told = {}
    for name in ours:
        gain = found[name]["_per_user"] - found[best]["_per_user"]
        (own,) = bootstrap(gain[:, None], seed=SEED)
        told[name] = {"diff": own.mean, "lo": own.lo, "hi": own.hi, "p": own.p}
    return best, told


def with_earlier(
    earlier: dict[str, Any],
    about: dict[str, Any],
    models: dict[str, dict[str, Any]],
    best: str | None,
    told: dict[str, dict[str, float]],
) -> tuple[dict[str, dict[str, Any]], str | None, dict[str, dict[str, float]]]:
    """Return rows, best peer and paired differences with those of earlier runs added.

    An earlier row stays where its model has no lists here and it answered the same questions
    from the same data. A difference to a peer needs the lists of both, so an earlier one stays
    only where the best peer does, and none is given to a peer whose lists are gone.
    """
    split = earlier.get("split", {})
    if any(split.get(key) != about[key] for key in ("targets_hash", "data_hash")):
        return models, best, told
    rows = {name: row for name, row in earlier["models"].items() if name not in models}
    every = {**models, **rows}
    peers = [name for name in every if not name.startswith("ours:")]
    if not peers:
        return every, None, {}
    ahead = max(peers, key=lambda name: every[name]["ndcg@10"])
    kept: dict[str, dict[str, float]] = {}
    if ahead == earlier["best_peer"]:
        before = earlier["paired_with_best_peer"]
        kept = {name: own for name, own in before.items() if name in rows}
    return every, ahead, {**kept, **(told if ahead == best else {})}


COLUMNS = (
    ("NDCG@10", "ndcg@10", "{:.4f}"),
    ("95%", "ndcg@10_ci", "{0[0]:.4f}–{0[1]:.4f}"),
    ("HR@10", "hr@10", "{:.3f}"),
    ("recall@20", "recall@20", "{:.3f}"),
    ("cover@10", "coverage@10", "{:.3f}"),
    ("trials", "trials", "{}"),
    ("fit s", "fit_s", "{:.1f}"),
    ("peak MB", "peak_mb", "{}"),
    ("p50 ms", "request_p50_ms", "{:.2f}"),
    ("users/s", "users_per_s", "{}"),
)


def markdown(
    found: dict[str, dict[str, Any]], best: str | None, told: dict[str, dict[str, float]]
) -> str:
    """Return the table, best first, with the paired difference to the best peer."""
    heads = ["model", *(head for head, _, _ in COLUMNS), f"− {best or 'best peer'}"]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for name, row in sorted(found.items(), key=lambda pair: -pair[1]["ndcg@10"]):
        cells = [form.format(row[key]) for _, key, form in COLUMNS]
        own = told.get(name)
        last = f"{own['diff']:+.4f} [{own['lo']:+.4f}, {own['hi']:+.4f}]" if own else ""
        shown = f"**{name}**" if own else name
        lines.append("| " + " | ".join([shown, *cells, last]) + " |")
    return "\n".join(lines)

"""Settings of a part found by Optuna on the validation slice, within a stated budget.

A ladder (``climb``) goes up and down one setting while it gains; some parts have two or three that
matter together. Where trials are asked for, such parts are fitted with what a tree-structured
Parzen estimator proposes (bergstra2011), judged on the same slice, and the best is kept if it is
better than what the ladder found. The slice is cut from the training data only.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lifeloop.contracts import FittedRetriever, Retriever
from lifeloop.errors import MissingExtra
from lifeloop.models.climb import Climbed, Judge
from lifeloop.models.holdout import Holdout
from lifeloop.models.retrieve.als import Als
from lifeloop.models.retrieve.bpr import Bpr
from lifeloop.models.retrieve.ease import Ease
from lifeloop.models.retrieve.itemknn import ItemKNN
from lifeloop.models.retrieve.sequential import SequentialRidge
from lifeloop.models.retrieve.transitions import Transitions
from lifeloop.models.retrieve.userknn import UserKNN


@dataclass(frozen=True, slots=True)
class Tuning:
    """What may be spent on each part of a blend.

    Parameters
    ----------
    trials : int
        Fits at most; 0: no search.
    seconds : float or None
        No trial is begun after so long; the result then depends on the machine.
    """

    trials: int = 0
    seconds: float | None = None


def tuned(
    found: Climbed, inner: Holdout, judge: Judge, *, budget: Tuning, rng: np.random.Generator
) -> Climbed:
    """Return the best of the part that the ladder found and of the trials.

    Raises
    ------
    MissingExtra
        Trials are asked for and Optuna is not installed.
    """
    space = SPACES.get(type(found.part))
    if space is None or budget.trials < 1:
        return found
    seed = int(rng.integers(2**31))
    try:
        import optuna
    except ImportError as missing:
        raise MissingExtra("the search for settings", "train") from missing
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    before = judge(found.fitted)
    best: list[tuple[Retriever, FittedRetriever, float]] = [(found.part, found.fitted, before)]

    def one(trial: Any) -> float:
        part = space(trial, found.part)
        fitted = part.fit(inner.data, rng=np.random.default_rng(seed))
        value = judge(fitted)
        if value > best[0][2]:
            best[0] = (part, fitted, value)
        return value

    study = optuna.create_study(
        direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=5)
    )
    study.optimize(one, n_trials=budget.trials, timeout=budget.seconds)
    part, fitted, value = best[0]
    words = "what was there" if part is found.part else _words(study.best_params)
    told = (
        f"{part.name}: {len(study.trials)} trials of Optuna on validation: {words}, "
        f"NDCG@10 {value:.4f} (before {before:.4f})"
    )
    return Climbed(part, fitted, told if found.told is None else f"{found.told}; {told}")


def _words(settings: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in sorted(settings.items()))


def _ease(trial: Any, part: Any) -> Retriever:
    return _with(part, ridge=trial.suggest_float("ridge", 5.0, 5000.0, log=True))


def _sequential(trial: Any, part: Any) -> Retriever:
    return _with(
        part,
        ridge=trial.suggest_float("ridge", 5.0, 5000.0, log=True),
        half_life_events=trial.suggest_float("half_life_events", 1.0, 40.0, log=True),
    )


def _itemknn(trial: Any, part: Any) -> Retriever:
    return _with(
        part,
        k=trial.suggest_int("k", 10, 500, log=True),
        shrink=trial.suggest_float("shrink", 0.5, 200.0, log=True),
    )


def _transitions(trial: Any, part: Any) -> Retriever:
    return _with(
        part,
        window=trial.suggest_int("window", 2, 60, log=True),
        decay=trial.suggest_float("decay", 0.5, 0.99),
        shrink=trial.suggest_float("shrink", 0.2, 100.0, log=True),
    )


def _userknn(trial: Any, part: Any) -> Retriever:
    return _with(
        part,
        k=trial.suggest_int("k", 10, 500, log=True),
        idf=trial.suggest_categorical("idf", [True, False]),
    )


def _als(trial: Any, part: Any) -> Retriever:
    return _with(
        part,
        factors=trial.suggest_int("factors", 16, 192, log=True),
        alpha=trial.suggest_float("alpha", 0.5, 50.0, log=True),
        ridge=trial.suggest_float("ridge", 0.1, 100.0, log=True),
    )


def _bpr(trial: Any, part: Any) -> Retriever:
    return _with(
        part,
        factors=trial.suggest_int("factors", 16, 128, log=True),
        rate=trial.suggest_float("rate", 0.01, 0.2, log=True),
        ridge=trial.suggest_float("ridge", 1e-4, 0.1, log=True),
        rounds=trial.suggest_int("rounds", 20, 200, log=True),
    )


def _with(part: Any, **settings: Any) -> Retriever:
    made: Retriever = replace(part, **settings)
    return made


SPACES: dict[type, Callable[[Any, Any], Retriever]] = {
    Als: _als,
    Bpr: _bpr,
    Ease: _ease,
    ItemKNN: _itemknn,
    SequentialRidge: _sequential,
    Transitions: _transitions,
    UserKNN: _userknn,
}
"""What of each kind of part is searched."""

"""What the ranker is told of a candidate: what every retriever says, the item, the person, both.

Letters used in shapes: P parts, I items, C candidates of one query, L history events, F features.
"""

from collections.abc import Sequence

import numpy as np

from lifeloop.contracts import Double, FittedRetriever, Float, Int, Long, Queries
from lifeloop.models.rank.candidates import Lists
from lifeloop.models.rank.items import ItemFacts
from lifeloop.models.scored import traces_of

LAST = ("last1", "last2", "last3")
"""The newest events, of which each part is asked on its own."""
RECENT = 10
"""Events that count as what the person does lately."""
WRITTEN = "written.cosine"
"""How near a candidate is to what the person wrote; missing where they wrote nothing."""


def names(parts: Sequence[str], levels: int = 0) -> tuple[str, ...]:
    """Return the names of the features, in the order of ``features``; parts first.

    ``levels`` is how many semantic codes an item has.
    """
    per_part = [f"{p}.{what}" for p in parts for what in ("score", "share", "rank")]
    per_event = [f"{p}.{what}" for p in parts for what in (*LAST, "strongest", "events")]
    return (
        *per_part,
        "blend.score",
        "blend.share",
        "blend.rank",
        *(f"item.{name}" for name in ItemFacts.names(levels)),
        "person.events",
        "person.items",
        "person.log_users",
        "person.spread_log_users",
        "person.days_since_last",
        "person.days_per_event",
        "person.tenure_days",
        "person.late",
        "person.log_predicted_value",
        "person.p_alive",
        "both.log_users_above_habit",
        "both.log_price_above_habit",
        "both.used_before",
        "both.events_since_used",
        "both.days_since_used",
        "both.cosine_last",
        "both.cosine_recent",
        "both.cosine_nearest",
        "both.cosine_words",
        WRITTEN,
        *per_event,
    )


def features(
    lists: Lists,
    queries: Queries,
    b: int,
    item_ix: Int,
    *,
    parts: Sequence[FittedRetriever],
    facts: ItemFacts,
) -> Float:
    """Return [C, F] for some items of query b; no item's features depend on the others asked for.

    Parameters
    ----------
    lists : Lists
        What the parts and the blend say to query b.
    item_ix : int32 [C]
        The candidates.
    """
    scores = lists.scores(item_ix)  # [P+1, C]
    places = lists.places(scores)
    columns: list[Float | Double] = []
    for row, place, peak in zip(scores, places, lists.peak, strict=True):
        silent = row == -np.inf
        known = np.where(silent, np.nan, row)
        columns += [known, known / peak if peak > 0 else known]
        columns.append(np.where(silent, np.nan, np.log1p(place)))
    columns += facts.at(item_ix, int(queries.as_of_us[b]))
    columns += _person_and_both(queries, b, item_ix, facts=facts)
    for part in parts:
        columns += _per_event(part, queries, b, item_ix)
    return np.ascontiguousarray(np.array(columns, dtype=np.float32).T)


def _per_event(
    part: FittedRetriever, queries: Queries, b: int, item_ix: Int
) -> list[Double | Float]:
    """Return what the newest events and the strongest one add, and how many add anything."""
    if not hasattr(part, "at"):
        return [np.full(len(item_ix), np.nan)] * (len(LAST) + 2)
    amounts = traces_of(part, queries, b, item_ix)[:, :-1]  # [C, L]
    newest = amounts[:, ::-1][:, : len(LAST)]
    missing = [np.full(len(item_ix), np.nan)] * (len(LAST) - newest.shape[1])
    strongest = amounts.max(axis=1, initial=0.0)
    return [*newest.T, *missing, strongest, (amounts > 0).sum(axis=1).astype(np.float64)]


def _person_and_both(
    queries: Queries, b: int, item_ix: Int, *, facts: ItemFacts
) -> list[Double | Float]:
    lo, hi = int(queries.indptr[b]), int(queries.indptr[b + 1])
    kept = lo + np.flatnonzero(queries.weight[lo:hi] > 0)
    past, age = queries.item_ix[kept], queries.age_days[kept]  # [L]
    n, size = len(item_ix), len(past)
    recent = past[-RECENT:]
    habit = facts.log_users[recent]
    usual = float(habit.mean()) if size else np.nan
    newest = float(age[-1]) if size else np.nan
    span = float(age[0] - age[-1]) / (size - 1) if size > 1 else np.nan
    person = [
        np.log1p(size),
        np.log1p(len(np.unique(past))),
        usual,
        float(habit.std()) if size else np.nan,
        newest,
        span,
        float(age[0]) if size else np.nan,
        # how far beyond the usual pause: what tells active from lapsing
        newest / (span + 1.0) if size > 1 else np.nan,
        *_foretold(queries, b),
    ]
    columns: list[Double | Float] = [np.full(n, value) for value in person]
    columns.append(facts.log_users[item_ix] - usual)
    paid = facts.log_price[recent]
    paid = paid[~np.isnan(paid)]
    level = float(paid.mean()) if len(paid) else np.nan
    columns.append(facts.log_price[item_ix] - level)
    columns += _repeats(past, age, item_ix)
    columns += _contents(queries, b, past, item_ix, facts=facts)
    columns.append(_written(queries, b, item_ix, facts=facts))
    return columns


def _foretold(queries: Queries, b: int) -> tuple[float, float]:
    if queries.predicted is None:
        return np.nan, np.nan
    value, p_alive = queries.predicted[b].tolist()
    return float(np.log1p(value)), float(p_alive)


def _repeats(past: Int, age: Float, item_ix: Int) -> list[Double]:
    """Return how often [C], how many events ago and how many days ago each was last used."""
    used = np.zeros(len(item_ix))
    events, days = np.full(len(item_ix), np.nan), np.full(len(item_ix), np.nan)
    if len(past):
        order: Long = np.argsort(past, kind="stable")
        ordered = past[order]
        lo = np.searchsorted(ordered, item_ix, side="left")
        hi = np.searchsorted(ordered, item_ix, side="right")
        used = (hi - lo).astype(np.float64)
        met = np.flatnonzero(hi > lo)
        last = order[hi[met] - 1]
        events[met] = len(past) - 1 - last
        days[met] = age[last]
    return [np.log1p(used), events, days]


def _contents(
    queries: Queries, b: int, past: Int, item_ix: Int, *, facts: ItemFacts
) -> list[Double]:
    none = np.full(len(item_ix), np.nan)
    words = none
    if queries.vectors is not None and queries.mask is not None and queries.mask[b]:
        own = facts.content_ix[item_ix]
        words = np.where(own >= 0, facts.content[own] @ queries.vectors[b], np.nan)
    if not len(past) or not len(facts.content):
        return [none, none, none, words]
    cosine = facts.cosines(item_ix, past[-RECENT:])  # [C, L']
    has = ~np.isnan(cosine)
    filled = np.where(has, cosine, 0.0)
    mean = np.where(has.any(axis=1), filled.sum(axis=1) / np.maximum(has.sum(axis=1), 1), np.nan)
    nearest = np.where(has.any(axis=1), np.where(has, cosine, -1.0).max(axis=1), np.nan)
    return [cosine[:, -1], mean, nearest, words]


def _written(queries: Queries, b: int, item_ix: Int, *, facts: ItemFacts) -> Double:
    words = None if queries.written is None else queries.written[b]
    if words is None or not words.any():
        return np.full(len(item_ix), np.nan)
    return facts.nearness(item_ix, words)

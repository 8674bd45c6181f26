"""What a person said of themselves, as one vector: searches, reviews, stated preferences.

    q = Σ_k 2^(−age_k / half-life) · v_k over the newest texts, plus v of what was stated at sign-up

It stands in where nothing was asked for just now and nothing was done yet; behaviour, where there
is any, says more than old words. What was searched for in the session that is going on is asked for
just now (``searched``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lifeloop.contracts import UNTIMED, Float, History
from lifeloop.models.data import age_days
from lifeloop.reading import TextReader
from lifeloop.text_settings import TextEncoding

SEARCHES = 3
"""Newest searches of a session that count."""


@dataclass(frozen=True, slots=True, eq=False)
class Said:
    """The pooled vector [d], and the words for the reason: the newest of them."""

    vector: Float
    text: str


def said(
    reader: TextReader,
    history: History,
    attributes: Mapping[str, Any] | None,
    *,
    t_us: int,
    settings: TextEncoding,
) -> Said | None:
    """Return what the newest texts and the stated preferences say, None where there are none.

    Parameters
    ----------
    attributes : mapping or None
        Of the user; ``settings.preferences`` names those that state a liking (text, or a list).
    t_us : int
        The moment of the request.
    """
    newest = [n for n in range(len(history) - 1, -1, -1) if (history.text[n] or "").strip()]
    newest = newest[: settings.written]
    texts = [str(history.text[n]) for n in newest]
    age = age_days(history.t_us[newest], t_us) if newest else np.zeros(0)
    age = np.where(np.isnan(age), settings.written_half_life_days, age)  # untimed: counts half
    weight = list(np.exp2(-age / settings.written_half_life_days))
    if stated := preferences(attributes or {}, settings.preferences):
        texts.append(stated)
        weight.append(1.0)
    if not texts:
        return None
    vectors = reader.read_all(texts)  # [k, d]
    pooled = np.asarray(weight, dtype=np.float64) @ vectors
    norm = float(np.linalg.norm(pooled))
    if norm < 1e-9:
        return None
    return Said((pooled / norm).astype(np.float32), texts[0])


def searched(reader: TextReader, history: History, *, t_us: int, gap_minutes: float) -> Said | None:
    """Return what was searched for in the session that is going on, None where nothing was.

    A search is a text without an item. The session goes back from ``t_us`` to the first pause
    longer than ``gap_minutes``; of k searches the newest counts 1, the one before ½, and so on.
    """
    gap_us = gap_minutes * 60e6
    texts: list[str] = []
    before = t_us
    for n in range(len(history) - 1, -1, -1):
        at = int(history.t_us[n])
        if at == UNTIMED or before - at > gap_us:
            break
        before = at
        text = (history.text[n] or "").strip()
        if text and history.item_id[n] is None and not history.is_bot[n]:
            texts.append(text)
            if len(texts) == SEARCHES:
                break
    if not texts:
        return None
    vectors = reader.read_all(texts)  # [k, d]
    pooled = np.exp2(-np.arange(len(texts), dtype=np.float64)) @ vectors
    norm = float(np.linalg.norm(pooled))
    return None if norm < 1e-9 else Said((pooled / norm).astype(np.float32), texts[0])


def preferences(attributes: Mapping[str, Any], names: Sequence[str]) -> str:
    """Return what some attributes state, as one text; values of other kinds are left out.

    Examples
    --------
    >>> preferences({"interests": ["tea", "jazz"], "age": 30}, ("interests",))
    'tea, jazz'
    """
    told: list[str] = []
    for name in names:
        value = attributes.get(name)
        values = [value] if isinstance(value, str) else value
        if isinstance(values, list | tuple):
            told += [v.strip() for v in values if isinstance(v, str) and v.strip()]
    return ", ".join(dict.fromkeys(told))

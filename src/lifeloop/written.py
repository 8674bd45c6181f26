"""What a person said of themselves, as one vector: searches, reviews, stated preferences.

    q = Σ_k 2^(−age_k / half-life) · v_k over the newest texts, plus v of what was stated at sign-up

It stands in where nothing was asked for just now and nothing was done yet (``said``). What was
searched for in the session that is going on is asked for just now (``searched``). Of a person who
has done something the ranker is told how near an item is to the same q (``wrote``); there only what
was written strictly before the moment counts, and what is stated from the day of the record on, so
that held-out queries (``Writings``) and requests are told the same.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from lifeloop.contracts import UNTIMED, Float, History, Int, Long, Snapshot
from lifeloop.events.records import User
from lifeloop.models.data import DAY_US, age_days
from lifeloop.reading import TextReader
from lifeloop.text_settings import TextEncoding

SEARCHES = 3
"""Newest searches of a session that count."""
BATCH = 256
"""Texts handed to the encoder at once."""
QUICK = ("tfidf", "hash")
"""Encoders that read thousands of texts in seconds."""
MOST_SLOW = 1000
"""Texts that another encoder reads for one slice of a training at most: it may need a second for
two of them."""


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
    vector = _pooled(weight, reader.read_all(texts))
    return None if vector is None else Said(vector, texts[0])


@dataclass(frozen=True, slots=True)
class Words:
    """The texts that count at one moment, newest first, and what each weighs."""

    texts: list[str]
    weight: list[float]


def words(
    texts: Sequence[str | None],
    t_us: Long,
    *,
    as_of_us: int,
    before_us: int,
    stated: str,
    stated_us: int | None,
    settings: TextEncoding,
) -> Words:
    """Return the newest texts before a moment, and what was stated before it.

    Parameters
    ----------
    texts, t_us : sequence of str or None [n], int64 array [n]
        What one person wrote, oldest first. What has no time is not known to be before.
    as_of_us, before_us : int
        Ages count from the one; what came at the other or later does not count.
    stated, stated_us : str, int or None
        What the record of the person states (``preferences``), and when the record was made.
    """
    found: list[str] = []
    weight: list[float] = []
    for n in range(len(texts) - 1, -1, -1):
        if len(found) >= settings.written:
            break
        text, at = texts[n], int(t_us[n])
        if text and text.strip() and at != UNTIMED and at < before_us:
            found.append(text)
            age = max(0.0, (as_of_us - at) / DAY_US)
            weight.append(float(np.exp2(-age / settings.written_half_life_days)))
    if stated and stated_us is not None and stated_us < before_us:
        found.append(stated)
        weight.append(1.0)
    return Words(found, weight)


def wrote(
    reader: TextReader,
    history: History,
    user: User | None,
    *,
    t_us: int,
    settings: TextEncoding,
) -> Said | None:
    """Return what a person wrote strictly before a request, as the ranker is told it.

    ``user`` is None where nothing that is stored of them may be read.
    """
    by_people = [
        None if bot else text for text, bot in zip(history.text, history.is_bot, strict=True)
    ]
    found = words(
        by_people,
        history.t_us,
        as_of_us=t_us,
        before_us=t_us,
        stated="" if user is None else preferences(user.attributes, settings.preferences),
        stated_us=None if user is None else user.created_us,
        settings=settings,
    )
    if not found.texts:
        return None
    vector = _pooled(found.weight, reader.read_all(found.texts))
    return None if vector is None else Said(vector, found.texts[0])


@dataclass(frozen=True, slots=True, eq=False)
class Writings:
    """What U users wrote and stated, as ``contracts.Written``: M texts in CSR form, oldest first.

    Texts become vectors when they are asked for, and no vector is kept: see ``TextReader``.
    """

    reader: TextReader
    settings: TextEncoding
    indptr: Long  # [U+1]
    t_us: Long  # [M]
    text: tuple[str, ...]  # [M]
    stated: tuple[str, ...]  # [U]
    stated_us: tuple[int | None, ...]  # [U]

    @classmethod
    def of(
        cls, reader: TextReader, told: "Told", user_ids: Sequence[str], settings: TextEncoding
    ) -> Self:
        """Return what these users wrote, in their order."""
        ids = pl.DataFrame({"user_id": list(user_ids)}, schema={"user_id": pl.String})
        place = ids.with_row_index("user_ix")
        rows = told.texts.join(place, on="user_id", how="inner", maintain_order="left")
        rows = rows.sort("user_ix", "t_us", "seq", maintain_order=True)
        bounds = np.searchsorted(rows["user_ix"].to_numpy(), np.arange(len(ids) + 1))
        own = told.stated
        return cls(
            reader,
            settings,
            bounds.astype(np.int64),
            rows["t_us"].to_numpy(),
            tuple(rows["text"].to_list()),
            tuple(own[user][0] if user in own else "" for user in user_ids),
            tuple(own[user][1] if user in own else None for user in user_ids),
        )

    def at(self, users: Int, as_of_us: Long, before_us: Long, *, most: int | None = None) -> Float:
        """Return [B, d]; see ``contracts.Written``. ``most`` is kept by reading every n-th row.

        A slow encoder reads ``MOST_SLOW`` where ``most`` is more.
        """
        found = [
            self._words(int(user), int(as_of), int(before))
            for user, as_of, before in zip(users, as_of_us, before_us, strict=True)
        ]
        rows = [b for b, each in enumerate(found) if each.texts]
        if most is not None and self.reader.made_by not in QUICK:
            most = min(most, MOST_SLOW)
        step = 1
        while most is not None and len({t for b in rows[::step] for t in found[b].texts}) > most:
            step += 1
        rows = rows[::step]
        distinct = list(dict.fromkeys(text for b in rows for text in found[b].texts))
        vectors: dict[str, Float] = {}
        for start in range(0, len(distinct), BATCH):
            some = distinct[start : start + BATCH]
            vectors.update(zip(some, self.reader.read_all(some), strict=True))
        width = len(next(iter(vectors.values()))) if vectors else 1
        out = np.zeros((len(found), width), dtype=np.float32)
        for b in rows:
            own = _pooled(found[b].weight, np.stack([vectors[t] for t in found[b].texts]))
            if own is not None:
                out[b] = own
        return out

    def _words(self, user: int, as_of_us: int, before_us: int) -> Words:
        lo, hi = int(self.indptr[user]), int(self.indptr[user + 1])
        return words(
            self.text[lo:hi],
            self.t_us[lo:hi],
            as_of_us=as_of_us,
            before_us=before_us,
            stated=self.stated[user],
            stated_us=self.stated_us[user],
            settings=self.settings,
        )


@dataclass(frozen=True, slots=True)
class Told:
    """What the store holds of people's words: texts with their times, and what records state."""

    texts: pl.DataFrame  # user_id, t_us, seq, text; none of programs, none without a time
    stated: Mapping[str, tuple[str, int | None]]  # user -> text, when the record was made

    @classmethod
    def of(cls, snapshot: Snapshot, settings: TextEncoding) -> Self:
        """Return what a snapshot holds; nobody's who refuses personalisation."""
        refuse = {
            str(user)
            for user, consent in snapshot.users.select("user_id", "consent").iter_rows()
            if consent and json.loads(consent).get("personalisation") is False
        }
        texts = snapshot.events.filter(
            pl.col("text").is_not_null()
            & (pl.col("text").str.strip_chars() != "")
            & pl.col("t_us").is_not_null()
            & pl.col("is_bot").ne_missing(True)
            & ~pl.col("user_id").is_in(sorted(refuse))
        ).select("user_id", "t_us", "seq", "text")
        stated: dict[str, tuple[str, int | None]] = {}
        people = snapshot.users.select("user_id", "attributes", "created_us")
        for user, attributes, created_us in people.iter_rows():
            own = preferences(json.loads(attributes or "{}"), settings.preferences)
            if own and user not in refuse:
                stated[user] = (own, created_us)
        return cls(texts, stated)


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
    vector = _pooled(np.exp2(-np.arange(len(texts), dtype=np.float64)), vectors)
    return None if vector is None else Said(vector, texts[0])


def _pooled(weight: ArrayLike, vectors: Float) -> Float | None:
    """Return the weighted sum of vectors [k, d] at length 1, None where there is none."""
    own = np.asarray(weight, dtype=np.float64)
    # words of years ago weigh next to nothing, and alone they are still all there is
    pooled = (own / max(float(own.max()), np.finfo(np.float64).tiny)) @ vectors
    norm = float(np.linalg.norm(pooled))
    return None if norm < 1e-9 else (pooled / norm).astype(np.float32)


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

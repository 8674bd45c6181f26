"""Encoders, retrievers, and what they are given.

Letters used in shapes: B queries, L history length, n events, I items, d vector width,
k slate or candidate length.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from lifeloop.contracts.words import Bool, Double, Float, Int, Long


class Encoder(Protocol):
    """Texts (or other records) to vectors. ``id`` names the encoder and all its settings."""

    @property
    def id(self) -> str:
        """Stable name of the encoder and its settings, part of the cache key."""
        ...

    @property
    def d(self) -> int:
        """Width of the vectors."""
        ...

    def encode(self, texts: Sequence[str]) -> tuple[Float, Bool]:
        """Return unit vectors [n, d] and a mask [n], False where there was nothing to encode."""
        ...


@dataclass(frozen=True, slots=True)
class Situations:
    """In what situation each of n events happened: one code per field, -1 where unknown."""

    fields: tuple[str, ...]  # [F] hour, weekday, device, place, channel, …
    values: tuple[tuple[str, ...], ...]  # [F] what the codes of each field stand for
    codes: Int  # [n, F]


@dataclass(frozen=True, slots=True, eq=False)
class Predicted:
    """What was predicted of each user, from when on: M predictions in CSR form, oldest first.

    ``values`` are predicted value (money, at least 0) and P(alive). A prediction holds until the
    user's next one.
    """

    indptr: Long  # [U+1]
    from_us: Long  # [M]
    values: Float  # [M, 2]

    def at(self, users: Int, as_of_us: Long) -> Float:
        """Return what held of each user at each moment, [B, 2]; NaN where nothing did."""
        out = np.full((len(users), 2), np.nan, dtype=np.float32)
        for b, (user, moment) in enumerate(zip(users, as_of_us, strict=True)):
            lo, hi = self.indptr[user], self.indptr[user + 1]
            held = int(np.searchsorted(self.from_us[lo:hi], moment, side="right"))
            if held:
                out[b] = self.values[lo + held - 1]
        return out


class Written(Protocol):
    """What users wrote, each text with its time; read when it is asked for."""

    def at(self, users: Int, as_of_us: Long, before_us: Long, *, most: int | None = None) -> Float:
        """Return what each had written strictly before ``before_us``, as unit vectors [B, d].

        Ages count from ``as_of_us``; a row is all zero where there is nothing to read. With
        ``most``, at most so many texts are read: some of the rows are left zero.
        """
        ...


@dataclass(frozen=True, slots=True)
class TrainData:
    """Interactions as arrays, sorted by (user, time, arrival).

    ``weight`` is the evidence of the event's type (scenario). ``rating`` is NaN where absent.
    Items carry content vectors through ``content_ix`` so that equal texts share one row:
    item i has vector ``content[content_ix[i]]``, or none where ``content_ix[i] == -1``.
    ``blocks`` are the widths of the modalities (text, picture, sound) that a vector is made of.
    """

    user_ix: Int  # [n]
    item_ix: Int  # [n]
    t_us: Long  # [n]
    weight: Float  # [n]
    rating: Float  # [n]
    n_users: int
    item_ids: tuple[str, ...]  # [I]
    content: Float  # [c, d] unit rows
    content_ix: Int  # [I]
    as_of_us: int
    price: Float | None = None  # [I] in the scenario's currency, NaN where unknown
    situation: Situations | None = None  # of the n events
    kind_ix: Int | None = None  # [I] the narrowest category of each item, -1 where it has none
    blocks: tuple[int, ...] = ()  # Σ = d; (): one modality
    predicted: Predicted | None = None  # of the users
    written: Written | None = None  # by the users

    @property
    def n_items(self) -> int:
        """How many items the catalogue has."""
        return len(self.item_ids)


@dataclass(frozen=True, slots=True)
class Queries:
    """B requests: histories in CSR form, oldest first; items unknown to the model are left out.

    ``age_days`` is the event's age at the request (NaN where the time is unknown), ``weight``
    its evidence. ``vectors`` [B, d] come from what the user wrote or stated, with a mask.
    ``situation`` says where and when each is asked, in codes (``TrainData.situation``).
    ``written`` is what a person with a history wrote before: they do not ask for it now.
    ``memo`` keeps what several models would otherwise each work out of the same histories.
    """

    indptr: Long  # [B+1]
    item_ix: Int  # [L]
    weight: Float  # [L]
    age_days: Float  # [L]
    rating: Float  # [L]
    as_of_us: Long  # [B]
    vectors: Float | None = None  # [B, d]
    mask: Bool | None = None  # [B]
    situation: Int | None = None  # [B, F] codes of the model's own fields, -1 where unknown
    predicted: Float | None = None  # [B, 2] value and P(alive), NaN where unknown (``Predicted``)
    written: Float | None = None  # [B, d] unit rows, all zero: nothing (``Written``)
    memo: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.indptr) - 1


@dataclass(frozen=True, slots=True)
class Candidates:
    """The k best items per query, best first; -1 and -inf pad; ``reason[b]`` says why if short."""

    item_ix: Int  # [B, k]
    score: Float  # [B, k]
    reason: tuple[str | None, ...]  # [B]


class Retriever(Protocol):
    """A specification; ``fit`` returns a frozen fitted object."""

    @property
    def name(self) -> str:
        """Short name, as used on the command line and in reports."""
        ...

    def fit(self, data: TrainData, *, rng: np.random.Generator) -> "FittedRetriever":
        """Learn from interactions and item vectors."""
        ...


class FittedRetriever(Protocol):
    """Answers queries by folding the history in; knows items by index and no user by name."""

    @property
    def name(self) -> str:
        """Name of the specification that was fitted."""
        ...

    def score(self, queries: Queries) -> Float:
        """Return [B, I] scores, higher is better; -inf where this model cannot say anything."""
        ...

    def retrieve(self, queries: Queries, k: int, *, allowed: Bool | None = None) -> Candidates:
        """Return the best ``k`` allowed items ([I] or [B, I]); ties go to the lower index."""
        ...

    def contributions(self, queries: Queries, b: int, item_ix: int) -> Double:
        """Return one amount per history event of query b, plus the bias last, summing to score."""
        ...

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the whole state as named arrays (no objects)."""
        ...

    @classmethod
    def load(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild from ``arrays``."""
        ...

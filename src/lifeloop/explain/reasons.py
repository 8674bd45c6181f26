"""Reasons that are true of the score.

A score is a sum: one amount per event of the history, and amounts that no event explains (how
popular the item is, what the user searched for). The reason names the largest kind; where that is
the history, the items whose events add most. It never names an event the user does not have, nor
one that took away from the score.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lifeloop.contracts import Double, Evidence
from lifeloop.explain.catalogue import TEMPLATES, VERBS

Language = Literal["en", "zh"]

NAMED = 2
"""Items named at most."""
QUOTED = 60
"""Characters quoted of what somebody wrote at most: reviews are long."""
SECOND = 0.5
"""A further item is named if it adds at least this part of what the first adds."""


@dataclass(frozen=True, slots=True)
class Happened:
    """One event of the user's history, as reasons speak of it.

    ``verb`` is the past tense of the scenario; ``title`` None: the item id is shown.
    """

    item_id: str
    verb: str
    title: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Past:
    """The events of a history and which of its distinct items each is about."""

    verb: Sequence[str]  # [n]
    items: tuple[str, ...]  # in order of first appearance
    item: NDArray[np.int64]  # [n] place in ``items``
    titles: Mapping[str, str]  # by item id; of others the id is shown

    @classmethod
    def of(cls, happened: Sequence[Happened]) -> "Past":
        """Return the events, sorted out once for a whole slate."""
        return cls.told(
            [event.item_id for event in happened],
            [event.verb for event in happened],
            titles={event.item_id: event.title for event in happened if event.title},
        )

    @classmethod
    def told(
        cls, item_id: Sequence[str], verb: Sequence[str], *, titles: Mapping[str, str]
    ) -> "Past":
        """Return the same of columns [n], for which no event is made an object."""
        items = tuple(dict.fromkeys(item_id))
        code = dict(zip(items, range(len(items)), strict=True))
        item = np.fromiter(map(code.__getitem__, item_id), np.int64, len(item_id))
        return cls(verb, items, item, titles)

    def __len__(self) -> int:
        return len(self.item)


@dataclass(frozen=True, slots=True)
class Facts:
    """What can be said of the item and the request besides the history.

    ``people_recent`` used it within the last ``days``, ``people`` ever; None where unknown.
    ``verb`` is what they did; ``query`` what the user asks for in words, ``wrote`` the newest of
    what they wrote before, if anything.
    """

    people_recent: int | None = None
    people: int | None = None
    days: float = 28.0
    verb: str = "used"
    query: str | None = None
    wrote: str | None = None


@dataclass(frozen=True, slots=True)
class Explained:
    """A reason and what it leaves out: Σ amounts of ``evidence.items`` + ``rest`` = score."""

    evidence: Evidence
    rest: float
    kind: str


def explain(
    amounts: Mapping[str, Double],
    happened: Sequence[Happened] | Past,
    *,
    facts: Facts = Facts(),
    language: Language = "en",
    shares: bool = False,
    own: str | None = None,
) -> Explained:
    """Return the reason of one recommendation.

    Parameters
    ----------
    amounts : mapping of str to float array [n+1]
        Per part of the model, its amount for each of the n events, and its bias last. All of
        them together are the score.
    happened : sequence of Happened [n], or Past
        The events, in the same order; a ``Past`` where many items are explained.
    facts : Facts
        What can be said besides.
    language : {"en", "zh"}
        Language of the text.
    shares : bool
        Add "(62% of the score)" where the score is positive and the evidence is no more than it.
    own : str or None
        The item recommended. Where it is in the history itself and adds most, the reason says so
        ("you bought it before"); nothing is recommended "because" of itself otherwise.
    """
    past = happened if isinstance(happened, Past) else Past.of(happened)
    table = np.zeros((max(len(amounts), 1), len(past) + 1))  # [P, n+1]
    for p, row in enumerate(amounts.values()):
        table[p] = row
    names = list(amounts) or [""]
    return explained(names, table, past, facts=facts, language=language, shares=shares, own=own)


def explained(
    names: Sequence[str],
    table: Double,
    past: Past,
    *,
    facts: Facts,
    language: Language,
    shares: bool = False,
    own: str | None = None,
) -> Explained:
    """Return the same of amounts that lie in one table [P, n+1], a row for each part's name."""
    score = float(table.sum())
    per_event = table[:, :-1].sum(axis=0)  # [n]
    kinds = _kinds(names, table)
    kind = max(kinds, key=lambda name: kinds[name])
    items = _strongest_items(per_event, past)
    if kind == "history" and not items:
        kinds.pop("history")
        kind = max(kinds, key=lambda name: kinds[name]) if kinds else "none"
    if kinds.get(kind, 0.0) <= 0:
        kind = "none"
    if kind == "history":
        history_part = names[int(table[:, :-1].sum(axis=1).argmax())]
        similar = history_part.startswith("content")
        text, named = _of_history(items, past, similar=similar, language=language, own=own)
        evidence = tuple((item_id, amount) for item_id, amount, _ in named)
        told = sum(amount for _, amount in evidence)
    else:
        by_use = kind == "query" and _by_use(names, table)
        text = _of_fact("query_use" if by_use else kind, facts, language=language)
        evidence = ()
        told = kinds.get(kind, 0.0)
    if shares and kind != "none" and 0 < told <= score * (1 + 1e-9):
        percent = min(100, max(1, math.floor(100 * told / score + 0.5)))
        text += TEMPLATES[language]["share"].format(share=percent)
    rest = score - sum(amount for _, amount in evidence)
    return Explained(Evidence(text=text, items=evidence), rest=rest, kind=kind)


def _by_use(names: Sequence[str], table: NDArray[np.float64]) -> bool:
    """Return whether words counted by who uses things of their text more than by their likeness."""
    amount = {"content": 0.0, "text_map": 0.0}
    for name, bias in zip(names, table[:, -1], strict=True):
        kind = "text_map" if name == "text_map" else "content"
        if kind == "text_map" or name.startswith("content"):
            amount[kind] += float(bias)
    return amount["text_map"] > amount["content"]


def _kinds(names: Sequence[str], table: NDArray[np.float64]) -> dict[str, float]:
    """Return how much each kind of evidence adds: history, popularity, query, chance,
    context, written, other."""
    kinds = {"history": float(table[:, :-1].sum())}
    for name, bias in zip(names, table[:, -1].tolist(), strict=True):
        kind = "other"
        if name.endswith("popularity"):
            kind = "popular"
        elif name.startswith("content") or name == "text_map":
            kind = "query"
        elif name == "random":
            kind = "chance"
        elif name in ("context", "written"):
            kind = name
        kinds[kind] = kinds.get(kind, 0.0) + bias
    kinds.pop("other", None)
    return kinds


def _strongest_items(per_event: NDArray[np.float64], past: "Past") -> list[tuple[str, float, int]]:
    """Return (item, amount of all its events, its strongest event) of the items to name.

    Positive amounts only, largest first, equal ones in the order of the history.
    """
    if not len(past.items):
        return []
    total = np.bincount(past.item, weights=per_event, minlength=len(past.items))
    found = []
    for _ in range(min(NAMED, len(total))):
        code = int(total.argmax())
        amount = float(total[code])
        if amount <= 0:
            break
        (own,) = (past.item == code).nonzero()
        strongest = int(own[per_event[own].argmax()])
        found.append((past.items[code], amount, strongest))
        total[code] = 0.0
    return found


def _of_history(
    items: list[tuple[str, float, int]],
    past: Past,
    *,
    similar: bool,
    language: Language,
    own: str | None,
) -> tuple[str, list[tuple[str, float, int]]]:
    words = TEMPLATES[language]
    verb = past.verb[items[0][2]]
    again = items[0][0] == own
    named = [
        row
        for row in items[:NAMED]
        if row[1] >= SECOND * items[0][1] and past.verb[row[2]] == verb and (row[0] == own) == again
    ]
    titles = list(dict.fromkeys(past.titles.get(item_id) or item_id for item_id, _, _ in named))
    quoted = [words["quote"].format(name=title) for title in titles]
    listed = words["comma"].join(quoted[:-1])
    listed = words["and"].join([part for part in (listed, quoted[-1]) if part])
    template = words["again" if again else "similar" if similar else "because"]
    return template.format(verb=_verb(verb, language), items=listed), named


def _of_fact(kind: str, facts: Facts, *, language: Language) -> str:
    words = TEMPLATES[language]
    if kind in ("query", "query_use") and facts.query:
        return words[kind].format(query=words["quote"].format(name=facts.query))
    if kind == "written" and facts.wrote:
        return words[kind].format(query=words["quote"].format(name=_short(facts.wrote)))
    if kind in ("chance", "context"):
        return words[kind]
    if kind != "popular":
        return words["none"]
    verb, days = _verb(facts.verb, language), f"{facts.days:g}"
    if facts.people_recent:
        key = "popular_recent_month" if 28 <= facts.days <= 31 else "popular_recent"
        key = "popular_recent_one" if facts.people_recent == 1 else key
        return words[key].format(verb=verb, n=f"{facts.people_recent:,}", days=days)
    if facts.people:
        key = "popular_ever_one" if facts.people == 1 else "popular_ever"
        return words[key].format(verb=verb, n=f"{facts.people:,}")
    return words["popular"]


def _short(text: str) -> str:
    text = " ".join(text.split())
    if len(text) <= QUOTED:
        return text
    cut = text[: QUOTED - 1]
    at_word = cut.rpartition(" ")[0]
    return (at_word if len(at_word) > QUOTED // 2 else cut).rstrip() + "…"


def _verb(verb: str, language: Language) -> str:
    return VERBS.get(language, {}).get(verb, verb) or VERBS.get(language, {}).get("used", "used")

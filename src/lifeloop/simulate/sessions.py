"""What people do in the shop, visit by visit."""

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lifeloop.contracts import Double
from lifeloop.simulate.catalogue import DAY_US, TOPICS, Goods
from lifeloop.simulate.people import Person

SHOWN = 6
"""Length of the slate shown on each visit."""

_MINUTE_US = 60_000_000
# Share of visits that start in each hour: a small peak at noon, a large one in the evening.
_HOUR_SUMS = np.cumsum(
    [1, 1, 0, 0, 0, 1, 2, 4, 5, 5, 6, 7, 9, 7, 5, 5, 6, 8, 10, 13, 14, 12, 7, 3], dtype=float
)
_REVIEWS = {
    1: "Broke on the first day.",
    2: "Not what I hoped for.",
    3: "It does the job.",
    4: "Good, I would buy it again.",
    5: "Exactly what I wanted, very happy.",
}
Row = dict[str, Any]


@dataclass(slots=True)
class _Visit:
    """The visit being written: who, when, and the clock of the session."""

    who: Row
    common: Row
    now_us: int
    rng: np.random.Generator
    rows: list[Row] = field(default_factory=list)

    def say(self, kind: str, **fields: Any) -> None:
        self.rows.append(
            {"type": kind, "occurred_us": self.now_us, **self.who, **self.common, **fields}
        )
        self.now_us += int(self.rng.integers(5_000_000, 90_000_000))


def life(
    number: int, person: Person, goods: Goods, *, days: int, start_us: int, rng: np.random.Generator
) -> tuple[list[Row], tuple[str, str, int] | None]:
    """Return one person's events, oldest first, and the (anonymous id, user id, time) link.

    Before signing up a person is only an anonymous id. The sign-up carries both ids, which is
    the link; everything later carries the user id alone.
    """
    anonymous, user = f"sim-a{number:05d}", f"sim-u{number:05d}"
    device = str(rng.choice(["phone", "desktop", "tablet"], p=[0.6, 0.32, 0.08]))
    channel = str(rng.choice(["search", "direct", "social", "mail"], p=[0.4, 0.3, 0.2, 0.1]))
    owned: list[tuple[int, int]] = []  # (item, day bought)
    rows: list[Row] = []
    link: tuple[str, str, int] | None = None
    for place, day in enumerate(person.active_days.tolist()):
        known = person.signup_visit is not None and place > person.signup_visit
        hour = _several(_HOUR_SUMS, 1, rng)[0]
        visit = _Visit(
            who={"user_id": user} if known else {"anonymous_id": anonymous},
            common={
                "session_id": f"sim-s{number:05d}-{place}",
                "channel": channel,
                "context": json.dumps({"device": device, "simulated": True}),
            },
            now_us=start_us
            + day * DAY_US
            + hour * 60 * _MINUTE_US
            # Sessions end before the hour does, and so before the day does.
            + int(rng.integers(0, 40 * _MINUTE_US)),
            rng=rng,
        )
        visit.say("visit")
        if place == person.signup_visit:
            link = (anonymous, user, visit.now_us)
            visit.who["user_id"] = user
            visit.say("sign_up")
            del visit.who["anonymous_id"]
        _browse(visit, person, goods, day=day, place=place, owned=owned)
        rows += visit.rows
    return rows + _refunds(rows, person, days=days, start_us=start_us, rng=rng), link


def _browse(
    visit: _Visit,
    person: Person,
    goods: Goods,
    *,
    day: int,
    place: int,
    owned: list[tuple[int, int]],
) -> None:
    rng = visit.rng
    mood = int(rng.choice(len(TOPICS), p=person.taste))
    demand = _demand(person, goods, mood=mood, day=day)
    wanted_sums = np.cumsum(demand)
    if rng.random() < 0.3:
        visit.say("search", text=TOPICS[mood])
    _look_at_slate(visit, demand, goods, day=day, place=place)
    for item in _several(wanted_sums, int(rng.integers(1, 4)), rng):
        visit.say("view", item_id=_id(goods, item))
    if place in person.key_visits:
        for item in _several(wanted_sums, 1, rng):
            visit.say(str(rng.choice(["favourite", "add_to_cart"])), item_id=_id(goods, item))
    bought_before = [item for item, when in owned if when < day]
    if bought_before and rng.random() < 0.25:
        _review(visit, person, goods, bought_before[int(rng.integers(len(bought_before)))])
    if place in person.order_visits:
        again = [i for i, when in owned if day - when >= 0.7 * goods.again_days[i]]
        wanted = dict.fromkeys([*again[:2], *_several(wanted_sums, int(rng.integers(1, 4)), rng)])
        _order(visit, goods, list(wanted))
        owned += [(item, day) for item in wanted]


def _demand(person: Person, goods: Goods, *, mood: int, day: int) -> Double:
    """Return the probability [I] that the next item chosen is i: mostly the mood's topic."""
    liking = person.taste.copy()
    liking[mood] += 3.0
    weight = liking[goods.topic] * goods.appeal * (goods.launch_day <= day)
    return np.asarray(weight / weight.sum())


def _look_at_slate(visit: _Visit, demand: Double, goods: Goods, *, day: int, place: int) -> None:
    """Half by popularity, half at random: the policy that logged these data is known."""
    rng = visit.rng
    may = goods.on_sale & (goods.launch_day <= day)
    popular = _several(np.cumsum(goods.appeal * may), SHOWN // 2, rng)
    anything = [i for i in _several(np.cumsum(may, dtype=float), SHOWN, rng) if i not in popular]
    slate = (popular + anything)[:SHOWN]
    request = f"{visit.common['session_id']}-r"
    at = visit.now_us
    for position, item in enumerate(slate, start=1):
        visit.now_us = at
        visit.say("impression", item_id=_id(goods, item), request_id=request, position=position)
    for position, item in enumerate(slate, start=1):
        p_click = min(0.7, 0.02 + 6.0 * float(demand[item])) / position**0.5
        if rng.random() < p_click:
            visit.say("click", item_id=_id(goods, item), request_id=request, position=position)
            visit.say("view", item_id=_id(goods, item))


def _order(visit: _Visit, goods: Goods, items: list[int]) -> None:
    order = f"{visit.common['session_id']}-o"
    for item in items:
        visit.say("add_to_cart", item_id=_id(goods, item))
    paid_at = visit.now_us
    for line, item in enumerate(items, start=1):
        quantity = int(visit.rng.choice([1, 2, 3], p=[0.8, 0.15, 0.05]))
        visit.now_us = paid_at  # the lines of an order share one instant
        visit.say(
            "purchase",
            item_id=_id(goods, item),
            order_id=order,
            line_id=str(line),
            quantity=float(quantity),
            value=round(quantity * float(goods.price[item]), 2),
            currency="USD",
        )


def _review(visit: _Visit, person: Person, goods: Goods, item: int) -> None:
    liking = float(person.taste[goods.topic[item]])
    stars = int(np.clip(round(2.8 + 2.5 * liking + visit.rng.normal(0, 0.8)), 1, 5))
    visit.say("review", item_id=_id(goods, item), rating=float(stars), text=_REVIEWS[stars])


def _refunds(
    rows: list[Row], person: Person, *, days: int, start_us: int, rng: np.random.Generator
) -> list[Row]:
    """Take back whole orders of who returns all, else now and then one line of several."""
    lines: dict[str, list[Row]] = {}
    for row in rows:
        if row["type"] == "purchase":
            lines.setdefault(row["order_id"], []).append(row)
    refunds = []
    for bought in lines.values():
        some = bought[:1] if len(bought) > 1 and rng.random() < 0.12 else []
        for row in bought if person.group.returns_all else some:
            after_us = int(rng.integers(2 * DAY_US, 5 * DAY_US))
            at_us = row["occurred_us"] + after_us
            if at_us < start_us + days * DAY_US:
                kept = ("user_id", "anonymous_id", "item_id", "order_id", "line_id")
                refund = {name: row[name] for name in kept if name in row}
                amount = {name: row[name] for name in ("value", "quantity", "currency", "context")}
                refunds.append({"type": "refund", "occurred_us": at_us, **refund, **amount})
    return refunds


def _several(weight_sums: Double, n: int, rng: np.random.Generator) -> list[int]:
    """Return up to n distinct items in the order drawn, by cumulative weights [I]."""
    drawn = np.searchsorted(weight_sums, rng.random(3 * n) * weight_sums[-1], side="right")
    return list(dict.fromkeys(drawn.tolist()))[:n]


def _id(goods: Goods, item: int) -> str:
    return f"sim-i{item + 1:04d}"

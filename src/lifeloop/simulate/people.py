"""Whose life is simulated: for each stage a group of people whose days lead exactly there."""

from dataclasses import dataclass

import numpy as np

from lifeloop.contracts import Double, Int
from lifeloop.simulate.catalogue import TOPICS


@dataclass(frozen=True, slots=True)
class Group:
    """People who end in one stage of the ``ecommerce`` scenario.

    ``silence`` is how many days before the last day they were last active, ``visits`` the
    number of active days, ``orders`` of orders, each as (lowest, highest). Gaps between visits
    are 2 to 7 days, so that a silence of at most 2 is never unusual for anybody.
    """

    name: str
    share: float
    product_stage: str
    overlay: str | None
    silence: tuple[int, int]
    visits: tuple[int, int]
    signs_up: bool = True
    orders: tuple[int, int] = (0, 0)
    key_actions: bool = False
    returns_all: bool = False


GROUPS = (
    Group("visitor", 0.10, "acquisition", None, (0, 14), (1, 4), signs_up=False),
    Group("lost visitor", 0.05, "acquisition", "churned", (33, 120), (1, 3), signs_up=False),
    Group("new", 0.06, "activation", None, (0, 3), (1, 1)),
    Group("signed up", 0.06, "activation", None, (0, 14), (2, 5)),
    Group("lost sign-up", 0.06, "activation", "churned", (33, 120), (1, 4)),
    Group("tried", 0.08, "retention", None, (0, 2), (3, 12), key_actions=True),
    Group(
        "sent it back", 0.02, "retention", None, (6, 14), (2, 4), orders=(1, 1), returns_all=True
    ),
    Group("guest", 0.02, "conversion", None, (0, 14), (1, 3), signs_up=False, orders=(1, 1)),
    Group("buyer", 0.15, "conversion", None, (0, 2), (3, 20), orders=(1, 2), key_actions=True),
    Group("loyal", 0.20, "loyalty", None, (0, 2), (8, 40), orders=(3, 15), key_actions=True),
    Group(
        "loyal at risk",
        0.04,
        "loyalty",
        "at_risk",
        (23, 27),
        (8, 25),
        orders=(3, 10),
        key_actions=True,
    ),
    Group("at risk", 0.04, "conversion", "at_risk", (23, 27), (3, 15), orders=(1, 2)),
    Group("churned", 0.07, "conversion", "churned", (33, 120), (3, 15), orders=(1, 6)),
    Group("resurrected", 0.05, "conversion", "resurrected", (0, 2), (4, 12), orders=(1, 2)),
)


@dataclass(frozen=True, slots=True)
class Person:
    """One life: the group it belongs to, the active days, and what the person likes."""

    group: Group
    active_days: Int  # ascending, 0 … days − 1
    taste: Double  # [topics], sums to 1
    order_visits: frozenset[int]  # places in active_days
    key_visits: frozenset[int]
    signup_visit: int | None


def people(*, n_users: int, days: int, rng: np.random.Generator) -> list[Person]:
    """Draw ``n_users`` lives, at least two of each group, in random order."""
    sizes = _sizes(n_users)
    drawn = [
        _person(group, days=days, rng=rng)
        for group, size in zip(GROUPS, sizes, strict=True)
        for _ in range(size)
    ]
    return [drawn[n] for n in rng.permutation(n_users)]


def _sizes(n_users: int) -> list[int]:
    exact = np.array([g.share for g in GROUPS]) * (n_users - 2 * len(GROUPS))
    sizes = np.floor(exact).astype(int)
    short = n_users - 2 * len(GROUPS) - sizes.sum()
    sizes[np.argsort(sizes - exact, kind="stable")[:short]] += 1
    return [int(n) + 2 for n in sizes]


def _person(group: Group, *, days: int, rng: np.random.Generator) -> Person:
    active = _active_days(group, days=days, rng=rng)
    n = len(active)
    signup = int(rng.integers(0, min(3, n))) if group.signs_up else None
    from_visit = signup or 0
    n_orders = int(rng.integers(group.orders[0], group.orders[1] + 1))
    possible = np.arange(from_visit, n)
    n_orders = min(n_orders, len(possible))
    orders = rng.choice(possible, size=n_orders, replace=False) if n_orders else possible[:0]
    keys = possible[rng.random(len(possible)) < 0.35] if group.key_actions else possible[:0]
    if group.key_actions and not n_orders and not len(keys):
        keys = possible[-1:]
    return Person(
        group=group,
        active_days=active,
        taste=rng.dirichlet(np.full(len(TOPICS), 0.15)),
        order_visits=frozenset(int(v) for v in orders),
        key_visits=frozenset(int(v) for v in keys),
        signup_visit=signup,
    )


def _active_days(group: Group, *, days: int, rng: np.random.Generator) -> Int:
    """Walk back from the last visit; weekends are three times as likely as other days."""
    longest = min(group.silence[1], days - 20)
    last = days - 1 - int(rng.integers(group.silence[0], longest + 1))
    wanted = int(rng.integers(group.visits[0], group.visits[1] + 1))
    chosen = [last]
    while len(chosen) < wanted:
        gaps = np.arange(2, 8)
        if group.overlay == "resurrected" and len(chosen) == 1:
            gaps = np.arange(35, 61)
        landing = chosen[-1] - gaps
        weight = np.where(landing % 7 >= 5, 3.0, 1.0) * (landing >= 0)
        if weight.sum() == 0:
            break
        chosen.append(int(rng.choice(landing, p=weight / weight.sum())))
    return np.array(chosen[::-1], dtype=np.int32)

"""A small simulated shop in which every stage of a user's life occurs, with the truth known."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import polars as pl

from lifeloop.contracts import Double, Int
from lifeloop.errors import InputError
from lifeloop.events.records import ANONYMOUS_PREFIX, EVENT_SCHEMA, USER_SCHEMA
from lifeloop.simulate.catalogue import DAY_US, TOPICS, goods
from lifeloop.simulate.people import GROUPS, Person, people
from lifeloop.simulate.sessions import Row, life

START_US = int(datetime(2025, 1, 6, tzinfo=UTC).timestamp()) * 1_000_000
"""A Monday, midnight UTC: day 0 of every world."""

MIN_USERS = 3 * len(GROUPS)
MIN_ITEMS = 40
MIN_DAYS = 90


@dataclass(frozen=True, slots=True)
class Truth:
    """What only the simulation knows.

    ``stages`` has user_id (as a store resolves it: linked visitors under their user id, the
    others as ``anon:…``), group, stage (shown), product_stage, overlay, all at ``World.as_of_us``
    under the scenario ``ecommerce``. ``taste`` [U, topics] is in the order of ``stages``;
    ``item_topic`` [I] in the order of the items.
    """

    stages: pl.DataFrame
    topics: tuple[str, ...]
    taste: Double
    item_topic: Int


@dataclass(frozen=True, slots=True)
class World:
    """A simulated shop: what a real one would export, and the truth behind it.

    ``links`` has anonymous_id, user_id, t_us: who turned out to be whom by signing up.
    """

    events: pl.DataFrame  # EVENT_SCHEMA, by time
    items: pl.DataFrame  # ITEM_SCHEMA
    users: pl.DataFrame  # USER_SCHEMA
    links: pl.DataFrame
    truth: Truth
    as_of_us: int
    seed: int


def world(*, n_users: int = 400, n_items: int = 300, days: int = 180, seed: int = 0) -> World:
    """Simulate ``days`` days of a shop, from Monday 2025-01-06 (UTC); same seed, same world.

    Every id starts with ``sim-``, and every context and attribute says ``simulated``. Each
    person belongs to a group whose days lead to one known stage at the end (``people.GROUPS``):
    visitors who never sign up, sign-ups without a key action, key actions without an order,
    orders sent back, guests, one-time and repeat buyers, loyal, at risk, churned, resurrected,
    and users new in the last days. People like a few of ten topics, and what they view, click,
    buy and rate follows from that, so a recommender can beat popularity. Visits follow the hour
    and the weekday.

    Raises
    ------
    InputError
        Fewer than 42 users, 40 items or 90 days: too little room for every stage.
    """
    if n_users < MIN_USERS or n_items < MIN_ITEMS or days < MIN_DAYS:
        raise InputError(
            "the simulated world is too small to hold every stage",
            got={"n_users": n_users, "n_items": n_items, "days": days},
            allowed=f"n_users >= {MIN_USERS}, n_items >= {MIN_ITEMS}, days >= {MIN_DAYS}",
        )
    rng = np.random.default_rng(seed)
    shop = goods(n_items=n_items, days=days, start_us=START_US, rng=rng)
    persons = people(n_users=n_users, days=days, rng=rng)
    rows: list[Row] = []
    links: list[tuple[str, str, int]] = []
    for number, person in enumerate(persons, start=1):
        lived, link = life(number, person, shop, days=days, start_us=START_US, rng=rng)
        rows += lived
        links += [] if link is None else [link]
    return World(
        events=_events(rows),
        items=shop.items,
        users=_users(persons, rows, rng),
        links=pl.DataFrame(
            links,
            schema={"anonymous_id": pl.String, "user_id": pl.String, "t_us": pl.Int64},
            orient="row",
        ).sort("t_us"),
        truth=Truth(
            stages=_stages(persons),
            topics=TOPICS,
            taste=np.array([person.taste for person in persons]),
            item_topic=shop.topic,
        ),
        as_of_us=START_US + days * DAY_US,
        seed=seed,
    )


def _events(rows: list[Row]) -> pl.DataFrame:
    frame = pl.DataFrame(rows, schema=dict(EVENT_SCHEMA)).sort("occurred_us", maintain_order=True)
    return frame.with_columns(
        event_id=pl.format("sim-e{}", pl.int_range(pl.len()).cast(pl.String).str.zfill(7)),
        source=pl.lit("world"),
    ).select(list(EVENT_SCHEMA))


def _users(persons: list[Person], rows: list[Row], rng: np.random.Generator) -> pl.DataFrame:
    joined = {row["user_id"]: row for row in rows if row["type"] == "sign_up"}
    accounts = [n for n, p in enumerate(persons, start=1) if p.signup_visit is not None]
    ids = [f"sim-u{n:05d}" for n in accounts]
    ages = rng.integers(18, 75, len(ids))
    mail = rng.random(len(ids)) < 0.8
    return pl.DataFrame(
        {
            "user_id": ids,
            "created_us": [joined[u]["occurred_us"] for u in ids],
            "channel": [joined[u]["channel"] for u in ids],
            "consent": [
                json.dumps({"mail": bool(m), "personalisation": True}, sort_keys=True) for m in mail
            ],
            "attributes": [
                json.dumps({"age": int(a), "simulated": True}, sort_keys=True) for a in ages
            ],
        },
        schema=dict(USER_SCHEMA),
    )


def _stages(persons: list[Person]) -> pl.DataFrame:
    rows = []
    for number, person in enumerate(persons, start=1):
        group, account = person.group, person.signup_visit is not None
        user = f"sim-u{number:05d}" if account else f"{ANONYMOUS_PREFIX}sim-a{number:05d}"
        stage = group.overlay or group.product_stage
        rows.append((user, group.name, stage, group.product_stage, group.overlay))
    names = ("user_id", "group", "stage", "product_stage", "overlay")
    return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")

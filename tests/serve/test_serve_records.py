"""Items and users over REST: any id, versions that nobody overwrites unseen, bulk."""

import threading
from typing import Any
from urllib.parse import quote

import pytest

from lifeloop.testing.served import Asking

ODD = (
    *("a/b", "用户;1", "007", "😀", "x/recommendations", "a?b#c%2F", "x y", "é" * 300),
    *("..", "a//b", "a%2Fb"),
)
DEEP: Any = 1
for _ in range(24):
    DEEP = [DEEP]


def quoted(record_id: str) -> str:
    return quote(record_id, safe="").replace(".", "%2E")  # clients resolve dots themselves


@pytest.mark.parametrize("item_id", ODD)
def test_any_id_goes_through_a_path_unchanged(asking: Asking, item_id: str) -> None:
    client = asking("operate")
    path = f"/v1/items/{quoted(item_id)}"
    made = client.put(path, json={"title": "odd", "colour": "red"})
    assert made.status_code == 201, made.text
    assert made.json()["item_id"] == item_id
    assert client.get(path).json() == {
        "item_id": item_id,
        "title": "odd",
        "attributes": {"colour": "red"},
    }
    person = f"/v1/users/{quoted(item_id)}"
    assert client.put(person, json={"channel": "ad"}).status_code == 201
    assert client.get(f"{person}/recommendations").json()["user_id"] == item_id
    assert client.get(f"{person}/lifecycle").json()["user_id"] == item_id


def test_an_item_is_changed_only_as_the_version_that_was_seen(asking: Asking) -> None:
    client = asking("operate")
    first = client.put("/v1/items/mug", json={"title": "Mug", "price": 4, "stock": 2})
    tag = first.headers["etag"]
    assert client.get("/v1/items/mug", headers={"if-none-match": tag}).status_code == 304
    changed = client.patch(
        "/v1/items/mug", json={"price": 5, "stock": None}, headers={"if-match": tag}
    )
    assert changed.status_code == 200
    assert changed.json() == {"item_id": "mug", "title": "Mug", "price": 5.0}
    late = client.patch("/v1/items/mug", json={"price": 9}, headers={"if-match": tag})
    assert late.status_code == 412
    assert late.headers["etag"] == changed.headers["etag"]
    again = client.put("/v1/items/mug", json={"title": "X"}, headers={"if-none-match": "*"})
    assert again.status_code == 412
    assert client.delete("/v1/items/mug", headers={"if-match": tag}).status_code == 412
    assert client.delete("/v1/items/mug").status_code == 204
    assert client.get("/v1/items/mug").status_code == 404
    assert client.delete("/v1/items/mug").status_code == 404
    assert client.put("/v1/items/mug", json={"title": "Back"}).status_code == 201
    assert client.get("/v1/items/mug").json()["title"] == "Back"


def test_of_writers_with_the_same_tag_one_wins(asking: Asking) -> None:
    client = asking("operate")
    tag = client.put("/v1/items/one", json={"price": 0}).headers["etag"]
    told: list[int] = []

    def change(price: int) -> None:
        answer = client.patch("/v1/items/one", json={"price": price}, headers={"if-match": tag})
        told.append(answer.status_code)

    threads = [threading.Thread(target=change, args=(n,)) for n in range(1, 6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(told) == [200, 412, 412, 412, 412]


def test_bulk_forms_tell_what_became_of_the_rows(asking: Asking) -> None:
    client = asking("operate")
    rows: list[Any] = [{"item_id": "b1", "price": 1}, {"item_id": "b2"}, {"price": 3}]
    told = client.put("/v1/items", json=rows).json()
    assert (told["accepted"], told["duplicate"], told["rejected"]) == (2, 0, 1)
    assert told["reasons"] == [{"reason": "missing_item_id", "count": 1, "lines": [2]}]
    assert told["results"] == [
        {"item_id": "b1", "status": "accepted"},
        {"item_id": "b2", "status": "accepted"},
        {"item_id": None, "status": "rejected", "reason": "missing_item_id"},
    ]
    assert client.patch("/v1/items", json=[{"item_id": "b1", "title": "B"}]).json()["accepted"] == 1
    assert client.get("/v1/items/b1").json() == {"item_id": "b1", "price": 1.0, "title": "B"}
    gone = client.post("/v1/items/remove", json={"ids": ["b1", "nope", "b1"]})
    assert (gone.json()["removed"], gone.json()["missing"]) == (1, ["nope"])
    assert [row["status"] for row in gone.json()["results"]] == ["removed", "missing", "removed"]
    assert (
        client.put("/v1/users", json=[{"user_id": "p", "consent": {"ads": False}}]).status_code
        == 200
    )
    assert client.get("/v1/users/p").json() == {"user_id": "p", "consent": {"ads": False}}


def test_each_row_of_a_bulk_write_is_told_what_became_of_it_in_its_place(asking: Asking) -> None:
    client = asking("operate")
    client.put("/v1/items", json=[{"item_id": "same", "price": 1}])
    rows: list[Any] = [
        {"item_id": "r" * 5000},  # longer than the store's keys: refused by the store
        {"item_id": "same", "price": 1},
        {"price": "dear", "item_id": "x"},
        {"item_id": "new"},
        {"item_id": "new", "price": 2},
    ]
    told = client.put("/v1/items", json=rows).json()
    assert [row["status"] for row in told["results"]] == [
        *("rejected", "duplicate", "rejected", "accepted", "accepted"),
    ]
    assert all(row.get("item_id") == rows[at]["item_id"] for at, row in enumerate(told["results"]))
    why = {reason["reason"]: reason["lines"] for reason in told["reasons"]}
    assert why[told["results"][0]["reason"]] == [0]
    assert why[told["results"][2]["reason"]] == [2]
    assert told["accepted"] + told["duplicate"] + told["rejected"] == len(rows)
    people = client.patch("/v1/users", json=[{"user_id": "z1"}, {"user_id": "z1"}, {}]).json()
    assert [row["status"] for row in people["results"]] == ["accepted", "duplicate", "rejected"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PUT", "/v1/items/x", {"price": "dear"}, 422),
        ("PUT", "/v1/items/x", {"item_id": "y"}, 422),
        ("PUT", "/v1/items/x", [], 422),
        ("PUT", "/v1/users/null", {}, 422),
        ("PATCH", "/v1/items/none", {"price": 1}, 404),
        ("GET", "/v1/items/%ff", None, 400),
        ("GET", "/v1/items/%00", None, 400),
        (
            "PUT",
            "/v1/items/x",
            {"a": {"b": {"c": [[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]}}},
            400,
        ),
    ],
)
def test_what_cannot_be_is_refused_and_says_so(
    asking: Asking, method: str, path: str, body: Any, status: int
) -> None:
    answer = asking("operate").request(method, path, json=body)
    assert answer.status_code == status, answer.text
    assert answer.json()["status"] == status
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_person_is_exported_and_erased_for_good(asking: Asking) -> None:
    client = asking("admin")
    url = "/v1/users/u%2Ferase"
    client.put(url, json={"channel": "ad"})
    event = {"user_id": "u/erase", "type": "view", "item_id": "tea-1"}
    client.post("/v1/events", json=event)
    slate = client.get(f"{url}/recommendations", params={"k": 2}).json()
    assert "tea-1" in client.get(f"{url}/export").text
    assert asking("operate").delete(url).status_code == 403
    assert client.delete(url).status_code == 200
    assert client.get(url).status_code == 404
    assert "tea-1" not in client.get(f"{url}/export").text
    again = client.post("/v1/events", json=event)
    assert again.status_code == 422
    assert again.json()["results"] == [{"status": "rejected", "reason": "erased"}]
    assert client.get(f"{url}/recommendations").json()["fallback"] == "no_history"
    late = client.get(f"{url}/recommendations", params={"cursor": slate["cursor"]})
    assert late.status_code == 409

"""What people do on the pages over plain HTTP: train and follow it to its end, check settings."""

import json
import re
from typing import Any

import pytest

from lifeloop import Lifeloop, tables
from lifeloop.testing.served import Asking, Reader


def told_by(stream: str) -> list[dict[str, Any]]:
    return [json.loads(line[5:]) for line in stream.splitlines() if line.startswith("data:")]


@pytest.mark.extras  # a process of its own that trains: seconds
def test_a_training_begun_on_the_page_is_followed_to_its_end(
    reader: Reader, served_shop: Lifeloop
) -> None:
    before = [row["bundle"] for row in served_shop.store.bundles()]
    assert reader.client.post("/dashboard/models/train").status_code == 403  # no token
    assert "data-job" not in reader.text("/dashboard/models")
    form = {"csrf": reader.csrf}
    assert reader.client.post("/dashboard/models/train", data=form).status_code == 303
    found = re.search(
        r'data-job="/dashboard/models/train/([0-9a-f]+)/events"', reader.text("/dashboard/models")
    )
    assert found is not None
    again = reader.client.post("/dashboard/models/train", data=form)
    assert again.status_code == 409
    told = told_by(reader.client.get(f"/dashboard/models/train/{found[1]}/events").text)
    assert told[-1]["state"] == "done", told[-1]
    assert len({row.get("step") for row in told}) > 1
    newest = told[-1]["bundle"]
    assert newest not in before
    assert served_shop.store.active_bundle() == newest
    after = reader.text("/dashboard/models")
    assert newest in after
    assert "data-job" not in after
    assert reader.client.get("/dashboard/models/train/none/events").status_code == 404
    app: Any = reader.client.app
    for child in app.state.service.jobs._children:
        child.wait(timeout=60)


def test_settings_are_shown_and_checked_and_never_stored(
    reader: Reader, served_shop: Lifeloop
) -> None:
    path = "/dashboard/settings"
    assert "repeat_window_days" in reader.text(path)
    assert reader.client.post(path, data={"text": "name = 'x'"}).status_code == 403  # no token

    def checked(text: str, status: int) -> str:
        answer = reader.client.post(path, data={"text": text, "csrf": reader.csrf})
        assert answer.status_code == status, answer.text[-800:]
        return str(answer.text)

    files = {p: p.read_bytes() for p in served_shop.home.glob("*.toml")}
    wrong = checked('name = "x"\nextends = "ecommerce"\n[models]\nease_itmes = 3\n', 422)
    assert "ease_itmes" in wrong
    assert "ease_items" in wrong  # the nearest name
    assert "TOML" in checked("name = ", 422)
    fine = checked('name = "x"\nextends = "ecommerce"\n[models]\nease_items = 77\n', 200)
    assert "models.ease_items" in fine
    assert ">77<" in fine
    secret = 'name = "x"\nextends = "ecommerce"\nurl = "postgresql://me:s3cr3t@db/x"\n'
    assert "s3cr3t" not in re.sub(r"(?s)<textarea.*?</textarea>", "", checked(secret, 200))
    assert {p: p.read_bytes() for p in served_shop.home.glob("*.toml")} == files


def test_every_table_is_a_page_a_file_and_a_route_with_its_members(
    reader: Reader, asking: Asking
) -> None:
    client = asking("read")
    for name in tables.TABLES:
        told = client.get(f"/v1/lifecycle/{name}")
        assert told.status_code == 200, (name, told.text)
        rows = told.json()["total"]
        file = reader.get(f"/dashboard/csv/{name}")
        assert file.status_code == 200, (name, file.text[:500])
        assert file.headers["content-disposition"].endswith(f"{name}.csv"), name
        assert len(file.content.decode("utf-8-sig").splitlines()) >= min(rows, 1), name
        reader.text(f"/dashboard/tables/{name}")
        some = client.get(f"/v1/lifecycle/{name}", params={"members": True})
        assert some.status_code == 200, (name, some.text)
        assert all("user_id" in row for row in some.json()["rows"]), (name, some.json()["rows"][:2])
        reader.text(f"/dashboard/members/{name}")
        people = reader.get(f"/dashboard/csv/{name}", params={"members": "1"})
        assert people.status_code == 200, (name, people.text[:500])

"""The pages: each answers, says what is missing, offers what it shows, and writes nothing."""

import re
import threading
from typing import Any

import polars as pl
import pytest
from starlette.testclient import TestClient

from lifeloop import Lifeloop
from lifeloop.serve import create_app, signin
from lifeloop.serve.dashboard import formats
from lifeloop.serve.dashboard.changes import unusual
from lifeloop.serve.dashboard.shell import NAV
from lifeloop.serve.dashboard.sparks import parts, spark
from lifeloop.testing.served import SETTINGS, Reader, reader_of


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_every_page_answers_in_both_languages(reader: Reader, lang: str) -> None:
    for place in NAV:
        text = reader.text(place.path, params={"lang": lang})
        assert f'<html lang="{"zh-CN" if lang == "zh" else "en"}"' in text
        assert "style=" not in re.sub(r"<title>.*?</title>", "", text)  # the policy forbids it
        assert not re.search(r"<script(?![^>]*\bsrc=)", text)
        assert not re.findall(r"""(?:src|href)=["'](?:https?:)?//""", text)


def test_an_empty_project_says_what_to_do_first(tmp_path: Any) -> None:
    with Lifeloop.open(tmp_path / "new", scenario=SETTINGS) as loop:
        for reader in reader_of(loop):
            assert "lifeloop import events" in reader.text("/dashboard")
            for place in NAV:
                assert reader.get(place.path).status_code == 200


def test_a_filter_lives_in_the_address_and_what_is_wrong_is_told(reader: Reader) -> None:
    text = reader.text("/dashboard/stages?grain=month&where=type:purchase")
    assert '<option value="month" selected>' in text
    assert "type:purchase" in text
    for query in ("start=tuesday", "grain=eon", "where=nothing", "start=2026-02-02&end=2026-01-01"):
        answer = reader.get(f"/dashboard?{query}")
        assert answer.status_code == 422
        assert 'role="alert"' in answer.text


def test_the_people_behind_a_number_are_that_many(reader: Reader) -> None:
    text = reader.text("/dashboard/members/stage_counts?grain=day&cell=stage:loyalty")
    shown = set(re.findall(r'href="/dashboard/users/(u\d+)"', text))
    assert shown == {f"u{n}" for n in range(30)}
    assert "/dashboard/users/" not in re.sub(
        r"<nav.*?</nav>", "", reader.text("/dashboard/members/stage_counts?cell=stage:nowhere")
    )


def test_a_table_is_taken_away_as_csv_and_png(reader: Reader) -> None:
    answer = reader.get("/dashboard/csv/stages")
    assert answer.headers["content-type"].startswith("text/csv")
    lines = answer.content.decode("utf-8-sig").splitlines()
    assert lines[0].startswith("user_id,")
    assert len(lines) == 31
    assert reader.get("/dashboard/png/stage_counts").content.startswith(b"\x89PNG")
    spec = reader.get("/dashboard/spec/stage_counts?theme=dark").json()
    assert spec["background"] == "transparent"
    assert "title" not in spec


def test_a_spreadsheet_gets_no_formula(reader: Reader, served_shop: Lifeloop) -> None:
    served_shop.record({"user_id": "=cmd|' /C calc'!A0", "type": "view", "item_id": "tea-1"})
    text = reader.get("/dashboard/csv/stages").content.decode("utf-8-sig")
    assert "\n=cmd" not in text
    assert "'=cmd" in text


def test_a_hostile_id_is_text_everywhere(reader: Reader, served_shop: Lifeloop) -> None:
    name = "<script>alert(1)</script>/../x?#"
    served_shop.record({"user_id": name, "type": "purchase", "item_id": "tea-1", "value": 1})
    text = reader.text("/dashboard/users", params={"q": "alert"})
    assert "<script>alert" not in text
    (link,) = set(re.findall(r'href="(/dashboard/users/[^"]*alert[^"]*)"', text))
    page = reader.text(link)
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert" not in page


def test_looking_at_a_person_and_asking_what_if_writes_nothing(
    reader: Reader, served_shop: Lifeloop
) -> None:
    before = served_shop.store.counts(), served_shop.store.last_seq()
    plain = reader.text("/dashboard/users/u0")
    assert "tea number" in plain
    changed = reader.text("/dashboard/users/u0?type=purchase&item=rope-1&value=3")
    assert 'role="status"' in changed
    fewer = reader.text("/dashboard/users/u0?drop=0&drop=1&drop=2&drop=3")
    assert "acquisition" in fewer
    assert (served_shop.store.counts(), served_shop.store.last_seq()) == before


def test_the_slate_shown_is_the_slate_served_and_its_terms_add_up(served_shop: Lifeloop) -> None:
    from lifeloop.serve.dashboard.preview import preview

    history = served_shop.store.histories(["u0"])[0]
    seen = preview(served_shop, history, k=5)
    assert [i.item_id for i in seen.items] == [r.item_id for r in served_shop.recommend("u0", k=5)]
    for item in seen.items:
        assert sum(amount for _, amount in item.terms) == pytest.approx(item.score, rel=1e-3)
        assert "rest" not in dict(item.terms)
    assert seen.stage.stage == served_shop.stage("u0").stage


def test_unknown_people_tables_and_pages_are_404_in_words(reader: Reader) -> None:
    for path in ("/dashboard/users/nobody", "/dashboard/tables/nope", "/dashboard/stages/nope"):
        answer = reader.get(path)
        assert answer.status_code == 404
        assert "</html>" in answer.text


def test_our_files_are_served_and_kept(reader: Reader) -> None:
    text = reader.text("/login")
    css = re.findall(r'href="(/dashboard/static/dashboard.css\?[0-9a-f]+)"', text)[0]
    answer = reader.client.get(css)
    assert answer.headers["cache-control"].endswith("immutable")
    assert reader.client.get("/dashboard/static/dashboard.py").status_code == 404
    vega = reader.client.get("/dashboard/static/vega.js")
    assert b"vegaEmbed" in vega.content


def test_new_events_show_after_the_next_reading(reader: Reader, served_shop: Lifeloop) -> None:
    desk: Any = reader.client.app.state.desk  # type: ignore[attr-defined]
    first = desk.reading()
    served_shop.record({"user_id": "late", "type": "purchase", "item_id": "tea-1", "value": 1})
    assert desk.reading() is first  # a fresh reading stands
    first.at -= 1_000
    desk.reading()
    for _ in range(200):
        if desk.held is not first:
            break
        desk._behind.result(timeout=20)
    assert "late" in desk.reading().source.events["user_id"].to_list()


@pytest.mark.parametrize(
    ("value", "unit", "lang", "text"),
    [
        (1234567.0, "integer", "en", "1.23M"),
        (12345.0, "integer", "en", "12.3k"),
        (1234.0, "integer", "en", "1,234"),
        (123456.0, "integer", "zh", "12.3 万"),
        (0.1234, "share", "en", "12.3%"),
        (0.0012, "share", "en", "0.12%"),
        (-5.5, "money", "en", "−$5.50"),
        (None, "money", "en", "–"),
    ],
)
def test_headline_figures_read_well(value: Any, unit: str, lang: str, text: str) -> None:
    assert formats.short(value, unit, lang=lang, currency="USD") == text


def test_changes_have_a_sign_and_shares_are_points() -> None:
    assert formats.change(0.123, "integer") == "+12.3%"
    assert formats.change(-0.02, "share") == "−2.0 pp"
    assert formats.change(0.0, "money") == "±0"
    assert formats.change(None, "money") is None


def test_only_a_step_beyond_the_usual_is_unusual() -> None:
    assert unusual([10, 11, 10, 11, 10, 20])
    assert not unusual([10, 11, 10, 11, 10, 11])
    assert not unusual([10, 20])  # too little is known


def test_small_pictures_stay_inside() -> None:
    line = spark([1, 5, 3])
    assert line is not None
    assert line.line == "4.0,26.0 56.0,4.0 108.0,15.0"
    assert spark([1, 2]) is None
    assert [(p.name, p.x, p.width) for p in parts([("a", 1), ("b", 0), ("c", 3)])] == [
        ("a", 0, 250),
        ("c", 250, 750),
    ]


def test_a_refused_row_is_repaired_once_and_the_account_is_named(
    reader: Reader, served_shop: Lifeloop, tmp_path: Any
) -> None:
    file = tmp_path / "late.csv"
    file.write_text(
        "user_id,type,item_id,value,occurred_at\n"
        "u1,purchase,tea-1,2,2026-11-02T10:00:00Z\n"
        "u2,purchase,tea-2,nine,2026-11-02T11:00:00Z\n"
    )
    assert served_shop.import_events(file).rejected == 1
    (row,) = served_shop.store.quarantined()
    path = f"/dashboard/quality/{row.quarantine_id}"
    assert 'value="nine"' in reader.text(path)
    stored = served_shop.store.counts()
    assert reader.client.post(path, data={"f.value": "9"}).status_code == 403  # no token
    still = reader.client.post(path, data={"f.value": "ten", "csrf": reader.csrf})
    assert still.status_code == 422
    assert 'value="ten"' in still.text
    assert served_shop.store.counts() == stored
    done = reader.client.post(path, data={"f.value": "9", "csrf": reader.csrf})
    assert done.status_code == 303
    assert list(served_shop.store.quarantined()) == []
    again = reader.client.post(path, data={"f.value": "9", "csrf": reader.csrf})
    assert again.status_code == 404
    history = served_shop.store.histories(["u2"])[0]
    assert history.value.tolist().count(9.0) == 1
    (kept,) = served_shop.store.repairs()
    assert kept["who"] == "ann"
    assert kept["changes"] == {"value": ["nine", "9"]}


def test_a_bundle_is_activated_and_rolled_back(reader: Reader, served_shop: Lifeloop) -> None:
    first = served_shop.store.bundles()[0]["bundle"]
    served_shop.train()
    newest = served_shop.store.activations()[-1][0]
    assert newest != first
    assert newest in reader.text("/dashboard/models")
    assert reader.client.post("/dashboard/models/rollback").status_code == 403
    assert served_shop.store.activations()[-1][0] == newest
    back = reader.client.post("/dashboard/models/rollback", data={"csrf": reader.csrf})
    assert back.status_code == 303
    assert served_shop.store.activations()[-1][0] == first
    again = {"csrf": reader.csrf, "bundle": newest}
    assert reader.client.post("/dashboard/models/activate", data=again).status_code == 303
    assert served_shop.store.activations()[-1][0] == newest
    none = reader.client.post(
        "/dashboard/models/activate", data={"csrf": reader.csrf, "bundle": "none"}
    )
    assert none.status_code == 409
    assert served_shop.store.activations()[-1][0] == newest


def test_the_terms_add_up_for_stated_wishes_and_for_who_refuses(
    served_shop: Lifeloop, tmp_path: Any
) -> None:
    from lifeloop.serve.dashboard.preview import REST, preview

    file = tmp_path / "users.csv"
    file.write_text("user_id,interests,consent_personalisation\nnew,rope number,true\nu1,,false\n")
    served_shop.import_users(file)
    served_shop.record({"user_id": "new", "type": "visit"})
    for user_id in ("new", "u1", "u2"):
        seen = preview(served_shop, served_shop.store.histories([user_id])[0], k=5)
        assert seen.items
        for item in seen.items:
            assert REST not in dict(item.terms)
            told = sum(amount for _, amount in item.terms)
            assert told == pytest.approx(item.score, rel=2e-3)


def test_an_erased_person_is_on_no_page_from_then_on(reader: Reader, served_shop: Lifeloop) -> None:
    app: Any = reader.client.app
    service, desk = app.state.service, app.state.desk
    assert "u7" in reader.text("/dashboard/csv/stages")
    held = desk.held
    done = service.erase("u7")
    assert done.events > 0
    assert desk.held is None
    text = reader.text("/dashboard/csv/stages")
    assert "u6," in text
    assert "u7," not in text
    assert desk.held is not held


def test_a_page_under_way_while_somebody_is_erased_is_made_again(served_shop: Lifeloop) -> None:
    import threading

    import anyio

    from lifeloop.serve.dashboard import Desk

    desk = Desk(served_shop)
    begun, go = threading.Event(), threading.Event()
    seen: list[int] = []

    def page() -> int:
        users = desk.reading().source.events["user_id"].n_unique()
        seen.append(users)
        begun.set()
        assert go.wait(10)
        return users

    async def asked() -> int | None:
        async def erase() -> None:
            await anyio.to_thread.run_sync(begun.wait)
            await anyio.to_thread.run_sync(served_shop.erase, "u7")
            desk.forget()
            go.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(erase)
            return await desk.work(("page",), page, wait_s=20)
        raise AssertionError

    given = anyio.run(asked)
    desk.close()
    assert seen == [30, 29]
    assert given == 29


def test_a_page_nobody_came_back_for_is_not_kept(served_shop: Lifeloop) -> None:
    import anyio

    from lifeloop.serve.dashboard import Desk
    from lifeloop.serve.dashboard import desk as module

    desk, gate = Desk(served_shop), threading.Event()
    assert anyio.run(lambda: desk.work(("slow",), gate.wait, wait_s=0.01)) is None
    assert anyio.run(lambda: desk.work(("quick",), lambda: 1, wait_s=5)) == 1
    assert ("slow",) in desk._pages  # it may be asked for again
    at, made = desk._pages["slow",]
    desk._pages["slow",] = (at - 2 * module._PAGE_KEPT_S, made)
    gate.set()
    made.result(timeout=5)
    assert anyio.run(lambda: desk.work(("quick",), lambda: 2, wait_s=5)) == 2
    assert ("slow",) not in desk._pages
    desk.close()


def test_tables_are_kept_within_their_bytes(
    served_shop: Lifeloop, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lifeloop.serve.dashboard import Desk
    from lifeloop.serve.dashboard import desk as module

    monkeypatch.setattr(module, "_KEPT_BYTES", 20_000)
    desk = Desk(served_shop)
    made: list[int] = []

    def table(n: int) -> Any:
        def make(_: Any) -> pl.DataFrame:
            made.append(n)
            return pl.DataFrame({"x": range(1_000)})  # 8,000 bytes

        return make

    for n in (1, 2, 1, 3, 1, 2):
        assert desk.made(("t", n), table(n)).height == 1_000
    assert made == [1, 2, 3, 2]  # 2 had to go for 3, being asked longest ago
    desk.close()


def test_the_first_page_is_made_while_somebody_types_a_password(served_shop: Lifeloop) -> None:
    with TestClient(create_app(served_shop), follow_redirects=False) as client:
        app: Any = client.app
        desk: Any = app.state.desk
        before = desk.held
        assert before is None  # nobody is signed in: nobody pays
        client.get("/login")
        desk._behind.result(timeout=30)
        kinds = {key[:2] for key in desk.held.made}
        assert ("table", "stage_counts") in kinds
        password = signin.create_account(served_shop.store.kept, "ann", at_us=1)
        client.post("/login", data={"account": "ann", "password": password})
    with TestClient(create_app(served_shop)) as client:
        app = client.app
        app.state.desk._behind.result(timeout=30)
        assert app.state.desk.held is not None


def test_reasons_are_told_in_the_language_of_the_reader(reader: Reader) -> None:
    page = reader.text("/dashboard/users/u0?lang=en")
    slate = re.search(r'<ol class="slate">.*?</ol>', page, re.S)
    assert slate is not None
    assert re.search("because you|popular|similar|before", slate[0])
    page = reader.text("/dashboard/users/u0?lang=zh")
    slate = re.search(r'<ol class="slate">.*?</ol>', page, re.S)
    assert slate is not None
    assert not re.search("because|popular|similar|before", slate[0])
    assert re.search("因为|热门|相似|您", slate[0])

"""The script for pages in a real browser: what happens on a page arrives, once, whatever fails."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from lifeloop import Lifeloop
from lifeloop.serve import keys
from lifeloop.testing.running import Running, running
from lifeloop.testing.served import SETTINGS

pytestmark = pytest.mark.extras

PAGE = """<!doctype html><meta charset="utf-8"><title>shop</title>
<a id="a" href="#x" data-lifeloop-item="tea/1" data-lifeloop-request="r1"
   data-lifeloop-position="0">tea</a>
<div style="height: 4000px"></div>
<a id="b" href="#y" data-lifeloop-item="茶 2" data-lifeloop-request="r1"
   data-lifeloop-position="1">far below</a>
<script src="{url}/lifeloop.js" data-key="{key}" data-user="ann" defer></script>"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Running, Path]]:
    """A served project, and a page of another origin that carries its script."""
    folder = tmp_path_factory.mktemp("site") / "shop"
    folder.mkdir()
    (folder / "lifeloop.toml").write_text(f'name = "{SETTINGS["name"]}"\nextends = "ecommerce"\n')
    with Lifeloop.open(folder) as loop:
        _, key = keys.create(loop.store.kept, name="page", roles=("ingest",), at_us=1)
    page: dict[str, bytes] = {}

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(page["html"])

        def log_message(self, *_: Any) -> None: ...

    shop = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    origin = f"http://127.0.0.1:{shop.server_port}"
    threading.Thread(target=shop.serve_forever, daemon=True).start()
    with running(folder, options=("--origin", origin, "--log-level", "error")) as server:
        page["html"] = PAGE.format(url=server.url, key=key).encode()
        yield origin, server, folder
    shop.shutdown()
    shop.server_close()


@pytest.fixture
def tab(chromium: Any) -> Iterator[Any]:
    context = chromium.new_context()
    page = context.new_page()
    page.faults = []
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    yield page
    assert page.faults == []
    context.close()


def stored(folder: Path, tab: Any, *, at_least: int, of: str, since: int = 0) -> pl.DataFrame:
    with Lifeloop.open(folder) as loop:
        for _ in range(100):
            events = loop.store.snapshot().events.filter(pl.col("seq") > since)
            found = events.filter(pl.col("type") == of)
            if found.height >= at_least:
                return found
            tab.wait_for_timeout(100)  # and not sleep: routes are answered only inside playwright
    raise AssertionError(f"{of}: {found.height} of {at_least} arrived: {events['type'].to_list()}")


def newest(folder: Path) -> int:
    with Lifeloop.open(folder) as loop:
        return loop.store.last_seq()


def test_views_impressions_and_clicks_arrive_with_what_they_answer(
    site: tuple[str, Running, Path], tab: Any
) -> None:
    origin, _, folder = site
    since = newest(folder)
    tab.goto(origin)
    assert stored(folder, tab, at_least=1, of="page_view", since=since)["user_id"].to_list() == [
        "ann"
    ]
    seen = stored(folder, tab, at_least=1, of="impression", since=since)
    assert seen["item_id"].to_list() == ["tea/1"]  # the other is below the fold
    tab.evaluate("document.getElementById('b').scrollIntoView()")
    seen = stored(folder, tab, at_least=2, of="impression", since=since)
    assert seen.select("item_id", "request_id", "position").rows()[1] == ("茶 2", "r1", 1)
    tab.click("#b")
    clicked = stored(folder, tab, at_least=1, of="click", since=since)
    assert clicked.select("item_id", "request_id", "position").rows() == [("茶 2", "r1", 1)]
    assert clicked["session_id"][0]
    assert clicked["anonymous_id"][0]


def test_what_happens_while_the_service_is_away_arrives_later_and_once(
    site: tuple[str, Running, Path], tab: Any
) -> None:
    origin, _, folder = site
    since = newest(folder)
    tab.route("**/v1/events*", lambda route: route.abort())
    tab.goto(origin)
    tab.evaluate("for (let i = 0; i < 5; i++) lifeloop.track('view', {item_id: 'i' + i})")
    tab.evaluate("lifeloop.flush()")
    tab.wait_for_timeout(500)
    assert newest(folder) == since
    tab.unroute("**/v1/events*")
    tab.reload()  # the queue outlives the page
    tab.evaluate("lifeloop.flush()")
    views = stored(folder, tab, at_least=5, of="view", since=since)
    assert sorted(views["item_id"].to_list()) == [f"i{n}" for n in range(5)]
    tab.wait_for_timeout(700)
    assert stored(folder, tab, at_least=5, of="view", since=since).height == 5


def test_an_answer_that_was_lost_does_not_count_an_event_twice(
    site: tuple[str, Running, Path], tab: Any
) -> None:
    origin, _, folder = site
    since = newest(folder)
    tab.goto(origin)
    stored(folder, tab, at_least=1, of="page_view", since=since)

    stored(folder, tab, at_least=1, of="impression", since=since)
    lost: list[str] = []

    def lose(route: Any) -> None:
        if lost:
            route.continue_()
            return
        lost.append(route.request.post_data)
        route.fetch()
        route.abort()

    tab.route("**/v1/events*", lose)
    tab.evaluate("lifeloop.track('view', {item_id: 'lost-answer'}); lifeloop.flush()")
    stored(folder, tab, at_least=1, of="view", since=since)
    with tab.expect_response("**/v1/events*", timeout=15_000):
        tab.evaluate("lifeloop.flush()")
    tab.wait_for_timeout(300)
    assert len(lost) == 1
    assert stored(folder, tab, at_least=1, of="view", since=since).height == 1


def test_a_click_that_leaves_the_page_arrives_by_beacon(
    site: tuple[str, Running, Path], tab: Any
) -> None:
    origin, _, folder = site
    since = newest(folder)
    tab.goto(origin)
    stored(folder, tab, at_least=1, of="page_view", since=since)
    tab.evaluate("document.getElementById('a').click(); location.href = 'about:blank'")
    assert stored(folder, tab, at_least=1, of="click", since=since)["item_id"].to_list() == [
        "tea/1"
    ]


def test_the_script_is_small() -> None:
    from importlib import resources

    assert len(resources.files("lifeloop.serve").joinpath("lifeloop.js").read_bytes()) < 5_000

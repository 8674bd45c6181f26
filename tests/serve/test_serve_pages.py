"""The pages in a real browser over the real service: what a growth manager does in a week."""

import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import polars as pl
import pytest

from lifeloop import Lifeloop
from lifeloop.serve import signin
from lifeloop.serve.dashboard.shell import NAV
from lifeloop.simulate import World, world, write_world
from lifeloop.testing.browser import violations
from lifeloop.testing.running import Running, running

pytestmark = pytest.mark.extras

LOG = "serve.log"
"""What the service says of failures, told with what a page said."""
SETTINGS = """name = "town"
extends = "ecommerce"
[models]
text_encoder = "tfidf"
ease_items = 80
"""
READY_MS = 40_000
PHONE = {"width": 360, "height": 780}
DRAWN = """(() => {
  const left = [...document.querySelectorAll('.chart[data-spec]')].find(c => !c.dataset.drawn);
  if (left) left.scrollIntoView();
  return !left;
})()"""
SHOTS = Path(os.environ.get("LIFELOOP_SHOTS", ".shots"))


@dataclass(frozen=True, slots=True)
class Town:
    """A served project with half a year of a simulated shop, and who may sign in."""

    folder: Path
    server: Running
    password: str
    person: str
    item: str


@dataclass(slots=True)
class Tab:
    """One page of the browser, and what it complained about."""

    page: Any
    url: str
    faults: list[str] = field(default_factory=list)

    def open(self, path: str) -> None:
        """Open a page, and wait until it is there and its charts are drawn."""
        self.page.goto(self.url + path)
        self.settle()

    def settle(self) -> None:
        self.until("!document.querySelector('meta[http-equiv=refresh]')")
        self.page.wait_for_load_state()
        self.until(DRAWN)
        self.until("scrollTo(0, 0) || true")

    def ask(self, expression: str) -> Any:
        """Evaluate an expression; None where the page went on to another meanwhile."""
        try:
            return self.page.evaluate(expression)
        except Exception as error:
            if "context was destroyed" not in str(error):
                raise
            return None

    def until(self, condition: str) -> None:
        """Wait for a condition; not by ``wait_for_function``, whose eval the policy refuses."""
        for _ in range(READY_MS // 50):
            if self.ask(condition):
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"{self.page.url}: never {condition}")

    def keep(self, name: str) -> None:
        """Keep what is seen, for a person to look at."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=str(SHOTS / f"{name}.png"), full_page=True)

    @property
    def heading(self) -> str:
        return str(self.page.locator("h1").inner_text())


def lately(made: World) -> World:
    """Return the same world, ending last midnight instead of when it was written."""
    day = 86_400_000_000
    by_us = time.time_ns() // 1_000 // day * day - made.as_of_us
    moved = {
        name: getattr(made, name).with_columns(
            pl.col(c) + by_us for c in getattr(made, name).columns if c.endswith("_us")
        )
        for name in ("events", "items", "users", "links")
    }
    return replace(made, as_of_us=made.as_of_us + by_us, **moved)


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    work = tmp_path_factory.mktemp("town")
    folder = work / "shop"
    folder.mkdir()
    (folder / "lifeloop.toml").write_text(SETTINGS)
    made = lately(world(n_users=120, n_items=80, days=120))
    files = write_world(made, work / "files")
    with Lifeloop.open(folder) as loop:
        loop.import_items(files["items"])
        loop.import_users(files["users"])
        loop.import_events(files["events"])
        for anonymous_id, user_id in made.links.select("anonymous_id", "user_id").iter_rows():
            loop.identify(anonymous_id, user_id)
        loop.train()
        loop.train()
        bad = work / "late.csv"
        bad.write_text(
            "user_id,type,item_id,value,occurred_at\n"
            f"sim-u00031,purchase,sim-i0001,4,{made.as_of_us - 9}\n"
            f"sim-u00030,purchase,sim-i0001,nine,{made.as_of_us - 9}\n"
        )
        assert loop.import_events(bad).rejected == 1
        bought = made.events.filter(made.events["type"] == "purchase")
        buyers = bought["user_id"].drop_nulls().unique().sort()
        for user_id in buyers.head(12).to_list():
            given = loop.recommend(user_id, k=5)
            for row in given:
                for kind in ("impression", "click")[: 2 if row.rank == 1 else 1]:
                    shown = {"request_id": given.request_id, "position": row.rank - 1}
                    loop.record({"user_id": user_id, "type": kind, "item_id": row.item_id, **shown})
        password = signin.create_account(loop.store.kept, "ann", at_us=1)
        person, item = str(buyers[0]), str(made.items["item_id"][0])
    with running(folder, options=("--log-level", "error"), log=folder / LOG) as server:
        yield Town(folder, server, password, person, item)


@pytest.fixture(scope="module")
def session(town: Town, chromium: Any) -> Any:
    """Return the cookies of somebody who came in through the form."""
    context = chromium.new_context()
    page = context.new_page()
    page.goto(f"{town.server.url}/dashboard/value")
    assert page.url.startswith(f"{town.server.url}/login")
    page.fill("[name=account]", "ann")
    page.fill("[name=password]", "wrong " + town.password)
    page.click("button.primary")
    assert page.locator("[role=alert]").count() == 1
    page.fill("[name=account]", "ann")
    page.fill("[name=password]", town.password)
    page.keyboard.press("Enter")
    page.wait_for_url("**/dashboard/value")  # where one wanted to go before
    state = context.storage_state()
    context.close()
    (cookie,) = (c for c in state["cookies"] if c["name"] == signin.COOKIE)
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Strict"
    return state


def tab_of(town: Town, chromium: Any, session: Any, **given: Any) -> Iterator[Tab]:
    context = chromium.new_context(
        storage_state=session, **{"viewport": {"width": 1280, "height": 900}, **given}
    )
    page = context.new_page()
    tab = Tab(page, town.server.url)
    page.on("pageerror", lambda error: tab.faults.append(f"error: {error}"))
    page.on(
        "console",
        lambda said: (
            tab.faults.append(f"{page.url} {said.text}")
            if said.type in ("error", "warning")
            else None
        ),
    )
    page.on(
        "request",
        lambda asked: (
            None
            if asked.url.startswith((town.server.url, "data:", "blob:"))
            else tab.faults.append(f"another host: {asked.url}")
        ),
    )
    yield tab
    context.close()
    assert tab.faults == [], (town.folder / LOG).read_text("utf-8")[-4000:]


@pytest.fixture
def tab(town: Town, chromium: Any, session: Any) -> Iterator[Tab]:
    yield from tab_of(town, chromium, session)


@pytest.fixture
def phone(town: Town, chromium: Any, session: Any) -> Iterator[Tab]:
    yield from tab_of(town, chromium, session, viewport=PHONE, is_mobile=True, has_touch=True)


def every_page(town: Town) -> dict[str, str]:
    """Return the pages of the dashboard by a short name."""
    found = {place.name: place.path for place in NAV}
    found["stage"] = "/dashboard/stages/loyalty"
    found["user"] = f"/dashboard/users/{quote(town.person, safe='')}"
    found["user if"] = f"{found['user']}?type=purchase&item={town.item}&value=3"
    found["item"] = f"/dashboard/items/{quote(town.item, safe='')}"
    found["table"] = "/dashboard/tables/growth_accounting"
    found["members"] = "/dashboard/members/stage_counts?cell=stage:loyalty"
    for name in ("stages", "risk", "forecast", "spend", "proof"):
        found[f"value {name}"] = f"/dashboard/value?tab={name}"
    found["refused"] = "/dashboard/users/nobody"
    return found


def test_every_page_is_there_without_a_complaint_and_reads_well_to_everybody(
    town: Town, tab: Tab, axe_core: str
) -> None:
    grave: dict[str, list[str]] = {}
    for name, path in every_page(town).items():
        tab.open(path)
        tab.keep(f"{name}-light")
        assert tab.page.locator(".chart[data-drawn=failed]").count() == 0, name
        found = violations(tab.page, axe_core)
        if found:
            grave[name] = found
        if name == "refused":
            tab.faults[:] = [f for f in tab.faults if "404" not in f]  # that page is one
    assert grave == {}


def test_what_reads_badly_is_found(chromium: Any, axe_core: str) -> None:
    page = chromium.new_page()
    page.set_content('<html lang="en"><title>x</title><main><img src="data:,"></main>')
    (found,) = violations(page, axe_core)
    assert found.startswith("critical image-alt")
    page.close()


def test_dark_reads_as_well_as_light(town: Town, tab: Tab, axe_core: str) -> None:
    tab.open("/dashboard")
    tab.page.click("[data-set-theme=dark]")
    grave: dict[str, list[str]] = {}
    for name, path in every_page(town).items():
        if name.startswith("value ") or name == "refused":
            continue
        tab.open(path)
        assert tab.page.locator("html").get_attribute("data-theme") == "dark"
        tab.keep(f"{name}-dark")
        found = violations(tab.page, axe_core)
        if found:
            grave[name] = found
    assert grave == {}


def test_a_phone_scrolls_one_way_only_in_both_languages(town: Town, phone: Tab) -> None:
    wide: dict[str, int] = {}
    for lang in ("en", "zh"):
        phone.open(f"/dashboard?lang={lang}")
        for name, path in every_page(town).items():
            if name == "refused" or (lang == "zh" and name.startswith("value ")):
                continue
            phone.open(path)
            phone.keep(f"{name}-phone-{lang}")
            over = phone.page.evaluate("document.documentElement.scrollWidth - innerWidth")
            if over > 0:
                wide[f"{name} {lang}"] = over
    assert wide == {}


def test_a_phone_opens_the_menu_and_goes_on(town: Town, phone: Tab) -> None:
    phone.open("/dashboard")
    link = phone.page.locator("nav.nav a[href='/dashboard/models']")
    assert not link.is_visible()
    phone.page.locator(".menu-button").click()
    link.click()
    phone.settle()
    assert phone.page.url.endswith("/dashboard/models")


def test_chinese_is_chosen_once_and_stays(town: Town, tab: Tab) -> None:
    tab.open("/dashboard?lang=zh")
    assert tab.page.locator("html").get_attribute("lang") == "zh-CN"
    for name, path in every_page(town).items():
        if name in ("refused", "members", "table") or name.startswith("value "):
            continue
        tab.open(path)
        tab.keep(f"{name}-zh")
        assert tab.page.locator("html").get_attribute("lang") == "zh-CN"
        assert re.search("[\u4e00-\u9fff]", tab.page.locator("main").inner_text()), name


def test_the_keyboard_reaches_the_content_first(tab: Tab) -> None:
    tab.open("/dashboard")
    tab.page.keyboard.press("Tab")
    assert tab.page.evaluate("document.activeElement.className") == "skip"
    tab.page.keyboard.press("Enter")
    assert tab.page.evaluate("document.activeElement.id") == "main"
    seen = set()
    for _ in range(12):
        tab.page.keyboard.press("Tab")
        seen.add(tab.page.evaluate("document.activeElement.name || document.activeElement.tagName"))
    assert {"start", "end", "grain"} <= seen


def test_a_filter_is_kept_by_the_address_and_leads_to_people(town: Town, tab: Tab) -> None:
    tab.open("/dashboard/stages")  # a card that has everybody in one stage of a period
    before = tab.page.locator("h1").inner_text()
    tab.page.select_option("[name=grain]", "month")
    tab.page.click(".filters button.primary")
    tab.settle()
    assert "grain=month" in tab.page.url
    address = tab.page.url.removeprefix(town.server.url)
    tab.open("/dashboard")
    tab.open(address)  # as somebody does who was sent it
    assert tab.heading == before
    assert tab.page.locator("[name=grain]").input_value() == "month"
    card = tab.page.locator("section.card:has(#h-stage_counts)")
    card.locator("summary").click()
    row = card.locator("tbody tr").first
    n = sum(int(re.sub(r"\D", "", cell)) for cell in row.locator("td.num").all_inner_texts())
    row.locator("a.quiet").click()
    tab.settle()
    assert tab.page.url.startswith(f"{town.server.url}/dashboard/members/stage_counts")
    assert tab.page.locator("tbody tr").count() == n
    with tab.page.expect_download() as taken:
        tab.page.click("a:has-text('CSV')")
    text = Path(taken.value.path()).read_text("utf-8-sig")
    assert len(text.splitlines()) == n + 1
    tab.page.locator("tbody a").first.click()
    tab.settle()
    assert "/dashboard/users/" in tab.page.url


def test_a_picture_is_taken_away(tab: Tab) -> None:
    tab.open("/dashboard/tables/growth_accounting")
    with tab.page.expect_download() as taken:
        tab.page.click("a:has-text('PNG')")
    assert Path(taken.value.path()).read_bytes().startswith(b"\x89PNG")


def test_a_picture_of_the_page_waits_while_the_log_is_read(tab: Tab) -> None:
    asked: list[str] = []

    def reading_at_first(route: Any) -> None:
        asked.append(route.request.url)
        if len(asked) == 1:
            route.fulfill(status=503, headers={"retry-after": "1"}, body="{}")
        else:
            route.continue_()

    tab.page.route("**/dashboard/spec/**", reading_at_first)
    tab.open("/dashboard/tables/growth_accounting")
    tab.page.wait_for_selector(".chart[data-drawn='1'] svg", timeout=20_000)
    assert len(asked) == 2
    (told,) = tab.faults  # the browser's own word for it
    assert "503" in told
    tab.faults.clear()


def test_what_if_changes_the_slate_and_nothing_else(town: Town, tab: Tab) -> None:
    with Lifeloop.open(town.folder) as loop:
        before = loop.store.counts()
    tab.open(f"/dashboard/users/{town.person}")
    tab.page.select_option("[name=type]", "purchase")
    tab.page.fill("[name=item]", town.item)
    tab.page.click("form button.primary")
    tab.settle()
    assert tab.page.locator("#slate [role=status]").count() == 1
    with Lifeloop.open(town.folder) as loop:
        assert loop.store.counts() == before


def test_a_refused_row_is_repaired(town: Town, tab: Tab) -> None:
    tab.open("/dashboard/quality")
    tab.page.locator("#quarantine a.button").first.click()
    tab.settle()
    tab.keep("repair-light")
    tab.page.fill("[name='f.value']", "ten")
    tab.page.click("form.stack button.primary")
    tab.settle()
    assert tab.page.locator("[role=alert]").count() == 1
    tab.faults[:] = [f for f in tab.faults if "422" not in f]
    tab.page.fill("[name='f.value']", "9")
    tab.page.click("form.stack button.primary")
    tab.settle()
    assert tab.page.locator("[role=status]").count() == 1
    with Lifeloop.open(town.folder) as loop:
        assert list(loop.store.quarantined()) == []
        assert loop.store.histories(["sim-u00030"])[0].value.tolist().count(9.0) == 1


def test_settings_are_checked_and_say_what_differs(tab: Tab) -> None:
    tab.open("/dashboard/settings")
    tab.page.fill("textarea", SETTINGS + "ease_itmes = 3\n")
    tab.page.click("form.stack button.primary")
    tab.settle()
    assert "ease_itmes" in tab.page.locator("[role=alert]").inner_text()
    tab.faults[:] = [f for f in tab.faults if "422" not in f]
    tab.page.fill("textarea", SETTINGS.replace("80", "90"))
    tab.page.click("form.stack button.primary")
    tab.settle()
    assert "models.ease_items" in tab.page.locator("main").inner_text()
    assert tab.page.locator("[role=alert]").count() == 0


def test_a_rollback_asks_first_and_then_goes_back(town: Town, tab: Tab) -> None:
    with Lifeloop.open(town.folder) as loop:
        newest = loop.store.activations()[-1][0]
    tab.open("/dashboard/models")
    asked: list[str] = []

    def answer(dialog: Any) -> None:
        asked.append(dialog.message)
        dialog.accept() if len(asked) > 1 else dialog.dismiss()

    tab.page.on("dialog", answer)
    button = tab.page.locator("form[action$=rollback] button")
    button.click()
    tab.page.wait_for_timeout(200)
    with Lifeloop.open(town.folder) as loop:
        assert loop.store.activations()[-1][0] == newest  # said no
    button.click()
    tab.page.wait_for_selector("[role=status]")
    tab.settle()
    with Lifeloop.open(town.folder) as loop:
        assert loop.store.activations()[-1][0] != newest
    tab.page.locator(f"form:has(input[value='{newest}']) button").click()
    tab.page.wait_for_selector("[role=status]")
    assert len(asked) == 3
    with Lifeloop.open(town.folder) as loop:
        assert loop.store.activations()[-1][0] == newest


def test_a_training_is_followed_live_to_its_end(town: Town, tab: Tab) -> None:
    tab.open("/dashboard/models")
    rows = tab.page.locator("section:has(#h-all) tbody tr")
    n = rows.count()
    tab.page.click("form[action$=train] button")
    tab.page.wait_for_selector("[data-job]")
    seen: set[str] = set()
    for _ in range(1_200):
        text = tab.ask("document.querySelector('[data-job] [data-step]')?.textContent ?? false")
        if text is False:
            break
        seen.add(text or "")
        tab.page.wait_for_timeout(25)
    tab.settle()
    assert rows.count() == n + 1
    assert len(seen - {""}) >= 2, seen


def test_signing_out_ends_it(town: Town, chromium: Any) -> None:
    context = chromium.new_context()
    page = context.new_page()
    page.goto(f"{town.server.url}/login")
    page.fill("[name=account]", "ann")
    page.fill("[name=password]", town.password)
    page.click("button.primary")
    page.wait_for_selector("form.who button")
    page.click("form.who button")
    page.wait_for_url("**/login")
    page.goto(f"{town.server.url}/dashboard/users")
    assert "/login" in page.url
    context.close()


def test_the_form_to_sign_in_reads_well(town: Town, chromium: Any, axe_core: str) -> None:
    for scheme in ("light", "dark"):
        context = chromium.new_context(color_scheme=scheme, viewport=PHONE)
        page = context.new_page()
        page.goto(f"{town.server.url}/login")
        SHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=str(SHOTS / f"login-{scheme}.png"))
        assert violations(page, axe_core) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        context.close()

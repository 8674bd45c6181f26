"""The dashboard's own login: accounts, sessions, tokens of forms, texts."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from lifeloop import Lifeloop
from lifeloop.errors import InputError
from lifeloop.serve import create_app, signin
from lifeloop.serve.dashboard import LANGUAGES, texts


@pytest.fixture
def pages(served_shop: Lifeloop) -> Any:
    with TestClient(create_app(served_shop), follow_redirects=False) as client:
        yield client


def signed(client: TestClient, loop: Lifeloop) -> str:
    """Sign in; return the token that forms need."""
    password = signin.create_account(loop.store.kept, "ann", at_us=1)
    answer = client.post("/login", data={"account": "ann", "password": password})
    assert answer.status_code == 303
    assert answer.headers["location"] == "/dashboard"
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    token = client.cookies[signin.COOKIE]
    session = signin.session_of(loop.store.kept, token, at_us=2)
    assert session is not None
    assert token not in str(loop.store.kept.every("session"))
    return session.csrf


def test_strangers_are_sent_to_the_form_and_api_keys_open_no_page(pages: TestClient) -> None:
    for path in ("/dashboard", "/dashboard/users/x", "/logout"):
        answer = pages.get(path)
        assert (answer.status_code, answer.headers["location"]) == (303, f"/login?next={path}")
    assert "script-src 'self'" in pages.get("/login").headers["content-security-policy"]


def test_signing_in_and_out(pages: TestClient, served_shop: Lifeloop) -> None:
    csrf = signed(pages, served_shop)
    assert pages.get("/dashboard/nothing").status_code == 404
    assert pages.post("/logout", data={"csrf": "wrong"}).status_code == 403
    assert pages.post("/logout", data={}).status_code == 403
    token = pages.cookies[signin.COOKIE]
    assert pages.post("/logout", data={"csrf": csrf}).status_code == 303
    pages.cookies.set(signin.COOKIE, token)
    assert pages.get("/dashboard").status_code == 303


def test_wrong_passwords_and_unknown_names_read_the_same(
    pages: TestClient, served_shop: Lifeloop
) -> None:
    signin.create_account(served_shop.store.kept, "ann", at_us=1, password="long enough")
    bodies = []
    for name in ("ann", "nobody"):
        answer = pages.post("/login", data={"account": name, "password": "not it at all"})
        assert answer.status_code == 401
        bodies.append(answer.text)
    assert bodies[0] == bodies[1]
    with pytest.raises(InputError, match="10 characters"):
        signin.create_account(served_shop.store.kept, "ann", at_us=1, password="short")


def test_a_goal_outside_the_dashboard_is_not_followed(
    pages: TestClient, served_shop: Lifeloop
) -> None:
    signin.create_account(served_shop.store.kept, "ann", at_us=1, password="long enough")
    for goal in ("https://evil.example", "//evil.example", "/dashboard//evil", "/dash\r\nx: y"):
        given = {"account": "ann", "password": "long enough", "next": goal}
        assert pages.post("/login", data=given).headers["location"] == "/dashboard"


def test_sessions_end(served_shop: Lifeloop) -> None:
    kept = served_shop.store.kept
    password = signin.create_account(kept, "ann", at_us=1)
    token = signin.sign_in(kept, "ann", password, at_us=1)
    assert signin.session_of(kept, token, at_us=2)
    assert signin.session_of(kept, token, at_us=2 + signin.SESSION_S * 1_000_000) is None
    signin.remove_account(kept, "ann")
    assert signin.session_of(kept, token, at_us=2) is None


def test_no_text_is_missing_in_a_language() -> None:
    def keys(table: dict[str, Any], at: str = "") -> set[str]:
        found = set()
        for name, value in table.items():
            inner = isinstance(value, dict)
            found |= keys(value, f"{at}{name}.") if inner else {f"{at}{name}"}
        return found

    assert len({frozenset(keys(texts(lang))) for lang in LANGUAGES}) == 1


@pytest.mark.parametrize(("header", "word"), [("zh-CN,zh;q=0.9", "登录"), ("en", "Sign in")])
def test_the_form_speaks_the_readers_language(pages: TestClient, header: str, word: str) -> None:
    assert word in pages.get("/login", headers={"accept-language": header}).text
    assert "登录" in pages.get("/login?lang=zh").text

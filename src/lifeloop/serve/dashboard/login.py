"""Sign in and out."""

import time
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import RedirectResponse, Response

from lifeloop.serve import signin
from lifeloop.serve.dashboard.render import page
from lifeloop.serve.route import Open

router = APIRouter(include_in_schema=False)

HOME = "/dashboard"
Form = Annotated[dict[str, str], Depends(signin.form)]


@router.get("/login")
def login(request: Request, service: Open, next: str = HOME) -> Response:
    """Show the form."""
    # reading the log takes longer than typing a password
    request.app.state.desk.warm(lang=service.loop.scenario.locale.language)
    empty = not signin.accounts(service.loop.store.kept)
    return page(request, "login.html", wrong=None, next=_ours(next), empty=empty)


@router.post("/login")
def signing_in(request: Request, service: Open, fields: Form) -> Response:
    """Take the form: a session, or the form again."""
    kept = service.loop.store.kept
    address = f"login {(request.client.host if request.client else '?')}"
    wrong = "slow" if service.refusals.empty(address, now_s=time.monotonic()) else "wrong"
    token = None
    if wrong == "wrong":
        given = fields.get("account", ""), fields.get("password", "")
        token = signin.sign_in(kept, *given, at_us=service.now_us())
    goal = _ours(fields.get("next", HOME))
    if token is None:
        service.refusals.wait_s(address, now_s=time.monotonic())
        status = 429 if wrong == "slow" else 401
        return page(request, "login.html", status=status, wrong=wrong, next=goal, empty=False)
    answer = RedirectResponse(goal, status_code=303)
    answer.set_cookie(
        signin.COOKIE,
        token,
        max_age=signin.SESSION_S,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return answer


@router.post("/logout")
def signing_out(request: Request, service: Open, _: Form) -> Response:
    """End the session."""
    signin.sign_out(service.loop.store.kept, request.cookies.get(signin.COOKIE, ""))
    answer = RedirectResponse("/login", status_code=303)
    answer.delete_cookie(signin.COOKIE)
    return answer


def _ours(goal: str) -> str:
    """Return a path of the dashboard; whatever else was asked for leads to its first page."""
    inside = goal.startswith(HOME) and not any(c in goal for c in "\\\r\n") and "//" not in goal
    return goal if inside else HOME

"""The two clients: they differ in how they wait, and in nothing else."""

import asyncio
import gzip
import time
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import httpx
import msgspec

from lifeloop.client.calls import Call
from lifeloop.client.retrying import Patience, told_to_wait_s, worth_another
from lifeloop.errors import ServiceRefused, ServiceUnreachable

T = TypeVar("T")
_GZIP_FROM = 2_000
Outcome = httpx.Response | httpx.TransportError


class Client:
    """Makes calls and waits for the answer. Safe to share between threads.

    Parameters
    ----------
    url : str
        Where the service listens.
    key : str
        An API key with the role that the calls need.
    patience : Patience
        Calls that may be made again are.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str,
        patience: Patience | None = None,
        timeout_s: float = 30.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._patience = patience or Patience()
        self._http = httpx.Client(**_given(url, key, timeout_s), transport=transport)

    def ask(self, call: Call[T]) -> T:
        """Make one call.

        Raises
        ------
        ServiceRefused
            The service said no; ``status`` and the problem say why.
        ServiceUnreachable
            There was no answer, however often it was tried.
        """
        pauses = self._patience.pauses()
        while True:
            outcome = self._once(call)
            pause_s = next(pauses, None) if worth_another(call, outcome) else None
            if pause_s is None:
                return _answer(call, outcome)
            time.sleep(max(pause_s, told_to_wait_s(outcome)))

    def _once(self, call: Call[Any]) -> Outcome:
        try:
            return self._http.send(_request(self._http, call))
        except httpx.TransportError as error:
            return error

    def close(self) -> None:
        """Release the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class AsyncClient:
    """The same, awaited."""

    def __init__(
        self,
        url: str,
        *,
        key: str,
        patience: Patience | None = None,
        timeout_s: float = 30.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._patience = patience or Patience()
        self._http = httpx.AsyncClient(**_given(url, key, timeout_s), transport=transport)

    async def ask(self, call: Call[T]) -> T:
        """Make one call; see ``Client.ask``."""
        pauses = self._patience.pauses()
        while True:
            outcome = await self._once(call)
            pause_s = next(pauses, None) if worth_another(call, outcome) else None
            if pause_s is None:
                return _answer(call, outcome)
            await asyncio.sleep(max(pause_s, told_to_wait_s(outcome)))

    async def _once(self, call: Call[Any]) -> Outcome:
        try:
            return await self._http.send(_request(self._http, call))
        except httpx.TransportError as error:
            return error

    async def close(self) -> None:
        """Release the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


def _given(url: str, key: str, timeout_s: float) -> dict[str, Any]:
    return {
        "base_url": url.rstrip("/"),
        "headers": {"authorization": f"Bearer {key}"},
        "timeout": timeout_s,
    }


def _request(http: httpx.Client | httpx.AsyncClient, call: Call[Any]) -> httpx.Request:
    headers = dict(call.headers)
    content: bytes | None = None
    if call.body is not None:
        content = msgspec.json.encode(call.body)
        headers["content-type"] = "application/json"
        if len(content) > _GZIP_FROM:
            content, headers["content-encoding"] = gzip.compress(content, 5), "gzip"
    params = {name: value for name, value in call.params.items() if value is not None}
    return http.build_request(
        call.method, call.path, params=params, content=content, headers=headers
    )


def _answer(call: Call[T], outcome: Outcome) -> T:
    if isinstance(outcome, httpx.TransportError):
        raise ServiceUnreachable(
            "the service did not answer",
            got=type(outcome).__name__,
            hint="check the address and that `lifeloop serve` runs, then repeat the call",
        ) from outcome
    if outcome.is_success:
        if call.answer is None:
            return cast(T, None)
        return cast(T, msgspec.json.decode(outcome.content, type=call.answer))
    raise ServiceRefused(_problem(outcome), status=outcome.status_code)


def _problem(outcome: httpx.Response) -> dict[str, Any]:
    try:
        held = msgspec.json.decode(outcome.content)
    except msgspec.DecodeError:
        held = None
    return held if isinstance(held, dict) else {"title": f"status {outcome.status_code}"}

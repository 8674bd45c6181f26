"""Any service with the OpenAI embeddings protocol: batched, retried, at a limited rate.

Every answer is checked before it is used: a vector for the wrong text is worse than none.
"""

import email.utils
import math
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from lifeloop.contracts import Bool, Float
from lifeloop.encoders.readable import encode_readable
from lifeloop.errors import ServiceRefused, ServiceUnreachable

BATCH = 64
LONGEST_WAIT_S = 60.0
"""A service that asks for a longer pause is not waited for."""
FIRST_WAIT_S = 0.5
_PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Vectors of an OpenAI-compatible ``POST {url}/embeddings``.

    Time-outs, broken connections, 429 and 5xx are tried again: after what ``Retry-After`` says
    (seconds or a date), else after 0.5 s, 1 s, 2 s …. ``lifeloop`` keeps vectors batch by batch
    (``VectorCache``), so that a failure loses one batch at most.

    Parameters
    ----------
    url : str
        With or without ``/embeddings`` at its end.
    model : str
        Sent as ``model``.
    key_env : str
        Environment variable that holds the key; without one no key is sent.
    per_minute : int
        Requests per minute at most.
    timeout_s : float
        Seconds until a request counts as lost.
    retries : int
        Tries after the first.

    Raises
    ------
    ServiceUnreachable
        No usable answer after all tries, or a pause is asked for that is longer than a minute.
    ServiceRefused
        The service said no (a wrong key, an unknown model), or its answer cannot be used: fewer
        vectors than texts, an index that is missing, null or there twice, another width, NaN.
    """

    url: str
    model: str
    key_env: str = "LIFELOOP_EMBEDDINGS_KEY"
    per_minute: int = 600
    timeout_s: float = 30.0
    retries: int = 5
    prefix: str = ""
    query_prefix: str = ""
    max_chars: int = 1000
    sleep: Callable[[float], None] = field(default=time.sleep, compare=False)
    _held: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)
    _turn: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @property
    def address(self) -> str:
        """Where requests go."""
        bare = self.url.rstrip("/")
        return bare if bare.endswith("/embeddings") else f"{bare}/embeddings"

    @property
    def id(self) -> str:
        """Address without credentials, model, prefix and cut."""
        host = self.address.partition("://")[2].rpartition("@")[2].partition("?")[0]
        return f"endpoint/{host}/{self.model}/{self.prefix}/{self.max_chars}"

    @property
    def d(self) -> int:
        """Width of the vectors, asked of the service once."""
        if "d" not in self._held:
            self._ask(["width"])
        return int(self._held["d"])

    def for_queries(self) -> Self:
        """Return the same encoder for what people wrote."""
        return type(self)(
            self.url,
            self.model,
            key_env=self.key_env,
            per_minute=self.per_minute,
            timeout_s=self.timeout_s,
            retries=self.retries,
            prefix=self.query_prefix,
            query_prefix=self.query_prefix,
            max_chars=self.max_chars,
            sleep=self.sleep,
            _held=self._held,
            _turn=self._turn,
        )

    def encode(self, texts: Sequence[str]) -> tuple[Float, Bool]:
        """Return unit vectors [n, d] and a mask [n], False for texts with nothing to read."""
        return encode_readable(
            texts, self._run, d=self.d, max_chars=self.max_chars, prefix=self.prefix
        )

    def _run(self, texts: list[str]) -> Float:
        made = [self._ask(texts[n : n + BATCH]) for n in range(0, len(texts), BATCH)]
        return np.concatenate(made)

    def _ask(self, texts: list[str]) -> Float:
        """Return the vectors of one batch [b, d], trying again while that makes sense."""
        why = ""
        for attempt in range(self.retries + 1):
            answer, why, wait = self._once(texts)
            if answer is not None:
                vectors = vectors_of(answer, len(texts))
                self._same_width(vectors)
                return vectors
            pause = FIRST_WAIT_S * 2.0**attempt if wait is None else wait
            if wait is not None and wait > LONGEST_WAIT_S:
                raise ServiceUnreachable(
                    f"the embedding service asks for a pause of {wait:.0f} s",
                    got=why,
                    hint="go on later: what was encoded is kept",
                )
            if attempt < self.retries:
                self.sleep(min(pause, LONGEST_WAIT_S))
        raise ServiceUnreachable(
            f"the embedding service gave no usable answer in {self.retries + 1} tries",
            got=why,
            hint=f"check {self.id.split('/')[1]}; what was encoded is kept",
        )

    def _once(self, texts: list[str]) -> tuple[Any, str, float | None]:
        """Return a JSON answer, or why there is none and how long the service asks to wait."""
        import httpx

        self._wait_for_turn()
        key = os.environ.get(self.key_env)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        body = {"model": self.model, "input": texts, "encoding_format": "float"}
        try:
            answer = httpx.post(self.address, json=body, headers=headers, timeout=self.timeout_s)
        except httpx.TransportError as error:
            return None, type(error).__name__, None
        except httpx.InvalidURL as error:
            raise ServiceUnreachable("the address is not one", got=self.url) from error
        if answer.status_code in _PASSING:
            asked = retry_after_s(answer.headers, now_s=_service_time(answer.headers))
            return None, f"status {answer.status_code}", asked
        try:
            told = answer.json()
        except ValueError:
            told = None
        if answer.is_success and isinstance(told, dict):
            return told, "", None
        if answer.is_success:
            return None, "an answer that is not a JSON object", None
        raise ServiceRefused({"title": _message(told)}, status=answer.status_code)

    def _wait_for_turn(self) -> None:
        with self._turn:
            pause = self._held.get("next", 0.0) - time.monotonic()
            if pause > 0:
                self.sleep(pause)
            self._held["next"] = max(time.monotonic(), self._held.get("next", 0.0)) + (
                60.0 / self.per_minute
            )

    def _same_width(self, vectors: Float) -> None:
        width = self._held.setdefault("d", vectors.shape[1])
        if vectors.shape[1] != width:
            raise unusable(f"vectors of width {vectors.shape[1]}, before that of {width}")


def vectors_of(answer: Mapping[str, Any], n: int) -> Float:
    """Return the vectors [n, d] of an answer in the order of the texts.

    Raises
    ------
    ServiceRefused
        Unless there is exactly one finite vector of one width for every index 0 … n-1.
    """
    rows = answer.get("data")
    if not isinstance(rows, list):
        raise unusable("no list 'data'")
    if len(rows) != n:
        raise unusable(f"{len(rows)} vectors for {n} texts")
    found: dict[int, Any] = {}
    for row in rows:
        place = row.get("index") if isinstance(row, dict) else None
        if isinstance(place, bool) or not isinstance(place, int) or not 0 <= place < n:
            raise unusable(f"index {place!r} of {n} texts")
        if place in found:
            raise unusable(f"index {place} twice")
        found[place] = row.get("embedding")
    widths = {len(v) if isinstance(v, list) else 0 for v in found.values()}
    if len(widths) != 1 or 0 in widths:
        raise unusable(f"embeddings of widths {sorted(widths)}")
    for v in found.values():
        # a JSON number only: true, null and text would become numbers unnoticed
        if not all(type(x) in (int, float) and math.isfinite(x) for x in v):
            raise unusable("numbers that are not finite")
    return np.array([found[place] for place in range(n)], dtype=np.float32)


def retry_after_s(headers: Mapping[str, str], *, now_s: float) -> float | None:
    """Return the seconds that ``Retry-After`` asks for (a number or a date), None if it is not
    there or cannot be read."""
    told = headers.get("retry-after")
    if told is None:
        return None
    try:
        seconds = float(told)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(told).timestamp() - now_s
        except ValueError:
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _service_time(headers: Mapping[str, str]) -> float:
    """Return the moment of an answer by the service's clock, by ours where it does not say."""
    try:
        return email.utils.parsedate_to_datetime(headers["date"]).timestamp()
    except (KeyError, ValueError):
        return time.time()


def unusable(what: str) -> ServiceRefused:
    """Return the refusal of an answer that arrived but cannot be used."""
    return ServiceRefused(
        {"title": f"the embedding service answered with {what}", "next": "check its model"},
        status=200,
    )


def _message(told: Any) -> str:
    error = told.get("error") if isinstance(told, dict) else None
    text = error.get("message") if isinstance(error, dict) else error
    return f"the embedding service refused: {str(text)[:200]}" if text else "refused"

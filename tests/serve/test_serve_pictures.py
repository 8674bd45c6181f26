"""Every table's picture over HTTP: a whole PNG, or a problem that says why there is none."""

import struct
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import Any

import numpy as np
import polars as pl
import pytest

from lifeloop import Lifeloop
from lifeloop.serve.dashboard import view
from lifeloop.tables import TABLES
from lifeloop.testing.served import SETTINGS, Reader, reader_of

pytestmark = pytest.mark.slow

KINDS = ["visit", "sign_up", "add_to_cart", "purchase", "refund", "csat", "nps"]
DAYS, N = 120, 3000
START_S = int(datetime(2025, 1, 6, tzinfo=UTC).timestamp())
SCENARIO: dict[str, Any] = {**SETTINGS, "time": {"burn_in_days": 7}}


def log() -> pl.DataFrame:
    """Four months of a shop in which everything happens that a table counts."""
    rng = np.random.default_rng(5)
    kind = rng.choice(KINDS, N)
    seconds = START_S + np.sort(rng.integers(0, DAYS * 86_400, N))
    return pl.DataFrame(
        {
            "event_id": [f"e{n}" for n in range(N)],
            "user_id": [f"u{n}" for n in (rng.pareto(1.0, N) * 25).astype(int) % 250],
            "type": kind,
            "occurred_at": [datetime.fromtimestamp(int(s), UTC).isoformat() for s in seconds],
            "order_id": [f"o{n}" for n in rng.integers(0, 400, N)],
            "value": rng.gamma(2.0, 9.0, N).round(2),
            "rating": np.where(kind == "csat", rng.integers(1, 6, N), rng.integers(0, 11, N)),
            "referrer_id": [f"u{n}" if n < 40 else None for n in rng.integers(0, 400, N)],
        }
    )


@pytest.fixture(scope="module")
def signed_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """Somebody signed in to one server over that shop, which no test writes to."""
    folder = tmp_path_factory.mktemp("pictures")
    log().write_csv(folder / "events.csv")
    with Lifeloop.open(folder / "shop", scenario=SCENARIO) as loop:
        loop.import_events(folder / "events.csv")
        yield from reader_of(loop)


def pixels(image: bytes) -> tuple[int, int, bytes]:
    """Return width, height and the rows of a PNG; every checksum and the length must be right."""
    assert image.startswith(b"\x89PNG\r\n\x1a\n")
    at, packed, size = 8, b"", (0, 0, 0, 0)
    name = b""
    while at < len(image):
        (length,) = struct.unpack(">I", image[at : at + 4])
        name, body = image[at + 4 : at + 8], image[at + 8 : at + 8 + length]
        (told,) = struct.unpack(">I", image[at + 8 + length : at + 12 + length])
        assert told == zlib.crc32(name + body)
        if name == b"IHDR":
            size = struct.unpack(">IIBB", body[:10])
        packed += body if name == b"IDAT" else b""
        at += 12 + length
    assert name == b"IEND"
    width, height, depth, colour = size
    n_bytes = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour] * depth // 8
    rows = zlib.decompress(packed)
    assert len(rows) == height * (1 + width * n_bytes)
    return width, height, rows


@pytest.mark.parametrize("name", TABLES)
def test_the_picture_of_every_table_is_a_whole_png(signed_in: Reader, name: str) -> None:
    answer = signed_in.get(f"/dashboard/png/{name}", params={"grain": "week"})
    if name == "churn_effects" and not find_spec("lifelines"):
        refused(answer, 422, says="lifeloop[survival]")
        return
    assert answer.status_code == 200, (name, answer.text)
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-disposition"].endswith(f"{name}.png")
    width, height, rows = pixels(answer.content)
    assert 400 <= width <= 4000, (name, width)
    assert 300 <= height <= 12_000, (name, height)
    assert len(answer.content) < 2_000_000
    assert len(set(rows)) > 50, "nothing is drawn"


def refused(answer: Any, status: int, *, says: str = "") -> None:
    assert answer.status_code == status, answer.text[:500]
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert says in told["title"] + str(told.get("next"))


@pytest.mark.parametrize("form", ["png", "spec"])
def test_where_there_is_nothing_to_draw_every_table_says_why(tmp_path: Any, form: str) -> None:
    with Lifeloop.open(tmp_path / "new", scenario=SETTINGS) as loop:
        for reader in reader_of(loop):
            for name in TABLES:
                refused(reader.get(f"/dashboard/{form}/{name}"), 422, says=f"draw for {name!r}: ")


@pytest.mark.parametrize("form", ["png", "spec", "csv"])
def test_a_file_that_cannot_be_made_as_asked_is_a_problem_and_no_page(
    signed_in: Reader, form: str
) -> None:
    refused(signed_in.get(f"/dashboard/{form}/nothing"), 404, says="no such table")
    for query in ("grain=eon", "start=tuesday", "where=nothing"):
        refused(signed_in.get(f"/dashboard/{form}/orders?{query}"), 422)


@pytest.mark.parametrize("form", ["png", "spec", "csv"])
def test_a_file_is_never_the_page_that_says_wait(
    signed_in: Reader, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view, "FILE_WAIT_S", 0.0)
    answer = signed_in.client.get(f"/dashboard/{form}/orders?grain=month")
    refused(answer, 503, says="Retry-After")
    assert int(answer.headers["retry-after"]) >= 1

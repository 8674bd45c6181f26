"""Two processes import one file at once; the clock steps back: every row once, in its order."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from lifeloop.config import Scenario
from lifeloop.events import ReadOptions
from lifeloop.events.records import Event
from lifeloop.intake import import_file
from lifeloop.store import open_store
from lifeloop.testing.importer import forkserver
from lifeloop.testing.postgres import own_schema, postgres_server
from lifeloop.testing.store_suite import NOW, VIEW, event_rows
from lifeloop.testing.store_suite_lake import ZONE, same

ROWS, BAD = 30_000, 40
KINDS = ["sqlite", pytest.param("postgres", marks=pytest.mark.extras)]
SHOP = Scenario.load("ecommerce")


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 's.db'}"
        return
    with postgres_server() as server, own_schema(server) as url:
        yield url


def import_it(url: str, path: str, name: str) -> None:
    """Import the file and leave the counts beside it."""
    store = open_store(url)
    options = ReadOptions(source="shop")
    file = Path(path)
    told = import_file(store, file, "event", options=options, scenario=SHOP, clock=lambda: NOW)
    store.close()
    counts = f"{told.accepted} {told.duplicate} {told.rejected}"
    file.with_name(name).write_text(counts)


def test_two_processes_that_import_the_same_file_store_every_row_once(
    url: str, tmp_path: Path
) -> None:
    lines = [f"u{n % 97},view,i{n % 13},2024-01-02 00:00:00,{n}\n" for n in range(ROWS)]
    lines[:: ROWS // BAD] = ["u,view,i,30 February 2024,1\n"] * len(lines[:: ROWS // BAD])
    bad = sum("February" in line for line in lines)
    path = tmp_path / "log.csv"
    path.write_text("user_id,type,item_id,occurred_at,value\n" + "".join(lines))
    open_store(url).close()
    processes = forkserver()
    names = ("one", "two")
    running = [processes.Process(target=import_it, args=(url, str(path), n)) for n in names]
    for process in running:
        process.start()
    for process in running:
        process.join()
        assert process.exitcode == 0
    told = [[int(n) for n in (tmp_path / name).read_text().split()] for name in names]
    assert sum(accepted for accepted, _, _ in told) == ROWS - bad
    assert all(a + d == ROWS - bad and r == bad for a, d, r in told)
    store = open_store(url)
    assert store.counts()["events"] == ROWS - bad
    assert len({r.line for r in store.quarantined()}) == store.counts()["quarantined"] == bad
    store.close()


def test_a_clock_that_steps_back_changes_no_order_and_is_told(url: str, tmp_path: Path) -> None:
    store = open_store(url, keys=tmp_path)
    lake = store.lake(str(tmp_path / "lake"), zone=ZONE)
    hour = 3_600_000_000
    line = Event(type="purchase", user_id="u", event_id="L", order_id="o", value=0.0)
    for n, at in enumerate((NOW, NOW - hour, NOW - 30 * hour, NOW - 2 * hour)):
        rows = event_rows(VIEW, replace(line, value=float(n)))
        told = store.append(rows, received_us=at)
        assert (told.accepted, told.duplicate) == (2, 0)
        store.append(event_rows(line), received_us=at)  # the first one again: never over a newer
        lake.extend()
    held = store.snapshot().events.sort("seq")
    assert all(a < b for a, b in pairwise(held["seq"]))
    assert held.filter(held["order_id"] == "o")["value"].to_list() == [3.0]  # the last to come
    assert same(lake.snapshot(), store.snapshot())
    findings = store.check(now_us=NOW - 2 * hour)
    assert any(f.check == "clock" for f in findings)
    assert [f for f in findings if f.severity == "failure" and f.check != "clock"] == []
    store.close()

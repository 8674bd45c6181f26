"""While events are imported the items' texts are encoded, as far as there is time."""

import threading
from pathlib import Path
from typing import Any

import pytest

from lifeloop import Lifeloop
from lifeloop.cli.demo import Opened, _Until, import_dataset
from lifeloop.contracts import Progress, silent
from lifeloop.errors import InputError
from lifeloop.events import ReadOptions
from lifeloop.events.datasets import Part
from lifeloop.home import init


def test_what_was_encoded_beside_the_import_is_not_encoded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "shop"
    items, events = tmp_path / "items.csv", tmp_path / "events.csv"
    items.write_text("item_id,title\n" + "".join(f"i{n},cup number {n}\n" for n in range(20)))
    events.write_text("user_id,item_id,type,time\nu1,i1,view,2026-01-01T10:00:00Z\n")
    parts = (Part("item", items, ReadOptions()), Part("event", events, ReadOptions()))
    found = Opened("small", "ecommerce", "UTC", parts, notes=())
    init(project, scenario=found.scenario, zone=found.zone)
    with Lifeloop.open(project) as loop:
        done = threading.Event()
        ahead, importing = loop.encode_ahead, loop.import_events

        def encoding(*, progress: Progress = silent) -> None:
            ahead(progress=progress)
            done.set()

        def after_encoding(*args: Any, **kwargs: Any) -> Any:
            assert done.wait(60)
            return importing(*args, **kwargs)

        monkeypatch.setattr(loop, "encode_ahead", encoding)
        monkeypatch.setattr(loop, "import_events", after_encoding)
        import_dataset(loop, found, progress=silent)
        steps: list[tuple[float, float | None]] = []

        def noted(step: str, done: float, total: float | None) -> None:
            if step == "encode texts":
                steps.append((done, total))

        ahead(progress=noted)
    first, total = steps[0]
    assert first == total
    assert first > 0


def test_it_stops_at_its_next_step_when_the_import_is_over() -> None:
    seen: list[float] = []

    def noted(step: str, done: float, total: float | None) -> None:
        seen.append(done)

    until = _Until()

    def work(*, progress: Progress) -> None:
        for n in range(100):
            progress("encode texts", n, 100)
            if n == 3:
                until.__exit__(None, None, None)

    until.run(work, noted)
    assert seen == [0, 1, 2, 3]


def test_what_cannot_be_encoded_is_left_to_the_training_and_a_bug_is_not() -> None:
    def refused(*, progress: Progress) -> None:
        raise InputError("no such encoder")

    def broken(*, progress: Progress) -> None:
        raise ZeroDivisionError

    with _Until() as until:
        until.run(refused, silent)
        with pytest.raises(ZeroDivisionError):
            until.run(broken, silent)

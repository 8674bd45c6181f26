"""The demo: real data through the public import, to lifecycle, recommendations and evidence."""

import contextlib
import shutil
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lifeloop.cli.data import show_report
from lifeloop.cli.evaluation import show_report as show_evaluation
from lifeloop.cli.models import show_manifest
from lifeloop.cli.people import show_recommendations, show_stages
from lifeloop.cli.progress import bars
from lifeloop.cli.session import SETTINGS_FILE, out, table
from lifeloop.errors import LifeloopError
from lifeloop.events.datasets import Dataset, Part, load

if TYPE_CHECKING:
    from collections.abc import Callable

    from lifeloop.contracts import Progress
    from lifeloop.loop import Lifeloop

FEW = 100
"""Below this many people a time split says little."""

IMPORTERS = {"user": "import_users", "item": "import_items", "event": "import_events"}


@dataclass(frozen=True, slots=True)
class Opened:
    """A data set as files that the public import reads, and who is whom in it."""

    name: str
    scenario: str
    zone: str
    parts: tuple[Part, ...]
    notes: tuple[str, ...]
    links: tuple[tuple[str, str], ...] = ()


def open_dataset(name: str, work: Path) -> Opened:
    """Return a data set by name or folder; ``world`` is simulated and says so."""
    if name != "world":
        found: Dataset = load(name, work=work)
        return Opened(found.name, found.scenario, found.zone, found.parts, found.notes)
    from lifeloop.events import ReadOptions
    from lifeloop.simulate import world, write_world

    made = world()
    files = write_world(made, work / "world")
    options = ReadOptions()
    return Opened(
        name="world (SIMULATED: these people do not exist)",
        scenario="ecommerce",
        zone="UTC",
        parts=(
            Part("item", files["items"], options),
            Part("user", files["users"], options),
            Part("event", files["events"], options),
        ),
        notes=("a simulated shop, with the truth known; nothing in it is evidence about people",),
        links=tuple(zip(made.links["anonymous_id"], made.links["user_id"], strict=True)),
    )


class _Until:
    """Runs something beside a block, and stops it at its next step when the block ends."""

    class Stop(Exception):
        """Time is up."""

    def __init__(self) -> None:
        self._over = threading.Event()

    def __enter__(self) -> "_Until":
        return self

    def __exit__(self, *failed: object) -> None:
        self._over.set()

    def run(self, work: "Callable[..., None]", progress: "Progress") -> None:
        """Do as much as there is time for; what fails here fails again, and is told, later."""

        def watched(step: str, done: float, total: float | None) -> None:
            if self._over.is_set():
                raise self.Stop
            progress(step, done, total)

        with contextlib.suppress(self.Stop, LifeloopError):
            work(progress=watched)


def import_dataset(loop: "Lifeloop", found: Opened, *, progress: "Progress") -> list[Any]:
    """Import every part through the public path, then link who is whom; return the reports.

    An import keeps one core busy: as soon as the items are in, the other begins to encode them.
    """
    reports: list[Any] = []
    begun: list[Future[None]] = []
    with ThreadPoolExecutor(1, thread_name_prefix="encode") as beside, _Until() as until:
        for part in found.parts:
            importer = getattr(loop, IMPORTERS[part.kind])
            reports.append((part, importer(part.path, options=part.options, progress=progress)))
            if part.kind == "item":
                begun.append(beside.submit(until.run, loop.encode_ahead, progress))
    for encoding in begun:
        encoding.result()
    for anonymous_id, user_id in found.links:
        loop.identify(anonymous_id, user_id)
    return reports


def run(data: str, folder: Path, *, quiet: bool = False) -> None:
    """Make a project of a data set in ``folder`` (emptied first) and walk through it."""
    from lifeloop.home import init
    from lifeloop.loop import Lifeloop
    from lifeloop.overview import examples, stage_table

    started = time.perf_counter()
    _emptied(folder)
    found = open_dataset(data, folder / "data")
    init(folder, scenario=found.scenario, zone=found.zone)
    out.rule(f"lifeloop demo · {found.name}")
    for note in found.notes:
        out.print(f"· {note}", markup=False, highlight=False)
    with Lifeloop.open(folder) as loop:
        with bars(quiet=quiet) as progress:
            reports = import_dataset(loop, found, progress=progress)
        _title("1. What was imported and found", started)
        for part, report in reports:
            show_report(f"{part.kind}s from {part.path.name}", report)
        with bars(quiet=quiet) as progress:
            manifest = loop.train(progress=progress)
        _title("2. What was learned", started)
        show_manifest(manifest)
        _title("3. The lifecycle", started)
        show_stages(loop.stages())
        _title("4. One user of each stage, and what they are recommended", started)
        rows = stage_table(loop.store, loop.scenario, moment=loop.moment())
        for example in examples(rows):
            _show_user(loop, example)
            show_recommendations(loop.recommend(example["user_id"], k=10))
        _title("5. Does it beat popularity? (fit on the past, asked about the future)", started)
        with bars(quiet=quiet) as progress:
            report = loop.evaluate(models=("popularity", "lifeloop"), progress=progress)
        show_evaluation(report.to_dict(data=data))
        if len(report.user_ids) < FEW:
            out.print(
                f"· only {len(report.user_ids)} people have both a past and a future here; each "
                "person's last event tells more:"
            )
            with bars(quiet=quiet) as progress:
                report = loop.evaluate(
                    models=("popularity", "lifeloop"), protocol="loo", progress=progress
                )
            show_evaluation(report.to_dict(data=data))
        first = examples(rows)[0]["user_id"]
    _next(folder, first, started)


def _show_user(loop: "Lifeloop", row: dict[str, Any]) -> None:
    (user,) = loop.store.users([row["user_id"]])
    told = {} if user is None else {k: v for k, v in user.attributes.items() if v is not None}
    facts: list[list[Any]] = [
        ["stage", f"{row['stage']} (product stage {row['product_stage']})"],
        ["why", row["rule"]],
        ["active", f"{row['first_seen']} to {row['last_active']}"],
        ["orders", row["orders"]],
        ["existing before the log", row["existing"]],
        *[[name, value] for name, value in list(told.items())[:6]],
    ]
    out.print()
    out.print(table(f"user {row['user_id']}", ["", ""], facts))


def _title(text: str, started: float) -> None:
    out.print()
    out.rule(f"{text} · {time.perf_counter() - started:.0f} s", align="left")


def _next(folder: Path, user: str, started: float) -> None:
    out.print()
    out.rule(f"done in {time.perf_counter() - started:.0f} s · three commands to try next")
    lifeloop = f".venv/bin/lifeloop {{}} -C {folder}"
    for line in (
        lifeloop.format(f"stage {user} --why"),
        lifeloop.format(f"recommend {user} -k 5 --json"),
        lifeloop.format("evaluate --protocol loo --models popularity,itemknn,ease,lifeloop"),
    ):
        out.print(f"  {line}", markup=False, highlight=False)


def _emptied(folder: Path) -> None:
    """Remove an earlier demo; a folder that is something else is left alone."""
    if (folder / SETTINGS_FILE).is_file():
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)

"""Progress bars on stderr for the long steps."""

import contextlib
from collections.abc import Iterator

from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from lifeloop.cli.session import err
from lifeloop.contracts import Progress as ProgressContract
from lifeloop.contracts import silent


@contextlib.contextmanager
def bars(*, quiet: bool = False) -> Iterator[ProgressContract]:
    """Yield a progress callback that draws one bar per step."""
    if quiet:
        yield silent
        return
    drawn = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=err,
    )
    tasks: dict[str, TaskID] = {}

    def show(step: str, done: float, total: float | None) -> None:
        if step not in tasks:
            tasks[step] = drawn.add_task(step, total=total)
        drawn.update(tasks[step], completed=done, total=total)

    with drawn:
        yield show

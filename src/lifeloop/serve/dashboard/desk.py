"""What the pages read: tables of one reading of the store, kept until the store has moved on.

A page never waits for another reader of the store and never takes a thread of the request path:
tables are computed on two threads of the desk's own. While the store moves on, pages show the
reading before and say its age; the next one is prepared behind them, with every table that was
asked lately, and takes its place whole, so that one page never mixes two moments.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import anyio
import anyio.to_thread
import polars as pl

from lifeloop import tables
from lifeloop.contracts import Table
from lifeloop.errors import LifeloopError
from lifeloop.lifecycle.shared import shared
from lifeloop.loop import Lifeloop
from lifeloop.serve import logs
from lifeloop.serve.dashboard.filters import Filters
from lifeloop.tables import Source

FIRST = ("stage_counts", "growth_accounting", "active_users", "orders")
"""The tables of the first page."""

FRESH_S = 30.0
"""A reading is replaced at the earliest this long after it was made, if the store moved on."""

_TABLES_KEPT = 160
_KEPT_BYTES = 200_000_000
"""Rows of tables that one reading keeps; what was asked longest ago goes first."""
_PAGE_KEPT_S = 60.0
"""A page that took too long waits this long to be asked for again."""
_WARM = 40
_THREADS = 2

Key = tuple[Any, ...]
T = TypeVar("T")


@dataclass(slots=True, eq=False)
class Reading:
    """One reading of the store, and everything that was computed from it."""

    source: Source
    at: float
    removal: int | None = None
    made: OrderedDict[Key, Any] = field(default_factory=OrderedDict)
    sizes: dict[Key, int] = field(default_factory=dict)
    locks: dict[Key, threading.Lock] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, key: Key, make: Callable[[Source], T]) -> T:
        """Return what ``make`` makes of the source; computed once, by whoever comes first."""
        with self.lock:
            if key in self.made:
                self.made.move_to_end(key)
                kept: T = self.made[key]
                return kept
            own = self.locks.setdefault(key, threading.Lock())
        with own:
            with self.lock:
                if key in self.made:
                    found: T = self.made[key]
                    return found
            value = make(self.source)
            with self.lock:
                self.made[key] = value
                self.sizes[key] = size_of(value)
                self.locks.pop(key, None)
                while len(self.made) > 1 and self._full():
                    oldest, _ = self.made.popitem(last=False)
                    del self.sizes[oldest]
            return value

    def _full(self) -> bool:
        return len(self.made) > _TABLES_KEPT or sum(self.sizes.values()) > _KEPT_BYTES

    def lately(self) -> list[Key]:
        """Return the keys asked last, newest first."""
        with self.lock:
            return list(self.made)[::-1][:_WARM]


def size_of(value: object) -> int:
    """Return the bytes that the frames of something computed hold, roughly."""
    if isinstance(value, pl.DataFrame | pl.Series):
        return int(value.estimated_size())
    rows = getattr(value, "rows", None)
    return int(rows.estimated_size()) if isinstance(rows, pl.DataFrame) else 0


class Desk:
    """The readings of one process, and the threads that make them."""

    def __init__(self, loop: Lifeloop, *, fresh_s: float = FRESH_S) -> None:
        self.loop = loop
        self._fresh_s = fresh_s
        self._held: Reading | None = None
        self._reading = threading.Lock()
        self._behind: Future[None] | None = None
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="dashboard")
        self._back = ThreadPoolExecutor(1, thread_name_prefix="dashboard-next")
        self._pages: dict[Key, tuple[float, Future[Any]]] = {}
        self._erasures = 0
        self._makers: dict[Key, Callable[[Source], Any]] = {}
        self.limiter = anyio.CapacityLimiter(_THREADS)

    def close(self) -> None:
        """Let nothing new begin."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._back.shutdown(wait=False, cancel_futures=True)

    # ---------------------------------------------------------------- readings

    def reading(self) -> Reading:
        """Return the present reading; the first one is made here, later ones behind the pages."""
        self._obey()
        held = self._held
        if held is None:
            with self._reading:
                while (held := self._held) is None:
                    erasures = self._erasures
                    made = self._read()
                    with self._lock:
                        if erasures == self._erasures:
                            self._held = made
                return held
        if time.monotonic() - held.at > self._fresh_s and self._moved(held):
            with self._lock:
                if self._behind is None or self._behind.done():
                    self._behind = self._back.submit(self._follow, held)
        return held

    @property
    def held(self) -> Reading | None:
        """The present reading, None before the first page."""
        return self._held

    def age_s(self) -> float:
        """Return how old the present reading is."""
        return 0.0 if self._held is None else time.monotonic() - self._held.at

    def forget(self) -> None:
        """Show nothing that was read before now, as after an erasure.

        The next page reads the store anew; pages under way are made once more.
        """
        with self._lock:
            self._erasures += 1
            self._pages.clear()
            self._makers.clear()  # a maker holds the page that asked, and what it was asked
            self._held = None

    def _obey(self) -> None:
        """Forget the reading if anybody was erased since, by whichever process."""
        try:
            removal = self.loop.store.head().removal
        except LifeloopError:
            return  # the store is down: what was read stands
        self.loop.live.removals.obey(removal)
        held = self._held
        if held is not None and held.removal != removal:
            self.forget()

    def warm(self, *, lang: str) -> None:
        """Begin to read, and to make what the first page shows, before anybody waits for it."""
        with self._lock:
            if self._held is None and (self._behind is None or self._behind.done()):
                self._behind = self._back.submit(self._first, lang)

    def _first(self, lang: str) -> None:
        try:
            if not self.loop.store.last_seq():
                return
            asked = Filters()
            with shared():
                self.overview(**asked.whole(), lang=lang)
                for name in FIRST:
                    self.table(name, **asked.asked(), lang=lang)
        except Exception as error:  # whoever asks for the page is told
            logs.failure(error)

    def _read(self) -> Reading:
        removal = self.loop.store.head().removal  # before the rows: what goes later is seen later
        return Reading(self.loop.source(), time.monotonic(), removal)

    def _moved(self, held: Reading) -> bool:
        try:
            moved = self.loop.store.last_seq() != held.source.seq
            day = 86_400_000_000
            return moved or self.loop.moment().as_of_us - held.source.moment.as_of_us > day
        except LifeloopError:
            return False  # the store is down: what was read stands

    def _follow(self, held: Reading) -> None:
        try:
            made = self._read()
            for key in held.lately():
                maker = self._makers.get(key)
                if maker is not None:
                    made.get(key, maker)
            with self._lock:
                if self._held is held:
                    self._held = made
        except Exception as error:
            logs.failure(error)
            held.at = time.monotonic()  # not again at once

    # ---------------------------------------------------------------- what pages ask

    def made(self, key: Key, make: Callable[[Source], T]) -> T:
        """Return something computed from the present reading, once per reading."""
        with self._lock:
            self._makers[key] = make
            while len(self._makers) > 4 * _TABLES_KEPT:
                self._makers.pop(next(iter(self._makers)))
        return self.reading().get(key, make)

    def table(self, name: str, **asked: Any) -> Table:
        """Return a lifecycle table of the present reading. See ``tables.table_of``."""
        key = ("table", name, _frozen(asked))
        return self.made(key, lambda source: tables.table_of(source, name, **asked))

    def overview(self, **asked: Any) -> tables.Overview:
        """Return the key metrics of the present reading. See ``tables.overview``."""
        key = ("overview", _frozen(asked))
        return self.made(key, lambda source: tables.overview(source, **asked))

    def stages(self) -> pl.DataFrame:
        """Return where every user stands, one row each."""
        return self.table("stages").rows

    async def work(self, key: Key, make: Callable[[], T], *, wait_s: float) -> T | None:
        """Return what ``make`` makes on a thread of the desk; None if that takes longer.

        What takes longer goes on: the same key asked again joins it.
        """
        with anyio.move_on_after(wait_s):
            await anyio.to_thread.run_sync(self._obey, abandon_on_cancel=True)
            while True:
                erasures, running = self._started(key, make)
                while not running.done():
                    await anyio.sleep(0.005)
                if erasures == self._erasures:  # else it was made of what has been erased since
                    with self._lock:
                        self._pages.pop(key, None)
                    value: T = running.result()
                    return value
        return None

    def _started(self, key: Key, make: Callable[[], T]) -> tuple[int, Future[T]]:
        now_s = time.monotonic()
        with self._lock:
            for other, (at, made) in list(self._pages.items()):
                if made.done() and now_s - at > _PAGE_KEPT_S:  # nobody came back for it
                    del self._pages[other]
            _, running = self._pages.get(key, (0.0, None))
            if running is None:
                running = self._threads.submit(_together, make)
                self._pages[key] = (now_s, running)
            return self._erasures, running


def _together(make: Callable[[], T]) -> T:
    with shared():  # the tables of one page ask for the same things
        return make()


def _frozen(value: Any) -> Any:
    if isinstance(value, Mapping):
        return tuple(sorted((k, _frozen(v)) for k, v in value.items() if v is not None))
    if isinstance(value, list | tuple):
        return tuple(_frozen(v) for v in value)
    return value

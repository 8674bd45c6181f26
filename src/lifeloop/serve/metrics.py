"""What is counted, for Prometheus; also across the worker processes of one machine."""

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""Any other word is counted as one: whoever sends them must not fill the memory with counters."""

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 5.0, 30.0)


class Metrics:
    """The counters of one process."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._seconds = Histogram(
            "lifeloop_request_seconds",
            "Duration of requests",
            ("method", "route", "status"),
            buckets=_SECONDS,
            registry=registry,
        )
        self._events = Counter(
            "lifeloop_events", "Event rows by what became of them", ("outcome",), registry=registry
        )
        self._levels = Counter(
            "lifeloop_slates", "Slates by the level of the answer", ("level",), registry=registry
        )
        self._spooled = Gauge(
            "lifeloop_spooled_decisions",
            "Decisions that wait for the store",
            registry=registry,
            multiprocess_mode="livesum",
        )

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        method = method if method in _METHODS else "other"
        self._seconds.labels(method, route, str(status)).observe(seconds)

    def events(self, outcome: str, n: int) -> None:
        """Count event rows."""
        if n:
            self._events.labels(outcome).inc(n)

    def slate(self, level: str) -> None:
        """Count one slate."""
        self._levels.labels(level).inc()

    def spooled(self, n: int) -> None:
        """Say how many decisions wait."""
        self._spooled.set(n)

    def text(self) -> bytes:
        """Return everything in the format of Prometheus, summed over the processes."""
        if not os.environ.get(FOLDER):
            return generate_latest(self._registry)
        whole = CollectorRegistry()
        MultiProcessCollector(whole)  # type: ignore[no-untyped-call]
        return generate_latest(whole)

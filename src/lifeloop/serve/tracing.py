"""One span per request, where the extra ``[otel]`` is installed and an exporter is named.

The span holds the method, the route's template and the status; no path, no id of a person.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import Any, Protocol

from lifeloop.errors import ConfigError, MissingExtra

EXPORTER = "OTEL_TRACES_EXPORTER"


class Span(Protocol):
    """What is told of one request."""

    def told(self, *, method: str, route: str, status: int) -> None:
        """Name the span once the route is known."""
        ...


class Tracing(Protocol):
    """Opens one span per request."""

    def span(self, headers: Mapping[bytes, bytes]) -> AbstractContextManager[Span]:
        """Open the span of a request, under the caller's own if it sent one."""
        ...


class Silent:
    """No tracing."""

    def span(self, headers: Mapping[bytes, bytes]) -> AbstractContextManager[Span]:
        """Open nothing."""
        return nullcontext(self)

    def told(self, *, method: str, route: str, status: int) -> None:
        """Tell nobody."""


class OpenTelemetry:
    """Spans of a tracer provider of OpenTelemetry."""

    def __init__(self, provider: Any) -> None:
        self._tracer = provider.get_tracer("lifeloop.serve")

    @contextmanager
    def span(self, headers: Mapping[bytes, bytes]) -> Iterator[Span]:
        """Open the span of a request."""
        from opentelemetry.propagate import extract
        from opentelemetry.trace import SpanKind

        carried = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in headers.items()
            if name in (b"traceparent", b"tracestate")
        }
        with self._tracer.start_as_current_span(
            "request", context=extract(carried), kind=SpanKind.SERVER
        ) as span:
            yield _Told(span)


class _Told:
    def __init__(self, span: Any) -> None:
        self._span = span

    def told(self, *, method: str, route: str, status: int) -> None:
        from opentelemetry.trace import StatusCode

        self._span.update_name(f"{method} {route}")
        self._span.set_attribute("http.request.method", method)
        self._span.set_attribute("http.route", route)
        self._span.set_attribute("http.response.status_code", status)
        if status >= 500:
            self._span.set_status(StatusCode.ERROR)


def tracing() -> Tracing:
    """Return what ``OTEL_TRACES_EXPORTER`` asks for: the name of an installed exporter, or none.

    Raises
    ------
    MissingExtra
        One is named and OpenTelemetry is not installed.
    ConfigError
        No exporter of that name is installed.
    """
    name = os.environ.get(EXPORTER, "none")
    if name in ("", "none"):
        return Silent()
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.sdk") is None:
        raise MissingExtra("tracing", "otel")
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    found = entry_points(group="opentelemetry_traces_exporter")
    if name not in found.names:
        listed = ", ".join(sorted(found.names))
        raise ConfigError(
            "tracing was refused", [f"{EXPORTER}={name!r} is not installed; there are: {listed}"]
        )
    provider = TracerProvider(resource=Resource.create({"service.name": "lifeloop"}))
    provider.add_span_processor(BatchSpanProcessor(found[name].load()()))
    return OpenTelemetry(provider)

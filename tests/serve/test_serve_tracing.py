"""Spans: one per request, under the caller's, without a word about a person."""

import pytest
from starlette.testclient import TestClient

from lifeloop import Lifeloop
from lifeloop.errors import ConfigError
from lifeloop.serve import create_app, keys, tracing

pytestmark = pytest.mark.extras

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_request_is_one_span_under_the_callers(served_shop: Lifeloop) -> None:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    _, key = keys.create(served_shop.store.kept, name="", roles=("read",), at_us=1)
    app = create_app(served_shop, spans=tracing.OpenTelemetry(provider))
    headers = {"authorization": f"Bearer {key}", "traceparent": PARENT}
    with TestClient(app, headers=headers) as client:
        client.get("/v1/users/secret-person/recommendations")
        client.get("/v1/items/secret-item")
    slate, item = exporter.get_finished_spans()
    assert slate.name == "GET /v1/users/{user_id:id}/recommendations"
    assert dict(slate.attributes or {})["http.response.status_code"] == 200
    assert dict(item.attributes or {})["http.response.status_code"] == 404
    assert slate.parent is not None
    assert f"{slate.parent.trace_id:032x}" in PARENT
    assert "secret" not in slate.to_json() + item.to_json()


def test_an_exporter_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(tracing.EXPORTER, "nowhere")
    with pytest.raises(ConfigError, match=r"nowhere.*console"):
        tracing.tracing()
    monkeypatch.setenv(tracing.EXPORTER, "none")
    assert isinstance(tracing.tracing(), tracing.Silent)

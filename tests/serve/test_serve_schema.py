"""Every operation of the OpenAPI document under generated requests, with all checks."""

import os
from pathlib import Path
from typing import Any

import pytest

from lifeloop import Lifeloop
from lifeloop.serve import ServeSettings, create_app, keys
from lifeloop.serve.app import document

pytestmark = pytest.mark.extras

EXAMPLES = int(os.environ.get("LIFELOOP_SCHEMA_EXAMPLES", "15"))
"""Requests generated per operation and phase."""


def test_generated_requests_find_no_server_error(served_shop: Lifeloop, tmp_path: Path) -> None:
    import hypothesis
    import schemathesis
    from schemathesis.checks import CHECKS, load_all_checks

    _, text = keys.create(served_shop.store.kept, name="", roles=("admin",), at_us=1)
    settings = ServeSettings(requests_per_s=1e6, burst=1e6, refusals_per_s=1e6)
    app: Any = create_app(served_shop, settings=settings)

    async def quiet(scope: Any, receive: Any, send: Any) -> None:
        await app(scope, receive, send)

    load_all_checks()
    schema = schemathesis.openapi.from_dict(document(app))
    schema.app = quiet
    headers = {"authorization": f"Bearer {text}"}
    # A row may be refused for what a schema cannot say: "null" as somebody's id, 1e999.
    checks = CHECKS.get_all()
    checks = [check for check in checks if check.__name__ != "positive_data_acceptance"]
    failures: dict[str, str] = {}
    n_operations = 0
    for found in schema.get_all_operations():
        operation: Any = getattr(found, "ok")()  # noqa: B009
        if operation.path == "/v1/train":  # it would train for real, every time
            continue
        n_operations += 1

        @hypothesis.settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(case=operation.as_strategy())
        def asked(case: Any) -> None:
            answer = case.call(headers=headers)
            case.validate_response(answer, checks=checks, headers=headers)

        try:
            asked()
        except (Exception, BaseExceptionGroup) as error:
            inner = getattr(error, "exceptions", [error])
            failures[operation.label] = "\n".join(f"{type(e).__name__}: {e}" for e in inner)
    assert n_operations >= 25
    assert not failures, "\n\n".join(f"{name}: {text}" for name, text in failures.items())

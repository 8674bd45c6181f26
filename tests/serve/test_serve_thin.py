"""The thin path: a key, events in, recommendations out."""

import gzip
import json

import pytest

from lifeloop.testing.served import Asking


def test_an_event_is_durable_and_counts_in_the_very_next_request(asking: Asking) -> None:
    ingest, read = asking("ingest"), asking("read")
    sent = ingest.post("/v1/events", json={"user_id": "new/1", "type": "view", "item_id": "rope-1"})
    assert sent.status_code == 202
    assert sent.json()["results"][0]["status"] == "accepted"
    answer = read.get("/v1/users/new%2F1/recommendations", params={"k": 3})
    assert answer.status_code == 200
    rows = answer.json()["recommendations"]
    assert {row["item_id"].split("-")[0] for row in rows} == {"rope"}


@pytest.mark.parametrize("form", ["list", "object", "ndjson", "gzip"])
def test_every_row_of_a_batch_is_told_its_outcome(asking: Asking, form: str) -> None:
    rows = [
        {"user_id": "a", "type": "view", "event_id": "e1"},
        {"user_id": "a"},
        {"user_id": "a", "type": "view", "event_id": "e1"},
    ]
    body, headers = json.dumps(rows).encode(), {"content-type": "application/json"}
    if form == "object":
        body = json.dumps({"events": rows}).encode()
    elif form == "ndjson":
        body = b"\n".join(json.dumps(row).encode() for row in rows)
        headers["content-type"] = "application/x-ndjson"
    elif form == "gzip":
        body, headers["content-encoding"] = gzip.compress(body), "gzip"
    answer = asking("ingest").post("/v1/events", content=body, headers=headers)
    assert answer.status_code == 202
    told = [row["status"] for row in answer.json()["results"]]
    assert told == ["accepted", "rejected", "duplicate"]
    assert answer.json()["results"][1]["reason"] == "missing_type"


def test_probes_need_no_key_and_everything_else_does(asking: Asking) -> None:
    stranger = asking()
    assert stranger.get("/healthz").status_code == 200
    assert stranger.get("/readyz").json() == {"status": "ready", "model": True}
    refused = stranger.get("/openapi.json")
    assert refused.status_code == 401
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["next"].startswith("send Authorization")
    assert "/v1/events" in asking("read").get("/openapi.json").json()["paths"]
    assert b"lifeloop_request_seconds_count" in asking("read").get("/metrics").content
